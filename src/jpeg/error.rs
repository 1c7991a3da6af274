//! Why a picture did not become a JPEG.
#![forbid(unsafe_code)]

use super::inspect::Corrupt;
use super::slot::SlotTooSmall;
use crate::frame::{PixelFormat, Resolution};

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
    /// Planes of half the width and height have no place for an odd pixel.
    #[error(
        "{format} of the odd size {resolution} has no defined layout; configure an even width and height"
    )]
    OddSize { format: PixelFormat, resolution: Resolution },
    /// The JPEG does not fit into the slot.
    #[error("frame {0}")]
    TooLarge(#[from] SlotTooSmall),
    /// libjpeg-turbo failed.
    #[error("encoding failed: {0}")]
    Encode(#[from] turbojpeg::Error),
}
