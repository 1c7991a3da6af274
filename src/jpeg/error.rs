//! Why a picture did not become a JPEG.
#![forbid(unsafe_code)]

use super::inspect::Corrupt;
use super::slot::SlotTooSmall;
use crate::frame::{PixelFormat, Resolution};

/// Why a picture did not become a JPEG.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// The source sent a JPEG that is not valid.
    #[error("JPEG {0}")]
    Corrupt(#[from] Corrupt),
    /// The buffer holds less than a picture of this format and size.
    #[error("{format} picture of {have} bytes where {resolution} takes {need}")]
    ShortBuffer {
        /// Negotiated format.
        format: PixelFormat,
        /// Negotiated size.
        resolution: Resolution,
        /// Bytes available.
        have: usize,
        /// Bytes of a whole picture.
        need: usize,
    },
    /// Planes of half the width and height have no place for an odd pixel.
    #[error(
        "{format} of the odd size {resolution} has no defined layout; configure an even width and height"
    )]
    OddSize {
        /// Negotiated format.
        format: PixelFormat,
        /// Negotiated size.
        resolution: Resolution,
    },
    /// The JPEG does not fit into the slot.
    #[error("frame {0}")]
    TooLarge(#[from] SlotTooSmall),
    /// libjpeg-turbo failed.
    #[error("encoding failed: {0}")]
    Encode(#[from] turbojpeg::Error),
}
