//! Cameras of another Porthole over WebSocket: chains of three, clocks that differ, peers that send something else.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};

use support::fakecam::{Camera, Table, now_ns};
use support::http::get;
use support::picture::Stamp;
use support::tools::program;
use support::ws::{Client, Frame};
use support::{DEADLINE, Porthole, Scratch, until};

use crate::auth::{VIEWER, with_passwords, with_state};
use crate::remote::{Server, free_port};
use crate::remote_tcp::jpeg;

const NODE: &str = "/dev/video90";
/// How long each Porthole of a chain keeps its camera open.
const LINGER: Duration = Duration::from_millis(400);
const HOUR_US: u64 = 3_600_000_000;

/// A Porthole with a fake camera, at this address.
fn camera_at(table: &Table, listen: &str) -> Porthole {
    let camera = Camera::new(NODE, table).with("formats", "MJPG:640x480@30");
    let arguments = ["--source", NODE, "--linger", "0.4", "--listen", listen];
    Porthole::spawn(support::porthole().envs(support::fakecam::environment(&[camera])).args(arguments))
}

/// A Porthole that shows the camera of another one.
fn relay_at(far: SocketAddr, listen: &str) -> Porthole {
    let arguments = ["--source", &format!("ws://{far}"), "--linger", "0.4", "--listen", listen];
    Porthole::spawn(support::porthole().args(arguments))
}

fn relay(far: SocketAddr, more: &[&str]) -> Porthole {
    Porthole::start(&[&["--source", &format!("ws://{far}"), "--linger", "0"][..], more].concat())
}

const ANY: &str = "127.0.0.1:0";

/// A network path to `far` on which everything takes `delay` each way; its near end.
fn slow_path(far: SocketAddr, delay: Duration) -> SocketAddr {
    fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
        let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::spawn(move || {
            for (due, bytes) in receive {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let _ = send.send((Instant::now() + delay, buffer[..n].to_vec()));
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(far) else { continue };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || carry(near, far_too, delay));
            thread::spawn(move || carry(far, near_too, delay));
        }
    });
    address
}

#[test]
fn the_delay_at_the_end_of_a_chain_is_the_true_one() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let first = camera_at(&table, ANY);
    let second = relay_at(slow_path(first.address, Duration::from_millis(60)), ANY);
    let third = relay_at(slow_path(second.address, Duration::from_millis(60)), ANY);
    let mut client = Client::porthole(third.address, "/ws");
    // The clocks are compared when these have come.
    for _ in 0..20 {
        client.acknowledged();
    }
    let mut delays = vec![];
    for _ in 0..40 {
        let frame = client.acknowledged();
        let now = now_ns() / 1000;
        let truly = now - Stamp::of(&frame.jpeg).monotonic_ns / 1000;
        let shown = now - frame.captured_at;
        delays.push(truly);
        assert!(truly.abs_diff(shown) < 20_000, "{shown} µs are shown, {truly} µs are true");
    }
    let least = delays.iter().min().unwrap();
    assert!(*least > 120_000, "the way alone takes 120 ms, not {least} µs");
    let age = third.camera()["last_frame_age_ms"].as_f64().unwrap();
    assert!((100.0..1000.0).contains(&age), "{age} ms");
}

#[test]
fn a_chain_is_open_only_while_somebody_watches_its_end() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let first = camera_at(&table, ANY);
    let second = relay_at(first.address, ANY);
    let third = relay_at(second.address, ANY);
    let all = [&first, &second, &third];
    for service in all {
        assert_eq!(service.camera()["state"], "idle");
    }
    let mut clients = [(); 3].map(|()| Client::porthole(third.address, "/ws"));
    for client in &mut clients {
        client.acknowledged();
    }
    for service in all {
        assert_eq!(service.camera()["state"], "live");
    }
    for service in [&first, &second] {
        let viewers = service.camera()["viewers"].take();
        assert_eq!(viewers.as_array().unwrap().len(), 1, "{viewers}");
        assert_eq!(viewers[0]["kind"], "porthole.v1");
    }
    drop(clients);
    let left = Instant::now();
    first.until_camera_is("idle");
    let took = left.elapsed();
    assert!(took <= 3 * LINGER + Duration::from_millis(300), "the first camera closed after {took:?}");
    assert!(took >= LINGER, "after {took:?}");
    for service in all {
        assert_eq!(service.until_camera_is("idle")["reopens"], 0);
    }
}

#[test]
fn a_chain_heals_within_two_seconds_of_the_return_of_any_part() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let first = camera_at(&table, ANY);
    let second = relay_at(first.address, ANY);
    let third = relay_at(second.address, ANY);
    let addresses = [first.address, second.address, third.address].map(|address| address.to_string());
    let mut chain = [Some(first), Some(second), Some(third)];
    let end = chain[2].as_ref().unwrap().address;
    for broken in [0, 1, 2] {
        let mut client = Client::porthole(end, "/ws");
        client.acknowledged();
        drop(chain[broken].take());
        // Long enough for all of them to notice.
        if broken < 2 {
            let end = chain[2].as_ref().unwrap();
            until("the end says so", || (end.camera()["state"] != "live").then_some(()));
        }
        let returned = now_ns();
        chain[broken] = Some(match broken {
            0 => camera_at(&table, &addresses[0]),
            1 => relay_at(chain[0].as_ref().unwrap().address, &addresses[1]),
            _ => relay_at(chain[1].as_ref().unwrap().address, &addresses[2]),
        });
        let serves = Instant::now();
        if broken == 2 {
            client = Client::porthole(end, "/ws");
        }
        until("a picture of after that", || {
            (Stamp::of(&client.acknowledged().jpeg).monotonic_ns > returned).then_some(())
        });
        let took = serves.elapsed();
        assert!(
            took < Duration::from_secs(2),
            "part {broken} was back for {took:?} before there was a picture"
        );
    }
}

/// What a peer does on a WebSocket.
type Served = tungstenite::WebSocket<TcpStream>;

/// A server of WebSockets, with the subprotocol or without, that does `serve` with each, with the number of the connection.
fn peer(has_headers: bool, serve: impl Fn(Served, usize) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let serve = serve.clone();
            thread::spawn(move || {
                #[allow(clippy::result_large_err)]
                let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                    assert_eq!(request.uri().path(), "/ws", "the path of a URL without one");
                    if has_headers {
                        let chosen = request.headers()["sec-websocket-protocol"].clone();
                        response.headers_mut().insert("sec-websocket-protocol", chosen);
                    }
                    Ok(response)
                };
                let Ok(socket) = tungstenite::accept_hdr(stream, choose) else { return };
                serve(socket, number);
            });
        }
    });
    address
}

/// A frame of `porthole.v1`.
fn message(sequence: u32, captured_at: u64, sent_at: u64, skipped: u32, jpeg: &[u8]) -> Message {
    let mut bytes = b"PHF1".to_vec();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(captured_at.to_be_bytes());
    bytes.extend(sent_at.to_be_bytes());
    bytes.extend([0, 64, 0, 48]);
    bytes.extend(skipped.to_be_bytes());
    bytes.extend(jpeg);
    Message::binary(bytes)
}

/// A peer whose clock is off by `offset` microseconds, modulo 2^64. It sends pictures that are 300 ms old, and then whatever
/// `captured` makes of their time. Each says that one was skipped before it.
fn off_by(offset: u64, captured: fn(u64) -> u64) -> SocketAddr {
    let clock = move || (now_ns() / 1000).wrapping_add(offset);
    peer(true, move |mut socket, _| {
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut in_flight = VecDeque::new();
        let (mut sequence, mut due) = (0, Instant::now());
        loop {
            if in_flight.len() < 2 && Instant::now() >= due {
                (sequence, due) = (sequence + 2, Instant::now() + Duration::from_millis(30));
                in_flight.push_back(sequence);
                let at = captured(clock().wrapping_sub(300_000));
                if socket.send(message(sequence, at, clock(), 1, &jpeg(60))).is_err() {
                    return;
                }
            }
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let said: Value = serde_json::from_str(text.as_str()).unwrap();
                    match said["type"].as_str() {
                        Some("ping") => {
                            // Every second answer is late, as on a busy network.
                            let answer = json!({ "type": "pong", "t": said["t"], "now": clock() });
                            if sequence % 4 == 0 {
                                thread::sleep(Duration::from_millis(40));
                            }
                            let _ = socket.send(Message::text(answer.to_string()));
                        }
                        Some("ack") => {
                            assert_eq!(
                                Some(said["sequence"].as_u64().unwrap() as u32),
                                in_flight.pop_front()
                            );
                        }
                        _ => panic!("{said}"),
                    }
                }
                Ok(Message::Close(_)) => return,
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => return,
            }
        }
    })
}

#[test]
fn times_are_carried_over_from_a_clock_that_is_an_hour_off() {
    for offset in [HOUR_US, HOUR_US.wrapping_neg(), 0] {
        let service = relay(off_by(offset, |at| at), &[]);
        let mut client = Client::porthole(service.address, "/ws");
        // A good answer to a ping is among the first.
        for _ in 0..12 {
            client.acknowledged();
        }
        for nth in 0..30 {
            let Frame { captured_at, sent_at, jpeg: shown, .. } = client.acknowledged();
            assert_eq!(shown, jpeg(60));
            // The way from the peer takes next to nothing.
            let age = sent_at - captured_at;
            assert!(
                (295_000..330_000).contains(&age),
                "picture {nth} is {age} µs old with a clock off by {offset}"
            );
        }
        let camera = service.camera();
        let (frames, dropped) = (camera["frames"].as_u64().unwrap(), camera["dropped"].as_u64().unwrap());
        assert!(frames.abs_diff(dropped) <= 2, "{dropped} dropped of {frames}");
        assert_eq!((&camera["implausible_times"], &camera["corrupt"]), (&json!(0), &json!(0)), "{camera}");
    }
}

#[test]
fn times_that_cannot_be_true_give_way_to_the_arrival_and_are_counted() {
    let cases: [fn(u64) -> u64; 3] = [|at| at + HOUR_US, |at| at.wrapping_sub(HOUR_US), |_| 0];
    for captured in cases {
        let service = relay(off_by(10 * HOUR_US, captured), &[]);
        let mut client = Client::porthole(service.address, "/ws");
        for _ in 0..10 {
            let Frame { captured_at, sent_at, .. } = client.acknowledged();
            assert!(sent_at - captured_at < 50_000, "{} µs old", sent_at - captured_at);
        }
        assert!(service.camera()["implausible_times"].as_u64().unwrap() >= 9, "{}", service.camera());
    }
}

#[test]
fn a_server_without_the_subprotocol_sends_bare_jpegs_of_which_the_newest_is_shown() {
    let address = peer(false, |mut socket, _| {
        let _ = socket.send(Message::text(r#"{"type":"hello"}"#));
        loop {
            let _ = socket.write(Message::binary(jpeg(10)));
            let _ = socket.write(Message::Ping("x".into()));
            let _ = socket.write(Message::binary(jpeg(90)));
            if socket.flush().is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(40));
        }
    });
    let service = relay(address, &[]);
    let mut client = Client::porthole(service.address, "/ws");
    let newest = (0..20).filter(|_| client.acknowledged().jpeg == jpeg(90)).count();
    assert!(newest >= 18, "{newest} of 20 are the newest");
    assert!(service.camera()["dropped"].as_u64().unwrap() >= 15, "{}", service.camera());
}

#[test]
fn a_peer_is_answered_and_told_goodbye() {
    let (told, said) = mpsc::channel();
    let address = peer(true, move |mut socket, _| {
        let _ = socket.send(Message::Ping("are you there".into()));
        let _ = socket.send(message(7, 0, 0, 0, &jpeg(60)));
        while let Ok(message) = socket.read() {
            let _ = told.send(message);
        }
    });
    let service = relay(address, &[]);
    Client::porthole(service.address, "/ws").acknowledged();
    let mut heard: Vec<Message> = vec![];
    while !matches!(heard.last(), Some(Message::Close(_))) {
        heard.push(said.recv_timeout(DEADLINE).unwrap());
    }
    assert!(heard.contains(&Message::Pong("are you there".into())), "{heard:?}");
    assert!(heard.contains(&Message::text(r#"{"type":"ack","sequence":7}"#)), "{heard:?}");
    let Some(Message::Close(Some(close))) = heard.last() else { panic!("{heard:?}") };
    assert_eq!(u16::from(close.code), 1000);
}

#[test]
fn credentials_are_sent_as_the_other_porthole_wants_them_and_shown_to_nobody() {
    let scratch = Scratch::new();
    let far = with_state(&with_passwords(&scratch), &[]);
    let port = far.address.port();
    let password = VIEWER.replace(' ', "%20");
    let file = scratch.file("password", format!("{VIEWER}\n"));
    let by_file = format!("source_password_file = \"{}\"", file.display());
    for (url, more) in [
        (format!("ws://me:{password}@127.0.0.1:{port}"), ""),
        (format!("ws://me@127.0.0.1:{port}/cameras/camera/ws"), by_file.as_str()),
        (format!("ws://127.0.0.1:{port}/?token={}", VIEWER.replace(' ', "+")), ""),
        (format!("http://me:{password}@127.0.0.1:{port}/stream"), ""),
    ] {
        let config = scratch.file("porthole.toml", format!("[[camera]]\nsource = \"{url}\"\n{more}\n"));
        let service = Porthole::start(&["--config", config.to_str().unwrap(), "--log", "trace"]);
        Client::porthole(service.address, "/ws").acknowledged();
        let shown =
            [get(service.address, "/state").text(), get(service.address, "/metrics").text(), service.log()]
                .concat();
        for secret in [VIEWER, &password, &BASE64_STANDARD.encode(format!("me:{VIEWER}").as_bytes())] {
            assert!(!shown.contains(secret), "{url}: {shown}");
        }
    }
    for (url, words) in [
        (format!("ws://127.0.0.1:{port}"), "asks for a user and a password (Bearer)"),
        (format!("ws://me:wrong@127.0.0.1:{port}"), "refuses the user or the password (Bearer)"),
    ] {
        let service = Porthole::start(&["--source", &url]);
        let text = get(service.address, "/snapshot").text();
        assert!(text.contains(words) && !text.contains("wrong"), "{text}");
    }
}

/// Hashes of `me:cam:secret`, as a file of Digest users has them.
const DIGEST_USERS: [(&str, &str); 2] = [
    ("MD5", "ccf30d67bbc71fe1023cf1292a85698d"),
    ("SHA-256", "2dcec2fcdbfbef143a65b49558b0a457d987e52ab00e1b0159d99b9936787923"),
];

#[test]
fn a_server_that_asks_for_digest_is_answered_with_it() {
    let Some(lighttpd) = program("lighttpd", "lighttpd") else { return };
    let far = Porthole::start(&["--source", "pattern"]);
    for (algorithm, hash) in DIGEST_USERS {
        let (scratch, port) = (Scratch::new(), free_port());
        let users = scratch.file("users", format!("me:cam:{hash}\n"));
        let config = format!(
            "server.document-root = \"{}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n\
             server.modules = (\"mod_auth\", \"mod_authn_file\", \"mod_proxy\")\n\
             auth.backend = \"htdigest\"\nauth.backend.htdigest.userfile = \"{}\"\n\
             auth.require = (\"/\" => (\"method\" => \"digest\", \"realm\" => \"cam\", \"require\" => \"user=me\",\n  \
             \"algorithm\" => \"{algorithm}\"))\nproxy.header = (\"upgrade\" => \"enable\")\n\
             proxy.server = (\"\" => ((\"host\" => \"127.0.0.1\", \"port\" => {})))\n",
            scratch.path("").display(),
            users.display(),
            far.address.port(),
        );
        let config = scratch.file("lighttpd.conf", config);
        let _lighttpd = Server::start(Command::new(&lighttpd).arg("-D").arg("-f").arg(config));
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        until("lighttpd serves", || TcpStream::connect(address).ok());
        let near = Porthole::start(&["--source", &format!("ws://me:secret@{address}")]);
        let mut client = Client::porthole(near.address, "/ws");
        (0..10).for_each(|_| drop(client.acknowledged()));
        let refused = Porthole::start(&["--source", &format!("ws://me:geheim@{address}")]);
        let answer = get(refused.address, "/snapshot").text();
        assert!(answer.contains("refuses the user or the password (Digest"), "{answer}");
    }
}

#[test]
fn a_certificate_is_accepted_by_its_fingerprint_only() {
    let scratch = Scratch::new();
    let state = scratch.path("far");
    let far = Porthole::start(&[
        "--source",
        "pattern",
        "--tls",
        "self-signed",
        "--state-dir",
        state.to_str().unwrap(),
    ]);
    let url = format!("wss://127.0.0.1:{}", far.address.port());
    let refused = get(Porthole::start(&["--source", &url]).address, "/snapshot").text();
    let fingerprint =
        refused.split("set source_fingerprint = \"").nth(1).and_then(|rest| rest.split('"').next());
    let fingerprint = fingerprint.unwrap_or_else(|| panic!("{refused}"));
    let config = format!("[[camera]]\nsource = \"{url}\"\nsource_fingerprint = \"{fingerprint}\"\n");
    let service = Porthole::configured(&scratch, &config);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..10 {
        client.acknowledged();
    }
    // Plain on the same port.
    let plain = Porthole::start(&["--source", &url.replace("wss", "ws")]);
    let text = get(plain.address, "/snapshot").text();
    assert!(text.contains("the server sends us to \"https://") && text.contains("wss://"), "{text}");
}

#[test]
fn what_a_server_does_instead_is_named_with_a_remedy() {
    let far = Porthole::start(&["--source", "pattern"]);
    let raw = |bytes: Vec<u8>| -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&bytes);
            }
        });
        address
    };
    let at = |address: SocketAddr| format!("ws://{address}/ws");
    let frame = |bytes: &'static [u8]| {
        at(peer(true, move |mut socket, _| {
            let _ = socket.get_mut().write_all(bytes);
            while socket.read().is_ok() {}
        }))
    };
    let answer = |text: &str| at(raw(text.as_bytes().to_vec()));
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    for (url, words) in [
        (format!("ws://{}/nowhere", far.address), &["status 404", "/cameras/NAME/ws"][..]),
        (format!("ws://{}/state", far.address), &["status 200", "check the path"]),
        (
            answer("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"),
            &["503", "asks for 7 s"],
        ),
        (answer("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), &["status 403"]),
        (
            answer(&format!("{upgrade}Sec-WebSocket-Accept: wrong\r\n\r\n")),
            &["Sec-WebSocket-Accept is wrong"],
        ),
        (answer("SSH-2.0-OpenSSH_9.2\r\n"), &["not HTTP", "check the port"]),
        (frame(b"\x83\x00"), &["an unknown opcode", "check that it is a porthole"]),
        (frame(b"\x82\x80\x00\x00\x00\x00"), &["must not be masked"]),
        (frame(b"\x82\x7f\x00\x00\x00\x7f\x00\x00\x00\x00"), &["a message of more than", "width and height"]),
        (at(raw(vec![])), &["closed the connection"]),
    ] {
        let service = Porthole::start(&["--source", &url]);
        let answer = get(service.address, "/snapshot");
        let text = answer.text();
        assert_eq!(answer.status, 503, "{url}: {text}");
        assert!(words.iter().all(|words| text.contains(words)), "{url}: {text}, not {words:?}");
        assert!(text.contains("ws://"), "{text}");
    }
}

#[test]
fn a_peer_that_floods_or_sends_no_frames_does_not_hold_the_service_up() {
    let flood = peer(true, |mut socket, _| {
        let ping = [&[0x89, 125][..], &[b'x'; 125]].concat().repeat(64);
        while socket.get_mut().write_all(&ping).is_ok() {}
    });
    let service = relay(flood, &[]);
    let _client = Client::porthole(service.address, "/ws");
    let camera = service.until_camera_is("lost");
    assert!(camera["error"].as_str().unwrap().contains("takes no answers"), "{camera}");
    let texts = peer(
        true,
        |mut socket, _| {
            while socket.send(Message::text(r#"{"type":"pong","t":1,"now":2}"#)).is_ok() {}
        },
    );
    let headless = peer(true, |mut socket, _| {
        while socket.send(Message::binary(jpeg(60))).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let silent = peer(true, |mut socket, _| while socket.read().is_ok() {});
    for address in [texts, headless, silent] {
        let mut service = relay(address, &[]);
        let _client = Client::porthole(service.address, "/ws");
        let camera = service.until_camera_is("stalled");
        assert!(camera["error"].as_str().unwrap().contains("no "), "{camera}");
        let begun = Instant::now();
        assert_eq!(service.stop(), Some(0));
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    }
}
