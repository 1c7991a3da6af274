//! Many viewers of one fake camera, at any number of machines: each frame of each viewer is checked by its order and content.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::picture::{Stamp, try_decode};
use super::ws::Frame;

/// Time that a thread waits for its viewers' sockets.
const WAIT_MS: i32 = 20;

/// Viewers by `porthole.v1`. They leave when this is dropped.
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// The content of each picture of the camera, by its number.
    pictures: Mutex<HashMap<u64, u64>>,
    /// What was wrong with what somebody got.
    wrong: Mutex<Vec<String>>,
    viewers: Vec<Tally>,
}

/// What one viewer has had.
#[derive(Default)]
struct Tally {
    frames: AtomicU64,
    /// The longest time without a frame, in microseconds.
    longest_gap: AtomicU64,
    /// When the last frame came, in microseconds since the crowd began.
    last_at: AtomicU64,
}

impl Crowd {
    /// So many viewers at each of these addresses.
    #[track_caller]
    pub fn start(places: &[(SocketAddr, usize)]) -> Self {
        let number = places.iter().map(|(_, viewers)| viewers).sum();
        let viewers = (0..number).map(|_| Tally::default()).collect();
        let shared = Arc::new(Shared { viewers, ..Shared::default() });
        let (began, mut first) = (Instant::now(), 0);
        let mut threads = Vec::new();
        for &(address, viewers) in places {
            let streams: Vec<Viewer> =
                (first..first + viewers).map(|index| Viewer::connect(address, index)).collect();
            first += viewers;
            let shared = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || watch(&shared, streams, began)));
        }
        Self { shared, threads }
    }

    /// Waits until each viewer has had so many frames more.
    #[track_caller]
    pub fn until_each_has(&self, frames: u64) {
        let had: Vec<u64> = self.shared.viewers.iter().map(|viewer| viewer.frames.load(SeqCst)).collect();
        super::until("each viewer has its frames", || {
            self.check();
            let has = |(viewer, had): (&Tally, &u64)| viewer.frames.load(SeqCst) >= had + frames;
            self.shared.viewers.iter().zip(&had).all(has).then_some(())
        });
    }

    /// The longest time that any viewer was without a frame since this was asked last.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.shared.viewers.iter().map(|viewer| viewer.longest_gap.swap(0, SeqCst));
        Duration::from_micros(gaps.max().unwrap_or(0))
    }

    /// Frames that all have had.
    pub fn frames(&self) -> u64 {
        self.shared.viewers.iter().map(|viewer| viewer.frames.load(SeqCst)).sum()
    }

    /// # Panics
    /// If anything was wrong with what a viewer got.
    #[track_caller]
    pub fn check(&self) {
        let wrong = self.shared.wrong.lock().unwrap();
        assert!(
            wrong.is_empty(),
            "{} frames or viewers: {}",
            wrong.len(),
            wrong[..wrong.len().min(5)].join("\n")
        );
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Viewer {
    index: usize,
    stream: TcpStream,
    read: Vec<u8>,
    /// The number of the last picture.
    last: Option<u64>,
    has_ended: bool,
}

impl Viewer {
    #[track_caller]
    fn connect(address: SocketAddr, index: usize) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: porthole.v1\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        stream.set_nonblocking(true).unwrap();
        Self { index, stream, read: Vec::new(), last: None, has_ended: false }
    }

    /// Reads all that has come, and gives each whole message of the server to `take`.
    fn read(&mut self, buffer: &mut [u8], mut take: impl FnMut(&mut Self, u8, &[u8])) -> Result<(), String> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the connection was closed".into()),
                Ok(n) => self.read.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        let mut bytes = std::mem::take(&mut self.read);
        let mut at = 0;
        while let Some((kind, head, length)) =
            head(&bytes[at..]).filter(|(_, head, length)| at + head + length <= bytes.len())
        {
            take(self, kind, &bytes[at + head..at + head + length]);
            at += head + length;
        }
        bytes.drain(..at);
        self.read = bytes;
        Ok(())
    }

    /// Sends a frame of WebSocket; a mask of zeros is a mask too.
    fn send(&mut self, kind: u8, payload: &[u8]) {
        assert!(payload.len() < 126);
        let frame = [&[0x80 | kind, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat();
        // So small that there is room; otherwise the server tells what it thinks of that.
        let _ = self.stream.write_all(&frame);
    }
}

/// Kind, length of the head, length of the payload.
fn head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (kind, length) = (bytes.first()? & 15, bytes.get(1)? & 127);
    Some(match length {
        126 => (kind, 4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (kind, 10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (kind, 2, length.into()),
    })
}

fn watch(shared: &Shared, mut viewers: Vec<Viewer>, began: Instant) {
    let now = || began.elapsed().as_micros() as u64;
    for viewer in &viewers {
        shared.viewers[viewer.index].last_at.store(now(), SeqCst);
    }
    let mut buffer = vec![0; 256 * 1024];
    while !shared.is_over.load(SeqCst) {
        let mut waits: Vec<libc::pollfd> = viewers
            .iter()
            .map(|viewer| libc::pollfd {
                fd: if viewer.has_ended { -1 } else { viewer.stream.as_raw_fd() },
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        // SAFETY: the list is as long as is said, and its descriptors are open.
        unsafe { libc::poll(waits.as_mut_ptr(), waits.len() as libc::nfds_t, WAIT_MS) };
        for (viewer, wait) in viewers.iter_mut().zip(&waits) {
            let tally = &shared.viewers[viewer.index];
            if wait.revents != 0 {
                let taken = viewer.read(&mut buffer, |viewer, kind, payload| match kind {
                    2 => {
                        if let Err(why) = check(shared, viewer, payload) {
                            shared.wrong.lock().unwrap().push(format!("viewer {}: {why}", viewer.index));
                        }
                        tally.frames.fetch_add(1, SeqCst);
                        note_gap(tally, now());
                        tally.last_at.store(now(), SeqCst);
                    }
                    9 => {
                        let payload = payload.to_vec();
                        viewer.send(10, &payload);
                    }
                    _ => {}
                });
                if let Err(why) = taken {
                    viewer.has_ended = true;
                    shared.wrong.lock().unwrap().push(format!("viewer {}: {why}", viewer.index));
                }
            }
            note_gap(tally, now());
        }
    }
}

/// The time since the last frame, also while there is none.
fn note_gap(tally: &Tally, now: u64) {
    tally.longest_gap.fetch_max(now.saturating_sub(tally.last_at.load(SeqCst)), SeqCst);
}

fn check(shared: &Shared, viewer: &mut Viewer, message: &[u8]) -> Result<(), String> {
    let Frame { sequence, jpeg, .. } = Frame::parse(message);
    viewer.send(1, format!(r#"{{"type":"ack","sequence":{sequence}}}"#).as_bytes());
    let number = Stamp::of(&jpeg).number;
    let mut hasher = DefaultHasher::new();
    jpeg.hash(&mut hasher);
    let content = hasher.finish();
    let known = *shared.pictures.lock().unwrap().entry(number).or_insert_with(|| {
        // The first to get it looks at it.
        if try_decode(&jpeg).is_ok() { content } else { 0 }
    });
    if known != content {
        return Err(format!("picture {number} is broken, or not the one that others got"));
    }
    match viewer.last.replace(number) {
        Some(last) if number <= last => Err(format!("picture {number} after {last}")),
        _ => Ok(()),
    }
}
