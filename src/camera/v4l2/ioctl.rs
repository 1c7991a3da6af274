//! The ioctls of a V4L2 device and their structures.
//!
//! Queries and settings only: rscam maps, queues and dequeues buffers. Structures and numbers are those of linux/videodev2.h.
//! All calls go through `ioctl` of libc, because `libcamerify` of libcamera replaces it to provide cameras.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawCapability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

/// What a device reports about itself.
#[derive(Clone, Debug)]
pub(in crate::camera) struct Capability {
    pub(in crate::camera) driver: String,
    pub(in crate::camera) card: String,
    pub(in crate::camera) bus: String,
    /// The capabilities of this node, not of the whole device: `V4L2_CAP_*`.
    caps: u32,
}

const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
const CAP_VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
const CAP_VIDEO_M2M: u32 = 0x0000_8000;
const CAP_META_CAPTURE: u32 = 0x0080_0000;
const CAP_STREAMING: u32 = 0x0400_0000;
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

/// The kind of a video node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// Delivers pictures that this service can use.
    Capture,
    /// Delivers metadata of pictures. UVC cameras have such a node beside each capture node.
    Metadata,
    /// Delivers pictures in several buffers each, like ISP and sensor nodes.
    MultiPlanar,
    /// An encoder, decoder or scaler.
    Converter,
    /// Any other node: radio, teletext, output.
    Other,
}

impl NodeKind {
    /// For messages: "is ..., not a camera".
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Capture => "a capture node",
            Self::Metadata => "a metadata node",
            Self::MultiPlanar => "a multi-planar node of an image processor",
            Self::Converter => "a video converter",
            Self::Other => "a video node of another kind",
        }
    }
}

impl Capability {
    /// Whether `other` is the same node of a camera of the same model, in any port.
    pub(super) fn is_same_model(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.driver == other.driver && self.card == other.card
    }

    /// Whether `other` is the same node of a camera of the same model in the same port.
    pub(super) fn is_same_camera(&self, other: &Self) -> bool {
        self.is_same_model(other) && self.bus == other.bus
    }

    /// Whether `other` is a node of the same device, of any kind.
    pub(super) fn is_same_device(&self, other: &Self) -> bool {
        self.driver == other.driver && self.bus == other.bus
    }

    pub(super) fn kind(&self) -> NodeKind {
        let has = |cap| self.caps & cap == cap;
        if has(CAP_VIDEO_M2M) || has(CAP_VIDEO_M2M_MPLANE) {
            NodeKind::Converter
        } else if has(CAP_VIDEO_CAPTURE | CAP_STREAMING) {
            NodeKind::Capture
        } else if has(CAP_META_CAPTURE) {
            NodeKind::Metadata
        } else if has(CAP_VIDEO_CAPTURE_MPLANE) {
            NodeKind::MultiPlanar
        } else {
            NodeKind::Other
        }
    }
}

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

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PixFormat {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) fourcc: [u8; 4],
    pub(super) field: u32,
    pub(super) bytes_per_line: u32,
    pub(super) size_image: u32,
    colorspace: u32,
    private: u32,
    flags: u32,
    encoding: u32,
    quantization: u32,
    transfer: u32,
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
struct FormatUnion {
    pix: PixFormat,
    rest: [u8; 152],
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

/// Seconds per frame, as a fraction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameInterval {
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

/// `struct v4l2_buffer` of a single-planar, memory-mapped buffer.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawBuffer {
    index: u32,
    kind: u32,
    bytes_used: u32,
    flags: u32,
    field: u32,
    timestamp: libc::timeval,
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    offset: libc::c_ulong,
    length: u32,
    reserved: [u32; 2],
}

const BUF_FLAG_DONE: u32 = 0x0000_0004;
const BUF_FLAG_ERROR: u32 = 0x0000_0040;
const BUF_FLAG_TIMESTAMP_MASK: u32 = 0x0000_e000;
const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;

/// What the driver reports of a buffer.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) struct BufferInfo {
    /// The driver has filled the buffer, and it has not been dequeued.
    pub(in crate::camera) is_filled: bool,
    /// The driver's timestamp in microseconds. rscam returns the same number with the buffer.
    pub(in crate::camera) timestamp_us: u64,
    /// The timestamp is of CLOCK_MONOTONIC.
    pub(in crate::camera) is_monotonic: bool,
    /// The content is damaged.
    pub(in crate::camera) is_damaged: bool,
    /// The driver's frame number. It also counts frames for which there was no buffer.
    pub(in crate::camera) sequence: u32,
}

mod calls {
    use crate::camera::v4l2::ioctl::{
        RawBuffer, RawCapability, RawFormat, RawFormatDescription, RawStreamParm,
    };
    nix::ioctl_read!(querycap, b'V', 0, RawCapability);
    nix::ioctl_readwrite!(enum_fmt, b'V', 2, RawFormatDescription);
    nix::ioctl_readwrite!(g_fmt, b'V', 4, RawFormat);
    nix::ioctl_readwrite!(s_fmt, b'V', 5, RawFormat);
    nix::ioctl_readwrite!(querybuf, b'V', 9, RawBuffer);
    nix::ioctl_readwrite!(s_parm, b'V', 22, RawStreamParm);
}

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`.
const MMAP: u32 = 1;

/// A borrowed descriptor of an open V4L2 device.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) struct Device<'fd>(BorrowedFd<'fd>);

impl<'fd> Device<'fd> {
    pub(super) fn new(fd: BorrowedFd<'fd>) -> Self {
        Self(fd)
    }

    pub(in crate::camera) fn fd(self) -> BorrowedFd<'fd> {
        self.0
    }

    /// VIDIOC_QUERYCAP.
    pub(in crate::camera) fn capability(self) -> io::Result<Capability> {
        let mut raw = RawCapability {
            driver: [0; 16],
            card: [0; 32],
            bus_info: [0; 32],
            version: 0,
            capabilities: 0,
            device_caps: 0,
            reserved: [0; 3],
        };
        // SAFETY: the kernel writes one v4l2_capability, which is the layout of `raw`.
        unsafe { calls::querycap(self.0.as_raw_fd(), &mut raw) }?;
        let caps = if raw.capabilities & CAP_DEVICE_CAPS != 0 { raw.device_caps } else { raw.capabilities };
        Ok(Capability { driver: text(&raw.driver), card: text(&raw.card), bus: text(&raw.bus_info), caps })
    }

    /// VIDIOC_ENUM_FMT: the four-character codes of all formats.
    pub(super) fn formats(self) -> impl Iterator<Item = [u8; 4]> {
        // No driver has as many. One that never ends the list would make this endless.
        (0..256).map_while(move |index| {
            let mut raw = RawFormatDescription {
                index,
                kind: CAPTURE,
                flags: 0,
                description: [0; 32],
                fourcc: [0; 4],
                rest: [0; 4],
            };
            // SAFETY: the kernel reads and writes one v4l2_fmtdesc, which is the layout of `raw`.
            unsafe { calls::enum_fmt(self.0.as_raw_fd(), &mut raw) }.ok()?;
            Some(raw.fourcc)
        })
    }

    /// VIDIOC_G_FMT: the current format.
    pub(super) fn format(self) -> io::Result<PixFormat> {
        let mut raw = raw_format(PixFormat::default());
        // SAFETY: the kernel reads and writes one v4l2_format, which is the layout of `raw`.
        unsafe { calls::g_fmt(self.0.as_raw_fd(), &mut raw) }?;
        Ok(raw.union.pix)
    }

    /// VIDIOC_S_FMT: requests a format and size; returns what the driver chose.
    pub(super) fn set_format(self, fourcc: [u8; 4], (width, height): (u32, u32)) -> io::Result<PixFormat> {
        let mut raw = raw_format(PixFormat { width, height, fourcc, ..PixFormat::default() });
        // SAFETY: as in `format`.
        unsafe { calls::s_fmt(self.0.as_raw_fd(), &mut raw) }?;
        Ok(raw.union.pix)
    }

    /// VIDIOC_S_PARM: requests a frame interval; returns what the driver chose.
    pub(super) fn set_interval(self, interval: FrameInterval) -> io::Result<FrameInterval> {
        let mut raw = RawStreamParm {
            kind: CAPTURE,
            capability: 0,
            mode: 0,
            interval,
            extended: 0,
            read_buffers: 0,
            rest: [0; 44],
        };
        // SAFETY: the kernel reads and writes one v4l2_streamparm, which is the layout of `raw`.
        unsafe { calls::s_parm(self.0.as_raw_fd(), &mut raw) }?;
        Ok(raw.interval)
    }

    /// VIDIOC_QUERYBUF: buffer `index`.
    pub(super) fn buffer(self, index: u32) -> io::Result<BufferInfo> {
        let mut raw = RawBuffer {
            index,
            kind: CAPTURE,
            bytes_used: 0,
            flags: 0,
            field: 0,
            timestamp: libc::timeval { tv_sec: 0, tv_usec: 0 },
            timecode: [0; 4],
            sequence: 0,
            memory: MMAP,
            offset: 0,
            length: 0,
            reserved: [0; 2],
        };
        // SAFETY: the kernel reads and writes one v4l2_buffer, which is the layout of `raw`.
        unsafe { calls::querybuf(self.0.as_raw_fd(), &mut raw) }?;
        Ok(BufferInfo {
            is_filled: raw.flags & (BUF_FLAG_DONE | BUF_FLAG_ERROR) != 0,
            timestamp_us: raw.timestamp.tv_sec as u64 * 1_000_000 + raw.timestamp.tv_usec as u64,
            is_monotonic: raw.flags & BUF_FLAG_TIMESTAMP_MASK == BUF_FLAG_TIMESTAMP_MONOTONIC,
            // If a driver claims more bytes than the buffer has, nothing may be read from it.
            is_damaged: raw.flags & BUF_FLAG_ERROR != 0 || raw.bytes_used > raw.length,
            sequence: raw.sequence,
        })
    }
}

fn raw_format(pix: PixFormat) -> RawFormat {
    RawFormat { kind: CAPTURE, union: FormatUnion { pix, rest: [0; 152] } }
}

/// A NUL-terminated field as text.
pub(super) fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field.split(|&b| b == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request numbers of ioctls contain these sizes; a wrong size would be another ioctl.
    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        let wide = cfg!(target_pointer_width = "64");
        assert_eq!(size_of::<RawCapability>(), 104);
        assert_eq!(size_of::<RawFormatDescription>(), 64);
        assert_eq!(size_of::<RawFormat>(), if wide { 208 } else { 204 });
        assert_eq!(size_of::<RawStreamParm>(), 204);
        assert_eq!(size_of::<RawBuffer>(), if wide { 88 } else { 68 });
    }
}
