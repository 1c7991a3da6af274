//! Frames over WebSocket (RFC 6455).
#![forbid(unsafe_code)]

mod framing;
pub(in crate::web) mod handshake;
pub(in crate::web) mod session;
