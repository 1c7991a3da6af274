//! A picture in a buffer of its source: a JPEG, or pixels.
#![forbid(unsafe_code)]

use crate::frame::{PixelFormat, Resolution};

/// A picture in a buffer of its source.
#[derive(Clone, Copy, Debug)]
pub enum Picture<'a> {
    /// A JPEG, which padding may follow.
    Jpeg {
        /// The bytes that the source wrote.
        data: &'a [u8],
        /// The resolution negotiated with the source, if any was.
        expected: Option<Resolution>,
    },
    /// Pixels.
    Raw(RawPicture<'a>),
}

/// An uncompressed picture in a buffer of its source.
#[derive(Clone, Copy, Debug)]
pub struct RawPicture<'a> {
    /// The bytes that the source wrote.
    pub data: &'a [u8],
    /// How the pixels are laid out.
    pub format: PixelFormat,
    /// Size of the picture; neither side is 0.
    pub resolution: Resolution,
    /// Bytes from the start of one row of the first plane to the start of the next; at least [`PixelFormat::row_bytes`].
    pub stride: usize,
}
