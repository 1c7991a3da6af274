//! Frames and access units over WebSocket (RFC 6455): handshake, the messages of each format, and the session of a viewer.
//!
//! From the top down: `jpeg_messages`, `video_messages` | `session` | `protocol`.
#![forbid(unsafe_code)]

pub(super) mod jpeg_messages;
pub(crate) mod protocol;
pub(crate) mod session;
pub(super) mod video_messages;
