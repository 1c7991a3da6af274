//! The `rpicam` source: a camera at the ribbon-cable connector of a Raspberry Pi, through the program of rpicam-apps.
//!
//! The program sets up sensors and image processors, which libcamera alone can do, and writes JPEGs to its standard output, or H.264
//! if that is to be copied. It takes controls at its start only, so a changed control starts it again.
//!
//! From the top down: `rpicam_source` | `listing`, `start_controls` | `program` | `error`.
#![forbid(unsafe_code)]

mod error;
mod listing;
mod program;
mod rpicam_source;
mod start_controls;

pub(in crate::camera) use error::RpiCamError;
pub use listing::{RpiCamListing, list};
pub(super) use rpicam_source::RpiCamSource;
pub(super) use start_controls::StartControls;
