//! The inputs of a camera, and what they receive: standards of analog ones, DV timings and EDID of HDMI ones, and the events
//! that tell of a change.
//!
//! What is set lasts until the camera is unplugged, as formats do. What is received is in the table.
use std::ptr;

use crate::device::Device;
use crate::spec::InputKind;
use crate::videodev as vd;
use fakecam_table::{Counter, Setting, signal};
use interpose::{Answer, ensure};

/// Pixel clock of 60 pictures a second: the blanking takes an eighth of each line, and 30 lines.
const REFRESH: u32 = 60;
const BLANK_LINES: u32 = 30;

/// What is set.
#[derive(Default)]
pub(crate) struct Inputs {
    pub(crate) input: u32,
    standard: u64,
    timings: [u32; 2],
    edid: Vec<u8>,
}

impl Inputs {
    pub(crate) fn new(device_signal: [u32; 2]) -> Self {
        Self { standard: vd::STD_NTSC, timings: device_signal, ..Self::default() }
    }
}

/// What the HDMI input receives now; the errno of QUERY_DV_TIMINGS if nothing.
pub(crate) fn received(device: &Device) -> Answer<[u32; 2]> {
    match device.table.setting(Setting::Signal) {
        signal::NONE => return Err(libc::ENOLINK),
        signal::UNSTABLE => return Err(libc::ENOLCK),
        signal::OUT_OF_RANGE => return Err(libc::ERANGE),
        _ => {}
    }
    match device.table.setting(Setting::SignalSize) {
        0 => Ok(device.spec.signal),
        size => Ok([size >> 16, size & 0xffff]),
    }
}

fn kind(device: &Device) -> InputKind {
    let input = device.settings().inputs.input as usize;
    device.spec.inputs.get(input).map_or(InputKind::Camera, |(_, kind)| *kind)
}

fn require(device: &Device, wanted: InputKind) -> Answer {
    ensure(kind(device) == wanted, libc::ENODATA)
}

/// The size that the input forces on S_FMT.
pub(crate) fn forced_size(device: &Device) -> Option<[u32; 2]> {
    match kind(device) {
        InputKind::Hdmi => Some(device.settings().inputs.timings),
        InputKind::Analog if device.settings().inputs.standard == vd::STD_PAL => Some([720, 576]),
        InputKind::Analog => Some([720, 480]),
        InputKind::Camera => None,
    }
}

/// Whether frames can come: an HDMI input needs the signal that its timings are set to.
pub(crate) fn has_picture(device: &Device) -> bool {
    kind(device) != InputKind::Hdmi || received(device) == Ok(device.settings().inputs.timings)
}

/// Answers a request about inputs.
///
/// # Safety
/// As for `device::ioctl`.
pub(crate) unsafe fn ioctl(device: &Device, request: u32, argument: *mut std::ffi::c_void) -> Answer {
    // SAFETY: as the caller promises, each type is that of its request.
    unsafe {
        match request {
            vd::ENUMINPUT => enumerate(device, &mut *argument.cast()),
            vd::G_INPUT => {
                *argument.cast::<u32>() = device.settings().inputs.input;
                Ok(())
            }
            vd::S_INPUT => set_input(device, *argument.cast()),
            vd::ENUMSTD => enumerate_standards(device, &mut *argument.cast()),
            vd::G_STD => {
                require(device, InputKind::Analog)?;
                *argument.cast::<u64>() = device.settings().inputs.standard;
                Ok(())
            }
            vd::S_STD => set_standard(device, *argument.cast()),
            vd::QUERYSTD => {
                require(device, InputKind::Analog)?;
                *argument.cast::<u64>() = vd::STD_PAL | vd::STD_NTSC;
                Ok(())
            }
            vd::QUERY_DV_TIMINGS => {
                require(device, InputKind::Hdmi)?;
                *argument.cast() = timings(received(device)?);
                Ok(())
            }
            vd::G_DV_TIMINGS => {
                require(device, InputKind::Hdmi)?;
                *argument.cast() = timings(device.settings().inputs.timings);
                Ok(())
            }
            vd::S_DV_TIMINGS => set_timings(device, &mut *argument.cast()),
            vd::G_EDID => get_edid(device, &mut *argument.cast()),
            _ => set_edid(device, &mut *argument.cast()),
        }
    }
}

fn enumerate(device: &Device, out: &mut vd::Input) -> Answer {
    let one = [("Camera 1".to_owned(), InputKind::Camera)];
    let inputs = if device.spec.inputs.is_empty() { &one[..] } else { &device.spec.inputs };
    let (name, kind) = inputs.get(out.index as usize).ok_or(libc::EINVAL)?;
    *out = vd::Input { index: out.index, name: vd::text(name), kind: 2, ..Default::default() };
    match kind {
        InputKind::Hdmi => {
            out.capabilities = vd::IN_CAP_DV_TIMINGS;
            out.status = if received(device).is_err() { vd::IN_ST_NO_SIGNAL } else { 0 };
        }
        InputKind::Analog => {
            (out.capabilities, out.std) = (vd::IN_CAP_STD, vd::STD_PAL | vd::STD_NTSC);
        }
        InputKind::Camera => {}
    }
    Ok(())
}

fn set_input(device: &Device, input: u32) -> Answer {
    ensure((input as usize) < device.spec.inputs.len().max(1), libc::EINVAL)?;
    device.settings().inputs.input = input;
    device.table.put(Counter::Input, input.into());
    device.settings().refit(device);
    Ok(())
}

fn enumerate_standards(device: &Device, out: &mut vd::Standard) -> Answer {
    require(device, InputKind::Analog)?;
    let known = [("NTSC", vd::STD_NTSC, [1001, 30_000], 525), ("PAL", vd::STD_PAL, [1, 25], 625)];
    let (name, id, period, lines) = known.get(out.index as usize).ok_or(libc::EINVAL)?;
    *out = vd::Standard { index: out.index, id: *id, name: vd::text(name), ..Default::default() };
    (out.period, out.lines) = (*period, *lines);
    Ok(())
}

fn set_standard(device: &Device, standard: u64) -> Answer {
    require(device, InputKind::Analog)?;
    let known = [vd::STD_PAL, vd::STD_NTSC].into_iter().find(|known| known & standard != 0);
    let standard = known.ok_or(libc::EINVAL)?;
    device.settings().inputs.standard = standard;
    device.table.put(Counter::Standard, standard);
    Ok(())
}

fn timings([width, height]: [u32; 2]) -> vd::DvTimings {
    let mut out = vd::DvTimings { width, height, ..Default::default() };
    let clock = u64::from(width + width / 8) * u64::from(height + BLANK_LINES) * u64::from(REFRESH);
    out.pixelclock = [clock as u32, (clock >> 32) as u32];
    out.porches[1] = width / 8;
    out.porches[4] = BLANK_LINES;
    out
}

fn set_timings(device: &Device, out: &mut vd::DvTimings) -> Answer {
    require(device, InputKind::Hdmi)?;
    ensure(out.width > 0 && out.height > 0, libc::EINVAL)?;
    let size = [out.width, out.height];
    device.settings().inputs.timings = size;
    device.table.put(Counter::Timings, u64::from(out.width) << 16 | u64::from(out.height));
    Ok(())
}

/// Like other drivers, takes the pad of an EDID as the number of the input.
fn require_hdmi(device: &Device, input: u32) -> Answer {
    ensure(!device.spec.inputs.is_empty(), libc::ENOTTY)?;
    let input = device.spec.inputs.get(input as usize);
    ensure(input.is_some_and(|(_, kind)| *kind == InputKind::Hdmi), libc::EINVAL)
}

fn get_edid(device: &Device, call: &mut vd::Edid) -> Answer {
    let settings = device.settings();
    let edid = &settings.inputs.edid;
    let blocks = (edid.len() / 128) as u32;
    require_hdmi(device, call.pad)?;
    if call.start_block == 0 && call.blocks == 0 {
        call.blocks = blocks;
        return Ok(());
    }
    ensure(blocks > 0, libc::ENODATA)?;
    ensure(call.start_block < blocks, libc::EINVAL)?;
    call.blocks = call.blocks.min(blocks - call.start_block);
    let from = &edid[call.start_block as usize * 128..][..call.blocks as usize * 128];
    // SAFETY: the program promises room for as many blocks.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), call.data, from.len()) };
    Ok(())
}

fn set_edid(device: &Device, call: &mut vd::Edid) -> Answer {
    require_hdmi(device, call.pad)?;
    ensure(call.start_block == 0, libc::EINVAL)?;
    ensure(call.blocks <= 2, libc::E2BIG)?;
    let mut edid = vec![0; call.blocks as usize * 128];
    // SAFETY: the program promises as many blocks.
    unsafe { ptr::copy_nonoverlapping(call.data.cast_const(), edid.as_mut_ptr(), edid.len()) };
    let is_sound = |block: &[u8]| block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0;
    ensure(edid.chunks(128).all(is_sound), libc::EINVAL)?;
    device.table.put(Counter::EdidBlocks, call.blocks.into());
    device.table.add(Counter::EdidSets, 1);
    device.settings().inputs.edid = edid;
    Ok(())
}
