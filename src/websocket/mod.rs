//! WebSocket (RFC 6455) as a server and a client share it: framing, and the messages of the subprotocols
//! `porthole.v1`, `porthole.h264.v1` and `porthole.mp4.v1`.
//!
//! Pure: bytes in, values out. Who connects, what is sent when, and what a message means belong to the rooms above: `web`
//! serves viewers, and the `ws` source of `camera` is a viewer of another server.
#![forbid(unsafe_code)]

pub(crate) mod framing;
mod porthole_v1;
mod video;

pub use porthole_v1::{FrameMessage, HEADER_BYTES, SUBPROTOCOL};
pub use video::{H264_SUBPROTOCOL, MP4_SUBPROTOCOL, VideoContent, VideoMessage};
