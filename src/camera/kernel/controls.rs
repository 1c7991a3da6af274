//! The kernel's calls about controls, on a device that is open already.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use super::{Device, text};

/// `struct v4l2_query_ext_ctrl`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawControlInfo {
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
    /// A name, or for integer menus a 64-bit number.
    name: [u8; 32],
    reserved: u32,
}

/// `struct v4l2_ext_control` of a control whose value is a number.
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

/// What a driver says of one of its controls.
#[derive(Clone, Debug)]
pub(in crate::camera) struct ControlInfo {
    pub(in crate::camera) id: u32,
    /// One of the constants below.
    pub(in crate::camera) kind: u32,
    pub(in crate::camera) name: String,
    pub(in crate::camera) minimum: i64,
    pub(in crate::camera) maximum: i64,
    pub(in crate::camera) step: u64,
    pub(in crate::camera) default: i64,
    flags: u32,
}

impl ControlInfo {
    pub(in crate::camera) const INTEGER: u32 = 1;
    pub(in crate::camera) const BOOLEAN: u32 = 2;
    pub(in crate::camera) const MENU: u32 = 3;
    pub(in crate::camera) const BUTTON: u32 = 4;
    pub(in crate::camera) const INTEGER64: u32 = 5;
    pub(in crate::camera) const BITMASK: u32 = 8;
    pub(in crate::camera) const INTEGER_MENU: u32 = 9;
    /// A heading in the list.
    const CLASS: u32 = 6;

    const DISABLED: u32 = 0x0001;
    const READ_ONLY: u32 = 0x0004;
    const INACTIVE: u32 = 0x0010;

    /// A heading, or a control the device does not have after all.
    pub(in crate::camera) fn is_hidden(&self) -> bool {
        self.kind == Self::CLASS || self.flags & Self::DISABLED != 0
    }

    pub(in crate::camera) fn is_read_only(&self) -> bool {
        self.flags & Self::READ_ONLY != 0
    }

    pub(in crate::camera) fn is_inactive(&self) -> bool {
        self.flags & Self::INACTIVE != 0
    }
}

/// `V4L2_CTRL_FLAG_NEXT_CTRL`: the first control with a higher number than this one.
const NEXT_CONTROL: u32 = 0x8000_0000;

mod calls {
    use super::{RawControlInfo, RawControls, RawMenuItem};
    nix::ioctl_readwrite!(querymenu, b'V', 37, RawMenuItem);
    nix::ioctl_readwrite!(g_ext_ctrls, b'V', 71, RawControls);
    nix::ioctl_readwrite!(s_ext_ctrls, b'V', 72, RawControls);
    nix::ioctl_readwrite!(query_ext_ctrl, b'V', 103, RawControlInfo);
}

impl Device<'_> {
    /// VIDIOC_QUERY_EXT_CTRL: the first control with a higher number than `id`; `None` after the last.
    pub(in crate::camera) fn control_after(self, id: u32) -> io::Result<Option<ControlInfo>> {
        let mut raw = RawControlInfo {
            id: id | NEXT_CONTROL,
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
        // SAFETY: the kernel reads and writes one v4l2_query_ext_ctrl, which is what `raw` is laid out as.
        match unsafe { calls::query_ext_ctrl(self.0.as_raw_fd(), &mut raw) } {
            // A driver that answers with the same number again would have us ask for ever.
            Ok(_) if raw.id <= id => Ok(None),
            Ok(_) => Ok(Some(ControlInfo {
                id: raw.id,
                kind: raw.kind,
                name: text(&raw.name),
                minimum: raw.minimum,
                maximum: raw.maximum,
                step: raw.step,
                default: raw.default,
                flags: raw.flags,
            })),
            // ENOTTY: a device without any controls.
            Err(Errno::EINVAL | Errno::ENOTTY) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// VIDIOC_QUERYMENU: the name of an item, or its number in an integer menu. Menus have holes.
    pub(in crate::camera) fn menu_item(self, info: &ControlInfo, index: u32) -> Option<String> {
        let mut raw = RawMenuItem { id: info.id, index, name: [0; 32], reserved: 0 };
        // SAFETY: the kernel reads and writes one v4l2_querymenu, which is what `raw` is laid out as.
        unsafe { calls::querymenu(self.0.as_raw_fd(), &mut raw) }.ok()?;
        let [a, b, c, d, e, f, g, h, ..] = raw.name;
        Some(match info.kind {
            ControlInfo::INTEGER_MENU => i64::from_ne_bytes([a, b, c, d, e, f, g, h]).to_string(),
            _ => text(&raw.name),
        })
    }

    /// VIDIOC_G_EXT_CTRLS: where a control stands.
    pub(in crate::camera) fn control_value(self, info: &ControlInfo) -> io::Result<i64> {
        let mut control = RawControl { id: info.id, size: 0, reserved: 0, value: 0 };
        let mut raw = one_control(&mut control);
        // SAFETY: the kernel reads and writes one v4l2_ext_controls and the one v4l2_ext_control it points to, a
        // number, so nothing further is pointed to.
        unsafe { calls::g_ext_ctrls(self.0.as_raw_fd(), &mut raw) }?;
        let value = control.value;
        // All kinds but one are 32 bits, written over the first half.
        Ok(if info.kind == ControlInfo::INTEGER64 { value } else { first_half(value).into() })
    }
}

impl Device<'_> {
    /// VIDIOC_S_EXT_CTRLS: sets a control whose value is a number.
    pub(in crate::camera) fn set_control(self, id: u32, value: i64) -> io::Result<()> {
        // Kinds of 32 bits take the first half, which for those is all of the number.
        let mut control = RawControl { id, size: 0, reserved: 0, value: first_half_or_all(value) };
        let mut raw = one_control(&mut control);
        // SAFETY: as in `control_value`.
        unsafe { calls::s_ext_ctrls(self.0.as_raw_fd(), &mut raw) }?;
        Ok(())
    }
}

/// A number so that its 32-bit form, where it has one, is in the first half: on little-endian machines it is there.
fn first_half_or_all(value: i64) -> i64 {
    match i32::try_from(value) {
        Ok(short) if cfg!(target_endian = "big") => i64::from(short) << 32,
        _ => value,
    }
}

fn one_control(control: &mut RawControl) -> RawControls {
    // `which` 0: the control may be of any class.
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
    fn structures_have_the_kernels_sizes() {
        let wide = cfg!(target_pointer_width = "64");
        assert_eq!(size_of::<RawControlInfo>(), 232);
        assert_eq!(size_of::<RawMenuItem>(), 44);
        assert_eq!(size_of::<RawControl>(), 20);
        assert_eq!(size_of::<RawControls>(), if wide { 32 } else { 24 });
    }

    #[test]
    fn a_32_bit_value_keeps_its_sign() {
        assert_eq!(
            first_half(i64::from(-5i32) & 0xffff_ffff),
            if cfg!(target_endian = "little") { -5 } else { 0 }
        );
    }
}
