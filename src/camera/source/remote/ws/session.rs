//! The session with another Porthole: its messages, and the answers to them.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWrite;

use super::handshake::OpenedWebSocket;
use crate::camera::frame_timing::FrameTiming;
use crate::camera::source::remote::clock::FarClock;
use crate::camera::source::remote::endpoint::MAX_SKIPPED;
use crate::camera::source::remote::error::RemoteFault;
use crate::camera::source::source_trait::{CapturedPicture, PictureSink};
use crate::client::{Arrival, RemoteStream, poll_arrival};
use crate::frame::{Sequence, Timestamp};
use crate::jpeg::Picture;
use crate::websocket::framing::{self, Message, MessageReader, ProtocolError};
use crate::websocket::{FrameMessage, HEADER_BYTES};

/// Most bytes that wait to be sent. A peer that takes no acknowledgement for so long is broken.
const MAX_UNSENT_BYTES: usize = 64 * 1024;
/// Time between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// The age up to which the first pictures can be true: the camera may have been live before, and slow.
const MAX_AGE: Duration = Duration::from_secs(60);

/// A text message of the server.
#[derive(Deserialize)]
struct ServerMessage {
    #[serde(rename = "type")]
    kind: String,
    t: Option<u64>,
    now: Option<u64>,
}

/// A session.
pub(super) struct WsSession {
    stream: RemoteStream,
    reader: MessageReader,
    has_headers: bool,
    /// Frames to be sent.
    unsent: Vec<u8>,
    /// Something was written and may wait in the TLS layer.
    is_unflushed: bool,
    clock: FarClock,
    timing: FrameTiming,
    /// Pictures that have come whole and were not taken yet.
    whole: usize,
    /// The number of the last picture, by the count of those that were sent and left out.
    number: u32,
    /// Pictures that were skipped here in a row.
    skipped: u32,
    /// The reader has no room for all that has come.
    has_more: bool,
    pub(super) has_ended: bool,
}

impl WsSession {
    pub(super) fn new(opened: OpenedWebSocket, max_jpeg_bytes: usize) -> Result<Self, RemoteFault> {
        let OpenedWebSocket { stream, read_ahead, has_headers } = opened;
        let mut reader = MessageReader::of_server(max_jpeg_bytes + HEADER_BYTES);
        let room = reader.unfilled().get_mut(..read_ahead.len());
        room.ok_or_else(|| broken(ProtocolError::TooBig(max_jpeg_bytes)))?.copy_from_slice(&read_ahead);
        reader.advance(read_ahead.len());
        let whole = reader.binary_messages();
        let oldest = Timestamp(Timestamp::now().0.saturating_sub(MAX_AGE.as_micros() as u64));
        Ok(Self {
            stream,
            reader,
            has_headers,
            unsent: Vec::new(),
            is_unflushed: false,
            clock: FarClock::new(PING_INTERVAL),
            timing: FrameTiming::new(oldest, None),
            whole,
            number: 0,
            skipped: 0,
            has_more: false,
            has_ended: false,
        })
    }

    /// When [`WsSession::ping`] is due.
    pub(super) fn next_ping(&self) -> Option<Timestamp> {
        self.has_headers.then(|| self.clock.next_ping())
    }

    /// Asks for the time of the other machine.
    pub(super) fn ping(&mut self) -> Result<(), RemoteFault> {
        let now = Timestamp::now();
        self.clock.pinged(now);
        // Longer than an acknowledgement, so that the server does not read it as late as those may be.
        let text = format!(r#"{{"type":"ping","t":{},"for":"comparing the clocks"}}"#, now.0);
        framing::client_text(&text, mask()?, &mut self.unsent);
        Ok(())
    }

    /// Queues a close frame (RFC 6455, section 5.5.1).
    pub(super) fn close(&mut self) {
        if let Ok(mask) = mask() {
            framing::client_close(framing::close_code::NORMAL, mask, &mut self.unsent);
        }
    }

    /// Sends what is to be sent.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_send(context)).await
    }

    /// Sends what is to be sent, waits for bytes, and reads all that have come. Nothing is lost when the future is dropped.
    pub(super) async fn exchange(&mut self) -> io::Result<()> {
        let arrival = poll_fn(|context| {
            if let Poll::Ready(Err(error)) = self.poll_send(context) {
                return Poll::Ready(Err(error));
            }
            let Self { stream, reader, .. } = self;
            poll_arrival(stream, context, |read| {
                let n = read(reader.unfilled())?;
                reader.advance(n);
                Ok(n)
            })
        });
        let Arrival { is_all, has_ended } = arrival.await?;
        (self.has_more, self.has_ended) = (!is_all, has_ended);
        // Once, not for each message: a peer may send a million small ones.
        self.whole = self.reader.binary_messages();
        Ok(())
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.unsent) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.unsent.drain(..n);
                    self.is_unflushed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.is_unflushed {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => return Poll::Pending,
            }
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the messages that have come, and passes the newest picture in them to `sink`. Returns whether there was one.
    pub(super) fn take_messages(&mut self, sink: &mut PictureSink<'_>) -> Result<bool, RemoteFault> {
        loop {
            let Self { reader, clock, unsent, timing, .. } = self;
            let Some(message) = reader.next_message().map_err(broken)? else { return Ok(false) };
            match message {
                Message::Binary(message) => {
                    let now = Timestamp::now();
                    let frame = if self.has_headers { FrameMessage::decode(message) } else { None };
                    let left_out = frame.as_ref().map_or(0, |(header, _)| header.skipped);
                    self.number = self.number.wrapping_add(left_out).wrapping_add(1);
                    self.whole = self.whole.saturating_sub(1);
                    let is_newest = self.whole == 0 && !self.has_more;
                    if !is_newest && self.skipped < MAX_SKIPPED {
                        // The acknowledgement of the newer one is for this one too.
                        self.skipped += 1;
                        self.has_more &= self.whole > 0;
                        continue;
                    }
                    self.skipped = 0;
                    let (at, jpeg) = match frame {
                        Some((FrameMessage { frame, sent_at, .. }, jpeg)) => {
                            (clock.here(frame.captured_at, sent_at, now), jpeg)
                        }
                        None => (now, message),
                    };
                    let time = timing.judge(now, at, Some(true), Some(self.number));
                    sink(CapturedPicture {
                        picture: Picture::Jpeg { data: jpeg, expected: None },
                        at: time.at,
                        missed: time.missed,
                        damaged: self.has_headers && frame.is_none(),
                        implausible: time.implausible,
                    });
                    if let Some((FrameMessage { frame, .. }, _)) = frame {
                        acknowledge(frame.sequence, unsent)?;
                    }
                    return Ok(true);
                }
                Message::Text(text) => {
                    if let Ok(ServerMessage { kind, t: Some(t), now: Some(far) }) = serde_json::from_str(text)
                        && kind == "pong"
                    {
                        clock.answered(Timestamp(t), Timestamp::now(), Timestamp(far));
                    }
                }
                Message::Ping(payload) => framing::client_pong(payload, mask()?, unsent),
                Message::Pong => {}
                Message::Close(_) => return Err(RemoteFault::Closed { after: "" }),
            }
            if unsent.len() > MAX_UNSENT_BYTES {
                let why = "pings, and takes no answers".to_owned();
                return Err(RemoteFault::WebSocketBroken { why });
            }
        }
    }
}

/// Says that this frame, and all before it, were taken.
fn acknowledge(sequence: Sequence, unsent: &mut Vec<u8>) -> Result<(), RemoteFault> {
    let text = format!(r#"{{"type":"ack","sequence":{}}}"#, sequence.0);
    framing::client_text(&text, mask()?, unsent);
    Ok(())
}

/// A mask that the peer cannot foresee (RFC 6455, section 5.3).
fn mask() -> Result<[u8; 4], RemoteFault> {
    let mut mask = [0; 4];
    getrandom::fill(&mut mask).map_err(|error| RemoteFault::Runtime { source: error.into() })?;
    Ok(mask)
}

fn broken(error: ProtocolError) -> RemoteFault {
    RemoteFault::WebSocketBroken { why: error.to_string() }
}
