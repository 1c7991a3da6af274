//! The list of video devices and their capabilities, for `porthole cameras`.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::capture_device::query_formats;
use super::controls::read_controls;
use super::formats::is_raw_sensor;
use super::ioctl::{Capability, NodeKind};
use super::negotiate::OfferedFormat;
use super::nodes::{entries, query, video_nodes};
use crate::camera::control::Control;
use crate::frame::PixelFormat;

/// The folders of udev's stable names: by the identity of the camera, and by its port.
const STABLE_NAMES: [&str; 2] = ["/dev/v4l/by-id", "/dev/v4l/by-path"];

/// One video device.
#[derive(Debug)]
pub struct DeviceListing {
    path: PathBuf,
    stable_names: Vec<PathBuf>,
    details: Result<DeviceDetails, String>,
}

#[derive(Debug)]
struct DeviceDetails {
    capability: Capability,
    supported: Vec<OfferedFormat>,
    /// Four-character codes of formats that are not supported.
    unsupported: Vec<[u8; 4]>,
    controls: Vec<Control>,
}

/// Lists all video devices.
pub fn list() -> Vec<DeviceListing> {
    let links: Vec<(PathBuf, PathBuf)> = STABLE_NAMES
        .iter()
        .flat_map(|folder| entries(Path::new(folder)))
        .filter_map(|link| Some((fs::canonicalize(&link).ok()?, link)))
        .collect();
    let listing = |path: PathBuf| {
        let mut stable_names: Vec<_> =
            links.iter().filter(|(node, _)| *node == path).map(|(_, link)| link.clone()).collect();
        stable_names.sort();
        DeviceListing { details: details(&path).map_err(|error| error.to_string()), stable_names, path }
    };
    video_nodes().into_iter().map(listing).collect()
}

fn details(path: &Path) -> std::io::Result<DeviceDetails> {
    let capability = query(path, |device| device.capability())?;
    if capability.kind() != NodeKind::Capture {
        return Ok(DeviceDetails { capability, supported: vec![], unsupported: vec![], controls: vec![] });
    }
    let formats = query_formats(path)?;
    let is_supported = |code: &[u8; 4]| PixelFormat::from_fourcc(*code).is_some();
    let unsupported = formats.fourccs.into_iter().filter(|code| !is_supported(code)).collect();
    let controls = query(path, read_controls)?;
    Ok(DeviceDetails { capability, supported: formats.supported, unsupported, controls })
}

impl fmt::Display for DeviceListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceDetails { capability, supported, unsupported, controls } = match &self.details {
            Ok(details) => details,
            Err(error) => return writeln!(f, "{}  does not answer: {error}", self.path.display()),
        };
        let Capability { driver, card, bus, .. } = capability;
        writeln!(f, "{}  {card} ({driver}, {bus})", self.path.display())?;
        if capability.kind() != NodeKind::Capture {
            return writeln!(f, "  {}, not a camera", capability.kind().description());
        }
        for link in &self.stable_names {
            writeln!(f, "  {}", link.display())?;
        }
        for offered in supported {
            for size in &offered.sizes {
                let rates: Vec<String> =
                    size.rates.iter().map(|rate| format!("{:.4}", rate)).map(short).collect();
                let rates =
                    if rates.is_empty() { String::new() } else { format!(" at {} fps", rates.join(", ")) };
                writeln!(f, "  {:6} {}{rates}", offered.format.name(), size.size)?;
            }
        }
        for code in unsupported {
            let what =
                if is_raw_sensor(*code) { "raw sensor data, use exec:rpicam-vid" } else { "not supported" };
            writeln!(f, "  {:6} {what}", String::from_utf8_lossy(code))?;
        }
        for control in controls {
            writeln!(f, "  {control}")?;
        }
        Ok(())
    }
}

/// A decimal number without trailing zeros.
fn short(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}
