//! The capture thread of a camera: from subscribers to frames in the ring.
//!
//! From the top down: `thread` | `capture_loop` | `publish`, `still`.
#![forbid(unsafe_code)]

mod capture_loop;
mod publish;
mod still;
mod thread;

pub(super) use still::StillRequests;
pub use still::{Still, StillError, StillResult};
pub(super) use thread::spawn;
pub use thread::{CaptureEnd, CaptureThread};
