//! The session of a WebSocket viewer.
//!
//! A session sends what its [`MessageFeed`] has next, when the flow control allows it, and answers the client's messages
//! meanwhile. What the messages of a format look like is told by its feed.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use log::debug;
use tokio::time::{Instant, timeout};

use super::protocol::{Handshake, TextReply, reply};
use crate::frame::{Frame, Timestamp};
use crate::ring::RingClosed;
use crate::web::server::client_socket::{CLOSE_TIMEOUT, ClientSocket};
use crate::web::stream::ack_timing::{AckTiming, ReadTiming};
use crate::web::stream::byte_stream::{byte_stream_len, write_byte_stream};
use crate::web::stream::feed::Feed;
use crate::web::stream::flow_control::{FramePacer, InFlightWindow, StreamEvent};
use crate::web::stream::viewers::{DropReason, Viewer, ViewerKind, ViewerStats};
use crate::websocket::framing::{Message, MessageReader, ProtocolError, ServerFrameHeader, close_code};

/// Most bytes of a client's message. All known ones are far smaller.
const MAX_MESSAGE: usize = 4096;
/// A viewer without a subprotocol gets its first frame after this time, or once it has sent a message that is answered.
/// go2rtc's player sends one at once, and expects the answer before the first frame.
const FIRST_MESSAGE_WAIT: Duration = Duration::from_millis(50);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    #[error("closed by the peer")]
    ClosedByPeer,
    #[error("violated the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("sent nothing for {0:?}")]
    Silent(Duration),
    #[error("acknowledged no frame for {0:?}")]
    Unacknowledged(Duration),
    #[error("{0}")]
    Camera(#[from] RingClosed),
    #[error("the service stops")]
    Stopping,
}

impl SessionEnd {
    /// The code of the close frame; `None` if the peer cannot be told any more.
    fn close_code(&self) -> Option<u16> {
        match self {
            Self::ClosedByPeer => Some(close_code::NORMAL),
            Self::Protocol(error) => Some(error.code()),
            Self::Io(_) | Self::Silent(_) => None,
            Self::Unacknowledged(_) => Some(close_code::POLICY),
            Self::Camera(_) | Self::Stopping => Some(close_code::GOING_AWAY),
        }
    }

    /// Why the service disconnected the viewer; `None` if it left, or the service stops.
    fn drop_reason(&self) -> Option<DropReason> {
        match self {
            Self::Protocol(_) => Some(DropReason::Protocol),
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => Some(DropReason::Stalled),
            Self::Silent(_) => Some(DropReason::Silent),
            Self::Unacknowledged(_) => Some(DropReason::Unacknowledged),
            Self::ClosedByPeer | Self::Io(_) | Self::Camera(_) | Self::Stopping => None,
        }
    }
}

/// Timeouts after which a viewer is disconnected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamTimeouts {
    /// For taking data, and for acknowledging a frame.
    pub(crate) write: Duration,
    /// For sending anything at all, though it is pinged.
    pub(crate) pong: Duration,
}

impl StreamTimeouts {
    /// The time between pings. Two pings are sent within the pong timeout.
    fn ping_interval(&self) -> Duration {
        self.pong * 2 / 5
    }
}

/// A feed whose pictures are sent as messages of one format.
pub(crate) trait MessageFeed: Feed {
    /// Sends the next picture, if there is one.
    fn send_next(
        &mut self,
        session: &mut WebSocketSession<'_>,
    ) -> impl Future<Output = Result<(), SessionEnd>> + Send;
}

/// Serves a viewer until it leaves or exceeds a timeout, or `stop` is ready.
pub(crate) async fn serve<F: MessageFeed>(
    mut socket: ClientSocket,
    read_ahead: &[u8],
    handshake: Handshake,
    viewer: Viewer<F>,
    timeouts: StreamTimeouts,
    stop: impl Future<Output = ()>,
) {
    let Viewer { subscription: mut feed, registration } = viewer;
    let stats = &*registration.stats;
    socket.share_late_reads(&stats.late_reads);
    let reader = match open(&mut socket, read_ahead, &handshake).await {
        Ok(reader) => reader,
        Err(end) => return debug!("viewer {} left during the handshake: {end}", stats.id),
    };
    let mut session = WebSocketSession {
        socket,
        reader,
        stats,
        timeouts,
        window: InFlightWindow::default(),
        frames_end: 0,
        acks: AckTiming::default(),
        pacer: FramePacer::default(),
        last_heard: Instant::now(),
        is_mid_frame: false,
    };
    let end = tokio::select! {
        Err(end) = session.run(&mut feed) => end,
        () = stop => SessionEnd::Stopping,
    };
    debug!("viewer {} ({}): {end}", stats.id, stats.kind.name());
    if let Some(why) = end.drop_reason() {
        registration.count_dropped(why);
    }
    let socket = session.close(&end).await;
    // It counts as a viewer no more.
    drop((feed, registration));
    if let Some(socket) = socket {
        socket.end().await;
    }
}

async fn open(
    socket: &mut ClientSocket,
    read_ahead: &[u8],
    handshake: &Handshake,
) -> Result<MessageReader, SessionEnd> {
    socket.limit_unsent()?;
    socket.write_parts(&mut [IoSlice::new(handshake.answer().as_bytes())]).await?;
    Ok(MessageReader::new(MAX_MESSAGE, read_ahead)?)
}

pub(crate) struct WebSocketSession<'a> {
    socket: ClientSocket,
    reader: MessageReader,
    pub(super) stats: &'a ViewerStats,
    timeouts: StreamTimeouts,
    window: InFlightWindow,
    /// Bytes written up to the end of the last frame.
    frames_end: u64,
    acks: AckTiming,
    pacer: FramePacer,
    last_heard: Instant,
    /// A WebSocket frame was sent in part, so no other can be.
    is_mid_frame: bool,
}

impl WebSocketSession<'_> {
    async fn run(&mut self, feed: &mut impl MessageFeed) -> Result<Infallible, SessionEnd> {
        let mut frames_from = Instant::now();
        if self.stats.kind == ViewerKind::Bare {
            frames_from += FIRST_MESSAGE_WAIT;
        }
        let mut ping_at = self.last_heard + self.timeouts.ping_interval();
        // Messages may have come right behind the handshake.
        if self.answer_messages().await? {
            frames_from = Instant::now();
        }
        loop {
            let is_waiting = frames_from > Instant::now();
            let may_send = self.window.full_since().is_none() && !is_waiting;
            let deadlines = [
                Some(ping_at),
                Some(self.last_heard + self.timeouts.pong),
                self.window.full_since().map(|since| since + self.timeouts.write),
                Some(frames_from).filter(|_| is_waiting),
                self.acks.late_until(),
            ];
            let deadline = deadlines.into_iter().flatten().min();
            let Self { pacer, socket, reader, .. } = self;
            match pacer.next(socket, feed, may_send, reader.unfilled(), deadline).await? {
                StreamEvent::FrameDue => {
                    let (in_flight, interval) = (self.window.len(), self.window.interval());
                    let timing = self.acks.frame_due(in_flight, interval, Instant::now());
                    self.time_reads(timing)?;
                    feed.send_next(self).await?;
                }
                StreamEvent::Read(0) => return Err(SessionEnd::ClosedByPeer),
                StreamEvent::Read(n) => {
                    self.reader.advance(n);
                    self.last_heard = Instant::now();
                    if self.answer_messages().await? {
                        frames_from = Instant::now();
                    }
                }
                StreamEvent::Deadline => {
                    let now = Instant::now();
                    let timing = self.acks.check(now);
                    self.time_reads(timing)?;
                    self.check_timeouts(now)?;
                    if now >= ping_at {
                        ping_at = now + self.timeouts.ping_interval();
                        self.send(&ServerFrameHeader::ping(0), &[]).await?;
                    }
                }
                StreamEvent::Closed(closed) => return Err(closed.into()),
            }
        }
    }

    /// Reads acknowledgements at another time than before, if that is told.
    fn time_reads(&mut self, timing: Option<ReadTiming>) -> io::Result<()> {
        match timing {
            None => Ok(()),
            Some(ReadTiming::AtOnce) => self.socket.read_at_once(),
            Some(ReadTiming::WithNextFrame { below }) => {
                if !self.socket.read_later(below)? {
                    self.acks.cannot_be_late();
                }
                Ok(())
            }
        }
    }

    fn check_timeouts(&self, now: Instant) -> Result<(), SessionEnd> {
        let StreamTimeouts { write, pong } = self.timeouts;
        if now >= self.last_heard + pong {
            return Err(SessionEnd::Silent(pong));
        }
        if self.window.full_since().is_some_and(|since| now >= since + write) {
            return Err(SessionEnd::Unacknowledged(write));
        }
        Ok(())
    }

    /// Answers all messages that were read. Returns whether one of them was answered with text.
    async fn answer_messages(&mut self) -> Result<bool, SessionEnd> {
        let mut has_answered = false;
        loop {
            let (length, reply) = match self.reader.next_message()? {
                None => return Ok(has_answered),
                Some(Message::Text(text)) => (text.len(), reply(text)),
                Some(Message::Ping(payload)) => {
                    let payload = payload.to_vec();
                    self.send(&ServerFrameHeader::pong(payload.len()), &[&payload]).await?;
                    continue;
                }
                Some(Message::Binary(_) | Message::Pong) => continue,
                Some(Message::Close(_)) => return Err(SessionEnd::ClosedByPeer),
            };
            match reply {
                TextReply::None => {}
                TextReply::Acknowledged(sequence) => {
                    if self.window.acknowledge(sequence) {
                        self.socket.mark_received(self.frames_end);
                        self.acks.all_acknowledged(length);
                    }
                    self.stats.in_flight.store(self.window.len(), Relaxed);
                }
                TextReply::Text(text) => {
                    has_answered = true;
                    self.send(&ServerFrameHeader::text(text.len()), &[text.as_bytes()]).await?;
                }
            }
        }
    }

    /// Takes a frame into the window of a viewer that acknowledges. Returns the time at which it is sent.
    pub(super) fn begin_frame(&mut self, frame: Frame) -> Timestamp {
        self.window.sent(frame);
        if self.window.full_since().is_some() {
            self.window.fit(self.socket.min_round_trip());
        }
        self.stats.in_flight.store(self.window.len(), Relaxed);
        Timestamp::now()
    }

    /// Counts a frame whose message, of so many bytes, was sent.
    pub(super) fn frame_sent(&mut self, captured_at: Timestamp, skipped: u32, bytes: usize) {
        self.frames_end = self.socket.written();
        self.stats.frame_sent(captured_at, skipped, bytes);
    }

    /// Sends a header and its payload with one system call.
    pub(super) async fn send(
        &mut self,
        header: &ServerFrameHeader,
        payload: &[&[u8]],
    ) -> Result<(), SessionEnd> {
        let mut parts = [IoSlice::new(&[]); 4];
        parts[0] = IoSlice::new(header.as_bytes());
        for (part, bytes) in parts[1..].iter_mut().zip(payload) {
            *part = IoSlice::new(bytes);
        }
        self.is_mid_frame = true;
        self.socket.write_parts(&mut parts[..=payload.len()]).await?;
        self.is_mid_frame = false;
        Ok(())
    }

    /// Sends an access unit as a byte stream behind `head`.
    pub(super) async fn send_byte_stream(&mut self, head: &[u8], unit: &[u8]) -> Result<usize, SessionEnd> {
        let bytes = head.len() + byte_stream_len(unit);
        let header = ServerFrameHeader::binary(bytes);
        self.is_mid_frame = true;
        write_byte_stream(&mut self.socket, &[header.as_bytes(), head], unit).await?;
        self.is_mid_frame = false;
        Ok(bytes)
    }

    /// Sends a close frame, if possible. The connection is then to be shut down from this side (RFC 6455, section 7.1.1).
    async fn close(mut self, end: &SessionEnd) -> Option<ClientSocket> {
        let code = end.close_code().filter(|_| !self.is_mid_frame)?;
        let (header, payload) = (ServerFrameHeader::close(2), code.to_be_bytes());
        // A peer that does not read is disconnected without it.
        timeout(CLOSE_TIMEOUT, self.send(&header, &[&payload])).await.ok()?.ok()?;
        Some(self.socket)
    }
}
