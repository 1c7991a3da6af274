//! A V4L2 device from which pictures are captured, through rscam. The only file that uses rscam.
//!
//! rscam has been unmaintained since 2019. Its limits are handled here:
//! - It hides its descriptor and opens it blocking. [`DeviceOwner`] finds the descriptor and sets O_NONBLOCK and O_CLOEXEC. A
//!   buffer is dequeued only after a wait with a deadline reported one.
//! - A `Frame` that is dropped after its `Camera` would queue a buffer on a descriptor that may belong to another file by then.
//!   No frame leaves [`CaptureDevice::dequeue`].
//! - Starting a `Camera` twice panics. Every start uses a new one.
//! - It rejects a size, interval or field that the driver rounds. They are negotiated with the driver first, and rscam gets the
//!   result.
//! - It shows neither row length nor buffer flags nor sequence numbers. They are queried beside it, for the one buffer that
//!   comes next.
//! - Its list of controls never ends if one cannot be read. It is not used.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use rscam::{Camera, Config, IntervalInfo, ResolutionInfo};

use super::device_owner::DeviceOwner;
use super::formats::DeviceFormats;
use super::ioctl::{BufferInfo, Device, FrameInterval, PixFormat};
use super::negotiate::{CaptureMode, FrameSize, OfferedFormat, OfferedSize};
use crate::camera::error::SourceError;
use crate::frame::{PixelFormat, Resolution};

/// Buffers that are shared with the driver: one is filled, one is full, one is encoded, one is in reserve.
const BUFFERS: u32 = 4;

/// An open capture device.
pub(in crate::camera) struct CaptureDevice {
    owner: DeviceOwner<Camera>,
    path: String,
    order: BufferOrder,
}

/// The format that was negotiated with the driver.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) struct StreamFormat {
    pub(in crate::camera) resolution: Resolution,
    pub(in crate::camera) fps: f32,
    /// Bytes per row of the first plane.
    pub(in crate::camera) stride: usize,
    /// Bytes of a buffer.
    pub(in crate::camera) buffer_bytes: usize,
}

impl CaptureDevice {
    /// Opens the device at `path`.
    pub(in crate::camera) fn open(path: &Path) -> io::Result<Self> {
        let path = path.display().to_string();
        Ok(Self {
            owner: DeviceOwner::open(Path::new(&path), || Camera::new(&path))?,
            path,
            order: BufferOrder::default(),
        })
    }

    pub(in crate::camera) fn device(&self) -> Device<'_> {
        self.owner.device()
    }

    /// The formats that the device offers. Ranges of frame rates are given with the rate that is nearest to `fps`.
    pub(in crate::camera) fn formats(&self, fps: f32) -> io::Result<DeviceFormats> {
        let camera = self.owner.owner();
        let fourccs: Vec<[u8; 4]> =
            camera.formats().map(|info| Ok(info?.format)).collect::<io::Result<_>>()?;
        let mut supported: Vec<OfferedFormat> = Vec::new();
        for fourcc in &fourccs {
            let Some(format) = PixelFormat::from_fourcc(*fourcc) else { continue };
            if supported.iter().all(|offered| offered.format != format) {
                supported.push(OfferedFormat { format, sizes: sizes(camera, *fourcc, fps) });
            }
        }
        Ok(DeviceFormats { supported, fourccs })
    }

    /// Negotiates `mode` with the driver, which may round it, and starts streaming.
    pub(in crate::camera) fn start(
        &mut self,
        formats: &DeviceFormats,
        mode: &CaptureMode,
    ) -> Result<StreamFormat, SourceError> {
        let path = self.path.clone();
        let failed = |call| {
            let path = path.clone();
            move |error: io::Error| SourceError::of_call(&path, call, error)
        };
        let (pixels, interval) = self.negotiate(formats, mode).map_err(failed("VIDIOC_S_FMT"))?;
        let resolution = resolution(pixels.width, pixels.height).filter(|r| r.pixels() > 0);
        let resolution = resolution.ok_or_else(|| SourceError::WrongSize {
            path: path.clone(),
            resolution: mode.resolution,
            offered: format!("{}x{}", pixels.width, pixels.height),
        })?;
        let config = Config {
            interval: (interval.numerator, interval.denominator),
            resolution: (pixels.width, pixels.height),
            format: &pixels.fourcc,
            field: pixels.field,
            nbuffers: BUFFERS,
        };
        self.owner
            .owner_mut()
            .start(&config)
            .map_err(|error| match error {
                rscam::Error::Io(error) => error,
                other => io::Error::other(other.to_string()),
            })
            .map_err(failed("starting capture"))?;
        // As rscam queued them.
        self.order = BufferOrder { next: Some(0) };
        let set = self.device().format().map_err(failed("VIDIOC_G_FMT"))?;
        Ok(StreamFormat {
            resolution,
            fps: interval.denominator as f32 / interval.numerator.max(1) as f32,
            stride: (set.bytes_per_line as usize).max(mode.format.row_bytes(resolution.width)),
            buffer_bytes: set.size_image as usize,
        })
    }

    /// Negotiates size, format, field and interval.
    fn negotiate(
        &self,
        formats: &DeviceFormats,
        mode: &CaptureMode,
    ) -> io::Result<(PixFormat, FrameInterval)> {
        let CaptureMode { format, resolution, fps } = *mode;
        let fourcc = formats.fourcc(format);
        let size = (u32::from(resolution.width), u32::from(resolution.height));
        let pixels = self.device().set_format(fourcc, size)?;
        if pixels.fourcc != fourcc {
            let chosen = String::from_utf8_lossy(&pixels.fourcc).into_owned();
            return Err(io::Error::other(format!("the driver listed {format} and then chose {chosen}")));
        }
        let interval = match self.owner.owner().intervals(&fourcc, (pixels.width, pixels.height)) {
            Ok(IntervalInfo::Discretes(all)) => {
                all.into_iter().filter(|&(n, d)| n > 0 && d > 0).min_by(|a, b| {
                    (a.1 as f32 / a.0 as f32 - fps).abs().total_cmp(&(b.1 as f32 / b.0 as f32 - fps).abs())
                })
            }
            _ => None,
        };
        let (numerator, denominator) = interval.unwrap_or((1000, (fps * 1000.0) as u32));
        Ok((pixels, self.device().set_interval(FrameInterval { numerator, denominator })?))
    }

    /// Dequeues a filled buffer and passes it to `sink`: the data, the timestamp in microseconds, and what VIDIOC_QUERYBUF
    /// reports of the buffer. The buffer is queued again when this returns.
    ///
    /// # Errors
    /// `WouldBlock` when no buffer is filled.
    pub(in crate::camera) fn dequeue(
        &mut self,
        sink: impl FnOnce(&[u8], u64, Option<BufferInfo>),
    ) -> io::Result<()> {
        let device = self.owner.device();
        let query = |index| device.buffer(index).ok();
        // Before the buffer is dequeued: afterwards it has no flags any more.
        let filled = self.order.filled(query);
        let frame = self.owner.owner().capture()?;
        let timestamp_us = frame.get_timestamp();
        let info = self.order.dequeued(filled, timestamp_us, query);
        sink(&frame, timestamp_us, info);
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

/// Opens the capture node at `path` and returns the formats that it offers.
pub(super) fn query_formats(path: &Path) -> io::Result<DeviceFormats> {
    // The rate only selects one of a range of rates, which does not matter here.
    CaptureDevice::open(path)?.formats(30.0)
}

fn resolution(width: u32, height: u32) -> Option<Resolution> {
    Some(Resolution::new(width.try_into().ok()?, height.try_into().ok()?))
}

/// The sizes of one format. If a device lists none, rscam returns a range of zeros; such a device accepts any size.
fn sizes(camera: &Camera, fourcc: [u8; 4], fps: f32) -> Vec<OfferedSize> {
    let any = FrameSize::Stepwise {
        min: Resolution::new(1, 1),
        max: Resolution::new(u16::MAX, u16::MAX),
        step: (1, 1),
    };
    let sizes = match camera.resolutions(&fourcc) {
        Ok(ResolutionInfo::Discretes(all)) => {
            all.into_iter().filter_map(|(w, h)| resolution(w, h)).map(FrameSize::Discrete).collect()
        }
        Ok(ResolutionInfo::Stepwise { min, max, step }) if max.0 > 0 && max.1 > 0 => {
            let most = |side: u32| side.min(u16::MAX.into()) as u16;
            vec![FrameSize::Stepwise {
                min: Resolution::new(most(min.0.max(1)), most(min.1.max(1))),
                max: Resolution::new(most(max.0), most(max.1)),
                step: (most(step.0.max(1)), most(step.1.max(1))),
            }]
        }
        _ => vec![any],
    };
    let usable = sizes.into_iter().filter(|size| !matches!(size, FrameSize::Discrete(r) if r.pixels() == 0));
    usable.map(|size| OfferedSize { size, rates: rates(camera, fourcc, size, fps) }).collect()
}

/// The frame rates of one size. For a range these are its ends and the rate in it that is nearest to `fps`.
fn rates(camera: &Camera, fourcc: [u8; 4], size: FrameSize, fps: f32) -> Vec<f32> {
    let (FrameSize::Discrete(size) | FrameSize::Stepwise { max: size, .. }) = size;
    let rate = |(numerator, denominator): (u32, u32)| denominator as f32 / numerator as f32;
    let rates = match camera.intervals(&fourcc, (size.width.into(), size.height.into())) {
        Ok(IntervalInfo::Discretes(all)) => all.into_iter().map(rate).collect(),
        Ok(IntervalInfo::Stepwise { min, max, .. }) => {
            let (slowest, fastest) = (rate(max), rate(min));
            vec![slowest, fps.max(slowest).min(fastest), fastest]
        }
        Err(_) => Vec::new(),
    };
    rates.into_iter().filter(|rate| rate.is_finite() && *rate > 0.0).collect()
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
