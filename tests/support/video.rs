//! Those who watch H.264, one of each kind, and one who watches JPEGs beside them: each in a thread of its own, for as long as a test
//! plays its faults.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tungstenite::{Error, Message};

use super::http::send;
use super::until;
use super::ws::{Client, Frame};
use fakecam_table::now_ns;

/// Ways to watch H.264, in the order of [`VideoViewers::pictures`].
pub const KINDS: [&str; 4] = ["porthole.h264.v1", "porthole.mp4.v1", "/stream.h264", "/stream.mp4"];

/// From one look at whether it is over to the next.
const LOOK: Duration = Duration::from_millis(100);

/// The header of a `porthole.h264.v1` or `porthole.mp4.v1` message with a picture.
#[derive(Clone, Copy, Debug)]
pub struct VideoHead {
    pub sequence: u32,
    pub captured_at: u64,
    pub skipped: u32,
    pub is_key: bool,
    pub size: [u16; 2],
}

impl VideoHead {
    /// `None` for an initialization segment.
    #[track_caller]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        let u16_at = |at: usize| u16::from_be_bytes(message[at..at + 2].try_into().unwrap());
        match &message[..4] {
            b"PHI1" => None,
            b"PHV1" | b"PHM1" => Some(Self {
                sequence: u32_at(4),
                captured_at: u64::from_be_bytes(message[8..16].try_into().unwrap()),
                skipped: u32_at(28) & !(1 << 31),
                is_key: u32_at(28) >> 31 == 1,
                size: [u16_at(24), u16_at(26)],
            }),
            magic => panic!("a message that begins with {magic:?}"),
        }
    }
}

/// What one viewer has seen so far.
#[derive(Default)]
struct Seen {
    pictures: AtomicU64,
    /// How often it was told a format, or a stream has begun.
    begins: AtomicU64,
    over: AtomicBool,
    /// What was wrong first.
    wrong: Mutex<Option<String>>,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.over.load(SeqCst) || self.wrong.lock().unwrap().is_some()
    }

    fn add(&self, counter: &AtomicU64) {
        counter.fetch_add(1, SeqCst);
    }

    fn fail(&self, what: String) {
        self.wrong.lock().unwrap().get_or_insert(what);
    }
}

/// One viewer of H.264 of each kind. Each checks that it can decode what it gets: a stream begins with parameter sets, and nothing is
/// missing but before a key frame.
pub struct VideoViewers {
    all: Vec<(Arc<Seen>, JoinHandle<()>)>,
}

impl VideoViewers {
    /// They watch the first camera.
    #[track_caller]
    pub fn start(address: SocketAddr) -> Self {
        let all = KINDS.map(|kind| {
            let seen = Arc::new(Seen::default());
            let its = Arc::clone(&seen);
            let thread = std::thread::spawn(move || match kind {
                "/stream.h264" => watch_stream(&its, address, kind, AnnexBReader::default()),
                "/stream.mp4" => watch_stream(&its, address, kind, Mp4Reader::default()),
                _ => watch_socket(&its, address, kind),
            });
            (seen, thread)
        });
        Self { all: all.into() }
    }

    /// How many pictures each has had.
    pub fn pictures(&self) -> [u64; KINDS.len()] {
        std::array::from_fn(|at| self.all[at].0.pictures.load(SeqCst))
    }

    /// How often each was told a format: a new stream, or a message.
    pub fn begins(&self) -> [u64; KINDS.len()] {
        std::array::from_fn(|at| self.all[at].0.begins.load(SeqCst))
    }

    /// Waits until each has had so many more pictures. `what` says after what.
    #[track_caller]
    pub fn go_on(&self, more: u64, what: &str) {
        let before = self.pictures();
        until(&format!("all viewers of H.264 go on {what}, from {before:?}"), || {
            self.check();
            self.pictures().iter().zip(before).all(|(now, before)| *now >= before + more).then_some(())
        });
    }

    #[track_caller]
    fn check(&self) {
        for ((seen, _), kind) in self.all.iter().zip(KINDS) {
            if let Some(wrong) = &*seen.wrong.lock().unwrap() {
                panic!("{kind}: {wrong}");
            }
        }
    }

    /// They leave.
    #[track_caller]
    pub fn leave(self) {
        self.check();
        self.all.iter().for_each(|(seen, _)| seen.over.store(true, SeqCst));
        self.all.into_iter().for_each(|(_, thread)| thread.join().unwrap());
    }
}

fn watch_socket(seen: &Seen, address: SocketAddr, kind: &'static str) {
    let mut client = Client::connect(address, "/ws", &[("Sec-WebSocket-Protocol", kind)]).unwrap();
    client.stream().set_read_timeout(Some(LOOK)).unwrap();
    let mut last: Option<VideoHead> = None;
    while !seen.is_over() {
        let message = match client.try_read() {
            Ok(Message::Binary(message)) => message,
            Ok(Message::Text(text)) if text.contains("\"codec\"") => {
                seen.add(&seen.begins);
                continue;
            }
            Ok(Message::Close(reason)) => return seen.fail(format!("closed: {reason:?}")),
            Ok(_) => continue,
            Err(Error::Io(error)) if is_pause(&error) => continue,
            Err(error) => return seen.fail(error.to_string()),
        };
        let Some(head) = VideoHead::parse(&message) else { continue };
        let is_next = last.is_none_or(|last| {
            head.sequence == last.sequence.wrapping_add(1 + head.skipped)
                && head.captured_at >= last.captured_at
        });
        let is_decodable = head.is_key || last.is_some() && head.skipped == 0;
        if !is_next || !is_decodable {
            return seen.fail(format!("{head:?} after {last:?}"));
        }
        if kind == "porthole.h264.v1" && head.is_key && message[32..37] != [0, 0, 0, 1, 0x67] {
            return seen.fail(format!("a key frame begins with {:02x?}", &message[32..40]));
        }
        last = Some(head);
        seen.add(&seen.pictures);
        let ack = format!("{{\"type\":\"ack\",\"sequence\":{}}}", head.sequence);
        if let Err(error) = client.try_send(Message::text(ack)) {
            return seen.fail(error.to_string());
        }
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Finds the pictures in the body of a stream.
trait BodyReader {
    /// Whether a stream may end, so that its client connects again.
    const MAY_END: bool;

    /// More of the body; how many pictures were complete in it.
    fn add(&mut self, bytes: &[u8]) -> Result<u64, String>;

    /// A new stream begins.
    fn begin(&mut self);
}

fn watch_stream<R: BodyReader>(seen: &Seen, address: SocketAddr, path: &str, mut reader: R) {
    while !seen.is_over() {
        let mut stream = send(address, "GET", path, &[]);
        reader.begin();
        match read_stream(seen, &mut stream, &mut reader) {
            // Refused, as there is no H.264 now: clients try again.
            Ok(false) => {}
            Ok(true) if R::MAY_END || seen.is_over() => {}
            Ok(true) => return seen.fail("the stream has ended".into()),
            Err(wrong) => return seen.fail(wrong),
        }
    }
}

/// Reads a stream to its end. Returns whether there was one.
fn read_stream(seen: &Seen, stream: &mut TcpStream, reader: &mut impl BodyReader) -> Result<bool, String> {
    let mut head = Vec::new();
    let end = loop {
        match read_some(seen, stream, &mut head)? {
            Some(0) | None => return Ok(false),
            Some(_) => {}
        }
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    if head.starts_with(b"HTTP/1.1 503 ") {
        return Ok(false);
    }
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(format!("answered {:?}", String::from_utf8_lossy(&head[..end])));
    }
    seen.add(&seen.begins);
    let mut bytes = head.split_off(end);
    loop {
        seen.pictures.fetch_add(reader.add(&bytes)?, SeqCst);
        bytes.clear();
        match read_some(seen, stream, &mut bytes)? {
            Some(0) | None => return Ok(true),
            Some(_) => {}
        }
    }
}

/// Reads once; `None` when it is over.
fn read_some(seen: &Seen, stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<Option<usize>, String> {
    stream.set_read_timeout(Some(LOOK)).unwrap();
    let mut room = [0; 16384];
    while !seen.is_over() {
        match stream.read(&mut room) {
            Ok(n) => {
                bytes.extend_from_slice(&room[..n]);
                return Ok(Some(n));
            }
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(None)
}

/// Counts the slices that a byte stream has begun, one a picture.
#[derive(Default)]
struct AnnexBReader {
    rest: Vec<u8>,
    has_begun: bool,
}

impl BodyReader for AnnexBReader {
    const MAY_END: bool = false;

    fn begin(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, bytes: &[u8]) -> Result<u64, String> {
        self.rest.extend_from_slice(bytes);
        let mut pictures = 0;
        while let Some(at) = self.rest.windows(5).position(|five| five[..4] == [0, 0, 0, 1]) {
            let kind = self.rest[at + 4] & 0x1f;
            if !self.has_begun && (at, kind) != (0, 7) {
                return Err(format!("begins with {:02x?}", &self.rest[..at + 5]));
            }
            self.has_begun = true;
            pictures += u64::from(matches!(kind, 1 | 5));
            self.rest.drain(..at + 5);
        }
        let keep = self.rest.len().min(4);
        self.rest.drain(..self.rest.len() - keep);
        Ok(pictures)
    }
}

/// Counts the fragments of an MP4.
#[derive(Default)]
struct Mp4Reader {
    rest: Vec<u8>,
    boxes: u64,
}

impl BodyReader for Mp4Reader {
    const MAY_END: bool = true;

    fn begin(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, bytes: &[u8]) -> Result<u64, String> {
        self.rest.extend_from_slice(bytes);
        let mut pictures = 0;
        while self.rest.len() >= 8 {
            let size = u32::from_be_bytes(self.rest[..4].try_into().unwrap()) as usize;
            let expected: &[u8] = match self.boxes {
                0 => b"ftyp",
                1 => b"moov",
                n if n % 2 == 0 => b"moof",
                _ => b"mdat",
            };
            if &self.rest[4..8] != expected {
                return Err(format!("box {}: {:?}", self.boxes, String::from_utf8_lossy(&self.rest[4..8])));
            }
            if self.rest.len() < size {
                break;
            }
            self.rest.drain(..size);
            pictures += u64::from(expected == b"mdat");
            self.boxes += 1;
        }
        Ok(pictures)
    }
}

/// Somebody who watches JPEGs, and should notice nothing of H.264.
pub struct SteadyViewer {
    seen: Arc<Seen>,
    thread: JoinHandle<Vec<(Frame, u64)>>,
}

/// Of ten frames nine are no older than this when they come, in milliseconds, also on a busy machine.
const YOUNG_MS: u64 = 200;
/// So many of a hundred frames may be missing: a machine that is busy with other tests may not run the service for a frame's time.
const MISSING_PERCENT: usize = 5;
/// The longest time from one frame to the next, in milliseconds. An encoder or node that holds up frames does so for two seconds and
/// more.
const STANDS_MS: u64 = 1500;

impl SteadyViewer {
    /// Watches the first camera.
    #[track_caller]
    pub fn start(address: SocketAddr) -> Self {
        let seen = Arc::new(Seen::default());
        let its = Arc::clone(&seen);
        let mut client = Client::porthole(address, "/ws");
        let mut first = client.acknowledged();
        first.jpeg.clear();
        let thread = std::thread::spawn(move || {
            let mut frames = vec![(first, 0)];
            while !its.is_over() {
                let mut frame = client.acknowledged();
                let age = (now_ns() / 1000).saturating_sub(frame.captured_at) / 1000;
                frame.jpeg.clear();
                frames.push((frame, age));
                its.add(&its.pictures);
            }
            frames
        });
        Self { seen, thread }
    }

    /// How many pictures it has had.
    pub fn pictures(&self) -> u64 {
        self.seen.pictures.load(SeqCst)
    }

    /// It leaves, and has noticed nothing: its pictures followed each other, none was late, and it never stood.
    #[track_caller]
    pub fn leave(self) {
        self.seen.over.store(true, SeqCst);
        let frames = self.thread.join().expect("its connection was kept");
        let mut missing = 0;
        for pair in frames.windows(2) {
            let [(before, _), (frame, _)] = pair else { continue };
            assert_eq!(frame.sequence, before.sequence + 1 + frame.skipped);
            let stood = (frame.captured_at - before.captured_at) / 1000;
            assert!(stood < STANDS_MS, "it stood for {stood} ms: {before:?}, {frame:?}");
            missing += frame.skipped as usize;
        }
        assert!(
            missing * 100 <= frames.len() * MISSING_PERCENT,
            "{missing} pictures missing between {}",
            frames.len()
        );
        let mut ages: Vec<u64> = frames.iter().map(|(_, age)| *age).collect();
        ages.sort_unstable();
        let old = ages[ages.len() * 9 / 10];
        assert!(old <= YOUNG_MS, "a tenth of {} pictures is older than {old} ms", ages.len());
        assert!(frames.len() > 20, "only {} pictures", frames.len());
    }
}
