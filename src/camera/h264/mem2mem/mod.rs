//! Hardware encoders behind V4L2's memory-to-memory interface, such as bcm2835-codec of a Raspberry Pi up to the 4.
//!
//! From the top down: `hardware_encoder` | `pending`, `error`. The calls to the driver are in the folder `v4l2`.
#![forbid(unsafe_code)]

mod error;
mod hardware_encoder;
mod pending;

pub(in crate::camera) use error::HardwareError;
pub(in crate::camera) use hardware_encoder::{HardwareEncoder, HardwareSettings};
