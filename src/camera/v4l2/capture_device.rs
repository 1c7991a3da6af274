//! A V4L2 device that rscam opens, sets up, starts and stops. The only file that uses rscam.
//!
//! rscam has been unmaintained since 2019. Its limits are handled here:
//! - It hides its descriptor and opens it blocking. [`DeviceOwner`] finds the descriptor and sets O_NONBLOCK and O_CLOEXEC.
//! - Its `Frame` shows neither buffer flags nor sequence numbers, and queues its buffer on a descriptor that may belong to another
//!   file by then if it is dropped after its `Camera`. Buffers are dequeued and queued here, and mapped once more. So a frame takes
//!   two ioctls, VIDIOC_DQBUF, which tells all of it, and VIDIOC_QBUF.
//! - Starting a `Camera` twice panics. Every start uses a new one.
//! - It rejects a size, interval or field that the driver rounds, and drivers without intervals. The mode is set first, in
//!   `set_mode`, and rscam gets the result. Which devices it serves is decided in `capture_node`.
//! - It does not show the row length. That is known from `set_mode`.
//! - Its lists of formats and controls end early, or never. They are not used.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use rscam::{Camera, Config};

use super::buffer_ioctls::{BufferInfo, Mapping, PlaneArea};
use super::device_owner::DeviceOwner;
use super::format_ioctls::{DriverFormat, FrameInterval};
use super::ioctl::{BufferType, Device};

/// Buffers that are shared with the driver: one is filled, one is full, one is encoded, one is in reserve.
const BUFFERS: u32 = 4;

/// An open capture device.
pub(in crate::camera) struct CaptureDevice {
    /// Those that were dequeued once, by their index. Unmapped before the device is closed, so that the driver can free them.
    buffers: [Option<Mapping>; BUFFERS as usize],
    owner: DeviceOwner<Camera>,
}

impl CaptureDevice {
    /// Opens the device at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = path.display().to_string();
        let owner = DeviceOwner::open(Path::new(&path), || Camera::new(&path))?;
        Ok(Self { buffers: Default::default(), owner })
    }

    pub(super) fn device(&self) -> Device<'_> {
        self.owner.device()
    }

    /// Starts streaming in the mode that is set already.
    ///
    /// # Errors
    /// `Unsupported` when rscam rejects what the driver answers, for example another interval than before.
    pub(super) fn start(&mut self, format: &DriverFormat, interval: FrameInterval) -> io::Result<()> {
        let config = Config {
            interval: (interval.numerator, interval.denominator),
            resolution: (format.width, format.height),
            format: &format.fourcc,
            field: format.field,
            nbuffers: BUFFERS,
        };
        self.owner.owner_mut().start(&config).map_err(|error| match error {
            rscam::Error::Io(error) => error,
            other => io::Error::new(io::ErrorKind::Unsupported, other.to_string()),
        })
    }

    /// Dequeues a filled buffer and passes it to `sink`: the data, and what the driver says of the buffer. The buffer is queued
    /// again when this returns.
    ///
    /// # Errors
    /// `WouldBlock` when no buffer is filled.
    pub(super) fn dequeue(&mut self, sink: impl FnOnce(&[u8], BufferInfo)) -> io::Result<()> {
        const TYPE: BufferType = BufferType::Capture;
        let Self { buffers, owner } = self;
        let device = owner.device();
        let dequeued = device.dequeue(TYPE)?;
        let unknown = || io::Error::other(format!("the driver returned buffer {}", dequeued.index));
        let buffer = buffers.get_mut(dequeued.index as usize).ok_or_else(unknown)?;
        let mapping = match buffer {
            Some(mapping) => mapping,
            None => buffer.insert(map(device, dequeued.index, dequeued.area)?),
        };
        // If that is more than the buffer has, nothing may be read from it.
        let is_damaged = dequeued.info.is_damaged;
        let filled = mapping.bytes().get(..dequeued.planes[0].bytes_used).filter(|_| !is_damaged);
        sink(filled.unwrap_or_default(), dequeued.info);
        device.queue(TYPE, dequeued.index)
    }
}

/// Maps a buffer that was dequeued from `area`.
fn map(device: Device<'_>, index: u32, area: Option<PlaneArea>) -> io::Result<Mapping> {
    let area = match area {
        Some(area) => area,
        // The driver told it with VIDIOC_QUERYBUF alone.
        None => {
            let areas = device.plane_areas(BufferType::Capture, index)?;
            areas.first().copied().ok_or_else(|| io::Error::other("the driver has no memory for buffers"))?
        }
    };
    Mapping::new(device.fd(), area)
}
