//! What only unsafe code can ask of the kernel: the part of its video API that rscam leaves out, on descriptors
//! that are not ours to close, and a child's promise to die with its parent.
//!
//! Queries and controls only; buffers are mapped, queued and dequeued by rscam. Structures and numbers are those
//! of linux/videodev2.h. All calls go through libc's `ioctl`: libcamera's `libcamerify` stands in for cameras there.
#![allow(unsafe_code)]

mod controls;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

pub(super) use controls::ControlInfo;

/// A turn at making descriptors: held while a video device is opened, which makes one that does not close on exec
/// from birth, and while a child is made, which must not inherit it.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the kernel kill the child when the thread that starts it ends in any way, SIGKILL included.
pub(super) fn dies_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec the closure makes one system call, which may be made there, and allocates
    // nothing.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) }
}

/// Something that keeps a V4L2 device open, and the descriptor it does not show.
#[derive(Debug)]
pub(super) struct Held<T> {
    owner: T,
    fd: RawFd,
}

impl<T> Held<T> {
    /// Runs `open` and finds the V4L2 descriptor that came into being meanwhile, which `open`'s result must own
    /// for as long as it lives. Sets it to close on exec and not to block.
    ///
    /// Other threads may open and close other files in the meantime, but V4L2 devices only in turn, so the one
    /// descriptor more that answers as a video device is the right one. (Should a device be closed in the same
    /// moment and its number be taken again, there is none more: an error, and the next attempt succeeds.)
    pub(super) fn open(open: impl FnOnce() -> io::Result<T>) -> io::Result<Self> {
        let _turn = turn();
        let before = video_descriptors()?;
        let owner = open()?;
        let new = video_descriptors()?.into_iter().find(|fd| !before.contains(fd));
        let fd = new.ok_or_else(|| {
            io::Error::other("opened, but it does not answer VIDIOC_QUERYCAP as a camera does")
        })?;
        let held = Self { owner, fd };
        let device = held.device();
        fcntl(device.0, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let flags = OFlag::from_bits_retain(fcntl(device.0, FcntlArg::F_GETFL)?);
        fcntl(device.0, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(held)
    }

    /// The open device.
    pub(super) fn device(&self) -> Device<'_> {
        // SAFETY: `owner` keeps the descriptor open for as long as it lives, and `self` is borrowed meanwhile.
        Device(unsafe { BorrowedFd::borrow_raw(self.fd) })
    }

    pub(super) fn owner(&self) -> &T {
        &self.owner
    }

    pub(super) fn owner_mut(&mut self) -> &mut T {
        &mut self.owner
    }
}

/// Those of this process's descriptors that are video devices.
fn video_descriptors() -> io::Result<Vec<RawFd>> {
    let all: io::Result<Vec<RawFd>> = std::fs::read_dir("/proc/self/fd")?
        .map(|entry| entry?.file_name().to_string_lossy().parse().map_err(io::Error::other))
        .collect();
    let is_video = |&fd: &RawFd| {
        // SAFETY: at worst the descriptor has been closed since (that of the listing itself has), and the query
        // fails, or has become another file, and is asked the same question.
        Device(unsafe { BorrowedFd::borrow_raw(fd) }).capability().is_ok()
    };
    Ok(all?.into_iter().filter(is_video).collect())
}

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

/// What a device says it is.
#[derive(Clone, Debug)]
pub(super) struct Capability {
    pub(super) driver: String,
    pub(super) card: String,
    pub(super) bus: String,
    /// What this node, not the whole device, can do: `V4L2_CAP_*`.
    caps: u32,
}

const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
const CAP_VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
const CAP_VIDEO_M2M: u32 = 0x0000_8000;
const CAP_META_CAPTURE: u32 = 0x0080_0000;
const CAP_STREAMING: u32 = 0x0400_0000;
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

/// What kind of node a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// Gives pictures this service can take.
    Capture,
    /// Gives what the camera says about its pictures: UVC cameras have one beside each capture node.
    Metadata,
    /// Gives pictures in several buffers each, as ISP and sensor nodes do.
    MultiPlanar,
    /// An encoder, decoder or scaler.
    Converter,
    /// Anything else: radio, teletext, output.
    Other,
}

impl NodeKind {
    /// For messages: "is ..., not a camera".
    pub(super) fn in_words(self) -> &'static str {
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
    /// Whether `other` is the same node of the same camera: in the same port too if `exact`.
    pub(super) fn is_same(&self, other: &Self, exact: bool) -> bool {
        self.kind() == other.kind()
            && self.driver == other.driver
            && self.card == other.card
            && (!exact || self.bus == other.bus)
    }

    /// Whether `other` is a node of the same device, of whatever kind.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
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

/// `struct v4l2_format`: its union holds pointers elsewhere and is aligned for them.
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
    interval: Interval,
    extended: u32,
    read_buffers: u32,
    rest: [u32; 44],
}

/// Seconds from one frame to the next, as a fraction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
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

/// A buffer that the driver has filled and not yet given out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    /// The driver's stamp in microseconds, as rscam shows it for the same buffer.
    pub(super) stamp: u64,
    /// The stamp is of CLOCK_MONOTONIC.
    pub(super) is_monotonic: bool,
    /// The driver says the content is damaged.
    pub(super) is_damaged: bool,
    /// The driver's count of frames, those it had no buffer for included.
    pub(super) sequence: u32,
}

mod calls {
    use super::{RawBuffer, RawCapability, RawFormat, RawStreamParm};
    nix::ioctl_read!(querycap, b'V', 0, RawCapability);
    nix::ioctl_readwrite!(g_fmt, b'V', 4, RawFormat);
    nix::ioctl_readwrite!(s_fmt, b'V', 5, RawFormat);
    nix::ioctl_readwrite!(querybuf, b'V', 9, RawBuffer);
    nix::ioctl_readwrite!(s_parm, b'V', 22, RawStreamParm);
}

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`.
const MMAP: u32 = 1;

/// An open V4L2 device, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device<'fd>(BorrowedFd<'fd>);

impl<'fd> Device<'fd> {
    pub(super) fn new(fd: BorrowedFd<'fd>) -> Self {
        Self(fd)
    }

    pub(super) fn fd(self) -> BorrowedFd<'fd> {
        self.0
    }

    /// VIDIOC_QUERYCAP.
    pub(super) fn capability(self) -> io::Result<Capability> {
        let mut raw = RawCapability {
            driver: [0; 16],
            card: [0; 32],
            bus_info: [0; 32],
            version: 0,
            capabilities: 0,
            device_caps: 0,
            reserved: [0; 3],
        };
        // SAFETY: the kernel writes one v4l2_capability, which is what `raw` is laid out as.
        unsafe { calls::querycap(self.0.as_raw_fd(), &mut raw) }?;
        let caps = if raw.capabilities & CAP_DEVICE_CAPS != 0 { raw.device_caps } else { raw.capabilities };
        Ok(Capability { driver: text(&raw.driver), card: text(&raw.card), bus: text(&raw.bus_info), caps })
    }

    /// VIDIOC_G_FMT: what the device is set to.
    pub(super) fn format(self) -> io::Result<PixFormat> {
        let mut raw = raw_format(PixFormat::default());
        // SAFETY: the kernel reads and writes one v4l2_format, which is what `raw` is laid out as.
        unsafe { calls::g_fmt(self.0.as_raw_fd(), &mut raw) }?;
        Ok(raw.union.pix)
    }

    /// VIDIOC_S_FMT: asks for a format and size; returns what the driver made of it.
    pub(super) fn set_format(self, fourcc: [u8; 4], (width, height): (u32, u32)) -> io::Result<PixFormat> {
        let mut raw = raw_format(PixFormat { width, height, fourcc, ..PixFormat::default() });
        // SAFETY: as in `format`.
        unsafe { calls::s_fmt(self.0.as_raw_fd(), &mut raw) }?;
        Ok(raw.union.pix)
    }

    /// VIDIOC_S_PARM: asks for a frame interval; returns what the driver made of it.
    pub(super) fn set_interval(self, interval: Interval) -> io::Result<Interval> {
        let mut raw = RawStreamParm {
            kind: CAPTURE,
            capability: 0,
            mode: 0,
            interval,
            extended: 0,
            read_buffers: 0,
            rest: [0; 44],
        };
        // SAFETY: the kernel reads and writes one v4l2_streamparm, which is what `raw` is laid out as.
        unsafe { calls::s_parm(self.0.as_raw_fd(), &mut raw) }?;
        Ok(raw.interval)
    }

    /// VIDIOC_QUERYBUF: buffer `index`, if the driver has filled it and not yet given it out.
    pub(super) fn filled(self, index: u32) -> io::Result<Option<Filled>> {
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
        // SAFETY: the kernel reads and writes one v4l2_buffer, which is what `raw` is laid out as.
        unsafe { calls::querybuf(self.0.as_raw_fd(), &mut raw) }?;
        Ok((raw.flags & (BUF_FLAG_DONE | BUF_FLAG_ERROR) != 0).then_some(Filled {
            stamp: raw.timestamp.tv_sec as u64 * 1_000_000 + raw.timestamp.tv_usec as u64,
            is_monotonic: raw.flags & BUF_FLAG_TIMESTAMP_MASK == BUF_FLAG_TIMESTAMP_MONOTONIC,
            // A driver must not claim more than the buffer holds; if it does, nothing may be read from it.
            is_damaged: raw.flags & BUF_FLAG_ERROR != 0 || raw.bytes_used > raw.length,
            sequence: raw.sequence,
        }))
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

    /// Sizes the kernel encodes in the numbers of its calls; a wrong one would be another call.
    #[test]
    fn structures_have_the_kernels_sizes() {
        let wide = cfg!(target_pointer_width = "64");
        assert_eq!(size_of::<RawCapability>(), 104);
        assert_eq!(size_of::<RawFormat>(), if wide { 208 } else { 204 });
        assert_eq!(size_of::<RawStreamParm>(), 204);
        assert_eq!(size_of::<RawBuffer>(), if wide { 88 } else { 68 });
    }

    #[test]
    fn a_held_descriptor_is_found_only_if_it_is_a_camera() {
        let error = Held::open(|| std::fs::File::open("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("VIDIOC_QUERYCAP"), "{error}");
    }
}
