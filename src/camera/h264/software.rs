//! The encoder of room [`h264`](crate::h264) as an encoder of a camera.
#![forbid(unsafe_code)]

use super::encoder::{EncoderError, UnitSink, VideoEncoder};
use crate::frame::Timestamp;
use crate::h264::I420Picture;
use crate::h264::software::SoftwareEncoder;

impl VideoEncoder for SoftwareEncoder {
    fn encode(
        &mut self,
        picture: &I420Picture<'_>,
        at: Timestamp,
        key: bool,
        out: &mut UnitSink<'_>,
    ) -> Result<(), EncoderError> {
        if key {
            self.request_key_frame();
        }
        if let Some(unit) = Self::encode(self, picture, at)? {
            out(unit.annex_b, at, unit.is_key);
        }
        Ok(())
    }

    fn name(&self) -> String {
        "openh264".into()
    }
}
