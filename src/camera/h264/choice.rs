//! Chooses and opens an encoder.
#![forbid(unsafe_code)]

use std::sync::Arc;

use log::debug;

use super::encoder::{EncoderError, VideoEncoder};
use super::mem2mem::{HardwareEncoder, HardwareError, HardwareSettings};
use super::settings::H264Mode;
use crate::camera::wake::Waker;
use crate::frame::Resolution;

/// Seconds from one key frame to the next, if no viewer asks for one.
const KEY_SECONDS: f32 = 2.0;

/// An encoder that works.
pub(super) struct OpenedEncoder {
    pub(super) encoder: Box<dyn VideoEncoder>,
    /// It is one of the board.
    pub(super) is_hardware: bool,
    /// Why it is not the one of the board, if there is one.
    pub(super) passed_over: Option<String>,
}

/// Opens the encoder that `mode` names, or the first that works.
pub(super) fn open_encoder(
    mode: H264Mode,
    resolution: Resolution,
    fps: f32,
    bits_per_second: u32,
    waker: &Arc<Waker>,
) -> Result<OpenedEncoder, EncoderError> {
    let hardware = || -> Result<OpenedEncoder, EncoderError> {
        let key_interval = (fps * KEY_SECONDS).ceil().max(1.0) as u32;
        let settings = HardwareSettings { frame_rate: fps, bits_per_second, key_interval };
        let mut encoder = HardwareEncoder::find(settings, Arc::clone(waker))?;
        encoder.prepare(resolution)?;
        Ok(OpenedEncoder { encoder: Box::new(encoder), is_hardware: true, passed_over: None })
    };
    match mode {
        H264Mode::Hardware => hardware(),
        H264Mode::Software => software(fps, bits_per_second),
        H264Mode::Auto | H264Mode::Copy | H264Mode::Off => hardware().or_else(|error| {
            let Ok(opened) = software(fps, bits_per_second) else { return Err(error) };
            if let EncoderError::Hardware(HardwareError::Absent) = error {
                debug!("{error}");
                return Ok(opened);
            }
            Ok(OpenedEncoder { passed_over: Some(error.to_string()), ..opened })
        }),
    }
}

#[cfg(feature = "h264")]
fn software(fps: f32, bits_per_second: u32) -> Result<OpenedEncoder, EncoderError> {
    use crate::h264::software::{SoftwareEncoder, SoftwareEncoderSettings};

    let settings =
        SoftwareEncoderSettings { frame_rate: fps, bits_per_second, ..SoftwareEncoderSettings::default() };
    let encoder = Box::new(SoftwareEncoder::new(settings));
    Ok(OpenedEncoder { encoder, is_hardware: false, passed_over: None })
}

#[cfg(not(feature = "h264"))]
fn software(_: f32, _: u32) -> Result<OpenedEncoder, EncoderError> {
    Err(EncoderError::NoSoftware)
}
