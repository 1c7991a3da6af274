//! The formats that a device offers, and what is wrong if none of them can be used.
#![forbid(unsafe_code)]

use super::negotiate::{CaptureMode, NoMode, OfferedFormat, WantedMode, choose_mode, largest_mode};
use crate::camera::error::SourceError;
use crate::frame::PixelFormat;

/// The formats that a device offers.
#[derive(Debug)]
pub(in crate::camera) struct DeviceFormats {
    /// The supported formats, with their sizes.
    pub(super) supported: Vec<OfferedFormat>,
    /// Four-character codes of all formats.
    pub(super) fourccs: Vec<[u8; 4]>,
}

impl DeviceFormats {
    /// Selects the mode of the device at `path`.
    pub(in crate::camera) fn choose(
        &self,
        path: &str,
        wanted: &WantedMode,
    ) -> Result<CaptureMode, SourceError> {
        let path = path.to_owned();
        if self.supported.is_empty() {
            return Err(match self.fourccs.iter().find(|code| is_raw_sensor(**code)) {
                Some(code) => SourceError::RawSensor { path, fourcc: text(*code) },
                None => SourceError::NoFormat { path, offered: self.names() },
            });
        }
        choose_mode(&self.supported, wanted).map_err(|error| match error {
            NoMode::Format(format) => SourceError::WrongFormat { path, format, offered: self.names() },
            NoMode::Size(resolution, offered) => SourceError::WrongSize { path, resolution, offered },
        })
    }

    /// The mode with the largest size, if it is larger than `usual`.
    pub(in crate::camera) fn larger_mode(
        &self,
        wanted: &WantedMode,
        usual: &CaptureMode,
    ) -> Option<CaptureMode> {
        largest_mode(&self.supported, wanted)
            .filter(|mode| mode.resolution.pixels() > usual.resolution.pixels())
    }

    /// The code that the device lists for `format`.
    pub(super) fn fourcc(&self, format: PixelFormat) -> [u8; 4] {
        let listed = self.fourccs.iter().find(|code| PixelFormat::from_fourcc(**code) == Some(format));
        listed.copied().unwrap_or(format.fourcc())
    }

    fn names(&self) -> String {
        let name = |code: &[u8; 4]| {
            PixelFormat::from_fourcc(*code).map_or_else(|| text(*code), |format| format.to_string())
        };
        let names: Vec<String> = self.fourccs.iter().map(name).collect();
        if names.is_empty() { "nothing".into() } else { names.join(", ") }
    }
}

fn text(fourcc: [u8; 4]) -> String {
    String::from_utf8_lossy(&fourcc).trim().to_owned()
}

/// Whether a format is unprocessed sensor data: a Bayer pattern of any depth and packing. Codes: kernel documentation, "Raw
/// Bayer Formats".
pub(super) fn is_raw_sensor(fourcc: [u8; 4]) -> bool {
    const PATTERNS: [&[u8]; 20] = [
        b"pBA", b"pGA", b"pgA", b"pRA", b"pBC", b"pGC", b"pgC", b"pRC", b"pBE", b"pGE", b"pgE", b"pRE",
        b"BA8", b"GBR", b"GRB", b"RGG", b"BG1", b"GB1", b"BA1", b"RG1",
    ];
    PATTERNS.iter().any(|pattern| fourcc.starts_with(pattern)) || matches!(&fourcc, b"BYR2" | b"GR16")
}
