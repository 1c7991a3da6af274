//! JPEGs as messages: `porthole.v1`, with a header before each JPEG and acknowledgements back; bare JPEGs, for programs without a
//! subprotocol; and base64 in JSON, for pages written for the tutorial. The newest frame is sent.
#![forbid(unsafe_code)]

use super::protocol::tutorial_message;
use super::session::{MessageFeed, SessionEnd, WebSocketSession};
use crate::ring::{RingClosed, Subscription};
use crate::web::stream::feed::Feed;
use crate::web::stream::viewers::{Viewer, ViewerKind};
use crate::websocket::FrameMessage;
use crate::websocket::framing::ServerFrameHeader;

/// The frames of a viewer, and the buffer of the tutorial's messages.
#[derive(Debug)]
pub(crate) struct JpegMessages {
    frames: Subscription,
    text: Vec<u8>,
}

impl JpegMessages {
    pub(crate) fn of(viewer: Viewer) -> Viewer<Self> {
        let Viewer { subscription: frames, registration } = viewer;
        Viewer { subscription: Self { frames, text: Vec::new() }, registration }
    }
}

impl Feed for JpegMessages {
    async fn changed(&mut self) -> Result<(), RingClosed> {
        self.frames.changed().await
    }
}

impl MessageFeed for JpegMessages {
    async fn send_next(&mut self, session: &mut WebSocketSession<'_>) -> Result<(), SessionEnd> {
        let Some(lease) = self.frames.lease() else { return Ok(()) };
        let frame = lease.frame();
        let bytes = match session.stats.kind {
            ViewerKind::Porthole => {
                let sent_at = session.begin_frame(frame);
                let head = FrameMessage { frame, sent_at, skipped: lease.skipped() }.encode();
                let bytes = head.len() + lease.len();
                session.send(&ServerFrameHeader::binary(bytes), &[&head, &lease]).await?;
                bytes
            }
            ViewerKind::Tutorial => {
                tutorial_message(&lease, &mut self.text);
                session.send(&ServerFrameHeader::text(self.text.len()), &[&self.text]).await?;
                self.text.len()
            }
            _ => {
                session.send(&ServerFrameHeader::binary(lease.len()), &[&lease]).await?;
                lease.len()
            }
        };
        session.frame_sent(frame.captured_at, lease.skipped(), bytes);
        Ok(())
    }
}
