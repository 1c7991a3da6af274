//! The list of video devices and their capabilities, for `porthole cameras`.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::controls::read_controls;
use super::formats::{DeviceFormats, is_raw_sensor};
use super::input_ioctls::DeviceInput;
use super::ioctl::{Capability, Device, NodeKind};
use super::negotiate::OfferedFormat;
use super::nodes::{encodes_h264, entries, open_node, video_nodes};
use crate::camera::control::Control;
use crate::escape::escape;
use crate::frame::PixelFormat;

/// The folders of udev's stable names: by the identity of the camera, and by its port.
const STABLE_NAMES: [&str; 2] = ["/dev/v4l/by-id", "/dev/v4l/by-path"];

/// Time for all devices to answer. They are asked at the same time; one that hangs is listed without details.
const LISTING_TIMEOUT: Duration = Duration::from_secs(5);

/// What is said of sensor data: the camera stack makes a picture of it.
const SENSOR_DATA: &str = "raw sensor data, use source = \"rpicam\"";

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
    /// It is an encoder.
    is_encoder: bool,
    /// Empty if there is one, with nothing to set.
    inputs: Vec<DeviceInput>,
    /// Names of the standards of the chosen input.
    standards: Vec<String>,
}

/// Lists all video devices.
pub fn list() -> Vec<DeviceListing> {
    let links: Vec<(PathBuf, PathBuf)> = STABLE_NAMES
        .iter()
        .flat_map(|folder| entries(Path::new(folder)))
        .filter_map(|link| Some((fs::canonicalize(&link).ok()?, link)))
        .collect();
    let (nodes, until) = (video_nodes(), Instant::now() + LISTING_TIMEOUT);
    let answers = nodes.iter().map(|path| {
        let (path, (answer, answered)) = (path.clone(), channel());
        // Nobody waits for an answer that comes too late.
        thread::spawn(move || drop(answer.send(details(&path).map_err(|error| error.to_string()))));
        answered
    });
    let answers: Vec<_> = answers.collect();
    let listing = |(path, answered): (PathBuf, Receiver<_>)| {
        let left = until.saturating_duration_since(Instant::now());
        let silent = |_| Err(format!("nothing within {} s", LISTING_TIMEOUT.as_secs()));
        let details = answered.recv_timeout(left).unwrap_or_else(silent);
        let mut stable_names: Vec<_> =
            links.iter().filter(|(node, _)| *node == path).map(|(_, link)| link.clone()).collect();
        stable_names.sort();
        DeviceListing { path, stable_names, details }
    };
    nodes.into_iter().zip(answers).map(listing).collect()
}

fn details(path: &Path) -> std::io::Result<DeviceDetails> {
    let node = open_node(path)?;
    let device = Device::new(node.as_fd());
    let capability = device.capability()?;
    if capability.kind() != NodeKind::Capture {
        let (inputs, standards) = (vec![], vec![]);
        let is_encoder = encodes_h264(device, &capability);
        return Ok(DeviceDetails {
            capability,
            supported: vec![],
            unsupported: vec![],
            controls: vec![],
            is_encoder,
            inputs,
            standards,
        });
    }
    // The rate only selects one of a range of rates, which does not matter here.
    let formats = DeviceFormats::read(device, capability.buffer_type(), 30.0);
    let is_supported = |code: &[u8; 4]| PixelFormat::from_fourcc(*code).is_some();
    let unsupported = formats.fourccs.into_iter().filter(|code| !is_supported(code)).collect();
    let controls = read_controls(device)?;
    let mut inputs = device.inputs();
    if let [only] = inputs.as_slice()
        && !only.has_timings
        && !only.has_standards
    {
        inputs.clear();
    }
    let standards = device.standards().into_iter().map(|standard| standard.name).collect();
    let supported = formats.supported;
    let is_encoder = false;
    Ok(DeviceDetails { capability, supported, unsupported, controls, is_encoder, inputs, standards })
}

impl fmt::Display for DeviceListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceDetails { capability, supported, unsupported, controls, is_encoder, inputs, standards } =
            match &self.details {
                Ok(details) => details,
                Err(error) => return writeln!(f, "{}  does not answer: {error}", self.path.display()),
            };
        let Capability { driver, card, bus, .. } = capability;
        // Each on its line, whatever the device says of itself.
        let [card, driver, bus] = [card, driver, bus].map(|text| escape(text));
        writeln!(f, "{}  {card} ({driver}, {bus})", self.path.display())?;
        if *is_encoder {
            return writeln!(f, "  an encoder for H.264, not a camera");
        }
        if capability.kind() != NodeKind::Capture {
            return writeln!(f, "  {}, not a camera", capability.kind().description());
        }
        for link in &self.stable_names {
            writeln!(f, "  {}", link.display())?;
        }
        for input in inputs {
            let what = match (input.has_timings, input.has_standards) {
                (true, _) => ", digital video",
                (_, true) => ", analog video",
                _ => "",
            };
            writeln!(f, "  input {} = {}{what}", input.index, escape(&input.name))?;
        }
        if !standards.is_empty() {
            writeln!(f, "  standards of the chosen input: {}", escape(&standards.join(", ")))?;
        }
        for offered in supported {
            if offered.format.is_sensor_data() {
                writeln!(f, "  {0:6} {SENSOR_DATA} or format = \"{0}\"", offered.format.name())?;
                continue;
            }
            for size in &offered.sizes {
                let rates: Vec<String> =
                    size.rates.iter().map(|rate| format!("{:.4}", rate)).map(short).collect();
                let rates =
                    if rates.is_empty() { String::new() } else { format!(" at {} fps", rates.join(", ")) };
                writeln!(f, "  {:6} {}{rates}", offered.format.name(), size.size)?;
            }
        }
        for code in unsupported {
            let what = if is_raw_sensor(*code) { SENSOR_DATA } else { "not supported" };
            writeln!(f, "  {:6} {what}", String::from_utf8_lossy(code))?;
        }
        for control in controls {
            writeln!(f, "  {}", escape(&control.to_string()))?;
        }
        Ok(())
    }
}

/// A decimal number without trailing zeros.
fn short(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}
