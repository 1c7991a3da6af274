//! Frames to viewers: over WebSocket, as multipart MJPEG, or one at a time as snapshots.
//!
//! Frames are leased from the [ring](crate::ring) and written from there. Each viewer is one task, and none can slow
//! another or a camera.
#![forbid(unsafe_code)]

mod flow_control;
mod frame_pacer;
pub(super) mod live_stream;
mod mjpeg;
pub(super) mod snapshot;
pub(super) mod viewer_registry;
pub(super) mod viewer_stats;
pub(crate) mod websocket;

pub(super) use mjpeg::head as mjpeg_head;
