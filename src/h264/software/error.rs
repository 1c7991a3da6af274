//! Why the software encoder or decoder gave nothing.
#![forbid(unsafe_code)]

use super::super::error::H264Error;
use crate::frame::Resolution;

/// Why the software encoder or decoder gave nothing. Numbers are those of openh264.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum SoftwareCodecError {
    /// More pixels than the encoder or decoder takes.
    #[error("H.264 in software goes up to {most}, and this is {found}; choose a smaller resolution")]
    TooManyPixels { found: Resolution, most: Resolution },
    /// Fewer pixels than the encoder takes.
    #[error("H.264 in software starts at 16x16, and this is {found}; choose a larger resolution")]
    TooFewPixels { found: Resolution },
    /// The library takes no such encoder or decoder.
    #[error(
        "the H.264 {what} could not be opened (openh264: {code}); choose another size, or h264 = \"off\""
    )]
    Open { what: &'static str, code: i64 },
    /// A picture was not encoded. The next one is, by an encoder that is opened for it.
    #[error(
        "a picture could not be encoded as H.264 (openh264: {code}); the next is tried with a new encoder"
    )]
    Encode { code: i64 },
    /// An access unit was damaged, or lacks what it refers to. Pictures come from the next key frame on.
    #[error("H.264 that cannot be decoded (openh264: {code:#x}); pictures go on at the next key frame")]
    Decode { code: i64 },
    /// An access unit that takes more memory than there is for it.
    #[error(
        "H.264 picture of {bytes} bytes is more than the {most} that are decoded; lower the camera's bit rate"
    )]
    UnitTooLarge { bytes: usize, most: usize },
    /// A kind of H.264 that the decoder does not know.
    #[error("H.264 {what} cannot be decoded here; set the camera to progressive 4:2:0 with 8 bits")]
    Unsupported { what: &'static str },
    /// The decoder would have to keep too many pictures.
    #[error(
        "H.264 that refers to {frames} pictures of {size} takes too much memory; set fewer reference frames or a smaller size"
    )]
    TooManyReferences { frames: u32, size: Resolution },
    /// The access unit itself.
    #[error(transparent)]
    Unit(#[from] H264Error),
}
