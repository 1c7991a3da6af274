//! The properties of a source.
#![forbid(unsafe_code)]

use crate::frame::{PixelFormat, Resolution};

/// The properties of a source, known once it has been opened.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceInfo {
    /// The driver (`uvcvideo`), or the kind of source if there is none.
    pub driver: String,
    /// The name of the device.
    pub card: String,
    /// The device path or command, after `auto` and links are resolved.
    pub path: String,
    /// The format that the source sends.
    pub format: PixelFormat,
    /// The negotiated picture size; `None` if only the pictures state it.
    pub resolution: Option<Resolution>,
    /// The negotiated frames per second; 0 if the source does not state them.
    pub fps: f32,
    /// How pictures are encoded; `None` if the source sends JPEG.
    pub encoding: Option<Encoding>,
    /// What takes the pictures from the driver; `None` if there is no driver.
    pub capture: Option<CaptureMethod>,
}

/// What takes pictures from a video driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMethod {
    /// The crate of that name, for common webcams.
    Rscam,
    /// The capture of this service, for all other devices.
    Mmap,
}

impl CaptureMethod {
    /// The name in `/state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rscam => "rscam",
            Self::Mmap => "mmap",
        }
    }
}

/// How raw pictures are encoded as JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Chroma subsampling, for example `4:2:0`.
    pub subsampling: &'static str,
}
