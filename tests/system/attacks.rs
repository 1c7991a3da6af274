//! Peers that mean ill, or act as if they did: somebody who watches does not notice, and nothing stays behind.
//!
//! What somebody sees is measured without and with the attack, in turn on the same service, so that it is the ratio that
//! counts; of several tries the best one, as this machine may be busy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::fakecam::now_ns;
use support::http::{Multipart, send};
use support::prometheus::Exposition;
use support::tls::{ClientStream, plain};
use support::video::VideoHead;
use support::ws::{Client, Frame};
use support::{Porthole, Scratch, descriptors, proc_status, until};

use crate::turns::{Group, Turn, turn};

/// Frames a second, of a picture of some 20 kB.
const FPS: u32 = 30;
const SOURCE: &str = "[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\nfps = 30\n";
/// Frames that are looked at, without the attack and with it.
const FRAMES: usize = 60;
/// Tries at a bound that a busy machine can break. What is wrong with the service breaks it every time.
const TRIES: usize = 4;
/// Memory in kB that may stay after an attack, beyond what a first one has left: what malloc keeps of the most that there
/// was at a time, as 8 kB for each header that has begun.
const KEPT: u64 = 2048;

/// Waits for its turn, and takes as many descriptors as thousands of connections need.
fn turn_to_attack() -> Turn {
    let turn = turn(Group::Attacks);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills in the struct it is given, and reads it.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max.min(16_384);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    turn
}

/// The service under attack, and how to speak with it.
struct Target {
    service: Porthole,
    wire: fn(SocketAddr) -> Box<dyn ClientStream>,
    _scratch: Scratch,
}

impl Target {
    fn serving(config: &str, wire: fn(SocketAddr) -> Box<dyn ClientStream>) -> Self {
        let scratch = Scratch::new();
        let state = scratch.path("state").display().to_string();
        let config = scratch.file("porthole.toml", format!("{config}\n{SOURCE}"));
        let service = Porthole::start(&["--state-dir", &state, "--config", config.to_str().unwrap()]);
        Self { service, wire, _scratch: scratch }
    }

    /// Two who watch, one of them JPEGs and the other H.264, once both have a picture.
    fn viewers(&self) -> [Client; 2] {
        ["porthole.v1", "porthole.h264.v1"].map(|subprotocol| {
            let headers = [("Sec-WebSocket-Protocol", subprotocol)];
            let address = self.service.address;
            let mut client = Client::over((self.wire)(address), address, "/ws", &headers).unwrap();
            next_captured_at(&mut client);
            client
        })
    }

    /// What a request on a connection of its own is answered.
    fn ask(&self, path: &str) -> std::io::Result<String> {
        let mut wire = (self.wire)(self.service.address);
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        wire.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        // Not everybody says goodbye before the end of a TLS connection.
        let ended = wire.read_to_end(&mut answer);
        if answer.is_empty() {
            ended?
        } else {
            answer.len()
        };
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The address space is the same; this is what is in use, in kB, and descriptors, with nobody connected.
    fn at_rest(&self) -> (u64, usize) {
        until("all connections are gone", || {
            let answer = self.ask("/metrics").ok()?;
            let metrics = Exposition::parse(answer.split_once("\r\n\r\n")?.1);
            // The one that asks.
            (metrics.value("porthole_connections", &[]) <= 1.0).then_some(())
        });
        until("nothing is encoded", || {
            let answer = self.ask("/state").ok()?;
            let state: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
            state["cameras"][0]["h264"]["encoder"].is_null().then_some(())
        });
        let pid = self.service.pid();
        let held = || (proc_status(pid, "VmRSS"), descriptors(pid));
        let mut last = held();
        until("descriptors are given back", || {
            std::thread::sleep(Duration::from_millis(100));
            let now = held();
            (std::mem::replace(&mut last, now).1 == now.1).then_some(())
        });
        last
    }
}

fn serve(config: &str) -> Target {
    Target::serving(config, plain)
}

/// The next picture of either kind, acknowledged: when it was captured, in microseconds.
fn next_captured_at(client: &mut Client) -> u64 {
    let message = client.binary();
    let (sequence, captured_at) = if message.starts_with(b"PHF1") {
        let frame = Frame::parse(&message);
        (frame.sequence, frame.captured_at)
    } else {
        let head = VideoHead::parse(&message).unwrap();
        (head.sequence, head.captured_at)
    };
    client.acknowledge(sequence);
    captured_at
}

/// What somebody who watches has seen.
#[derive(Clone, Copy, Debug)]
struct Watched {
    /// Frames a second.
    rate: f64,
    /// Of ten frames nine were no older than this when they came, in milliseconds.
    age: f64,
}

fn watch(client: &mut Client) -> Watched {
    let begun = Instant::now();
    let mut ages: Vec<u64> = (0..FRAMES)
        .map(|_| {
            let captured_at = next_captured_at(client);
            now_ns() / 1000 - captured_at
        })
        .collect();
    ages.sort_unstable();
    Watched {
        rate: FRAMES as f64 / begun.elapsed().as_secs_f64(),
        age: ages[FRAMES * 9 / 10] as f64 / 1000.0,
    }
}

/// Both watch at the same time.
fn watch_both(clients: &mut [Client; 2]) -> [Watched; 2] {
    std::thread::scope(|scope| {
        let [jpeg, h264] = clients.each_mut().map(|client| scope.spawn(|| watch(client)));
        [jpeg.join().unwrap(), h264.join().unwrap()]
    })
}

/// Watches without and with the attack, which goes on for as long as it is told that it shall.
fn nobody_notices(target: &Target, attack: impl Fn(SocketAddr, &AtomicBool) + Sync) {
    let mut clients = target.viewers();
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let before = watch_both(&mut clients);
        let on = AtomicBool::new(true);
        let during = std::thread::scope(|scope| {
            scope.spawn(|| attack(target.service.address, &on));
            let during = watch_both(&mut clients);
            until("somebody new gets a picture", || {
                let answer = target.ask("/snapshot");
                answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")).then_some(())
            });
            on.store(false, SeqCst);
            during
        });
        seen.push((before, during));
        let frame_time = 1000.0 / f64::from(FPS);
        let unnoticed = |(before, during): (&Watched, &Watched)| {
            during.rate >= 0.9 * before.rate && during.age <= 2.0 * before.age + frame_time
        };
        if before.iter().zip(&during).all(unnoticed) {
            return println!("without {before:?}, with {during:?}");
        }
    }
    panic!("somebody noticed: without and with the attack {seen:?}");
}

/// Attacks once for what a first time leaves, then again while somebody watches; nothing more stays behind.
fn nothing_is_left(target: &Target, attack: impl Fn(SocketAddr, &AtomicBool) + Sync) {
    let first = target.viewers();
    attack(target.service.address, &AtomicBool::new(false));
    drop(first);
    let before = target.at_rest();
    nobody_notices(target, &attack);
    let after = target.at_rest();
    assert!(after.0 <= before.0 + KEPT, "memory grew from {} to {} kB", before.0, after.0);
    assert_eq!(after.1, before.1, "descriptors");
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    // The queue of those to be accepted may be full, as it is meant to be under attack.
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()
}

/// Goes on at least once, and for as long as it shall.
fn again(on: &AtomicBool, mut once: impl FnMut()) {
    loop {
        once();
        if !on.load(SeqCst) {
            return;
        }
    }
}

#[test]
fn ten_thousand_who_connect_and_close() {
    let _turn = turn_to_attack();
    let target = serve("");
    nothing_is_left(&target, |address, on| {
        // All of them the first time, then as many as come while somebody watches.
        let least = if on.load(SeqCst) { 1 } else { 10_000 };
        let mut made = 0;
        again(on, || {
            loop {
                made += (0..20).filter_map(|_| connect(address)).count();
                std::thread::sleep(Duration::from_millis(5));
                if made >= least {
                    break;
                }
            }
        });
    });
}

#[test]
fn a_thousand_who_send_a_request_a_byte_at_a_time() {
    let _turn = turn_to_attack();
    let target = serve("");
    let slow = |address: SocketAddr, on: &AtomicBool| {
        // Not waited for: the queue of those to be accepted is shorter than that.
        let peer = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
            socket.set_nonblocking(true).ok()?;
            let _ = socket.connect(&address.into());
            Some(TcpStream::from(socket))
        };
        let mut peers: Vec<TcpStream> = (0..1_000).filter_map(|_| peer()).collect();
        for byte in b"GET /snapshot HTTP/1.1\r\nHost: porthole\r\nX: ".iter().chain([&b'x'; 60]) {
            for peer in &mut peers {
                let _ = peer.write(&[*byte]);
            }
            // The first time faster, but all of them, so that it leaves what a first time leaves.
            std::thread::sleep(Duration::from_millis(if on.load(SeqCst) { 100 } else { 5 }));
        }
    };
    nothing_is_left(&target, slow);
}

#[test]
fn those_who_close_half_of_a_connection() {
    let _turn = turn_to_attack();
    let target = serve("");
    nothing_is_left(&target, |address, on| {
        again(on, || {
            for request in ["", "GET /sta", "GET /state HTTP/1.1\r\nHost: x\r\n\r\n"] {
                let peers: Vec<TcpStream> = (0..20).filter_map(|_| connect(address)).collect();
                for mut peer in &peers {
                    let _ = peer.write_all(request.as_bytes());
                    let _ = peer.shutdown(Shutdown::Write);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    });
}

#[test]
fn a_viewer_that_is_killed_in_the_middle_of_a_frame() {
    let _turn = turn_to_attack();
    let target = serve("");
    nothing_is_left(&target, |address, on| {
        again(on, || {
            for path in ["/stream", "/stream.mp4", "/stream.h264"] {
                kill_a_viewer(address, path);
            }
        });
    });
}

/// Takes a little, slowly, so that there is always a frame half way, until it is killed.
fn kill_a_viewer(address: SocketAddr, path: &str) {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}; printf 'GET {path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; \
         while head -c 100 <&3 >/dev/null; do echo; done",
        address.port()
    );
    let mut viewer = Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0];
    let _ = viewer.stdout.take().unwrap().read(&mut line);
    viewer.kill().unwrap();
    viewer.wait().unwrap();
}

#[test]
fn two_hundred_viewers_at_once() {
    let _turn = turn_to_attack();
    let target = serve("[server]\nmax_viewers = 500\n");
    nothing_is_left(&target, |address, on| {
        again(on, || {
            let paths = ["/stream", "/stream.mp4", "/stream.h264"];
            let stream = |number: usize| {
                let path = paths[number % paths.len()];
                (path, send(address, "GET", path, &[]))
            };
            let streams: Vec<_> = (0..200).map(stream).collect();
            for (path, mut stream) in streams {
                if path == "/stream" {
                    drop(Multipart::over(Box::new(stream)).part());
                } else {
                    // Its head comes with the first picture.
                    stream.read_exact(&mut [0; 1000]).unwrap();
                }
            }
            std::thread::sleep(Duration::from_millis(300));
        });
    });
}

#[test]
fn garbage() {
    let _turn = turn_to_attack();
    let target = serve("");
    nothing_is_left(&target, |address, on| {
        let mut random = 1_u64;
        again(on, || {
            for length in [1, 40, 1_000, 100_000] {
                let Some(mut peer) = connect(address) else { continue };
                let _ = peer.set_write_timeout(Some(Duration::from_millis(100)));
                let bytes: Vec<u8> = std::iter::repeat_with(|| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 56) as u8
                })
                .take(length)
                .collect();
                let _ = peer.write_all(&bytes);
            }
            // What follows a WebSocket's handshake can be garbage too.
            let mut socket = send(
                address,
                "GET",
                "/ws",
                &[
                    ("Upgrade", "websocket"),
                    ("Connection", "Upgrade"),
                    ("Sec-WebSocket-Version", "13"),
                    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ],
            );
            let _ = socket.write_all(&[0xff; 64]);
            std::thread::sleep(Duration::from_millis(5));
        });
    });
}

#[cfg(feature = "tls")]
#[test]
fn tls_handshakes_that_stop() {
    let _turn = turn_to_attack();
    let target = Target::serving("[tls]\nself_signed = true\n", support::tls::encrypted);
    nothing_is_left(&target, |address, on| {
        // Records that promise more than comes: a whole one's head, and a ClientHello that breaks off.
        let starts: [&[u8]; 3] =
            [b"\x16", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"];
        let mut peers = Vec::new();
        for start in starts.iter().cycle().take(300) {
            if let Some(mut peer) = connect(address) {
                let _ = peer.write_all(start);
                peers.push(peer);
            }
        }
        while on.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}
