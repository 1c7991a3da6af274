//! Chooses the input of a device, and sets what it needs before pictures can come: the standard of analog video, the EDID and
//! the timings of digital video.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};

use log::{debug, info};
use nix::errno::Errno;

use super::input_error::InputError;
use super::input_ioctls::{AnalogStandard, DeviceInput, StandardBits};
use super::ioctl::Device;
use super::timing_ioctls::{DvTimings, EDID_BLOCK, MOST_EDID_BLOCKS};
use crate::camera::edid::{self, EdidChoice};
use crate::camera::settings::{InputChoice, InputSettings};
use crate::frame::Resolution;

/// What an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::camera) enum SignalKind {
    /// A camera of its own, without anything to set.
    Camera,
    Analog,
    Digital {
        is_interlaced: bool,
    },
}

/// The input that was chosen.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) struct ChosenInput {
    pub(in crate::camera) signal: SignalKind,
    /// The size of the signal.
    pub(in crate::camera) size: Option<Resolution>,
    /// The rate of the signal.
    pub(in crate::camera) fps: Option<f32>,
    /// The timings of a digital signal.
    pub(super) timings: Option<DvTimings>,
}

const PLAIN: ChosenInput = ChosenInput { signal: SignalKind::Camera, size: None, fps: None, timings: None };

/// Standards with 525 lines, and those with 625: `V4L2_STD_525_60` and `V4L2_STD_625_50`.
const LINES_525: StandardBits = 0xf900;
const LINES_625: StandardBits = 0xff_06ff;
/// The families of standards: `V4L2_STD_PAL`, `V4L2_STD_NTSC` and `V4L2_STD_SECAM`.
const FAMILIES: [(&str, StandardBits); 3] = [("PAL", 0xff), ("NTSC", 0xb000), ("SECAM", 0xff_0000)];

/// Chooses the input of the device at `path`.
pub(super) fn choose_input(
    device: Device<'_>,
    path: &str,
    wanted: &InputSettings,
) -> Result<ChosenInput, InputError> {
    let chosen = match &wanted.input {
        Some(choice) => Some(set_input(device, path, choice)?),
        // A driver without these calls has one input.
        None => device.current_input().and_then(|index| device.input(index)).ok(),
    };
    let name = chosen.as_ref().map_or_else(String::new, |input| input.name.clone());
    let (path, input) = (path.to_owned(), name);
    match chosen {
        Some(chosen) if chosen.has_timings => set_timings(device, path, &chosen, wanted.edid.as_ref()),
        _ if wanted.edid.is_some() => Err(InputError::NotDigital { path, input }),
        Some(chosen) if chosen.has_standards => set_standard(device, path, input, wanted.standard.as_deref()),
        _ if wanted.standard.is_some() => Err(InputError::NotAnalog { path, input }),
        _ => Ok(PLAIN),
    }
}

fn set_input(device: Device<'_>, path: &str, choice: &InputChoice) -> Result<DeviceInput, InputError> {
    let inputs = device.inputs();
    let is_wanted = |input: &&DeviceInput| match choice {
        InputChoice::Number(number) => input.index == *number,
        InputChoice::Name(name) => input.name.trim().eq_ignore_ascii_case(name.trim()),
    };
    let found = inputs.iter().find(is_wanted);
    let set = found.filter(|input| {
        device.current_input().is_ok_and(|current| current == input.index)
            || device.set_input(input.index).is_ok()
    });
    set.cloned().ok_or_else(|| {
        let names: Vec<String> =
            inputs.iter().map(|input| format!("{} \"{}\"", input.index, input.name)).collect();
        let offered = if names.is_empty() { "one without a number".into() } else { names.join(", ") };
        InputError::NoInput { path: path.to_owned(), wanted: choice.to_string(), offered }
    })
}

fn set_standard(
    device: Device<'_>,
    path: String,
    input: String,
    wanted: Option<&str>,
) -> Result<ChosenInput, InputError> {
    let known = device.standards();
    let set = device.standard().unwrap_or(0);
    let standard = match wanted {
        Some(wanted) => wanted_standard(&known, wanted).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|standard| standard.name.as_str()).collect();
            let offered = if names.is_empty() { "none".into() } else { names.join(", ") };
            InputError::NoStandard { path, input, wanted: wanted.to_owned(), offered }
        })?,
        None => detected_standard(set, device.detect_standard().unwrap_or(0)),
    };
    if standard != set
        && let Err(error) = device.set_standard(standard)
    {
        debug!("VIDIOC_S_STD: {error}");
    }
    let size = if standard & LINES_525 != 0 { (720, 480) } else { (720, 576) };
    let entry = known.iter().find(|entry| entry.bits & standard != 0);
    Ok(ChosenInput {
        signal: SignalKind::Analog,
        size: Some(Resolution::new(size.0, size.1)),
        fps: entry.and_then(|entry| entry.interval.fps()),
        timings: None,
    })
}

/// The bits of a standard by its name, or of all standards of a family that the device has.
fn wanted_standard(known: &[AnalogStandard], wanted: &str) -> Option<StandardBits> {
    let exact = known.iter().find(|standard| standard.name.eq_ignore_ascii_case(wanted));
    let family = FAMILIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, bits)| bits);
    let all = known.iter().fold(0, |all, standard| all | standard.bits);
    let of_family = family.map(|family| family & all).filter(|bits| *bits != 0);
    of_family.or(exact.map(|standard| standard.bits))
}

/// The standard to set when `detected` was detected and `set` is set.
fn detected_standard(set: StandardBits, detected: StandardBits) -> StandardBits {
    let is_clear = detected != 0 && (detected & LINES_525 == 0 || detected & LINES_625 == 0);
    if is_clear && set & detected == 0 { detected } else { set }
}

fn set_timings(
    device: Device<'_>,
    path: String,
    chosen: &DeviceInput,
    wanted: Option<&EdidChoice>,
) -> Result<ChosenInput, InputError> {
    // First, so that no change is missed. Without the event, a change shows as a stall.
    if let Err(error) = device.subscribe_source_change(chosen.index) {
        debug!("{path}: VIDIOC_SUBSCRIBE_EVENT: {error}");
    }
    let edid = device.edid(chosen.index);
    if let Some(wanted) = wanted {
        set_edid(device, (&path, chosen.index), edid.as_deref().unwrap_or_default(), wanted)?;
    }
    let input = chosen.name.clone();
    let timings = device.detect_timings().map_err(|error| match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::ENOLCK => InputError::Unstable { path: path.clone(), input },
        Errno::ERANGE => InputError::OutOfRange { path: path.clone(), input },
        _ => {
            let lacks_edid = wanted.is_none() && edid.is_ok_and(|edid| edid.is_empty());
            let remedy = if lacks_edid {
                "connect a source and switch it on. The input has no EDID, without which most sources send nothing: set \
                 edid = \"1080p30\""
            } else {
                "connect a source and switch it on"
            };
            InputError::NoSignal { path: path.clone(), input, remedy }
        }
    })?;
    if let Err(error) = device.set_timings(&timings) {
        // A driver that follows the signal by itself may refuse, and one that another program uses.
        debug!("{path}: VIDIOC_S_DV_TIMINGS: {error}");
    }
    let size = timings.width.try_into().ok().zip(timings.height.try_into().ok());
    Ok(ChosenInput {
        signal: SignalKind::Digital { is_interlaced: timings.is_interlaced() },
        size: size.map(|(width, height)| Resolution::new(width, height)).filter(|size| size.pixels() > 0),
        fps: timings.fps(),
        timings: Some(timings),
    })
}

/// Sets the wanted EDID unless the input has it: what is connected loses its picture for a moment.
fn set_edid(
    device: Device<'_>,
    (path, input): (&str, u32),
    current: &[u8],
    wanted: &EdidChoice,
) -> Result<(), InputError> {
    let edid = match wanted {
        EdidChoice::Mode(mode) => mode.edid(),
        EdidChoice::File(file) => {
            let of_file = |why: String| InputError::EdidFile {
                path: path.to_owned(),
                file: file.display().to_string(),
                why,
            };
            let mut edid = Vec::new();
            File::open(file)
                .and_then(|file| file.take((MOST_EDID_BLOCKS * EDID_BLOCK + 1) as u64).read_to_end(&mut edid))
                .map_err(|error| of_file(format!("cannot be read ({error})")))?;
            if let Some(fault) = edid::fault(&edid) {
                return Err(of_file(fault.to_owned()));
            }
            edid
        }
    };
    if edid == current {
        return Ok(());
    }
    device
        .set_edid(input, &edid)
        .map_err(|source: io::Error| InputError::EdidRejected { path: path.to_owned(), source })?;
    info!("{path}: set the EDID {wanted}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::format_ioctls::FrameInterval;
    use super::*;

    const PAL_BG: StandardBits = 0x5;
    const NTSC_M: StandardBits = 0x1000;

    #[test]
    fn a_standard_is_found_by_its_name_or_its_family() {
        let standard = |name: &str, bits| AnalogStandard {
            bits,
            name: name.into(),
            interval: FrameInterval { numerator: 1, denominator: 25 },
        };
        let known = [standard("NTSC-M", NTSC_M), standard("PAL-B/G", PAL_BG), standard("PAL-I", 0x10)];
        assert_eq!(wanted_standard(&known, "pal-b/g"), Some(PAL_BG));
        assert_eq!(wanted_standard(&known, "PAL"), Some(PAL_BG | 0x10));
        assert_eq!(wanted_standard(&known, "ntsc"), Some(NTSC_M));
        assert_eq!(wanted_standard(&known, "SECAM"), None);
    }

    #[test]
    fn a_standard_is_changed_only_for_one_that_is_surely_there() {
        assert_eq!(detected_standard(NTSC_M, PAL_BG), PAL_BG);
        assert_eq!(detected_standard(0x1, PAL_BG), 0x1, "one of the family is set already");
        assert_eq!(detected_standard(NTSC_M, 0), NTSC_M, "no signal");
        assert_eq!(detected_standard(PAL_BG, LINES_525 | LINES_625), PAL_BG, "anything");
    }
}
