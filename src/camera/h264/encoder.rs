//! What every encoder of video does.
#![forbid(unsafe_code)]

use super::mem2mem::HardwareError;
use crate::frame::Timestamp;
use crate::h264::I420Picture;

/// Receives access units: their bytes (Annex B), the time of their picture, whether it is a key frame as far as the encoder says.
/// There are no bytes of a picture on which the encoder failed.
pub(in crate::camera) type UnitSink<'a> = dyn FnMut(&[u8], Timestamp, bool) + 'a;

/// Encodes pictures. One thread uses it.
pub(in crate::camera) trait VideoEncoder: Send {
    /// Encodes a picture that was captured at `at`, as a key frame if `key`. Passes to `out` what is encoded by then: usually this
    /// picture, sometimes earlier ones too, or none. Each picture is passed at most once, in order.
    ///
    /// # Errors
    /// When the encoder failed. It can be called again, which starts it again.
    fn encode(
        &mut self,
        picture: &I420Picture<'_>,
        at: Timestamp,
        key: bool,
        out: &mut UnitSink<'_>,
    ) -> Result<(), EncoderError>;

    /// For messages and the status.
    fn name(&self) -> String;
}

/// Why an encoder gives nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::camera) enum EncoderError {
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    #[cfg(feature = "h264")]
    #[error(transparent)]
    Software(#[from] crate::h264::software::SoftwareCodecError),
    #[cfg(not(feature = "h264"))]
    #[error("this build has no encoder for H.264; use one with the feature h264, or set h264 = \"off\"")]
    NoSoftware,
}
