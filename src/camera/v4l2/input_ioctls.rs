//! The ioctls that list and choose inputs and the standards of analog ones. What to choose does not belong here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use super::format_ioctls::FrameInterval;
use super::ioctl::{Device, text};

/// `struct v4l2_input`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawInput {
    index: u32,
    name: [u8; 32],
    kind: u32,
    audioset: u32,
    tuner: u32,
    standards: StandardBits,
    status: u32,
    capabilities: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_standard`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawStandard {
    index: u32,
    id: StandardBits,
    name: [u8; 24],
    interval: FrameInterval,
    lines: u32,
    reserved: [u32; 4],
}

/// `v4l2_std_id`: a bit for each standard.
pub(super) type StandardBits = u64;

/// `V4L2_IN_CAP_DV_TIMINGS` and `V4L2_IN_CAP_STD`.
const CAP_DV_TIMINGS: u32 = 0x2;
const CAP_STD: u32 = 0x4;
/// Most inputs or standards that are read. A driver that never ends its list would hold a thread for ever.
const MOST_ENTRIES: u32 = 64;

/// An input of a device.
#[derive(Clone, Debug)]
pub(super) struct DeviceInput {
    pub(super) index: u32,
    pub(super) name: String,
    /// It takes digital video, such as HDMI, whose timings are set.
    pub(super) has_timings: bool,
    /// It takes analog video, whose standard is set.
    pub(super) has_standards: bool,
}

/// A standard of analog video.
#[derive(Clone, Debug)]
pub(super) struct AnalogStandard {
    pub(super) bits: StandardBits,
    pub(super) name: String,
    pub(super) interval: FrameInterval,
}

mod calls {
    nix::ioctl_read!(g_std, b'V', 23, u64);
    nix::ioctl_write_ptr!(s_std, b'V', 24, u64);
    nix::ioctl_readwrite!(enumstd, b'V', 25, super::RawStandard);
    nix::ioctl_readwrite!(enuminput, b'V', 26, super::RawInput);
    nix::ioctl_read!(g_input, b'V', 38, i32);
    nix::ioctl_readwrite!(s_input, b'V', 39, i32);
    nix::ioctl_read!(querystd, b'V', 63, u64);
}

impl Device<'_> {
    /// VIDIOC_ENUMINPUT: input `index`.
    pub(super) fn input(self, index: u32) -> io::Result<DeviceInput> {
        let mut raw = RawInput { index, ..RawInput::default() };
        // SAFETY: the kernel reads and writes one v4l2_input, which is the layout of `raw`.
        unsafe { calls::enuminput(self.fd().as_raw_fd(), &mut raw) }?;
        let has = |cap| raw.capabilities & cap != 0;
        let (has_timings, has_standards) = (has(CAP_DV_TIMINGS), has(CAP_STD));
        Ok(DeviceInput { index, name: text(&raw.name), has_timings, has_standards })
    }

    /// All inputs.
    pub(super) fn inputs(self) -> Vec<DeviceInput> {
        (0..MOST_ENTRIES).map_while(|index| self.input(index).ok()).collect()
    }

    /// VIDIOC_G_INPUT: the input that is chosen.
    pub(super) fn current_input(self) -> io::Result<u32> {
        let mut index = 0;
        // SAFETY: the kernel writes one int.
        unsafe { calls::g_input(self.fd().as_raw_fd(), &mut index) }?;
        Ok(index as u32)
    }

    /// VIDIOC_S_INPUT.
    pub(super) fn set_input(self, index: u32) -> io::Result<()> {
        let mut index = index as i32;
        // SAFETY: the kernel reads and writes one int.
        unsafe { calls::s_input(self.fd().as_raw_fd(), &mut index) }?;
        Ok(())
    }

    /// VIDIOC_ENUMSTD: the standards of the chosen input.
    pub(super) fn standards(self) -> Vec<AnalogStandard> {
        let standard = |index| {
            let mut raw = RawStandard { index, ..RawStandard::default() };
            // SAFETY: the kernel reads and writes one v4l2_standard, which is the layout of `raw`.
            unsafe { calls::enumstd(self.fd().as_raw_fd(), &mut raw) }.ok()?;
            Some(AnalogStandard { bits: raw.id, name: text(&raw.name), interval: raw.interval })
        };
        (0..MOST_ENTRIES).map_while(standard).collect()
    }

    /// VIDIOC_G_STD: the standard that is set.
    pub(super) fn standard(self) -> io::Result<StandardBits> {
        let mut bits = 0;
        // SAFETY: the kernel writes one v4l2_std_id.
        unsafe { calls::g_std(self.fd().as_raw_fd(), &mut bits) }?;
        Ok(bits)
    }

    /// VIDIOC_QUERYSTD: the standards that the signal may have, as far as the device can tell; 0 without a signal.
    pub(super) fn detect_standard(self) -> io::Result<StandardBits> {
        let mut bits = 0;
        // SAFETY: the kernel writes one v4l2_std_id.
        unsafe { calls::querystd(self.fd().as_raw_fd(), &mut bits) }?;
        Ok(bits)
    }

    /// VIDIOC_S_STD.
    pub(super) fn set_standard(self, bits: StandardBits) -> io::Result<()> {
        // SAFETY: the kernel reads one v4l2_std_id.
        unsafe { calls::s_std(self.fd().as_raw_fd(), &bits) }?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request numbers of ioctls contain these sizes; a wrong size would be another ioctl.
    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        let align = align_of::<u64>();
        assert_eq!(size_of::<RawInput>(), if align == 8 { 80 } else { 76 });
        assert_eq!(size_of::<RawStandard>(), if align == 8 { 72 } else { 64 });
    }
}
