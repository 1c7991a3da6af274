//! Frames over WebSocket (RFC 6455): handshake, the messages of each format, and the session of a viewer.
#![forbid(unsafe_code)]

pub(crate) mod protocol;
pub(crate) mod session;
