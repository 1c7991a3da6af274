//! Chooses and opens an encoder.
#![forbid(unsafe_code)]

use std::sync::Arc;

use log::debug;

use super::encoder::{EncoderError, VideoEncoder};
use super::mem2mem::{HardwareEncoder, HardwareSettings};
use super::settings::H264Mode;
use crate::camera::wake::Waker;
use crate::frame::Resolution;

/// Seconds from one key frame to the next, if no viewer asks for one.
const KEY_SECONDS: f32 = 2.0;

/// Opens the encoder that `mode` names, or the first that works; returns whether it is one of the board.
pub(super) fn open_encoder(
    mode: H264Mode,
    resolution: Resolution,
    fps: f32,
    bits_per_second: u32,
    waker: &Arc<Waker>,
) -> Result<(Box<dyn VideoEncoder>, bool), EncoderError> {
    let hardware = || -> Result<(Box<dyn VideoEncoder>, bool), EncoderError> {
        let key_interval = (fps * KEY_SECONDS).ceil().max(1.0) as u32;
        let settings = HardwareSettings { frame_rate: fps, bits_per_second, key_interval };
        let mut encoder = HardwareEncoder::find(settings, Arc::clone(waker))?;
        encoder.prepare(resolution)?;
        Ok((Box::new(encoder), true))
    };
    match mode {
        H264Mode::Hardware => hardware(),
        H264Mode::Software => software(fps, bits_per_second),
        H264Mode::Auto | H264Mode::Copy | H264Mode::Off => hardware().or_else(|error| {
            debug!("{error}");
            software(fps, bits_per_second).map_err(|_| error)
        }),
    }
}

#[cfg(feature = "h264")]
fn software(fps: f32, bits_per_second: u32) -> Result<(Box<dyn VideoEncoder>, bool), EncoderError> {
    use crate::h264::software::{SoftwareEncoder, SoftwareEncoderSettings};

    let settings =
        SoftwareEncoderSettings { frame_rate: fps, bits_per_second, ..SoftwareEncoderSettings::default() };
    Ok((Box::new(SoftwareEncoder::new(settings)), false))
}

#[cfg(not(feature = "h264"))]
fn software(_: f32, _: u32) -> Result<(Box<dyn VideoEncoder>, bool), EncoderError> {
    Err(EncoderError::NoSoftware)
}
