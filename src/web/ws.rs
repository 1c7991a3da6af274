//! Frames over WebSocket.
//!
//! Three ways to take them: `porthole.v1`, with a header before each JPEG and acknowledgements back; bare JPEGs for
//! programs that bring no subprotocol; and base64 in JSON, for pages written against the tutorial. Each viewer is
//! one task, which sends the newest frame, waits for a newer one, and hears what the peer says meanwhile.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use data_encoding::BASE64;
use log::debug;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::handshake::Handshake;
use super::socket::Socket;
use super::viewer::{Dropped, Kind, Tally, Viewer};
use super::window::Window;
use super::wire::{Header, Inbound, Message, Violation, close};
use crate::frame::{Frame, Sequence, Timestamp};
use crate::ring::{Lease, RingClosed, Subscription};

/// Largest message a client may send. All that mean anything are far smaller.
const MAX_MESSAGE: usize = 4096;
/// How long a viewer without subprotocol may take to say that it wants its request echoed before the first frame,
/// as go2rtc's player does at once.
const GREETING: Duration = Duration::from_millis(50);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(200);

/// How a viewer's connection came to its end.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the peer")]
    Peer,
    #[error("broke the protocol: {0}")]
    Violation(#[from] Violation),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("gave no sign of life for {0:?}")]
    Silent(Duration),
    #[error("acknowledged no frame for {0:?}")]
    Unacknowledged(Duration),
    #[error("{0}")]
    Camera(#[from] RingClosed),
    #[error("the service stops")]
    Stopping,
}

impl End {
    /// The close code that tells the peer, if it can still be told.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Peer => Some(close::NORMAL),
            Self::Violation(violation) => Some(violation.code()),
            Self::Io(_) | Self::Silent(_) => None,
            Self::Unacknowledged(_) => Some(close::POLICY),
            Self::Camera(_) | Self::Stopping => Some(close::GOING_AWAY),
        }
    }

    /// Why the viewer was dropped, unless it left or all had to go.
    fn dropped(&self) -> Option<Dropped> {
        match self {
            Self::Violation(_) => Some(Dropped::Protocol),
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => Some(Dropped::Stalled),
            Self::Silent(_) => Some(Dropped::Silent),
            Self::Unacknowledged(_) => Some(Dropped::Unacknowledged),
            Self::Peer | Self::Io(_) | Self::Camera(_) | Self::Stopping => None,
        }
    }
}

/// What a viewer is borne with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How long it may make no progress.
    pub(super) patience: Duration,
    /// How long it may give no sign of life, though it is asked for one.
    pub(super) silence: Duration,
}

impl Bounds {
    /// How often it is asked for a sign of life: twice before it counts as gone.
    fn ping_every(&self) -> Duration {
        self.silence * 2 / 5
    }
}

/// Serves a viewer until it leaves, is beyond `bounds`, or `stop` is ready.
pub(super) async fn serve(
    mut socket: Socket,
    read_ahead: &[u8],
    handshake: Handshake,
    viewer: Viewer,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
) {
    let Viewer { mut subscription, entry } = viewer;
    let tally = &*entry.tally;
    let inbound = match open(&mut socket, read_ahead, &handshake).await {
        Ok(inbound) => inbound,
        Err(end) => return debug!("viewer {} left at the handshake: {end}", tally.id),
    };
    let mut session = Session {
        socket,
        inbound,
        tally,
        bounds,
        window: Window::default(),
        look_at: None,
        heard: Instant::now(),
        text: Vec::new(),
        mid_frame: false,
    };
    let end = tokio::select! {
        Err(end) = session.talk(&mut subscription) => end,
        () = stop => End::Stopping,
    };
    debug!("viewer {} ({}): {end}", tally.id, tally.kind.name());
    if let Some(why) = end.dropped() {
        entry.dropped(why);
    }
    session.part(&end).await;
}

async fn open(socket: &mut Socket, read_ahead: &[u8], handshake: &Handshake) -> Result<Inbound, End> {
    socket.keep_fresh()?;
    socket.write_parts(&mut [IoSlice::new(handshake.answer().as_bytes())]).await?;
    Ok(Inbound::new(MAX_MESSAGE, read_ahead)?)
}

/// One viewer's conversation.
struct Session<'a> {
    socket: Socket,
    inbound: Inbound,
    tally: &'a Tally,
    bounds: Bounds,
    window: Window,
    /// When to look whether a frame can go, while what went before is in its way.
    look_at: Option<Instant>,
    /// When the peer was last heard.
    heard: Instant,
    /// The tutorial's message, kept for the next.
    text: Vec<u8>,
    /// A frame has been sent in part, so nothing else can be.
    mid_frame: bool,
}

/// What a session was woken for.
enum Event {
    /// There is a newer frame, and it may be sent.
    Frame,
    /// So many bytes came.
    Read(usize),
    /// A moment agreed on has come.
    Time,
}

impl Session<'_> {
    async fn talk(&mut self, subscription: &mut Subscription) -> Result<Infallible, End> {
        let mut frames_from = Instant::now();
        if self.tally.kind == Kind::Bare {
            frames_from += GREETING;
        }
        let mut ping_at = self.heard + self.bounds.ping_every();
        // What came behind the handshake.
        if self.answer().await? {
            frames_from = Instant::now();
        }
        loop {
            match self.event(subscription, frames_from, ping_at).await? {
                Event::Frame => {
                    self.look_at = self.socket.clears_in()?.map(|time| Instant::now() + time);
                    if self.look_at.is_none()
                        && let Some(lease) = subscription.lease()
                    {
                        self.send(&lease).await?;
                    }
                }
                Event::Read(0) => return Err(End::Peer),
                Event::Read(n) => {
                    self.inbound.came(n);
                    self.heard = Instant::now();
                    if self.answer().await? {
                        frames_from = Instant::now();
                    }
                }
                Event::Time => {
                    let now = Instant::now();
                    self.look_at = self.look_at.filter(|at| now < *at);
                    if now >= self.heard + self.bounds.silence {
                        return Err(End::Silent(self.bounds.silence));
                    }
                    if self.window.is_full_at().is_some_and(|since| now >= since + self.bounds.patience) {
                        return Err(End::Unacknowledged(self.bounds.patience));
                    }
                    if now >= ping_at {
                        ping_at = now + self.bounds.ping_every();
                        self.put(&Header::ping(0), &[]).await?;
                    }
                }
            }
        }
    }

    /// Waits for what comes first. Loses nothing when cancelled.
    async fn event(
        &mut self,
        subscription: &mut Subscription,
        frames_from: Instant,
        ping_at: Instant,
    ) -> io::Result<Event> {
        let full_at = self.window.is_full_at();
        let mut wake_at = ping_at.min(self.heard + self.bounds.silence);
        if let Some(since) = full_at {
            wake_at = wake_at.min(since + self.bounds.patience);
        }
        let greeting = frames_from > Instant::now();
        if greeting {
            wake_at = frames_from;
        }
        if let Some(at) = self.look_at {
            wake_at = wake_at.min(at);
        }
        // Not left to the timer alone, whose turn never comes while the peer does not cease to talk.
        if Instant::now() >= wake_at {
            return Ok(Event::Time);
        }
        tokio::select! {
            biased;
            Ok(()) = subscription.changed(), if full_at.is_none() && !greeting && self.look_at.is_none() => {
                Ok(Event::Frame)
            }
            read = self.socket.read(self.inbound.room()) => read.map(Event::Read),
            () = sleep_until(wake_at) => Ok(Event::Time),
        }
    }

    /// Answers all that has been said. True if the peer asked to be answered before frames come.
    async fn answer(&mut self) -> Result<bool, End> {
        let mut greeted = false;
        loop {
            let reply = match self.inbound.next()? {
                None => return Ok(greeted),
                Some(Message::Text(text)) => reply(text),
                Some(Message::Ping(payload)) => Reply::Pong(payload.to_vec()),
                Some(Message::Binary(_) | Message::Pong) => Reply::None,
                Some(Message::Close(_)) => return Err(End::Peer),
            };
            match reply {
                Reply::None => {}
                Reply::Acknowledged(sequence) => {
                    self.window.acknowledge(sequence);
                    self.tally.in_flight.store(self.window.len(), Relaxed);
                }
                Reply::Pong(payload) => self.put(&Header::pong(payload.len()), &[&payload]).await?,
                Reply::Text(text) => {
                    greeted = true;
                    self.put(&Header::text(text.len()), &[text.as_bytes()]).await?;
                }
            }
        }
    }

    /// Sends one frame in the way this viewer takes it.
    async fn send(&mut self, lease: &Lease<'_>) -> Result<(), End> {
        let frame = lease.frame();
        let bytes = match self.tally.kind {
            Kind::Porthole => {
                let head = frame_header(frame, lease.skipped());
                self.window.sent(frame);
                if self.window.is_full_at().is_some() {
                    self.window.fit(self.socket.round_trip());
                }
                self.tally.in_flight.store(self.window.len(), Relaxed);
                let bytes = head.len() + lease.len();
                self.put(&Header::binary(bytes), &[&head, lease]).await?;
                bytes
            }
            Kind::Tutorial => {
                let mut text = std::mem::take(&mut self.text);
                tutorial_message(lease, &mut text);
                self.put(&Header::text(text.len()), &[&text]).await?;
                self.text = text;
                self.text.len()
            }
            _ => {
                self.put(&Header::binary(lease.len()), &[lease]).await?;
                lease.len()
            }
        };
        self.tally.frame(frame.captured_at, lease.skipped(), bytes);
        Ok(())
    }

    /// Sends a header and its payload with one call to the kernel.
    async fn put(&mut self, header: &Header, payload: &[&[u8]]) -> Result<(), End> {
        let mut parts = [IoSlice::new(&[]); 3];
        parts[0] = IoSlice::new(header.as_bytes());
        for (part, bytes) in parts[1..].iter_mut().zip(payload) {
            *part = IoSlice::new(bytes);
        }
        self.mid_frame = true;
        self.socket.write_parts(&mut parts[..=payload.len()]).await?;
        self.mid_frame = false;
        Ok(())
    }

    /// Says goodbye if that is still possible (RFC 6455, section 7.1.1: the server closes first).
    async fn part(mut self, end: &End) {
        let Some(code) = end.code().filter(|_| !self.mid_frame) else { return };
        let goodbye = async {
            self.put(&Header::close(2), &[&code.to_be_bytes()]).await?;
            self.socket.shutdown().await?;
            Ok::<_, End>(())
        };
        // A peer that does not listen any more has had its chance.
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

/// What a text message calls for.
enum Reply {
    None,
    Acknowledged(Sequence),
    Pong(Vec<u8>),
    Text(String),
}

/// A client's message. All that it may hold; what it does hold depends on its type.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    sequence: Option<u32>,
    #[serde(borrow)]
    t: Option<&'a RawValue>,
}

fn reply(text: &str) -> Reply {
    match serde_json::from_str(text) {
        Ok(Said { kind, sequence: Some(sequence), .. }) if kind == "ack" => {
            Reply::Acknowledged(Sequence(sequence))
        }
        Ok(Said { kind, t, .. }) if kind == "ping" => {
            let t = t.map_or("null", RawValue::get);
            Reply::Text(format!(r#"{{"type":"pong","t":{t},"now":{}}}"#, Timestamp::now().0))
        }
        // go2rtc's player asks so, and waits for the same words.
        Ok(Said { kind, .. }) if kind == "mjpeg" => Reply::Text(r#"{"type":"mjpeg"}"#.into()),
        // Something newer than this service, or nothing that concerns it.
        _ => Reply::None,
    }
}

/// The header of a `porthole.v1` message: magic, sequence, captured at, sent at, width, height, skipped; big-endian,
/// times in microseconds of CLOCK_MONOTONIC.
fn frame_header(frame: Frame, skipped: u32) -> [u8; 32] {
    let mut head = [0; 32];
    head[..4].copy_from_slice(b"PHF1");
    head[4..8].copy_from_slice(&frame.sequence.0.to_be_bytes());
    head[8..16].copy_from_slice(&frame.captured_at.0.to_be_bytes());
    head[16..24].copy_from_slice(&Timestamp::now().0.to_be_bytes());
    head[24..26].copy_from_slice(&frame.resolution.width.to_be_bytes());
    head[26..28].copy_from_slice(&frame.resolution.height.to_be_bytes());
    head[28..].copy_from_slice(&skipped.to_be_bytes());
    head
}

/// `{"leftimg":"<base64>"}`, as the tutorial's page takes it. `text` is overwritten.
fn tutorial_message(jpeg: &[u8], text: &mut Vec<u8>) {
    const BEFORE: &[u8] = br#"{"leftimg":""#;
    const AFTER: &[u8] = br#""}"#;
    let len = BASE64.encode_len(jpeg.len());
    text.clear();
    text.extend_from_slice(BEFORE);
    text.resize(BEFORE.len() + len, 0);
    BASE64.encode_mut(jpeg, &mut text[BEFORE.len()..]);
    text.extend_from_slice(AFTER);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Resolution;

    #[test]
    fn the_frame_header_is_laid_out_as_documented() {
        let frame = Frame {
            sequence: Sequence(0x0102_0304),
            captured_at: Timestamp(0x1112_1314_1516_1718),
            resolution: Resolution::new(0x2122, 0x3132),
        };
        let head = frame_header(frame, 0x4142_4344);
        assert_eq!(&head[..8], b"PHF1\x01\x02\x03\x04");
        assert_eq!(head[8..16], 0x1112_1314_1516_1718u64.to_be_bytes());
        assert_eq!(&head[24..], b"\x21\x22\x31\x32\x41\x42\x43\x44");
    }

    #[test]
    fn the_tutorials_message_is_its_json() {
        let mut text = b"what was there before".to_vec();
        tutorial_message(b"\xff\xd8jpeg", &mut text);
        assert_eq!(text, br#"{"leftimg":"/9hqcGVn"}"#);
    }

    #[test]
    fn messages_get_their_replies() {
        let text = |said| match reply(said) {
            Reply::Text(text) => text,
            _ => panic!("{said} was not answered"),
        };
        assert!(matches!(reply(r#"{"type":"ack","sequence":7}"#), Reply::Acknowledged(Sequence(7))));
        assert!(
            text(r#"{"type":"ping","t":{"a":[1.50]}}"#)
                .starts_with(r#"{"type":"pong","t":{"a":[1.50]},"now":"#)
        );
        assert!(text(r#"{"type":"ping"}"#).contains(r#""t":null"#));
        assert_eq!(text(r#"{"type":"mjpeg"}"#), r#"{"type":"mjpeg"}"#);
        for other in ["", "[]", "{}", "{\"type\":\"ack\"}", "{\"type\":3}", "nonsense", "{\"type\":\"new\"}"]
        {
            assert!(matches!(reply(other), Reply::None), "{other:?}");
        }
    }
}
