//! Frames to viewers: over WebSocket, as multipart MJPEG, or one at a time as snapshots; access units over WebSocket, as MP4 or
//! as a byte stream.
//!
//! Frames and access units are leased from the [ring](crate::ring) and written from there. Each viewer is one task, and none can slow
//! another or a camera.
#![forbid(unsafe_code)]

mod ack_timing;
mod byte_stream;
mod feed;
mod flow_control;
mod head;
mod mjpeg;
pub(super) mod snapshot;
mod video;
#[cfg(test)]
mod video_round_trip;
pub(super) mod viewers;
pub(crate) mod websocket;

use crate::camera::UnitViewer;
use crate::web::server::client_socket::ClientSocket;
pub(super) use mjpeg::head as mjpeg_head;
pub(super) use video::http::{VideoContainer, await_first};
use viewers::Viewer;
use websocket::jpeg_messages::JpegMessages;
use websocket::protocol::Handshake;
use websocket::session::{self, StreamTimeouts};
use websocket::video_messages::VideoMessages;

/// A stream that is ready to start.
#[derive(Debug)]
pub(crate) enum LiveStream {
    WebSocket(Handshake, Viewer),
    VideoWebSocket(Handshake, Viewer<UnitViewer>),
    /// Multipart MJPEG, with header lines for its head.
    Mjpeg(Viewer, String),
    /// H.264 over HTTP, likewise.
    Video(VideoContainer, Viewer<UnitViewer>, String),
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
                let viewer = JpegMessages::of(viewer);
                session::serve(socket, read_ahead, handshake, viewer, timeouts, stop).await;
            }
            Self::VideoWebSocket(handshake, viewer) => {
                let viewer = VideoMessages::of(viewer);
                session::serve(socket, read_ahead, handshake, viewer, timeouts, stop).await;
            }
            Self::Mjpeg(viewer, header_lines) => mjpeg::serve(socket, viewer, &header_lines, stop).await,
            Self::Video(container, viewer, header_lines) => {
                video::http::serve(socket, viewer, container, &header_lines, stop).await;
            }
        }
    }
}
