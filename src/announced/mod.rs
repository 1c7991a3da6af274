//! Cameras that a broker announces: which there are, and that they come and go at run time.
//!
//! | file | what belongs there |
//! |---|---|
//! | `cameras` | [`AnnouncedCameras`]: starts and stops cameras |
//! | `directory` | which cameras are announced, as plain data |
//!
//! What one of them is, once it runs, belongs to [`camera`](crate::camera).
#![forbid(unsafe_code)]

mod cameras;
mod directory;

pub use cameras::{AnnouncedCameras, AnnouncedSettings, CameraPanic};
