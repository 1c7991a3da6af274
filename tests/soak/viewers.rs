//! Those who watch, each in a way of its own, and what happens to the cameras meanwhile.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tungstenite::Message;

use support::fakecam::{Setting, Table};
use support::http::send;
use support::video::VideoHead;
use support::ws::{Client, Frame};

/// Ways to watch.
const KINDS: u64 = 12;
/// Cameras, by name: one that gives JPEGs, one raw pictures, one H.264 alone. H.264 is encoded of the first two.
pub const CAMERAS: [&str; 3] = ["jpeg", "raw", "video"];

/// Everybody who watches, and how it went.
pub struct Viewers {
    address: SocketAddr,
    visits: AtomicU64,
    frames: AtomicU64,
    /// Pictures in H.264.
    units: AtomicU64,
    faults: AtomicU64,
    /// Goes up with each phase, so that no two are alike.
    phase: AtomicU64,
}

impl fmt::Display for Viewers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        write!(
            f,
            "{} viewers came and went, {} JPEGs and {} pictures in H.264 were sent to them, {} faults",
            count(&self.visits),
            count(&self.frames),
            count(&self.units),
            count(&self.faults)
        )
    }
}

/// A number that looks random, from two.
fn mixed(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Viewers {
    pub fn new(address: SocketAddr) -> Self {
        let zero = AtomicU64::default;
        Self { address, visits: zero(), frames: zero(), units: zero(), faults: zero(), phase: zero() }
    }

    /// JPEGs, and pictures in H.264, that all have had.
    pub fn pictures(&self) -> [u64; 2] {
        [self.frames.load(Relaxed), self.units.load(Relaxed)]
    }

    /// Viewers come and go for `time`, `size` of them at a time, and faults with them. Afterwards nobody is there and every camera is well.
    pub fn watches_for(&self, time: Duration, size: u64, tables: &[Table]) {
        let (end, phase) = (Instant::now() + time, self.phase.fetch_add(1, Relaxed));
        std::thread::scope(|scope| {
            for subscription in 0..size {
                scope.spawn(move || {
                    for visit in 0.. {
                        if Instant::now() >= end {
                            return;
                        }
                        let chance = mixed(phase * 1000 + subscription, visit);
                        let leave = end.min(Instant::now() + Duration::from_millis(200 + chance % 3000));
                        // The first visits are one of each kind, so that the first minute has seen all there is.
                        let kind = if visit == 0 { subscription } else { chance >> 32 };
                        self.visit(kind, CAMERAS[(chance >> 20) as usize % CAMERAS.len()], leave);
                    }
                });
            }
            for (table, number) in tables.iter().zip(0..) {
                scope.spawn(move || self.plays_faults(table, phase * 10 + number, end));
            }
        });
    }

    fn visit(&self, kind: u64, camera: &str, leave: Instant) {
        self.visits.fetch_add(1, Relaxed);
        let url = |path: &str| format!("/cameras/{camera}/{path}");
        match kind % KINDS {
            0 | 1 => self.socket(&url("ws"), &[("Sec-WebSocket-Protocol", "porthole.v1")], leave),
            2 => self.socket(&url("ws"), &[], leave),
            3 => self.socket(&url("ws/some-path1/"), &[], leave),
            // Some of them leave in the middle of a frame.
            4 => self.reads(&url("stream"), 65536, Duration::ZERO, leave),
            // Too slow for the stream.
            5 => self.reads(&url("stream"), 4096, Duration::from_millis(20), leave),
            // Takes nothing at all, and is dropped if it stays.
            6 => {
                let _stuck = send(self.address, "GET", &url("stream"), &[]);
                std::thread::sleep(leave - Instant::now().min(leave));
            }
            7 => self.socket(&url("ws"), &[("Sec-WebSocket-Protocol", "porthole.h264.v1")], leave),
            8 => self.socket(&url("ws"), &[("Sec-WebSocket-Protocol", "porthole.mp4.v1")], leave),
            9 => self.reads(&url("stream.mp4"), 65536, Duration::ZERO, leave),
            // Too slow for it.
            10 => self.reads(&url("stream.h264"), 256, Duration::from_millis(20), leave),
            _ => {
                for path in [&url("snapshot"), "/state", "/metrics", "/", &url("controls"), "/nothing"] {
                    self.reads(path, 65536, Duration::ZERO, Instant::now() + Duration::from_secs(2));
                }
            }
        }
    }

    /// Takes frames over WebSocket, and acknowledges those that ask for it.
    fn socket(&self, path: &str, headers: &[(&'static str, &str)], leave: Instant) {
        // All places may be taken.
        let Ok(mut client) = Client::connect(self.address, path, headers) else { return };
        let _ = client.stream().set_read_timeout(Some(Duration::from_millis(200)));
        while Instant::now() < leave {
            match client.try_read() {
                Ok(Message::Binary(frame)) if client.protocol.is_some() => {
                    let sequence = if frame.starts_with(b"PHF1") {
                        self.frames.fetch_add(1, Relaxed);
                        Frame::parse(&frame).sequence
                    } else {
                        let Some(head) = VideoHead::parse(&frame) else { continue };
                        self.units.fetch_add(1, Relaxed);
                        head.sequence
                    };
                    let ack = format!("{{\"type\":\"ack\",\"sequence\":{sequence}}}");
                    if client.try_send(Message::text(ack)).is_err() {
                        return;
                    }
                }
                Ok(_) => drop(self.frames.fetch_add(1, Relaxed)),
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Reads what comes, so many bytes at a time, with a rest between.
    fn reads(&self, path: &str, at_once: usize, rest: Duration, leave: Instant) {
        let mut stream = send(self.address, "GET", path, &[]);
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        let mut buffer = vec![0; at_once];
        while Instant::now() < leave {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    let count =
                        |mark: &[u8]| buffer[..n].windows(4).filter(|four| *four == mark).count() as u64;
                    self.frames.fetch_add(count(b"JFIF"), Relaxed);
                    self.units.fetch_add(count(b"moof"), Relaxed);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            std::thread::sleep(rest);
        }
    }

    fn plays_faults(&self, table: &Table, seed: u64, end: Instant) {
        for turn in 0.. {
            let chance = mixed(seed, turn);
            let wait = Duration::from_millis(500 + chance % 2000);
            if Instant::now() + wait >= end {
                return;
            }
            std::thread::sleep(wait);
            let faults = [
                (Setting::Unplug, 1, 300),
                (Setting::Stall, 1, 2500),
                (Setting::TruncateEvery, 2, 500),
                (Setting::CorruptEvery, 3, 500),
                (Setting::EmptyEvery, 2, 500),
                (Setting::ErrorEvery, 2, 500),
                (Setting::ShortEvery, 2, 500),
                (Setting::EioEvery, 5, 500),
                // Of the camera with H.264.
                (Setting::WithholdKeys, 1, 1500),
                (Setting::VideoSize, 320 << 16 | 240, 500),
                (Setting::ParameterSetsOnce, 1, 1000),
            ];
            let (setting, value, ms) = faults[(chance >> 32) as usize % faults.len()];
            table.set(setting, value);
            std::thread::sleep(Duration::from_millis(ms));
            table.set(setting, 0);
            self.faults.fetch_add(1, Relaxed);
        }
    }
}
