//! How JPEGs are encoded and checked.
#![forbid(unsafe_code)]

use super::exif::Rotation;
use super::yuv::Subsampling;

/// How the JPEGs of one camera are encoded and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegSettings {
    /// Quality of encoded pictures, 1 to 100 (the scale of libjpeg).
    pub quality: u8,
    /// Chroma subsampling of encoded pictures.
    pub subsampling: Subsampling,
    /// Whether the structure of JPEGs from the camera is checked to the end and corrupt ones are rejected.
    pub validate: bool,
    /// How viewers are told to rotate the picture.
    pub rotation: Rotation,
}
