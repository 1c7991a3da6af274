//! A V4L2 device from which pictures are captured, through rscam. The only file that uses rscam.
//!
//! rscam has been unmaintained since 2019. Its limits are handled here:
//! - It hides its descriptor and opens it blocking. [`DeviceOwner`] finds the descriptor and sets O_NONBLOCK and O_CLOEXEC. A
//!   buffer is dequeued only after a wait with a deadline reported one.
//! - A `Frame` that is dropped after its `Camera` would queue a buffer on a descriptor that may belong to another file by then.
//!   No frame leaves [`CaptureDevice::dequeue`].
//! - Starting a `Camera` twice panics. Every start uses a new one.
//! - It rejects a size, interval or field that the driver rounds, and drivers without intervals. The mode is set first, in
//!   `set_mode`, and rscam gets the result. Which devices it serves is decided in `capture_node`.
//! - It shows neither row length nor buffer flags nor sequence numbers. They are queried beside it, for the one buffer that
//!   comes next.
//! - Its lists of formats and controls end early, or never. They are not used.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use rscam::{Camera, Config};

use super::buffer_ioctls::BufferInfo;
use super::device_owner::DeviceOwner;
use super::format_ioctls::{DriverFormat, FrameInterval};
use super::ioctl::Device;

/// Buffers that are shared with the driver: one is filled, one is full, one is encoded, one is in reserve.
const BUFFERS: u32 = 4;

/// An open capture device.
pub(in crate::camera) struct CaptureDevice {
    owner: DeviceOwner<Camera>,
    order: BufferOrder,
}

impl CaptureDevice {
    /// Opens the device at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = path.display().to_string();
        Ok(Self {
            owner: DeviceOwner::open(Path::new(&path), || Camera::new(&path))?,
            order: BufferOrder::default(),
        })
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
        })?;
        // As rscam queued them.
        self.order = BufferOrder { next: Some(0) };
        Ok(())
    }

    /// Dequeues a filled buffer and passes it to `sink`: the data, the timestamp in microseconds, and what VIDIOC_QUERYBUF
    /// reports of the buffer. The buffer is queued again when this returns.
    ///
    /// # Errors
    /// `WouldBlock` when no buffer is filled.
    pub(super) fn dequeue(&mut self, sink: impl FnOnce(&[u8], u64, Option<BufferInfo>)) -> io::Result<()> {
        let device = self.owner.device();
        let query = |index| device.buffer(index).ok();
        // Before the buffer is dequeued: afterwards it has no flags any more.
        let filled = self.order.filled(query);
        let frame = self.owner.owner().capture()?;
        let timestamp_us = frame.get_timestamp();
        let info = self.order.dequeued(filled, timestamp_us, query);
        // rscam's frame is as long as the driver says. If that is more than the buffer has, it must not be touched.
        let is_damaged = info.is_some_and(|info| info.is_damaged);
        sink(if is_damaged { &[] } else { &frame }, timestamp_us, info);
        Ok(())
    }
}

/// Buffers by their index.
type BufferInfos = [Option<BufferInfo>; BUFFERS as usize];

/// The order in which the driver returns buffers: that in which they were queued, so the indices go round.
#[derive(Debug, Default)]
struct BufferOrder {
    /// The buffer that comes next; `None` when it is not known and all must be queried.
    next: Option<u32>,
}

impl BufferOrder {
    /// Queries the buffer that comes next. Queries all if it is not known or not filled.
    fn filled(&self, query: impl Fn(u32) -> Option<BufferInfo>) -> BufferInfos {
        let query = |index| query(index).filter(|info| info.is_filled);
        let mut found = BufferInfos::default();
        if let Some(next) = self.next {
            found[next as usize] = query(next);
        }
        if found.iter().all(Option::is_none) {
            found = std::array::from_fn(|index| query(index as u32));
        }
        found
    }

    /// The buffer with this timestamp was dequeued: what `filled` says of it, and which comes next. If `filled` has another one,
    /// queries all buffers; whether the content is damaged is not known then.
    fn dequeued(
        &mut self,
        filled: BufferInfos,
        timestamp_us: u64,
        query: impl Fn(u32) -> Option<BufferInfo>,
    ) -> Option<BufferInfo> {
        let index_in = |infos: &BufferInfos| {
            infos.iter().position(|info| info.is_some_and(|info| info.timestamp_us == timestamp_us))
        };
        let mut infos = filled;
        let mut index = index_in(&infos);
        if index.is_none() {
            infos = std::array::from_fn(|index| query(index as u32));
            index = index_in(&infos);
        }
        self.next = index.map(|index| (index as u32 + 1) % BUFFERS);
        infos[index?]
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn info(timestamp_us: u64, is_filled: bool) -> Option<BufferInfo> {
        Some(BufferInfo { is_filled, timestamp_us, is_monotonic: true, is_damaged: false, sequence: 7 })
    }

    #[test]
    fn only_the_next_buffer_is_queried_until_another_one_comes() {
        let queries = Cell::new(0);
        let mut order = BufferOrder::default();
        // All buffers are filled; the timestamp is that of the buffer that is dequeued.
        let mut dequeue = |timestamps: [u64; 4], dequeued: u64| {
            queries.set(0);
            let query = |index: u32| {
                queries.set(queries.get() + 1);
                info(timestamps[index as usize], true)
            };
            let filled = order.filled(query);
            let info = order.dequeued(filled, dequeued, query);
            (info.map(|info| info.timestamp_us), queries.get())
        };
        assert_eq!(dequeue([10, 20, 30, 40], 10), (Some(10), 4), "the first is not known");
        assert_eq!(dequeue([50, 20, 30, 40], 20), (Some(20), 1));
        assert_eq!(dequeue([50, 60, 30, 40], 40), (Some(40), 5), "another one than expected");
        assert_eq!(dequeue([50, 60, 30, 80], 50), (Some(50), 1));
        assert_eq!(
            dequeue([90, 60, 30, 80], 99),
            (None, 5),
            "rscam returned one that the driver does not have"
        );
        assert_eq!(dequeue([90, 60, 30, 80], 60), (Some(60), 4));
    }

    #[test]
    fn all_are_queried_if_the_next_is_not_filled() {
        let order = BufferOrder { next: Some(1) };
        let filled = order.filled(|index| info(u64::from(index), index == 3));
        assert_eq!(filled.map(|info| info.map(|info| info.timestamp_us)), [None, None, None, Some(3)]);
    }
}
