//! Frames to viewers: WebSocket, MJPEG, snapshots.
#![forbid(unsafe_code)]

mod flow_control;
pub(super) mod mjpeg;
pub(super) mod snapshot;
pub(super) mod viewer;
pub(super) mod websocket;
