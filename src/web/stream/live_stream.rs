//! The streams that take a connection over once its request has been answered.
#![forbid(unsafe_code)]

use super::mjpeg;
use super::viewer_registry::Viewer;
use super::websocket::handshake::Handshake;
use super::websocket::session::{self, StreamTimeouts};
use crate::web::server::client_socket::ClientSocket;

/// A stream that is ready to start.
#[derive(Debug)]
pub(crate) enum LiveStream {
    /// Frames over WebSocket.
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
