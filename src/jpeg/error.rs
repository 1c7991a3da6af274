//! Why a picture did not become a JPEG.
#![forbid(unsafe_code)]

use crate::frame::{PixelFormat, Resolution};

/// What is wrong with a JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum Corrupt {
    /// The data does not begin as a JPEG.
    #[error("does not begin with an SOI marker")]
    NoStart,
    /// The data ends inside a segment or inside the picture data.
    #[error("ends at byte {at} without an EOI marker")]
    CutShort { at: usize },
    /// A marker is missing where one is required, or present where none is allowed.
    #[error("unexpected bytes ff {found:02x} at {at}")]
    Misplaced { at: usize, found: u8 },
    /// The length or content of a segment is invalid.
    #[error("segment ff {marker:02x} at {at} is malformed")]
    Malformed { at: usize, marker: u8 },
    /// The frame header or a table that the picture data needs is missing.
    #[error("picture data without the headers it needs")]
    MissingHeader,
    /// The frame header states another size than was negotiated with the camera.
    #[error("is {found}, not {expected}")]
    WrongSize { found: Resolution, expected: Resolution },
}

/// A JPEG needs more bytes than its slot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs {need} bytes and the slot has {room}")]
pub struct SlotTooSmall {
    /// Bytes needed.
    pub need: usize,
    /// Bytes available.
    pub room: usize,
}

/// Why a picture did not become a JPEG.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum JpegError {
    /// The source sent a JPEG that is not valid.
    #[error("JPEG {0}")]
    Corrupt(#[from] Corrupt),
    /// The buffer holds less than a picture of this format and size.
    #[error("{format} picture of {have} bytes where {resolution} takes {need}")]
    ShortBuffer { format: PixelFormat, resolution: Resolution, have: usize, need: usize },
    /// A plane with a buffer of its own is not whole.
    #[error("{format} picture of {resolution}: plane {plane} has {have} bytes where it takes {need}")]
    ShortPlane { plane: usize, format: PixelFormat, resolution: Resolution, have: usize, need: usize },
    /// The source gave fewer planes than the format has.
    #[error("{format} picture with {given} of its {wanted} planes")]
    MissingPlane { format: PixelFormat, given: usize, wanted: usize },
    /// The chroma planes have no place for a part of a sample.
    #[error(
        "{format} of the size {resolution} has no defined layout: its width and height must be multiples of {across} \
         and {down}"
    )]
    UnevenSize { format: PixelFormat, resolution: Resolution, across: usize, down: usize },
    /// A picture of H.264, which refers to others.
    #[error("H.264, which is not made of whole pictures")]
    Video,
    /// A picture from which no video can be made.
    #[error("a picture of {width}x{height} is too small or too large for video")]
    SizeWithoutVideo { width: usize, height: usize },
    /// The JPEG does not fit into the slot.
    #[error("frame {0}")]
    TooLarge(#[from] SlotTooSmall),
    /// libjpeg-turbo failed.
    #[error("encoding failed: {0}")]
    Encode(#[from] turbojpeg::Error),
}
