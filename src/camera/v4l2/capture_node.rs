//! An open capture node, from its opening to its stream, and the decision which capture serves it.
//!
//! rscam serves common webcams: single-planar devices that set their frame interval. Every other device is served by
//! `mmap_capture`. The node is open here while its mode is set, and closed before rscam opens it: a UVC device lets only one
//! descriptor set its format.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::buffer_ioctls::BufferInfo;
use super::capture_device::CaptureDevice;
use super::controls::force_key_frame;
use super::format_ioctls::FrameInterval;
use super::formats::DeviceFormats;
use super::input_error::InputError;
use super::inputs::{ChosenInput, SignalKind, choose_input};
use super::ioctl::{BufferType, Capability, Device};
use super::mmap_capture::MmapCapture;
use super::negotiate::CaptureMode;
use super::nodes::{open_node, require_capture_node};
use super::planes::{PictureLayout, PictureMemory};
use super::set_mode::{DriverMode, set_mode};
use crate::camera::error::SourceError;
use crate::camera::settings::InputSettings;
use crate::frame::Resolution;
use crate::status::CaptureMethod;

/// A capture node that does not stream yet.
pub(in crate::camera) struct CaptureNode {
    node: File,
    path: PathBuf,
    pub(in crate::camera) capability: Capability,
    pub(in crate::camera) input: ChosenInput,
}

/// The format that was negotiated with the driver.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) struct StreamFormat {
    pub(in crate::camera) resolution: Resolution,
    /// `None` if the driver does not state it.
    pub(in crate::camera) fps: Option<f32>,
    /// Bytes per row of the first plane.
    pub(in crate::camera) stride: usize,
    /// Bytes of a buffer.
    pub(in crate::camera) buffer_bytes: usize,
}

impl CaptureNode {
    /// Opens the node at `path` and chooses its input.
    pub(in crate::camera) fn open(path: &Path, inputs: &InputSettings) -> Result<Self, SourceError> {
        let failed =
            |call| move |error: io::Error| SourceError::of_call(&path.display().to_string(), call, error);
        let node = open_node(path).map_err(failed("open"))?;
        let capability = Device::new(node.as_fd()).capability().map_err(failed("VIDIOC_QUERYCAP"))?;
        require_capture_node(path, &capability)?;
        let input = choose_input(Device::new(node.as_fd()), &path.display().to_string(), inputs)?;
        Ok(Self { node, path: path.to_owned(), capability, input })
    }

    /// The formats that the device offers. Ranges of frame rates are given with the rate that is nearest to `fps`.
    pub(in crate::camera) fn formats(&self, fps: f32) -> DeviceFormats {
        DeviceFormats::read(self.device(), self.capability.buffer_type(), fps)
    }

    fn device(&self) -> Device<'_> {
        Device::new(self.node.as_fd())
    }

    /// Sets `mode`, which the driver may round, and starts streaming.
    pub(in crate::camera) fn start(
        self,
        formats: &DeviceFormats,
        mode: &CaptureMode,
    ) -> Result<(RunningCapture, StreamFormat), SourceError> {
        let path = self.path.display().to_string();
        let failed = |(call, error)| SourceError::of_call(&path, call, error);
        let buffers = self.capability.buffer_type();
        let signal = self.input.signal;
        let set = set_mode(self.device(), buffers, formats, mode, signal).map_err(failed)?;
        if set.has_alternate_fields {
            return Err(InputError::AlternateFields { path }.into());
        }
        let (width, height) = (set.format.width, set.format.height);
        let resolution = width.try_into().ok().zip(height.try_into().ok());
        let resolution = resolution.map(|(width, height)| Resolution::new(width, height));
        let resolution = resolution.filter(|r| r.pixels() > 0).ok_or_else(|| SourceError::WrongSize {
            path: path.clone(),
            resolution: mode.resolution,
            offered: format!("{width}x{height}"),
        })?;
        let first_plane = set.format.planes.first().map_or(0, |plane| plane.bytes_per_line as usize);
        let row = mode.format.row_bytes(resolution.width);
        let stride = first_plane.max(row);
        let format = StreamFormat {
            resolution,
            fps: self.input.fps.or(set.interval.and_then(|interval| interval.fps())),
            stride,
            buffer_bytes: set.format.planes.iter().map(|plane| plane.size_image as usize).sum(),
        };
        let by_rscam = signal == SignalKind::Camera && serves_rscam(buffers, &set);
        let mut node = Some(self.node);
        if let (true, Some(interval)) = (by_rscam, set.interval) {
            node = None;
            let mut device = CaptureDevice::open(&self.path).map_err(|error| failed(("open", error)))?;
            match device.start(&set.format, interval) {
                Ok(()) => return Ok((RunningCapture::Rscam(device), format)),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(error) => return Err(failed(("starting capture", error))),
            }
        }
        let node = match node {
            Some(node) => node,
            None => {
                let node = open_node(&self.path).map_err(|error| failed(("open", error)))?;
                set_mode(Device::new(node.as_fd()), buffers, formats, mode, signal).map_err(failed)?;
                node
            }
        };
        let layout = PictureLayout::new(&set.format, (row, stride), set.fields).ok_or_else(|| {
            let planes = set.format.planes.len();
            let what = format!("{} in {planes} pieces of memory", mode.format);
            SourceError::NoFormat { path: path.clone(), offered: what }
        })?;
        let capture = MmapCapture::start(node, buffers, layout, self.input.timings).map_err(failed)?;
        Ok((RunningCapture::Mmap(capture), format))
    }
}

/// Whether rscam can serve a device that answered this.
fn serves_rscam(buffers: BufferType, set: &DriverMode) -> bool {
    // It multiplies numerators with denominators in 32 bits.
    let is_small = |interval: FrameInterval| {
        u64::from(interval.numerator) * u64::from(interval.denominator) <= u64::from(u32::MAX)
    };
    buffers == BufferType::Capture
        && set.fields.is_none()
        && set.sets_interval
        && set.interval.is_some_and(is_small)
}

/// A device that streams.
pub(in crate::camera) enum RunningCapture {
    Rscam(CaptureDevice),
    Mmap(MmapCapture),
}

impl RunningCapture {
    pub(in crate::camera) fn method(&self) -> CaptureMethod {
        match self {
            Self::Rscam(_) => CaptureMethod::Rscam,
            Self::Mmap(_) => CaptureMethod::Mmap,
        }
    }

    pub(in crate::camera) fn device(&self) -> Device<'_> {
        match self {
            Self::Rscam(capture) => capture.device(),
            Self::Mmap(capture) => capture.device(),
        }
    }

    /// Asks a camera that encodes for a key frame. Returns whether it can be asked.
    pub(in crate::camera) fn force_key_frame(&self) -> bool {
        force_key_frame(self.device()).is_ok()
    }

    /// Takes the events that wait. Whether the input receives another signal, or none.
    pub(in crate::camera) fn take_source_change(&self) -> bool {
        match self {
            Self::Rscam(_) => false,
            Self::Mmap(capture) => capture.take_source_change(),
        }
    }

    /// Dequeues a filled buffer and passes it to `sink`: the picture, and what the driver says of the buffer. The buffer is queued
    /// again when this returns.
    ///
    /// # Errors
    /// `WouldBlock` when no buffer is filled.
    pub(in crate::camera) fn dequeue(
        &mut self,
        sink: impl FnOnce(PictureMemory<'_>, BufferInfo),
    ) -> io::Result<()> {
        match self {
            Self::Rscam(capture) => capture.dequeue(|data, info| sink(PictureMemory::Whole(data), info)),
            Self::Mmap(capture) => capture.dequeue(sink),
        }
    }
}
