//! Porthole and µStreamer on the same camera, in turn: CPU for each frame delivered, how old frames are when they come,
//! memory, and the time to the first frame. Medians, and their ratio.
//!
//! | variable | what it is | default |
//! |---|---|---|
//! | `PORTHOLE_BENCH_DEVICE` | the camera | a fake one, preloaded into both |
//! | `PORTHOLE_BENCH_PRELOAD` | a library to preload into both, which makes the device; gets this environment | none |
//! | `PORTHOLE_BENCH_USTREAMER` | the program to compare with | `ustreamer` |
//! | `PORTHOLE_BENCH_ROUNDS` | how often each is measured | 3 |
//!
//! `--json` prints each measurement as it is made, as a line of JSON. Names of scenarios (`mjpeg-720-10`) choose those.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod readers;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use readers::Readers;
use serde_json::json;
use support::fakecam::{Camera, Table, environment, now_ns};
use support::ws::Client;
use support::{Scratch, cpu_of, porthole, until};

const FPS: u32 = 30;
const QUALITY: u32 = 80;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
struct Scenario {
    format: &'static str,
    height: u32,
    viewers: usize,
}

const SCENARIOS: [Scenario; 8] = [
    Scenario { format: "mjpeg", height: 720, viewers: 1 },
    Scenario { format: "mjpeg", height: 720, viewers: 10 },
    Scenario { format: "mjpeg", height: 720, viewers: 50 },
    Scenario { format: "mjpeg", height: 720, viewers: 200 },
    Scenario { format: "yuyv", height: 720, viewers: 1 },
    Scenario { format: "yuyv", height: 720, viewers: 10 },
    Scenario { format: "yuyv", height: 1080, viewers: 1 },
    Scenario { format: "yuyv", height: 1080, viewers: 10 },
];

impl Scenario {
    fn name(&self) -> String {
        format!("{}-{}-{}", self.format, self.height, self.viewers)
    }

    fn size(&self) -> String {
        format!("{}x{}", self.height * 16 / 9, self.height)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Server {
    Porthole,
    Peer,
}

/// What one run came to.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Microseconds of CPU, of all threads, for each frame and viewer.
    cpu_us: f64,
    /// Milliseconds from capture to the last byte at the viewer: half of the frames, and 99 of 100.
    p50_ms: f64,
    p99_ms: f64,
    /// Resident memory, without what is shared with other programs.
    rss_mb: f64,
    /// Milliseconds from exec to the end of the first frame.
    start_ms: f64,
}

const COLUMNS: [&str; 5] = ["CPU us/frame", "p50 ms", "p99 ms", "RSS MB", "start ms"];

impl Figures {
    fn all(&self) -> [f64; 5] {
        [self.cpu_us, self.p50_ms, self.p99_ms, self.rss_mb, self.start_ms]
    }

    /// The median of each figure.
    fn median(runs: &[Self]) -> [f64; 5] {
        std::array::from_fn(|column| {
            let mut values: Vec<f64> = runs.iter().map(|run| run.all()[column]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let as_json = arguments.iter().any(|argument| argument == "--json");
    let named = |name: &String| arguments.iter().any(|argument| argument == name);
    let any = SCENARIOS.iter().any(|scenario| named(&scenario.name()));
    let rounds = std::env::var("PORTHOLE_BENCH_ROUNDS").map_or(3, |text| text.parse().expect("a number"));
    let rig = Rig::new();
    if let Err(error) = Command::new(&rig.peer).arg("--version").output() {
        panic!("{}: {error}; PORTHOLE_BENCH_USTREAMER names the program to compare with", rig.peer);
    }
    if !as_json {
        println!("camera {}, {FPS} frames a second, quality {QUALITY}, medians of {rounds}", rig.device);
        println!("{:<15}{:<11}{}", "", "", COLUMNS.map(|column| format!("{column:>14}")).concat());
    }
    for scenario in SCENARIOS.iter().filter(|scenario| !any || named(&scenario.name())) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for (server, name, runs) in
                [(Server::Porthole, "porthole", &mut ours), (Server::Peer, "ustreamer", &mut theirs)]
            {
                let figures = rig.measure(server, scenario);
                runs.push(figures);
                if as_json {
                    let Figures { cpu_us, p50_ms, p99_ms, rss_mb, start_ms } = figures;
                    println!(
                        "{}",
                        json!({ "scenario": scenario.name(), "server": name, "cpu_us_per_frame": cpu_us,
                                "p50_ms": p50_ms, "p99_ms": p99_ms, "rss_mb": rss_mb, "start_ms": start_ms })
                    );
                }
            }
        }
        if !as_json {
            let (ours, theirs) = (Figures::median(&ours), Figures::median(&theirs));
            let row = |values: [f64; 5]| values.map(|value| format!("{value:>14.2}")).concat();
            println!("{:<15}{:<11}{}", scenario.name(), "porthole", row(ours));
            println!("{:<15}{:<11}{}", "", "ustreamer", row(theirs));
            println!("{:<15}{:<11}{}", "", "ratio", row(std::array::from_fn(|i| ours[i] / theirs[i])));
        }
    }
}

/// The camera, and how servers are started on it.
struct Rig {
    device: String,
    environment: Vec<(String, std::ffi::OsString)>,
    peer: String,
    // The fake camera is there for as long as these are.
    _fake: Option<(Scratch, Table)>,
}

impl Rig {
    fn new() -> Self {
        let peer = std::env::var("PORTHOLE_BENCH_USTREAMER").unwrap_or_else(|_| "ustreamer".into());
        let preload = std::env::var_os("PORTHOLE_BENCH_PRELOAD");
        if let Ok(device) = std::env::var("PORTHOLE_BENCH_DEVICE") {
            let environment = preload.map(|library| ("LD_PRELOAD".to_owned(), library)).into_iter().collect();
            return Self { device, environment, peer, _fake: None };
        }
        let (device, scratch) = ("/dev/video90".to_owned(), Scratch::new());
        let table = Table::create(scratch.path("table")).unwrap();
        let formats = "MJPG:1280x720@30,YUYV:1280x720@30,YUYV:1920x1080@30";
        let camera = Camera::new(&device, &table).with("formats", formats);
        let environment = environment(&[camera]).into_iter();
        let environment = environment.map(|(key, value)| (key.to_owned(), value)).collect();
        Self { device, environment, peer, _fake: Some((scratch, table)) }
    }

    fn start(&self, server: Server, scenario: &Scenario) -> Running {
        let address = free_address();
        let size = scenario.size();
        let [fps, quality] = [FPS, QUALITY].map(|number| number.to_string());
        let mut command = match server {
            Server::Porthole => {
                let mut command = porthole();
                command.args(["--source", &self.device, "--listen", &address.to_string()]);
                command.args(["--format", scenario.format, "--size", &size, "--fps", &fps]);
                command.args(["--quality", &quality, "--max-viewers", "256"]);
                command
            }
            Server::Peer => {
                let mut command = Command::new(&self.peer);
                command.args(["--device", &self.device, "--format", scenario.format]);
                command.args(["--resolution", &size, "--desired-fps", &fps, "--quality", &quality]);
                command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
                command
            }
        };
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Running { child, address, began, server }
    }

    fn measure(&self, server: Server, scenario: &Scenario) -> Figures {
        let start_ms = self.start(server, scenario).first_frame().as_secs_f64() * 1000.0;
        let running = self.start(server, scenario);
        running.first_frame();
        let others = Readers::start((1..scenario.viewers).map(|_| running.stream("/stream")).collect());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let probe = scope.spawn(|| running.probe(&over));
            std::thread::sleep(WARM_UP);
            let (cpu, bytes, from) = (running.cpu(), others.bytes(), now_ns());
            std::thread::sleep(MEASURED);
            let (cpu, bytes) = (running.cpu() - cpu, others.bytes() - bytes);
            let rss_mb = running.memory();
            over.store(true, Relaxed);
            let mut seen: Vec<Seen> = probe.join().unwrap();
            assert!(!seen.is_empty(), "the server at {} had no picture of {}", running.address, self.device);
            seen.retain(|seen| seen.at_ns >= from && seen.at_ns < from + MEASURED.as_nanos() as u64);
            let frame: f64 = seen.iter().map(|seen| seen.bytes as f64).sum::<f64>() / seen.len() as f64;
            let delivered = seen.len() as f64 + bytes as f64 / frame;
            let mut ages: Vec<f64> = seen.iter().map(|seen| seen.age_ms).collect();
            ages.sort_by(f64::total_cmp);
            let percentile = |percent: usize| ages[(ages.len() * percent).div_ceil(100) - 1];
            let cpu_us = cpu.as_secs_f64() * 1e6 / delivered;
            Figures { cpu_us, p50_ms: percentile(50), p99_ms: percentile(99), rss_mb, start_ms }
        })
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A frame as the probe saw it.
struct Seen {
    at_ns: u64,
    age_ms: f64,
    bytes: usize,
}

struct Running {
    child: Child,
    address: SocketAddr,
    began: Instant,
    server: Server,
}

impl Running {
    /// Asks for a stream as soon as anybody answers.
    fn stream(&self, path: &str) -> TcpStream {
        let mut stream = loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                Err(_) => assert!(self.began.elapsed() < support::DEADLINE, "the server does not listen"),
            }
        };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Time from exec to the last byte of the first frame.
    fn first_frame(&self) -> Duration {
        let mut stream = self.stream("/stream");
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; 65536]);
        while !bytes.windows(2).any(|two| two == [0xff, 0xd9]) {
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "the stream ended");
            bytes.extend_from_slice(&chunk[..n]);
        }
        self.began.elapsed()
    }

    /// One viewer who is told when each frame was captured, by the server itself.
    fn probe(&self, over: &AtomicBool) -> Vec<Seen> {
        let mut seen = Vec::new();
        match self.server {
            Server::Porthole => {
                let mut client = Client::porthole(self.address, "/ws");
                while !over.load(Relaxed) {
                    let frame = client.acknowledged();
                    let at_ns = now_ns();
                    let age_ms = (at_ns / 1000 - frame.captured_at) as f64 / 1000.0;
                    seen.push(Seen { at_ns, age_ms, bytes: frame.jpeg.len() });
                }
            }
            Server::Peer => {
                let mut parts = Parts { stream: self.stream("/stream?extra_headers=1"), buffer: Vec::new() };
                while !over.load(Relaxed) {
                    let Some((captured_s, bytes)) = parts.next() else { continue };
                    let at_ns = now_ns();
                    seen.push(Seen { at_ns, age_ms: at_ns as f64 / 1e6 - captured_s * 1000.0, bytes });
                }
            }
        }
        seen
    }

    fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    fn memory(&self) -> f64 {
        let kilobytes = |key| support::proc_status(self.child.id(), key) as f64;
        (kilobytes("RssAnon") + kilobytes("RssFile")) * 1024.0 / 1e6
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so its number is still its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        until("the server ends", || self.child.try_wait().unwrap());
    }
}

/// A multipart stream of µStreamer's, with its own headers.
struct Parts {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Parts {
    /// When the next frame was captured, in seconds of CLOCK_MONOTONIC, and its bytes; nothing for what is none.
    fn next(&mut self) -> Option<(f64, usize)> {
        let head = self.take_head();
        let value = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(|text| text.trim().parse::<f64>().unwrap())
        };
        // The first head is that of the answer.
        let length = value("Content-Length:")? as usize;
        self.take(length);
        let captured = value("X-UStreamer-Grab-End-Time:").or(value("X-UStreamer-Grab-Time:"))?;
        // What was captured at 0 is its picture of having none.
        (captured > 0.0).then_some((captured, length))
    }

    fn take_head(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                return String::from_utf8_lossy(&self.take(at + 4)).into_owned();
            }
            self.read();
        }
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n {
            self.read();
        }
        self.buffer.drain(..n).collect()
    }

    fn read(&mut self) {
        let mut chunk = vec![0; 262_144];
        let n = self.stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the stream ended");
        self.buffer.extend_from_slice(&chunk[..n]);
    }
}
