//! The ioctls that list and set formats, sizes and rates. What to do with their answers does not belong here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use super::ioctl::{BufferType, Device};

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawFormatDescription {
    index: u32,
    kind: u32,
    flags: u32,
    description: [u8; 32],
    fourcc: [u8; 4],
    rest: [u32; 4],
}

/// `struct v4l2_frmsizeenum`. `size` is width and height, or least, largest and step of the width, then of the height.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawFrameSize {
    index: u32,
    fourcc: [u8; 4],
    kind: u32,
    size: [u32; 6],
    reserved: [u32; 2],
}

/// `struct v4l2_frmivalenum`. `interval` is one interval, or the shortest, the longest and the step.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawFrameInterval {
    index: u32,
    fourcc: [u8; 4],
    width: u32,
    height: u32,
    kind: u32,
    interval: [FrameInterval; 3],
    reserved: [u32; 2],
}

/// `V4L2_FRMSIZE_TYPE_DISCRETE` and `V4L2_FRMIVAL_TYPE_DISCRETE`.
const DISCRETE: u32 = 1;

/// A size that a driver lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListedSize {
    Discrete((u32, u32)),
    Stepwise { min: (u32, u32), max: (u32, u32), step: (u32, u32) },
}

/// A frame interval that a driver lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListedInterval {
    Discrete(FrameInterval),
    Range { shortest: FrameInterval, longest: FrameInterval },
}

/// Seconds per frame, as a fraction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameInterval {
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

impl FrameInterval {
    /// Frames per second; `None` if the interval is none, or not one of a camera.
    pub(super) fn fps(self) -> Option<f32> {
        let fps = self.denominator as f32 / self.numerator as f32;
        (fps.is_finite() && (MIN_FPS..=MAX_FPS).contains(&fps)).then_some(fps)
    }
}

/// The slowest and the fastest rate that can be true, in frames per second. Drivers that do not know their rate report 0/0,
/// 1/1000000 or the like. A rate that is believed decides when a camera has stalled.
const MIN_FPS: f32 = 0.01;
const MAX_FPS: f32 = 1000.0;

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawPixFormat {
    width: u32,
    height: u32,
    fourcc: [u8; 4],
    field: u32,
    bytes_per_line: u32,
    size_image: u32,
    rest: [u32; 6],
}

/// `VIDEO_MAX_PLANES`.
pub(super) const MAX_PLANES: usize = 8;

/// `struct v4l2_plane_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawPlaneFormat {
    size_image: u32,
    bytes_per_line: u32,
    reserved: [u16; 6],
}

/// `struct v4l2_pix_format_mplane`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawPixFormatMplane {
    width: u32,
    height: u32,
    fourcc: [u8; 4],
    field: u32,
    colorspace: u32,
    planes: [RawPlaneFormat; MAX_PLANES],
    num_planes: u8,
    rest: [u8; 11],
}

/// `struct v4l2_format`. Its union has pointers in other variants, and is aligned for them.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawFormat {
    kind: u32,
    union: FormatUnion,
}

#[cfg_attr(target_pointer_width = "64", repr(C, align(8)))]
#[cfg_attr(target_pointer_width = "32", repr(C, align(4)))]
#[derive(Clone, Copy)]
union FormatUnion {
    pix: RawPixFormat,
    multi: RawPixFormatMplane,
    bytes: [u8; 200],
}

/// `struct v4l2_streamparm` of a capture device.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawStreamParm {
    kind: u32,
    capability: u32,
    mode: u32,
    interval: FrameInterval,
    extended: u32,
    read_buffers: u32,
    rest: [u32; 44],
}

/// `struct v4l2_selection`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawSelection {
    kind: u32,
    target: u32,
    flags: u32,
    left: i32,
    top: i32,
    width: u32,
    height: u32,
    reserved: [u32; 9],
}

/// Selections take the single-planar type of a queue, whatever it is (kernel documentation, "VIDIOC_S_SELECTION").
const BUF_TYPE_VIDEO_OUTPUT: u32 = 2;
/// `V4L2_SEL_TGT_CROP`.
const TARGET_CROP: u32 = 0;

mod calls {
    nix::ioctl_readwrite!(enum_fmt, b'V', 2, super::RawFormatDescription);
    nix::ioctl_readwrite!(s_fmt, b'V', 5, super::RawFormat);
    nix::ioctl_readwrite!(g_parm, b'V', 21, super::RawStreamParm);
    nix::ioctl_readwrite!(s_parm, b'V', 22, super::RawStreamParm);
    nix::ioctl_readwrite!(s_selection, b'V', 95, super::RawSelection);
    nix::ioctl_readwrite!(enum_framesizes, b'V', 74, super::RawFrameSize);
    nix::ioctl_readwrite!(enum_frameintervals, b'V', 75, super::RawFrameInterval);
}

/// Most entries of a list that are read. No driver has as many. One that never ends its list would hold a thread for ever.
const MOST_ENTRIES: u32 = 256;

/// What a driver chose for VIDIOC_S_FMT.
#[derive(Clone, Debug)]
pub(super) struct DriverFormat {
    pub(super) fourcc: [u8; 4],
    pub(super) width: u32,
    pub(super) height: u32,
    /// `enum v4l2_field`.
    pub(super) field: u32,
    /// One for each piece of memory that a picture has; at least one.
    pub(super) planes: Vec<PlaneFormat>,
}

/// One piece of memory of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaneFormat {
    pub(super) bytes_per_line: u32,
    pub(super) size_image: u32,
}

impl Device<'_> {
    /// VIDIOC_ENUM_FMT: the four-character codes of all formats.
    pub(super) fn fourccs(self, buffers: BufferType) -> impl Iterator<Item = [u8; 4]> {
        (0..MOST_ENTRIES).map_while(move |index| {
            let mut raw = RawFormatDescription {
                index,
                kind: buffers as u32,
                flags: 0,
                description: [0; 32],
                fourcc: [0; 4],
                rest: [0; 4],
            };
            // SAFETY: the kernel reads and writes one v4l2_fmtdesc, which is the layout of `raw`.
            unsafe { calls::enum_fmt(self.fd().as_raw_fd(), &mut raw) }.ok()?;
            Some(raw.fourcc)
        })
    }

    /// VIDIOC_ENUM_FRAMESIZES: the sizes of a format; none if the driver does not list them.
    pub(super) fn sizes(self, fourcc: [u8; 4]) -> Vec<ListedSize> {
        let mut sizes = Vec::new();
        for index in 0..MOST_ENTRIES {
            let mut raw = RawFrameSize { index, fourcc, kind: 0, size: [0; 6], reserved: [0; 2] };
            // SAFETY: the kernel reads and writes one v4l2_frmsizeenum, which is the layout of `raw`.
            if unsafe { calls::enum_framesizes(self.fd().as_raw_fd(), &mut raw) }.is_err() {
                break;
            }
            let [a, b, c, d, e, f] = raw.size;
            if raw.kind != DISCRETE {
                // There is one range and nothing else.
                return vec![ListedSize::Stepwise { min: (a, d), max: (b, e), step: (c, f) }];
            }
            sizes.push(ListedSize::Discrete((a, b)));
        }
        sizes
    }

    /// VIDIOC_ENUM_FRAMEINTERVALS: the intervals of a format and size; none if the driver does not list them.
    pub(super) fn intervals(self, fourcc: [u8; 4], (width, height): (u32, u32)) -> Vec<ListedInterval> {
        let mut intervals = Vec::new();
        for index in 0..MOST_ENTRIES {
            let interval = [FrameInterval::default(); 3];
            let mut raw =
                RawFrameInterval { index, fourcc, width, height, kind: 0, interval, reserved: [0; 2] };
            // SAFETY: the kernel reads and writes one v4l2_frmivalenum, which is the layout of `raw`.
            if unsafe { calls::enum_frameintervals(self.fd().as_raw_fd(), &mut raw) }.is_err() {
                break;
            }
            let [shortest, longest, _] = raw.interval;
            if raw.kind != DISCRETE {
                return vec![ListedInterval::Range { shortest, longest }];
            }
            intervals.push(ListedInterval::Discrete(shortest));
        }
        intervals
    }

    /// VIDIOC_S_FMT: requests a format, size and field order; returns what the driver chose.
    pub(super) fn set_format(
        self,
        buffers: BufferType,
        fourcc: [u8; 4],
        size: (u32, u32),
        field: u32,
    ) -> io::Result<DriverFormat> {
        self.set_format_of_bytes(buffers, fourcc, size, field, 0)
    }

    /// The same with a wish for the bytes of the first plane of a multi-planar format: some encoders do not choose a size for
    /// what they encode.
    pub(super) fn set_format_of_bytes(
        self,
        buffers: BufferType,
        fourcc: [u8; 4],
        (width, height): (u32, u32),
        field: u32,
        size_image: u32,
    ) -> io::Result<DriverFormat> {
        let mut raw = RawFormat { kind: buffers as u32, union: FormatUnion { bytes: [0; 200] } };
        match buffers {
            BufferType::Capture => {
                raw.union.pix = RawPixFormat { width, height, fourcc, field, ..RawPixFormat::default() };
            }
            BufferType::CaptureMplane | BufferType::OutputMplane => {
                let mut multi = RawPixFormatMplane { width, height, fourcc, field, ..Default::default() };
                (multi.num_planes, multi.planes[0].size_image) = (1, size_image);
                raw.union.multi = multi;
            }
        }
        // SAFETY: the kernel reads and writes one v4l2_format, which is the layout of `raw`.
        unsafe { calls::s_fmt(self.fd().as_raw_fd(), &mut raw) }?;
        match buffers {
            BufferType::Capture => {
                // SAFETY: all 200 bytes were initialised, and every field is an integer.
                let RawPixFormat { width, height, fourcc, field, bytes_per_line, size_image, .. } =
                    unsafe { raw.union.pix };
                let planes = vec![PlaneFormat { bytes_per_line, size_image }];
                Ok(DriverFormat { fourcc, width, height, field, planes })
            }
            BufferType::CaptureMplane | BufferType::OutputMplane => {
                // SAFETY: as above.
                let multi = unsafe { raw.union.multi };
                let RawPixFormatMplane { width, height, fourcc, field, num_planes, .. } = multi;
                let planes = multi.planes.iter().take(usize::from(num_planes).max(1));
                let planes = planes.map(|plane| PlaneFormat {
                    bytes_per_line: plane.bytes_per_line,
                    size_image: plane.size_image,
                });
                Ok(DriverFormat { fourcc, width, height, field, planes: planes.collect() })
            }
        }
    }

    /// VIDIOC_S_PARM: requests a frame interval; returns what the driver chose.
    pub(super) fn set_interval(
        self,
        buffers: BufferType,
        interval: FrameInterval,
    ) -> io::Result<FrameInterval> {
        let mut raw = stream_parm(buffers, interval);
        // SAFETY: the kernel reads and writes one v4l2_streamparm, which is the layout of `raw`.
        unsafe { calls::s_parm(self.fd().as_raw_fd(), &mut raw) }?;
        Ok(raw.interval)
    }

    /// VIDIOC_G_PARM: the frame interval.
    pub(super) fn interval(self, buffers: BufferType) -> io::Result<FrameInterval> {
        let mut raw = stream_parm(buffers, FrameInterval::default());
        // SAFETY: as in `set_interval`.
        unsafe { calls::g_parm(self.fd().as_raw_fd(), &mut raw) }?;
        Ok(raw.interval)
    }
}

impl Device<'_> {
    /// VIDIOC_S_SELECTION: tells an encoder how much of its pictures is to be encoded, from the upper left corner.
    pub(super) fn set_encoded_size(self, (width, height): (u32, u32)) -> io::Result<()> {
        let (kind, target) = (BUF_TYPE_VIDEO_OUTPUT, TARGET_CROP);
        let mut raw =
            RawSelection { kind, target, flags: 0, left: 0, top: 0, width, height, reserved: [0; 9] };
        // SAFETY: the kernel reads and writes one v4l2_selection, which is the layout of `raw`.
        unsafe { calls::s_selection(self.fd().as_raw_fd(), &mut raw) }?;
        Ok(())
    }
}

fn stream_parm(buffers: BufferType, interval: FrameInterval) -> RawStreamParm {
    RawStreamParm {
        kind: buffers as u32,
        capability: 0,
        mode: 0,
        interval,
        extended: 0,
        read_buffers: 0,
        rest: [0; 44],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request numbers of ioctls contain these sizes; a wrong size would be another ioctl.
    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        let wide = cfg!(target_pointer_width = "64");
        assert_eq!(size_of::<RawFormatDescription>(), 64);
        assert_eq!(size_of::<RawFrameSize>(), 44);
        assert_eq!(size_of::<RawFrameInterval>(), 52);
        assert_eq!(size_of::<RawPixFormat>(), 48);
        assert_eq!(size_of::<RawPixFormatMplane>(), 192);
        assert_eq!(size_of::<RawFormat>(), if wide { 208 } else { 204 });
        assert_eq!(size_of::<RawStreamParm>(), 204);
        assert_eq!(size_of::<RawSelection>(), 64);
    }

    #[test]
    fn an_interval_that_cannot_be_true_gives_no_rate() {
        let fps = |numerator, denominator| FrameInterval { numerator, denominator }.fps();
        assert_eq!(fps(1001, 30_000), Some(30_000.0 / 1001.0));
        for (numerator, denominator) in [(0, 0), (0, 30), (1, 0), (1, 1_000_000), (u32::MAX, 1)] {
            assert_eq!(fps(numerator, denominator), None, "{numerator}/{denominator}");
        }
    }
}
