//! Frames to viewers: over WebSocket, as multipart MJPEG, or one at a time as snapshots.
//!
//! Frames are leased from the [ring](crate::ring) and written from there. Each viewer is one task, and none can slow
//! another or a camera.
#![forbid(unsafe_code)]

mod flow_control;
mod mjpeg;
pub(super) mod snapshot;
pub(super) mod viewers;
pub(crate) mod websocket;

use crate::web::server::client_socket::ClientSocket;
pub(super) use mjpeg::head as mjpeg_head;
use viewers::Viewer;
use websocket::protocol::Handshake;
use websocket::session::{self, StreamTimeouts};

/// A stream that is ready to start.
#[derive(Debug)]
pub(crate) enum LiveStream {
    WebSocket(Handshake, Viewer),
    /// Multipart MJPEG, with header lines for its head.
    Mjpeg(Viewer, String),
}

impl LiveStream {
    /// Serves the stream until its client leaves or is disconnected, or `stop` is ready. `read_ahead` is what the client
    /// has sent behind its request.
    pub(crate) async fn serve(
        self,
        socket: ClientSocket,
        read_ahead: &[u8],
        timeouts: StreamTimeouts,
        stop: impl Future<Output = ()>,
    ) {
        match self {
            Self::WebSocket(handshake, viewer) => {
                session::serve(socket, read_ahead, handshake, viewer, timeouts, stop).await;
            }
            Self::Mjpeg(viewer, header_lines) => mjpeg::serve(socket, viewer, &header_lines, stop).await,
        }
    }
}
