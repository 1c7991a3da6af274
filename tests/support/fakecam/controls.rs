//! The controls of every fake camera: one of each kind, some of each awkwardness. Those that encode have those of a codec too.
//!
//! Their values live in the table, so that tests and all processes see the same camera.
use std::ffi::{c_char, c_void};

use crate::device::Device;
use crate::videodev::{self as vd, ctrl_flag as flag};
use fakecam_table::{Counter, Table};
use interpose::{Answer, ensure};

enum Kind {
    Integer,
    Boolean,
    /// An empty name is a hole.
    Menu(&'static [&'static str]),
    Button,
    Integer64,
    Heading,
    Text(&'static str),
    Bitmask,
    IntegerMenu(&'static [i64]),
}

struct Control {
    id: u32,
    name: &'static str,
    kind: Kind,
    /// Minimum, maximum, step, default.
    range: [i64; 4],
    flags: u32,
}

const fn control(id: u32, name: &'static str, kind: Kind, range: [i64; 4], flags: u32) -> Control {
    Control { id, name, kind, range, flags }
}

const SEALED: u32 = flag::READ_ONLY | flag::WRITE_ONLY;
const FIXED_TEXT: u32 = flag::READ_ONLY | flag::HAS_PAYLOAD;
const ACTION: u32 = flag::WRITE_ONLY | flag::EXECUTE_ON_WRITE;
const STATUS: u32 = flag::READ_ONLY | flag::VOLATILE;
const AUTO_WHITE_BALANCE: u32 = 0x98_090c;
const WHITE_TEMPERATURE: u32 = 0x98_091a;
const AUTO_EXPOSURE: u32 = 0x9a_0901;
const EXPOSURE_TIME: u32 = 0x9a_0902;
/// Of a codec: their ids are between these. The ranges are those of bcm2835-codec.
const CODEC: std::ops::Range<u32> = 0x99_0000..0x9a_0000;
const REPEAT_HEADERS: u32 = 0x99_09e2;
const FORCE_KEY_FRAME: u32 = 0x99_09e5;
const KEY_PERIOD: u32 = 0x99_0a66;
const BITRATE_MODES: [&str; 2] = ["Variable Bitrate", "Constant Bitrate"];
const LEVELS: [&str; 14] =
    ["1", "1b", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "3", "3.1", "3.2", "4", "4.1", "4.2"];
const PROFILES: [&str; 5] = ["Baseline", "Constrained Baseline", "Main", "", "High"];
const FREQUENCIES: [&str; 3] = ["Disabled", "50 Hz", "60 Hz"];
const EXPOSURES: [&str; 4] = ["", "Manual Mode", "", "Aperture Priority Mode"];
const BIASES: [i64; 5] = [-2000, -1000, 0, 1000, 2000];

/// In the order of their ids, as they are enumerated.
const CONTROLS: [Control; 27] = [
    control(0x98_0001, "User Controls", Kind::Heading, [0; 4], SEALED),
    control(0x98_0900, "Brightness", Kind::Integer, [0, 255, 1, 128], 0),
    control(0x98_0901, "Contrast", Kind::Integer, [0, 255, 1, 32], 0),
    control(0x98_0902, "Saturation", Kind::Integer, [0, 100, 1, 64], 0),
    control(AUTO_WHITE_BALANCE, "White Balance, Automatic", Kind::Boolean, [0, 1, 1, 1], flag::UPDATE),
    control(0x98_0913, "Gain", Kind::Integer, [0, 255, 1, 0], 0),
    control(0x98_0918, "Power Line Frequency", Kind::Menu(&FREQUENCIES), [0, 2, 1, 2], 0),
    control(WHITE_TEMPERATURE, "White Balance Temperature", Kind::Integer, [2800, 6500, 10, 4600], 0),
    control(0x98_0927, "Min Number of Capture Buffers", Kind::Integer, [1, 32, 1, 2], flag::READ_ONLY),
    control(0x98_f903, "Integer 64 Bits", Kind::Integer64, [i64::MIN, i64::MAX, 1, 0], 0),
    control(0x98_f905, "Serial Number", Kind::Text("FK-0042"), [0, 31, 1, 0], FIXED_TEXT),
    control(0x99_0001, "Codec Controls", Kind::Heading, [0; 4], SEALED),
    control(0x99_09ce, "Video Bitrate Mode", Kind::Menu(&BITRATE_MODES), [0, 1, 1, 0], flag::UPDATE),
    control(0x99_09cf, "Video Bitrate", Kind::Integer, [25_000, 25_000_000, 25_000, 10_000_000], 0),
    control(REPEAT_HEADERS, "Repeat Sequence Header", Kind::Boolean, [0, 1, 1, 0], 0),
    control(FORCE_KEY_FRAME, "Force Key Frame", Kind::Button, [0; 4], ACTION),
    control(KEY_PERIOD, "H264 I-Frame Period", Kind::Integer, [0, 0x7fff_ffff, 1, 60], 0),
    control(0x99_0a67, "H264 Level", Kind::Menu(&LEVELS), [0, 13, 1, 11], 0),
    control(0x99_0a6b, "H264 Profile", Kind::Menu(&PROFILES), [0, 4, 1, 4], 0),
    control(0x9a_0001, "Camera Controls", Kind::Heading, [0; 4], SEALED),
    control(AUTO_EXPOSURE, "Auto Exposure", Kind::Menu(&EXPOSURES), [0, 3, 1, 3], flag::UPDATE),
    control(EXPOSURE_TIME, "Exposure Time, Absolute", Kind::Integer, [3, 2047, 1, 250], 0),
    control(0x9a_0904, "Pan, Relative", Kind::Integer, [-3600, 3600, 1, 0], flag::WRITE_ONLY),
    control(0x9a_0913, "Auto Exposure, Bias", Kind::IntegerMenu(&BIASES), [0, 4, 1, 2], 0),
    control(0x9a_091b, "3A Lock", Kind::Bitmask, [0, 7, 0, 0], 0),
    control(0x9a_091c, "Auto Focus, Start", Kind::Button, [0; 4], ACTION),
    control(0x9a_091e, "Auto Focus, Status", Kind::Bitmask, [0, 7, 0, 2], STATUS),
];

/// Defaults, as after power-up.
pub(crate) fn reset(table: &Table) {
    for (slot, control) in CONTROLS.iter().enumerate() {
        table.put_control(slot, control.id, control.range[3]);
    }
}

/// Frames from one key frame to the next; 0 for no end.
pub(crate) fn key_period(table: &Table) -> u32 {
    table.control(KEY_PERIOD).unwrap_or(0) as u32
}

/// Whether parameter sets come with every key frame.
pub(crate) fn repeats_headers(table: &Table) -> bool {
    table.control(REPEAT_HEADERS) == Some(1)
}

/// Those that the device has, with their places in the table.
fn offered(device: &Device) -> impl Iterator<Item = (usize, &'static Control)> {
    let (encodes, captures) = (device.spec.has_codec_controls(), device.spec.captures());
    let has = move |id| if CODEC.contains(&id) { encodes } else { captures };
    CONTROLS.iter().enumerate().filter(move |(_, control)| has(control.id))
}

fn find(device: &Device, id: u32) -> Answer<(usize, &'static Control)> {
    offered(device).find(|(_, control)| control.id == id).ok_or(libc::EINVAL)
}

fn is_inactive(table: &Table, id: u32) -> bool {
    match id {
        WHITE_TEMPERATURE => table.control(AUTO_WHITE_BALANCE) != Some(0),
        EXPOSURE_TIME => table.control(AUTO_EXPOSURE) != Some(1),
        _ => false,
    }
}

/// Answers the requests for controls, and refuses all others.
///
/// # Safety
/// As for `device::ioctl`.
pub(crate) unsafe fn ioctl(device: &Device, request: u32, argument: *mut c_void) -> Answer {
    // SAFETY: as the caller promises; each function below names the type that belongs to its request.
    unsafe {
        match request {
            vd::QUERYCTRL => query_old(device, &mut *argument.cast()),
            vd::QUERY_EXT_CTRL => query(device, &mut *argument.cast()),
            vd::QUERYMENU => menu(device, &mut *argument.cast()),
            vd::G_CTRL => get(device, &mut *argument.cast()),
            vd::S_CTRL => set(device, &mut *argument.cast()),
            vd::G_EXT_CTRLS => exchange(device, false, &mut *argument.cast()),
            vd::S_EXT_CTRLS => exchange(device, true, &mut *argument.cast()),
            _ => Err(libc::ENOTTY),
        }
    }
}

fn query(device: &Device, out: &mut vd::QueryExtCtrl) -> Answer {
    let after = out.id & !(flag::NEXT | flag::NEXT_COMPOUND);
    let next = offered(device).map(|(_, control)| control.id).find(|&id| id > after);
    let (_, control) = find(device, if out.id & flag::NEXT != 0 { next.unwrap_or(0) } else { out.id })?;
    let (kind, elem_size) = match control.kind {
        Kind::Integer => (1, 4),
        Kind::Boolean => (2, 4),
        Kind::Menu(_) => (3, 4),
        Kind::Button => (4, 0),
        Kind::Integer64 => (5, 8),
        Kind::Heading => (6, 0),
        Kind::Text(_) => (7, control.range[1] as u32 + 1),
        Kind::Bitmask => (8, 4),
        Kind::IntegerMenu(_) => (9, 4),
    };
    let inactive = if is_inactive(&device.table, control.id) { flag::INACTIVE } else { 0 };
    *out = vd::QueryExtCtrl { id: control.id, kind, elem_size, elems: 1, ..Default::default() };
    (out.name, out.range, out.flags) = (vd::text(control.name), control.range, control.flags | inactive);
    Ok(())
}

/// The older query, for values of 32 bits.
fn query_old(device: &Device, out: &mut vd::QueryCtrl) -> Answer {
    let mut full = vd::QueryExtCtrl { id: out.id, ..Default::default() };
    query(device, &mut full)?;
    let range = full.range.map(|limit| i32::try_from(limit).unwrap_or(0));
    let vd::QueryExtCtrl { id, kind, name, flags, .. } = full;
    *out = vd::QueryCtrl { id, kind, name, range, flags, reserved: [0; 2] };
    Ok(())
}

fn menu(device: &Device, out: &mut vd::QueryMenu) -> Answer {
    let index = out.index as usize;
    *out = vd::QueryMenu { id: out.id, index: out.index, ..Default::default() };
    match find(device, out.id)?.1.kind {
        Kind::Menu(names) => {
            let name = names.get(index).filter(|name| !name.is_empty());
            out.label = vd::text(name.ok_or(libc::EINVAL)?);
        }
        Kind::IntegerMenu(values) => {
            let value = values.get(index).ok_or(libc::EINVAL)?;
            out.label[..8].copy_from_slice(&value.to_ne_bytes());
        }
        _ => return Err(libc::EINVAL),
    }
    Ok(())
}

fn read(device: &Device, id: u32) -> Answer<i64> {
    let (slot, control) = find(device, id)?;
    ensure(control.flags & flag::WRITE_ONLY == 0, libc::EACCES)?;
    Ok(device.table.control_value(slot))
}

/// Returns what the camera made of the value. Like uvcvideo, refuses what an automatism governs.
fn write(device: &Device, id: u32, value: i64) -> Answer<i64> {
    let (table, (slot, control)) = (&device.table, find(device, id)?);
    ensure(control.flags & flag::READ_ONLY == 0 && !is_inactive(table, id), libc::EACCES)?;
    let [least, largest, step, _] = control.range;
    let value = match control.kind {
        Kind::Boolean => i64::from(value != 0),
        Kind::Bitmask => value & largest,
        Kind::Menu(_) | Kind::IntegerMenu(_) if !(least..=largest).contains(&value) => {
            return Err(libc::ERANGE);
        }
        Kind::Menu(names) if names[value as usize].is_empty() => return Err(libc::EINVAL),
        Kind::Integer => least + (value.clamp(least, largest) - least + step / 2) / step * step,
        Kind::Button => {
            let counter = if id == FORCE_KEY_FRAME { Counter::KeyRequests } else { Counter::Presses };
            table.add(counter, 1);
            0
        }
        _ => value,
    };
    table.put_control(slot, id, value);
    Ok(value)
}

fn get(device: &Device, control: &mut vd::Control) -> Answer {
    ensure(!matches!(find(device, control.id)?.1.kind, Kind::Integer64 | Kind::Text(_)), libc::EINVAL)?;
    control.value = read(device, control.id)? as i32;
    Ok(())
}

fn set(device: &Device, control: &mut vd::Control) -> Answer {
    control.value = write(device, control.id, control.value.into())? as i32;
    Ok(())
}

/// S_EXT_CTRLS and G_EXT_CTRLS: one control after the other, up to the first that fails.
fn exchange(device: &Device, set: bool, call: &mut vd::ExtControls) -> Answer {
    for index in 0..call.count {
        call.error_idx = index;
        // SAFETY: the caller promises that many controls at this address; the struct has alignment 1.
        let control = unsafe { &mut *call.controls.add(index as usize) };
        let (_, known) = find(device, control.id)?;
        match known.kind {
            Kind::Text(text) if !set => copy_text(text, known.range[1] as u32 + 1, control)?,
            Kind::Integer64 if set => control.value = write(device, control.id, control.value)?,
            Kind::Integer64 => control.value = read(device, control.id)?,
            // The others use the lower half only.
            _ if set => _ = write(device, control.id, (control.value as i32).into())?,
            _ => control.value = read(device, control.id)? & 0xffff_ffff,
        }
    }
    Ok(())
}

fn copy_text(text: &str, size: u32, control: &mut vd::ExtControl) -> Answer {
    if control.size < size {
        control.size = size;
        return Err(libc::ENOSPC);
    }
    let to = control.value as *mut c_char;
    // SAFETY: the caller promises `size` bytes at this address, and the text with its zero is no longer.
    unsafe {
        to.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        to.add(text.len()).write(0);
    }
    Ok(())
}
