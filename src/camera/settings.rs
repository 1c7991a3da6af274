//! The settings of a camera.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::control::ControlValue;
use super::edid::EdidChoice;
use super::h264::H264Settings;
use super::source::RemoteSettings;
use super::source_spec::SourceSpec;
use crate::frame::{PixelFormat, Resolution};
use crate::jpeg::JpegSettings;

/// The settings of one camera, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSettings {
    /// The name in URLs and messages.
    pub name: String,
    /// Where pictures come from.
    pub source: SourceSpec,
    /// For a camera on another machine.
    pub remote: RemoteSettings,
    /// Picture size: `Some` is used exactly, `None` means [`DEFAULT_RESOLUTION`] or the nearest available.
    pub resolution: Option<Resolution>,
    /// Frames per second; the nearest available rate is used.
    pub fps: f32,
    /// The format that the device sends; `None` selects the cheapest one it offers.
    pub format: Option<PixelFormat>,
    /// How JPEGs are encoded and checked.
    pub jpeg: JpegSettings,
    /// Where H.264 comes from, and how it is encoded.
    pub h264: H264Settings,
    /// How long the source stays open after the last viewer has left.
    pub linger: Duration,
    /// Frames that are dropped after opening, while the camera adjusts its exposure.
    pub skip_first: u32,
    /// The input of a device with several, and what it is set to.
    pub inputs: InputSettings,
    /// More options for the program that a Raspberry Pi's camera is read with.
    pub rpicam_options: Vec<String>,
    /// Values that the controls are set to whenever the camera is opened.
    pub controls: BTreeMap<String, ControlValue>,
    /// Where control values that viewers set are stored over a restart; `None` if they are not.
    pub controls_file: Option<PathBuf>,
}

/// Which input of a device is used, and what it is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputSettings {
    /// `None` for the one that is chosen already.
    pub input: Option<InputChoice>,
    /// The standard of analog video; `None` for the one that is detected, or set already.
    pub standard: Option<String>,
    /// What an HDMI input tells what is connected; `None` to leave it.
    pub edid: Option<EdidChoice>,
}

/// An input of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputChoice {
    /// By its number, from 0.
    Number(u32),
    /// By the name that the driver gives it.
    Name(String),
}

impl fmt::Display for InputChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// Bytes of the longest name: it is part of URLs and file names.
pub const LONGEST_NAME: usize = 40;

/// Whether a camera may have this name.
pub fn is_camera_name(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_allowed)
}

/// The picture size when none is configured.
pub const DEFAULT_RESOLUTION: Resolution = Resolution::new(1280, 720);

/// Bytes of the largest JPEG that is expected when neither the source nor the configuration states a size: 1 MiB.
const MIN_JPEG_BYTES: usize = 1 << 20;

impl CameraSettings {
    /// Most bytes of a JPEG, for a source that does not state its picture size.
    pub(super) fn max_jpeg_bytes(&self) -> usize {
        max_jpeg_bytes(self.resolution.unwrap_or(DEFAULT_RESOLUTION)).max(MIN_JPEG_BYTES)
    }
}

/// Most bytes of a JPEG of this size: two bytes per pixel, as cameras reserve themselves, and room for headers that are
/// added.
pub(super) fn max_jpeg_bytes(resolution: Resolution) -> usize {
    resolution.pixels() * 2 + 4096
}
