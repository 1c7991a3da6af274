//! What a frame costs on its whole way from a camera to viewers, beside the least it can cost. The same camera and viewers, in turn.
//!
//! There are two floors. The lower one is a program with one thread that takes a picture from the driver and sends it to each
//! viewer with one call. A viewer that takes nothing stops it, and so does the camera. The other one does what no program can do
//! without where neither may stop the other: a thread for the camera copies the picture and wakes a thread for the network, which
//! reads the acknowledgements of each viewer before it sends.
//!
//! CPU of all threads of each program for a frame and viewer, how old frames are when they come, and the time from exec to the
//! first of them. Viewers are of `porthole.v1`, and acknowledge each frame. Numbers of viewers choose those. With `--check` it
//! fails where a ratio to the lower floor, or the time to the first frame, is not what it should be.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{MsgFlags, recv};
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
/// Viewers, and how much CPU more than the lower floor a frame may cost.
const AT_MOST: [(usize, f64); 4] = [(1, 1.6), (10, 1.25), (50, 1.15), (200, 1.08)];
/// Milliseconds from exec to the first frame, beyond what the floor takes.
const START_AT_MOST_MS: f64 = 8.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [word, address, device, viewers] = &arguments[..] {
        let (address, viewers) = (address.parse(), viewers.parse());
        match word.as_str() {
            "--serve" => serve_floor(address.unwrap(), device, viewers.unwrap()),
            "--serve-by-two" => serve_by_two_threads(address.unwrap(), device, viewers.unwrap()),
            _ => {}
        }
    }
    let check = arguments.iter().any(|word| word == "--check");
    let chosen: Vec<usize> = arguments.iter().filter_map(|word| word.parse().ok()).collect();
    let rig = Rig::new();
    println!(
        "MJPEG of {FRAME} bytes at {FPS}, by WebSocket, medians of {ROUNDS}; the ratio is that of pairs"
    );
    println!(
        "         CPU us a frame and viewer                                      delay p50 ms      exec to first frame ms"
    );
    println!(
        "viewers   floor  two threads  porthole   (at most) ratio to both      floor  porthole         floor  porthole"
    );
    let mut good = true;
    for (viewers, at_most) in AT_MOST {
        if !chosen.is_empty() && !chosen.contains(&viewers) {
            continue;
        }
        let programs = [Program::Floor, Program::TwoThreads, Program::Porthole];
        let rounds: Vec<[Figures; 3]> =
            (0..ROUNDS).map(|_| programs.map(|program| rig.measure(program, viewers))).collect();
        let of = |figure: fn(&[Figures; 3]) -> f64| median(rounds.iter().map(figure).collect());
        let (ratio, start) = (of(|[a, _, c]| c.cpu_us / a.cpu_us), of(|[a, _, c]| c.start_ms - a.start_ms));
        good &= ratio <= at_most && start <= START_AT_MOST_MS;
        println!(
            "{viewers:>7} {:>7.1} {:>12.1} {:>9.1}   ({at_most}) {ratio:.3}   {:.3}     {:>13.2} {:>9.2}  {:>12.1} {:>9.1}",
            of(|[a, _, _]| a.cpu_us),
            of(|[_, b, _]| b.cpu_us),
            of(|[_, _, c]| c.cpu_us),
            of(|[_, b, c]| c.cpu_us / b.cpu_us),
            of(|[a, _, _]| a.p50_ms),
            of(|[_, _, c]| c.p50_ms),
            of(|[a, _, _]| a.start_ms),
            of(|[_, _, c]| c.start_ms)
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
    TwoThreads,
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
            Program::Floor | Program::TwoThreads => {
                let word = if matches!(program, Program::Floor) { "--serve" } else { "--serve-by-two" };
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args([word, &listen, Self::DEVICE, &number]);
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
    let mut streams = accept(address, device, viewers);
    let camera = start_camera(device);
    for sequence in 1.. {
        let picture = camera.capture().unwrap();
        let header = Header::of(sequence, picture.get_timestamp(), picture.len());
        streams.iter_mut().for_each(|stream| header.send(&picture, stream));
    }
    unreachable!("frames come without end")
}

/// The least that serves while the camera waits for no viewer: it has a thread of its own, which copies the picture, so that the
/// driver gets its buffer back.
fn serve_by_two_threads(address: SocketAddr, device: &str, viewers: usize) -> ! {
    let mut streams = accept(address, device, viewers);
    let newest = Arc::<Mutex<(u64, Vec<u8>)>>::default();
    let waker = Arc::new(EventFd::new().unwrap());
    let (theirs, wakes) = (Arc::clone(&newest), Arc::clone(&waker));
    let camera = start_camera(device);
    std::thread::spawn(move || {
        loop {
            let picture = camera.capture().unwrap();
            {
                let mut newest = theirs.lock().unwrap();
                newest.0 = picture.get_timestamp();
                newest.1.clear();
                newest.1.extend_from_slice(&picture);
            }
            drop(picture);
            wakes.write(1).unwrap();
        }
    });
    let (mut said, mut picture) = ([0; 4096], Vec::new());
    for sequence in 1.. {
        poll(&mut [PollFd::new(waker.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        waker.read().unwrap();
        let at = {
            let mut newest = newest.lock().unwrap();
            std::mem::swap(&mut newest.1, &mut picture);
            newest.0
        };
        let header = Header::of(sequence, at, picture.len());
        for stream in &mut streams {
            // What it has acknowledged, if anything.
            let _ = recv(stream.as_raw_fd(), &mut said, MsgFlags::MSG_DONTWAIT);
            header.send(&picture, stream);
        }
    }
    unreachable!("frames come without end")
}

/// Viewers whose handshake is answered.
fn accept(address: SocketAddr, device: &str, viewers: usize) -> Vec<TcpStream> {
    assert!(Path::new(device).exists(), "there is no {device}");
    let listener = TcpListener::bind(address).unwrap();
    let answered = |_| {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        read_head(&mut stream);
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: porthole.v1\r\n\r\n";
        stream.write_all(answer).unwrap();
        stream
    };
    (0..viewers).map(answered).collect()
}

fn start_camera(device: &str) -> rscam::Camera {
    let mut camera = rscam::Camera::new(device).unwrap();
    let config = rscam::Config {
        interval: (1, FPS),
        resolution: SIZE,
        format: b"MJPG",
        nbuffers: 4,
        ..Default::default()
    };
    camera.start(&config).unwrap();
    camera
}

/// What stands before a picture.
struct Header {
    framing: Vec<u8>,
    head: [u8; HEADER_BYTES],
}

impl Header {
    fn of(sequence: u32, captured_at: u64, bytes: usize) -> Self {
        let resolution = Resolution::new(SIZE.0 as u16, SIZE.1 as u16);
        let frame = Frame { sequence: Sequence(sequence), captured_at: Timestamp(captured_at), resolution };
        let head = FrameMessage { frame, sent_at: Timestamp::now(), skipped: 0 }.encode();
        let length = ((HEADER_BYTES + bytes) as u64).to_be_bytes();
        Self { framing: [&[0x82, 127][..], &length].concat(), head }
    }

    fn send(&self, picture: &[u8], stream: &mut TcpStream) {
        let mut parts = [&self.framing[..], &self.head, picture].map(IoSlice::new);
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            // Fails when the viewer has left, and the end is near.
            let Ok(n) = stream.write_vectored(parts) else { break };
            IoSlice::advance_slices(&mut parts, n);
        }
    }
}
