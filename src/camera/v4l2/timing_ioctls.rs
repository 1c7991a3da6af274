//! The ioctls of inputs for digital video: timings, EDID, and the event that tells of another signal.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

use super::format_ioctls::FrameInterval;
use super::ioctl::Device;

/// `struct v4l2_dv_timings` with its `v4l2_bt_timings`. Packed in the kernel, so the pixel clock is two words here.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DvTimings {
    kind: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    interlaced: u32,
    polarities: u32,
    pixel_clock: [u32; 2],
    /// Front porch, sync and back porch of a line.
    blank_pixels: [u32; 3],
    /// The same of a picture, and of the second field.
    blank_lines: [u32; 6],
    rest: [u32; 17],
}

impl DvTimings {
    /// Whether a picture is sent as two fields.
    pub(super) fn is_interlaced(&self) -> bool {
        self.interlaced != 0
    }

    /// Whether `other` is the same signal. The pixel clock that a device measures varies.
    pub(super) fn is_same_signal(&self, other: &Self) -> bool {
        let rate = |timings: &Self| timings.fps().unwrap_or(0.0);
        (self.width, self.height, self.interlaced) == (other.width, other.height, other.interlaced)
            && (rate(self) - rate(other)).abs() < SAME_RATE
    }

    /// Pictures per second; `None` if the timings do not tell.
    pub(super) fn fps(&self) -> Option<f32> {
        let total =
            |active: u32, blank: &[u32]| blank.iter().fold(active, |sum, part| sum.saturating_add(*part));
        let [low, high] = self.pixel_clock.map(u64::from);
        let clock = if cfg!(target_endian = "little") { high << 32 | low } else { low << 32 | high };
        let pixels = u64::from(total(self.width, &self.blank_pixels))
            .checked_mul(total(self.height, &self.blank_lines).into())?;
        let (numerator, denominator) = (u32::try_from(pixels).ok()?, u32::try_from(clock).ok()?);
        FrameInterval { numerator, denominator }.fps()
    }
}

/// Rates that differ by less are one rate, measured twice; 59.94 and 60 are shown alike.
const SAME_RATE: f32 = 0.5;

/// `struct v4l2_edid`. `pad` is the number of the input.
#[repr(C)]
struct RawEdid {
    pad: u32,
    start_block: u32,
    blocks: u32,
    reserved: [u32; 5],
    edid: *mut u8,
}

/// Bytes of a block of an EDID.
pub(super) const EDID_BLOCK: usize = 128;
/// Most blocks of an EDID: an extension is numbered in one byte.
pub(super) const MOST_EDID_BLOCKS: usize = 256;

/// `struct v4l2_event`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawEvent {
    kind: u32,
    /// Has values of 64 bits in other variants, and is aligned for them.
    payload: [u64; 8],
    pending: u32,
    sequence: u32,
    timestamp: libc::timespec,
    id: u32,
    reserved: [u32; 8],
}

/// `struct v4l2_event_subscription`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawEventSubscription {
    kind: u32,
    id: u32,
    flags: u32,
    reserved: [u32; 5],
}

/// `V4L2_EVENT_SOURCE_CHANGE`.
const SOURCE_CHANGE: u32 = 5;
/// Most events that are taken at once.
const MOST_EVENTS: u32 = 64;

mod calls {
    nix::ioctl_readwrite!(g_edid, b'V', 40, super::RawEdid);
    nix::ioctl_readwrite!(s_edid, b'V', 41, super::RawEdid);
    nix::ioctl_readwrite!(s_dv_timings, b'V', 87, super::DvTimings);
    nix::ioctl_read!(dqevent, b'V', 89, super::RawEvent);
    nix::ioctl_write_ptr!(subscribe_event, b'V', 90, super::RawEventSubscription);
    nix::ioctl_read!(query_dv_timings, b'V', 99, super::DvTimings);
}

impl Device<'_> {
    /// VIDIOC_QUERY_DV_TIMINGS: the timings of the signal.
    pub(super) fn detect_timings(self) -> io::Result<DvTimings> {
        let mut timings = DvTimings::default();
        // SAFETY: the kernel writes one v4l2_dv_timings, which is the layout of `timings`.
        unsafe { calls::query_dv_timings(self.fd().as_raw_fd(), &mut timings) }?;
        Ok(timings)
    }

    /// VIDIOC_S_DV_TIMINGS.
    pub(super) fn set_timings(self, timings: &DvTimings) -> io::Result<()> {
        let mut timings = *timings;
        // SAFETY: the kernel reads and writes one v4l2_dv_timings, which is the layout of `timings`.
        unsafe { calls::s_dv_timings(self.fd().as_raw_fd(), &mut timings) }?;
        Ok(())
    }

    /// VIDIOC_G_EDID: the EDID that `input` shows to what is connected; empty if it has none.
    pub(super) fn edid(self, input: u32) -> io::Result<Vec<u8>> {
        let mut raw =
            RawEdid { pad: input, start_block: 0, blocks: 0, reserved: [0; 5], edid: std::ptr::null_mut() };
        // SAFETY: the kernel reads and writes one v4l2_edid, which is the layout of `raw`. With 0 blocks it writes their number
        // and no data.
        unsafe { calls::g_edid(self.fd().as_raw_fd(), &mut raw) }?;
        let mut edid = vec![0; (raw.blocks as usize).min(MOST_EDID_BLOCKS) * EDID_BLOCK];
        if edid.is_empty() {
            return Ok(edid);
        }
        raw.blocks = (edid.len() / EDID_BLOCK) as u32;
        (raw.start_block, raw.edid) = (0, edid.as_mut_ptr());
        // SAFETY: as above, and the kernel writes at most `blocks` blocks to `edid`, which has room for them.
        unsafe { calls::g_edid(self.fd().as_raw_fd(), &mut raw) }?;
        edid.truncate(raw.blocks as usize * EDID_BLOCK);
        Ok(edid)
    }

    /// VIDIOC_S_EDID. `edid` is whole blocks.
    pub(super) fn set_edid(self, input: u32, edid: &[u8]) -> io::Result<()> {
        let mut copy = edid.to_vec();
        let blocks = (copy.len() / EDID_BLOCK) as u32;
        let mut raw =
            RawEdid { pad: input, start_block: 0, blocks, reserved: [0; 5], edid: copy.as_mut_ptr() };
        // SAFETY: the kernel reads and writes one v4l2_edid, which is the layout of `raw`, and reads `blocks` blocks at `edid`,
        // which are there.
        unsafe { calls::s_edid(self.fd().as_raw_fd(), &mut raw) }?;
        Ok(())
    }

    /// VIDIOC_SUBSCRIBE_EVENT: be told when `input` receives another signal. Then poll reports POLLPRI.
    pub(super) fn subscribe_source_change(self, input: u32) -> io::Result<()> {
        let raw = RawEventSubscription { kind: SOURCE_CHANGE, id: input, flags: 0, reserved: [0; 5] };
        // SAFETY: the kernel reads one v4l2_event_subscription, which is the layout of `raw`.
        unsafe { calls::subscribe_event(self.fd().as_raw_fd(), &raw) }?;
        Ok(())
    }

    /// VIDIOC_DQEVENT: takes the events that wait. Whether one of them tells of another signal.
    pub(super) fn take_source_change(self) -> bool {
        let mut has_changed = false;
        for _ in 0..MOST_EVENTS {
            let mut raw = RawEvent {
                kind: 0,
                payload: [0; 8],
                pending: 0,
                sequence: 0,
                timestamp: libc::timespec { tv_sec: 0, tv_nsec: 0 },
                id: 0,
                reserved: [0; 8],
            };
            // SAFETY: the kernel writes one v4l2_event, which is the layout of `raw`.
            if unsafe { calls::dqevent(self.fd().as_raw_fd(), &mut raw) }.is_err() {
                break;
            }
            has_changed |= raw.kind == SOURCE_CHANGE;
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request numbers of ioctls contain these sizes; a wrong size would be another ioctl.
    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        let wide = cfg!(target_pointer_width = "64");
        assert_eq!(size_of::<DvTimings>(), 132);
        assert_eq!(size_of::<RawEdid>(), if wide { 40 } else { 36 });
        assert_eq!(size_of::<RawEventSubscription>(), 32);
        if wide {
            assert_eq!(size_of::<RawEvent>(), 136);
        }
    }

    #[test]
    fn timings_give_the_rate() {
        // 1080p60 and 1080i50 as in CTA-861-G, table 1.
        let timings = DvTimings {
            width: 1920,
            height: 1080,
            pixel_clock: [148_500_000, 0],
            blank_pixels: [88, 44, 148],
            blank_lines: [4, 5, 36, 0, 0, 0],
            ..DvTimings::default()
        };
        assert_eq!(timings.fps(), Some(60.0));
        let interlaced = DvTimings {
            interlaced: 1,
            pixel_clock: [74_250_000, 0],
            blank_pixels: [528, 44, 148],
            blank_lines: [2, 5, 15, 2, 5, 16],
            ..timings
        };
        assert_eq!((interlaced.fps(), interlaced.is_interlaced()), (Some(25.0), true));
        assert!(timings.is_same_signal(&DvTimings { pixel_clock: [148_351_648, 0], ..timings }));
        assert!(!timings.is_same_signal(&DvTimings { pixel_clock: [74_250_000, 0], ..timings }));
        assert!(!timings.is_same_signal(&interlaced));
        assert_eq!(DvTimings::default().fps(), None);
        let wild = DvTimings { blank_pixels: [u32::MAX; 3], blank_lines: [u32::MAX; 6], ..timings };
        assert_eq!(wild.fps(), None);
    }
}
