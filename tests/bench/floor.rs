//! What a frame costs on its whole way from a camera to viewers, beside the least it can cost: a program with one thread that
//! takes a picture from the driver and sends it to each viewer with one call. The same camera and viewers, in turn.
//!
//! CPU of all threads of each program for a frame and viewer, how old frames are when they come, and the time from exec to the
//! first of them. Viewers are of `porthole.v1`, and acknowledge each frame. Numbers of viewers choose those. With `--check` it
//! fails where a ratio is not what it should be.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use porthole::frame::{Frame, Resolution, Sequence, Timestamp};
use porthole::websocket::{FrameMessage, HEADER_BYTES};
use support::fakecam::{Camera, Setting, Table, environment, now_ns};
use support::tools::free_port;
use support::{Scratch, cpu_of, porthole, until};

const FPS: u32 = 30;
const SIZE: (u32, u32) = (1280, 720);
/// Bytes of a frame.
const FRAME: u32 = 98_000;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(3);
/// Pairs of measurements. The median of their ratios counts.
const ROUNDS: usize = 5;
/// Viewers, and how much CPU more than the floor a frame may cost.
const AT_MOST: [(usize, f64); 4] = [(1, 1.6), (10, 1.25), (50, 1.15), (200, 1.08)];
/// Milliseconds from exec to the first frame, beyond what the floor takes.
const START_AT_MOST_MS: f64 = 8.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [word, address, device, viewers] = &arguments[..]
        && word == "--serve"
    {
        serve_floor(address.parse().unwrap(), device, viewers.parse().unwrap());
    }
    let check = arguments.iter().any(|word| word == "--check");
    let chosen: Vec<usize> = arguments.iter().filter_map(|word| word.parse().ok()).collect();
    let rig = Rig::new();
    println!(
        "MJPEG of {FRAME} bytes at {FPS}, by WebSocket, medians of {ROUNDS}; the ratio is that of pairs"
    );
    println!(
        "            CPU us a frame and viewer                     delay p50 ms       exec to first frame ms"
    );
    println!("viewers    floor   porthole   ratio (at most)      floor   porthole          floor   porthole");
    let mut good = true;
    for (viewers, at_most) in AT_MOST {
        if !chosen.is_empty() && !chosen.contains(&viewers) {
            continue;
        }
        let pairs: Vec<[Figures; 2]> = (0..ROUNDS)
            .map(|_| [Program::Floor, Program::Porthole].map(|program| rig.measure(program, viewers)))
            .collect();
        let of = |figure: fn(&[Figures; 2]) -> f64| median(pairs.iter().map(figure).collect());
        let (ratio, start) = (of(|[a, b]| b.cpu_us / a.cpu_us), of(|[a, b]| b.start_ms - a.start_ms));
        good &= ratio <= at_most && start <= START_AT_MOST_MS;
        println!(
            "{viewers:>7} {:>8.1} {:>10.1}   {ratio:.3} ({at_most})       {:>8.2} {:>10.2}       {:>8.1} {:>10.1}",
            of(|[a, _]| a.cpu_us),
            of(|[_, b]| b.cpu_us),
            of(|[a, _]| a.p50_ms),
            of(|[_, b]| b.p50_ms),
            of(|[a, _]| a.start_ms),
            of(|[_, b]| b.start_ms)
        );
    }
    if check && !good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[derive(Clone, Copy)]
enum Program {
    Floor,
    Porthole,
}

/// What one run came to.
#[derive(Clone, Copy)]
struct Figures {
    cpu_us: f64,
    p50_ms: f64,
    start_ms: f64,
}

/// The camera of both programs.
struct Rig {
    scratch: Scratch,
    table: Table,
}

impl Rig {
    const DEVICE: &str = "/dev/video90";

    fn new() -> Self {
        let scratch = Scratch::new();
        let table = Table::create(scratch.path("table")).unwrap();
        table.set(Setting::FrameBytes, FRAME);
        Self { scratch, table }
    }

    fn start(&self, program: Program, viewers: usize) -> Server {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (number, listen) = (viewers.to_string(), address.to_string());
        let (width, height) = SIZE;
        let size = format!("{width}x{height}");
        let mut command = match program {
            Program::Floor => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--serve", &listen, Self::DEVICE, &number]);
                command
            }
            Program::Porthole => {
                let mut command = porthole();
                command.args(["--source", Self::DEVICE, "--listen", &listen, "--size", &size]);
                command.args(["--fps", &FPS.to_string(), "--max-viewers", "256"]);
                command.env("XDG_STATE_HOME", self.scratch.path("state"));
                command
            }
        };
        let camera = Camera::new(Self::DEVICE, &self.table).with("formats", format!("MJPG:{size}@{FPS}"));
        command.envs(environment(&[camera]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Server { child, address, began }
    }

    fn measure(&self, program: Program, viewers: usize) -> Figures {
        let start_ms = {
            let server = self.start(program, 1);
            let seen = Viewers::start(vec![server.connect()]);
            until("the first frame comes", || seen.first()).duration_since(server.began).as_secs_f64() * 1e3
        };
        let server = self.start(program, viewers);
        let seen = Viewers::start((0..viewers).map(|_| server.connect()).collect());
        until("frames come", || seen.first());
        std::thread::sleep(WARM_UP);
        let cpu = cpu_of(server.child.id());
        seen.forget();
        std::thread::sleep(MEASURED);
        let (mut ages, cpu) = (seen.ages(), cpu_of(server.child.id()) - cpu);
        ages.sort_by(f64::total_cmp);
        Figures {
            cpu_us: cpu.as_secs_f64() * 1e6 / ages.len() as f64,
            p50_ms: ages[ages.len() / 2],
            start_ms,
        }
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
    began: Instant,
}

impl Server {
    /// A viewer whose handshake is answered.
    fn connect(&self) -> TcpStream {
        let mut stream = loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                Err(_) => assert!(self.began.elapsed() < support::DEADLINE, "the server does not listen"),
            }
        };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: porthole.v1\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        read_head(&mut stream);
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so its number is still its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        until("the server ends", || self.child.try_wait().unwrap());
    }
}

fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

/// Viewers that acknowledge each frame and forget it, on a thread of their own.
struct Viewers {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// When the first frame came, and the ages of all since in milliseconds.
#[derive(Default)]
struct Seen {
    first: Option<Instant>,
    ages: Vec<f64>,
}

impl Viewers {
    fn start(streams: Vec<TcpStream>) -> Self {
        let (seen, over) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (theirs, ended) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = std::thread::spawn(move || watch_all(streams, &theirs, &ended));
        Self { seen, over, thread: Some(thread) }
    }

    fn first(&self) -> Option<Instant> {
        self.seen.lock().unwrap().first
    }

    fn forget(&self) {
        self.seen.lock().unwrap().ages.clear();
    }

    fn ages(&self) -> Vec<f64> {
        std::mem::take(&mut self.seen.lock().unwrap().ages)
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn watch_all(streams: Vec<TcpStream>, seen: &Mutex<Seen>, over: &AtomicBool) {
    let mut viewers: Vec<Viewer> = streams.into_iter().map(Viewer::new).collect();
    let mut buffer = vec![0; 256 * 1024];
    while !over.load(Relaxed) {
        let ready: Vec<bool> = {
            let mut waits: Vec<PollFd<'_>> =
                viewers.iter().map(|viewer| PollFd::new(viewer.stream.as_fd(), PollFlags::POLLIN)).collect();
            poll(&mut waits, PollTimeout::from(50u16)).unwrap();
            waits.iter().map(|wait| wait.any().unwrap_or(false)).collect()
        };
        for (viewer, _) in viewers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            let n = viewer.stream.read(&mut buffer).unwrap_or(0);
            viewer.take(&buffer[..n], seen);
        }
    }
}

/// A viewer, and how far into a message it is.
struct Viewer {
    stream: TcpStream,
    head: Vec<u8>,
    /// Bytes that are left of the payload, behind the head of the frame.
    left: usize,
}

impl Viewer {
    fn new(stream: TcpStream) -> Self {
        Self { stream, head: Vec::new(), left: 0 }
    }

    fn take(&mut self, mut bytes: &[u8], seen: &Mutex<Seen>) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                if self.left == 0 {
                    self.acknowledge(seen);
                }
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            let (length, header) = match self.head[..] {
                [0x89, 0] => {
                    self.head.clear();
                    self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).unwrap();
                    continue;
                }
                [0x82, 126, a, b, ..] => (usize::from(u16::from_be_bytes([a, b])), 4),
                [0x82, 127, 0, 0, 0, 0, a, b, c, d, ..] => (u32::from_be_bytes([a, b, c, d]) as usize, 10),
                _ => continue,
            };
            if self.head.len() == header + HEADER_BYTES {
                self.left = length - HEADER_BYTES;
                self.head.drain(..header);
            }
        }
    }

    fn acknowledge(&mut self, seen: &Mutex<Seen>) {
        let (frame, _) = FrameMessage::decode(&self.head).expect("the head of a frame");
        self.head.clear();
        let text = format!(r#"{{"type":"ack","sequence":{}}}"#, frame.frame.sequence.0);
        let message = [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat();
        // Fails when the server has ended.
        let _ = self.stream.write_all(&message);
        let mut seen = seen.lock().unwrap();
        seen.first.get_or_insert_with(Instant::now);
        seen.ages.push((now_ns() / 1000 - frame.frame.captured_at.0) as f64 / 1e3);
    }
}

/// The least that serves: one thread, a blocking call to the driver for a frame, and one for each viewer. What viewers send
/// is not read.
fn serve_floor(address: SocketAddr, device: &str, viewers: usize) -> ! {
    assert!(Path::new(device).exists(), "there is no {device}");
    let listener = TcpListener::bind(address).unwrap();
    let mut streams: Vec<TcpStream> = (0..viewers)
        .map(|_| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            read_head(&mut stream);
            stream
                .write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                      Sec-WebSocket-Protocol: porthole.v1\r\n\r\n",
                )
                .unwrap();
            stream
        })
        .collect();
    let mut camera = rscam::Camera::new(device).unwrap();
    let config = rscam::Config {
        interval: (1, FPS),
        resolution: SIZE,
        format: b"MJPG",
        nbuffers: 4,
        ..Default::default()
    };
    camera.start(&config).unwrap();
    let resolution = Resolution::new(SIZE.0 as u16, SIZE.1 as u16);
    for sequence in 1.. {
        let picture = camera.capture().unwrap();
        let frame = Frame {
            sequence: Sequence(sequence),
            captured_at: Timestamp(picture.get_timestamp()),
            resolution,
        };
        let head = FrameMessage { frame, sent_at: Timestamp::now(), skipped: 0 }.encode();
        let length = ((HEADER_BYTES + picture.len()) as u64).to_be_bytes();
        let header = [&[0x82, 127][..], &length].concat();
        for stream in &mut streams {
            let mut parts = [&header[..], &head, &picture].map(IoSlice::new);
            let mut parts = &mut parts[..];
            while !parts.is_empty() {
                // Fails when the viewer has left, and the end is near.
                let Ok(n) = stream.write_vectored(parts) else { break };
                IoSlice::advance_slices(&mut parts, n);
            }
        }
    }
    unreachable!("frames come without end")
}
