//! Reading and setting the controls of an open V4L2 device.
//!
//! Structures and numbers are those of linux/videodev2.h.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use super::ioctl::{Device, text};
use crate::camera::control::{Control, ControlError, ControlKind, ControlValue, MenuItem};

/// `struct v4l2_query_ext_ctrl`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawQueryControl {
    id: u32,
    kind: u32,
    name: [u8; 32],
    minimum: i64,
    maximum: i64,
    step: u64,
    default: i64,
    flags: u32,
    elem_size: u32,
    elems: u32,
    dimensions: u32,
    dims: [u32; 4],
    reserved: [u32; 32],
}

/// `struct v4l2_querymenu`.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct RawMenuItem {
    id: u32,
    index: u32,
    /// A name, or a 64-bit number in an integer menu.
    name: [u8; 32],
    reserved: u32,
}

/// `struct v4l2_ext_control` of a control with a number as its value.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct RawControl {
    id: u32,
    size: u32,
    reserved: u32,
    value: i64,
}

/// `struct v4l2_ext_controls`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawControls {
    which: u32,
    count: u32,
    error_index: u32,
    request: i32,
    reserved: u32,
    controls: *mut RawControl,
}

// `enum v4l2_ctrl_type`.
const TYPE_INTEGER: u32 = 1;
const TYPE_BOOLEAN: u32 = 2;
const TYPE_MENU: u32 = 3;
const TYPE_BUTTON: u32 = 4;
const TYPE_INTEGER64: u32 = 5;
/// A heading in the list.
const TYPE_CLASS: u32 = 6;
const TYPE_BITMASK: u32 = 8;
const TYPE_INTEGER_MENU: u32 = 9;

// `V4L2_CTRL_FLAG_*`.
const FLAG_DISABLED: u32 = 0x0001;
const FLAG_READ_ONLY: u32 = 0x0004;
const FLAG_UPDATE: u32 = 0x0008;
const FLAG_INACTIVE: u32 = 0x0010;
/// In a query: the first control with a higher id.
const FLAG_NEXT_CTRL: u32 = 0x8000_0000;

/// `V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME`.
pub(super) const FORCE_KEY_FRAME: u32 = 0x0099_09e5;

/// Items of a menu that are queried at most. A driver that claims more would take minutes to answer.
const MAX_MENU_ITEMS: i64 = 256;

mod calls {
    use crate::camera::v4l2::controls::{RawControls, RawMenuItem, RawQueryControl};
    nix::ioctl_readwrite!(querymenu, b'V', 37, RawMenuItem);
    nix::ioctl_readwrite!(g_ext_ctrls, b'V', 71, RawControls);
    nix::ioctl_readwrite!(s_ext_ctrls, b'V', 72, RawControls);
    nix::ioctl_readwrite!(query_ext_ctrl, b'V', 103, RawQueryControl);
}

/// All controls of a device, in the driver's order.
pub(super) fn read_controls(device: Device<'_>) -> io::Result<Vec<Control>> {
    let mut controls = Vec::new();
    let mut last = 0;
    while let Some(raw) = query_after(device, last)? {
        last = raw.id;
        if raw.kind != TYPE_CLASS && raw.flags & FLAG_DISABLED == 0 {
            controls.push(control(device, &raw));
        }
    }
    Ok(controls)
}

/// Sets the control `name` of `controls`, the list that was read from the device, and its value in the list.
pub(super) fn set_control<'list>(
    device: Device<'_>,
    controls: &'list mut [Control],
    name: &str,
    value: &ControlValue,
) -> Result<&'list Control, ControlError> {
    let Some(index) = controls.iter().position(|control| control.name == name) else {
        let names: Vec<&str> = controls.iter().map(|control| control.name.as_str()).collect();
        return Err(ControlError::Unknown { name: name.into(), known: names.join(", ") });
    };
    let control = &mut controls[index];
    let value = control.number_for(value)?;
    if control.inactive {
        return Err(ControlError::Inactive { name: name.into() });
    }
    let refused = |source| ControlError::Refused { name: name.into(), value, source };
    write_value(device, control.id, value).map_err(refused)?;
    control.value = read_value(device, control.id, control.kind);
    Ok(control)
}

fn control(device: Device<'_>, raw: &RawQueryControl) -> Control {
    let kind = match raw.kind {
        TYPE_INTEGER => ControlKind::Integer,
        TYPE_INTEGER64 => ControlKind::Integer64,
        TYPE_BOOLEAN => ControlKind::Boolean,
        TYPE_MENU => ControlKind::Menu,
        TYPE_INTEGER_MENU => ControlKind::IntegerMenu,
        TYPE_BUTTON => ControlKind::Button,
        TYPE_BITMASK => ControlKind::Bitmask,
        _ => ControlKind::Other,
    };
    let label = text(&raw.name);
    Control {
        id: raw.id,
        name: name_of(&label),
        label,
        kind,
        minimum: raw.minimum,
        maximum: unsigned(kind, raw.maximum),
        step: raw.step,
        default: raw.default,
        value: read_value(device, raw.id, kind),
        menu: match kind {
            ControlKind::Menu | ControlKind::IntegerMenu => menu(device, raw),
            _ => Vec::new(),
        },
        read_only: raw.flags & FLAG_READ_ONLY != 0,
        inactive: raw.flags & FLAG_INACTIVE != 0,
        affects_others: raw.flags & FLAG_UPDATE != 0,
    }
}

/// The name of a control as v4l2-ctl writes it: lower case, with one underscore between words.
fn name_of(label: &str) -> String {
    let words = label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

/// VIDIOC_QUERY_EXT_CTRL: the first control with a higher id than `id`; `None` after the last.
fn query_after(device: Device<'_>, id: u32) -> io::Result<Option<RawQueryControl>> {
    let mut raw = RawQueryControl {
        id: id | FLAG_NEXT_CTRL,
        kind: 0,
        name: [0; 32],
        minimum: 0,
        maximum: 0,
        step: 0,
        default: 0,
        flags: 0,
        elem_size: 0,
        elems: 0,
        dimensions: 0,
        dims: [0; 4],
        reserved: [0; 32],
    };
    // SAFETY: the kernel reads and writes one v4l2_query_ext_ctrl, which is the layout of `raw`.
    match unsafe { calls::query_ext_ctrl(device.fd().as_raw_fd(), &mut raw) } {
        // A driver that returns the same id again would make the list endless.
        Ok(_) => Ok(Some(raw).filter(|raw| raw.id > id)),
        // ENOTTY: a device without controls.
        Err(Errno::EINVAL | Errno::ENOTTY) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// VIDIOC_QUERYMENU for all items. Menus may have holes.
fn menu(device: Device<'_>, raw: &RawQueryControl) -> Vec<MenuItem> {
    let last = raw.maximum.min(raw.minimum.saturating_add(MAX_MENU_ITEMS - 1));
    let item = |value: i64| {
        let mut item = RawMenuItem { id: raw.id, index: value as u32, name: [0; 32], reserved: 0 };
        // SAFETY: the kernel reads and writes one v4l2_querymenu, which is the layout of `item`.
        unsafe { calls::querymenu(device.fd().as_raw_fd(), &mut item) }.ok()?;
        let [a, b, c, d, e, f, g, h, ..] = item.name;
        let label = match raw.kind {
            TYPE_INTEGER_MENU => i64::from_ne_bytes([a, b, c, d, e, f, g, h]).to_string(),
            _ => text(&item.name),
        };
        Some(MenuItem { value, label })
    };
    (raw.minimum.max(0)..=last).filter_map(item).collect()
}

/// A bitmask has 32 bits. The kernel returns it as a negative number if the highest bit is set.
fn unsigned(kind: ControlKind, value: i64) -> i64 {
    if kind == ControlKind::Bitmask { value & 0xffff_ffff } else { value }
}

/// VIDIOC_G_EXT_CTRLS: the value of a control; `None` if it cannot be read.
fn read_value(device: Device<'_>, id: u32, kind: ControlKind) -> Option<i64> {
    if matches!(kind, ControlKind::Button | ControlKind::Other) {
        return None;
    }
    let mut control = RawControl { id, size: 0, reserved: 0, value: 0 };
    let mut controls = one_control(&mut control);
    // SAFETY: the kernel reads and writes one v4l2_ext_controls and the v4l2_ext_control that it points to. The value is a
    // number, so there is no further pointer.
    unsafe { calls::g_ext_ctrls(device.fd().as_raw_fd(), &mut controls) }.ok()?;
    let value = control.value;
    // All types but this one have 32 bits, which the kernel writes to the first half.
    Some(if kind == ControlKind::Integer64 { value } else { unsigned(kind, first_half(value).into()) })
}

/// VIDIOC_S_EXT_CTRLS: sets a control to a number.
pub(super) fn write_value(device: Device<'_>, id: u32, value: i64) -> io::Result<()> {
    // Types of 32 bits use the first half, which holds the whole number for them.
    let mut control = RawControl { id, size: 0, reserved: 0, value: first_half_or_all(value) };
    let mut controls = one_control(&mut control);
    // SAFETY: as in `read_value`.
    unsafe { calls::s_ext_ctrls(device.fd().as_raw_fd(), &mut controls) }?;
    Ok(())
}

/// Asks an encoder for a key frame (`V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME`).
pub(super) fn force_key_frame(device: Device<'_>) -> io::Result<()> {
    write_value(device, FORCE_KEY_FRAME, 1)
}

/// `value` with its 32-bit form, if it has one, in the first half. On little-endian machines it is there already.
fn first_half_or_all(value: i64) -> i64 {
    match i32::try_from(value) {
        Ok(short) if cfg!(target_endian = "big") => i64::from(short) << 32,
        _ => value,
    }
}

fn one_control(control: &mut RawControl) -> RawControls {
    // `which` 0: a control of any class.
    RawControls { which: 0, count: 1, error_index: 0, request: 0, reserved: 0, controls: control }
}

fn first_half(value: i64) -> i32 {
    let [a, b, c, d, ..] = value.to_ne_bytes();
    i32::from_ne_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        let wide = cfg!(target_pointer_width = "64");
        assert_eq!(size_of::<RawQueryControl>(), 232);
        assert_eq!(size_of::<RawMenuItem>(), 44);
        assert_eq!(size_of::<RawControl>(), 20);
        assert_eq!(size_of::<RawControls>(), if wide { 32 } else { 24 });
    }

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        assert_eq!(name_of("White Balance, Automatic"), "white_balance_automatic");
        assert_eq!(name_of("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(name_of("  Led1 -- Mode "), "led1_mode");
    }

    #[test]
    fn a_32_bit_value_keeps_its_sign() {
        assert_eq!(
            first_half(i64::from(-5i32) & 0xffff_ffff),
            if cfg!(target_endian = "little") { -5 } else { 0 }
        );
    }
}
