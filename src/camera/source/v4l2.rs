//! The `auto` and device sources: a V4L2 camera.
//!
//! After an unplug the device answers ENODEV, EINVAL or EIO. A stalled camera reports nothing at all.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use log::{debug, info};
use nix::errno::Errno;

use super::source_trait::{CapturedPicture, OpenedSource, PictureFault, PictureSink, Source};
use crate::camera::error::SourceError;
use crate::camera::frame_timing::{FrameTime, FrameTiming};
use crate::camera::h264::H264Mode;
use crate::camera::settings::{CameraSettings, InputSettings, max_jpeg_bytes};
use crate::camera::v4l2::{
    CaptureMode, CaptureNode, ControlStore, DeviceFormats, LocatedDevice, PictureMemory, RunningCapture,
    StreamFormat, WantedMode, h264_node_beside,
};
use crate::camera::wake::{WaitResult, Waker};
use crate::frame::{PixelFormat, Resolution, Timestamp};
use crate::jpeg::{Picture, PlanarPicture, RawPicture};
use crate::status::SourceInfo;

/// Bytes that are added to the largest buffer of a JPEG camera, for headers that are inserted.
const HEADER_BYTES: usize = 4096;

pub(super) struct V4l2Source {
    wanted: WantedMode,
    /// H.264 is copied from the camera, if it gives that.
    copies_h264: bool,
    inputs: InputSettings,
    controls: Arc<ControlStore>,
    stream: Option<V4l2Stream>,
}

/// A device that streams.
struct V4l2Stream {
    capture: RunningCapture,
    path: String,
    /// The device is on USB, which loses data on bad cables.
    is_usb: bool,
    pixel_format: PixelFormat,
    format: StreamFormat,
    timing: FrameTiming,
}

/// The size at which a device is opened.
#[derive(Clone, Copy)]
enum OpenSize {
    Wanted,
    Largest,
}

impl V4l2Source {
    pub(super) fn new(controls: Arc<ControlStore>, settings: &CameraSettings) -> Self {
        let CameraSettings { format, resolution, fps, .. } = *settings;
        let inputs = settings.inputs.clone();
        let copies_h264 = settings.h264.mode == H264Mode::Copy && format.is_none();
        let wanted = WantedMode { format, resolution, fps };
        Self { wanted, copies_h264, inputs, controls, stream: None }
    }

    /// Finds the device, opens it and starts streaming. `None` if the largest size is the wanted one.
    fn open_at(&mut self, size: OpenSize) -> Result<Option<OpenedSource>, SourceError> {
        let LocatedDevice { path, reason } = self.controls.locate()?;
        if let Some(reason) = reason {
            info!("auto: {reason}");
        }
        let (path, node, formats) = self.open_node(path)?;
        let name = path.display().to_string();
        let capability = node.capability.clone();
        let wanted = match self.copies_h264 && formats.offers(PixelFormat::H264) {
            true => WantedMode { format: Some(PixelFormat::H264), ..self.wanted },
            false => self.wanted,
        };
        let usual = usual_mode(&name, &formats, &wanted, node.input.size)?;
        // A signal has one size.
        let larger = if node.input.size.is_some() { None } else { formats.larger_mode(&wanted, &usual) };
        let mode = match (size, larger) {
            (OpenSize::Wanted, _) => usual,
            (OpenSize::Largest, Some(larger)) => larger,
            (OpenSize::Largest, None) => return Ok(None),
        };
        debug!("{name}: requesting {} {} at {} fps", mode.format, mode.resolution, mode.fps);
        let started = Timestamp::now();
        let (capture, format) = node.start(&formats, &mode)?;
        self.controls.camera_opened(&path, capture.device(), capability.clone());
        let is_usb = capability.bus.starts_with("usb");
        let timing = FrameTiming::new(started, format.fps);
        let info = SourceInfo {
            driver: capability.driver,
            card: capability.card,
            path: name.clone(),
            format: mode.format,
            resolution: Some(format.resolution),
            fps: format.fps.unwrap_or(0.0),
            encoding: None,
            capture: Some(capture.method()),
        };
        let max_jpeg_bytes = match mode.format {
            PixelFormat::Mjpeg | PixelFormat::H264 => {
                max_jpeg_bytes(format.resolution).max(format.buffer_bytes + HEADER_BYTES)
            }
            _ => max_jpeg_bytes(format.resolution),
        };
        self.stream =
            Some(V4l2Stream { capture, path: name, is_usb, pixel_format: mode.format, format, timing });
        Ok(Some(OpenedSource { info, max_jpeg_bytes, has_larger: larger.is_some() }))
    }

    /// Opens the node at `path`. If H.264 is wanted, and another node of the device gives it, opens that.
    fn open_node(&self, path: PathBuf) -> Result<(PathBuf, CaptureNode, DeviceFormats), SourceError> {
        let node = CaptureNode::open(&path, &self.inputs)?;
        let formats = node.formats(self.wanted.fps);
        if (self.copies_h264 || self.wanted.format == Some(PixelFormat::H264))
            && !formats.offers(PixelFormat::H264)
            && let Some(beside) = h264_node_beside(&path, &node.capability)
        {
            info!("{}: gives no H.264, and {} of the same device does", path.display(), beside.display());
            let node = CaptureNode::open(&beside, &self.inputs)?;
            let formats = node.formats(self.wanted.fps);
            return Ok((beside, node, formats));
        }
        Ok((path, node, formats))
    }
}

/// The mode to open. Without a configured size it is that of the signal, if there is one and the device offers it.
fn usual_mode(
    name: &str,
    formats: &DeviceFormats,
    wanted: &WantedMode,
    signal: Option<Resolution>,
) -> Result<CaptureMode, SourceError> {
    let resolution = wanted.resolution.or(signal);
    match formats.choose(name, &WantedMode { resolution, ..*wanted }) {
        Err(SourceError::WrongSize { .. }) if wanted.resolution.is_none() => formats.choose(name, wanted),
        chosen => chosen,
    }
}

impl Source for V4l2Source {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        let opened = self.open_at(OpenSize::Wanted)?;
        Ok(opened.expect("only `OpenSize::Largest` gives `None`"))
    }

    fn open_largest(&mut self) -> Result<Option<OpenedSource>, SourceError> {
        self.open_at(OpenSize::Largest)
    }

    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let next = stream.next(waker, deadline, sink);
        if let Err(SourceError::Gone { .. }) = next {
            self.controls.camera_lost();
        }
        next
    }

    fn request_key_frame(&mut self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.capture.force_key_frame())
    }

    fn remedy(&self, fault: PictureFault) -> &'static str {
        let is_usb = self.stream.as_ref().is_none_or(|stream| stream.is_usb);
        match (fault, is_usb) {
            (PictureFault::Silent, true) => "try another cable or USB port",
            (PictureFault::Silent, false) => "check the camera's cable, and see the kernel log",
            (PictureFault::Corrupt, true) => {
                "try another cable or USB port, or set validate = false if the picture is good all the same"
            }
            (PictureFault::Corrupt, false) => {
                "check the camera's cable, or set validate = false if the picture is good all the same"
            }
            (PictureFault::Short, true) => "try another cable or USB port, another format, or a smaller size",
            (PictureFault::Short | PictureFault::Other, _) => {
                "set another format, or another width and height"
            }
            (PictureFault::Video, _) => "set format to another one that `porthole cameras` lists",
            (PictureFault::TooLarge, _) => "set another width and height",
        }
    }

    fn close(&mut self) {
        self.stream = None;
    }
}

impl V4l2Stream {
    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        let Self { capture, path, pixel_format, format, timing, .. } = self;
        loop {
            let WaitResult::Ready { failed, has_event, .. } =
                waker.wait(&[capture.device().fd()], Some(deadline))
            else {
                return Ok(());
            };
            if has_event && capture.take_source_change() {
                return Err(SourceError::SignalChanged { path: path.clone() });
            }
            let dequeued = capture.dequeue(|memory, timestamp_us, info| {
                let stamp = Timestamp(timestamp_us);
                let FrameTime { at, missed, implausible } = timing.judge(
                    Timestamp::now(),
                    stamp,
                    info.map(|info| info.is_monotonic),
                    info.map(|info| info.sequence),
                );
                let damaged = info.is_some_and(|info| info.is_damaged);
                let StreamFormat { resolution, stride, .. } = *format;
                let picture = match (*pixel_format, memory) {
                    (_, _) if damaged => Picture::Jpeg { data: &[], expected: None },
                    (PixelFormat::Mjpeg, PictureMemory::Whole(data)) => {
                        Picture::Jpeg { data, expected: Some(resolution) }
                    }
                    (PixelFormat::H264, PictureMemory::Whole(data)) => Picture::H264(data),
                    (format, PictureMemory::Whole(data)) => {
                        Picture::Raw(RawPicture { data, format, resolution, stride })
                    }
                    (format, PictureMemory::Planes(planes)) => {
                        Picture::Planar(PlanarPicture::new(format, resolution, planes))
                    }
                };
                sink(CapturedPicture { picture, at, missed, damaged, implausible });
            });
            match dequeued {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !failed => {}
                Err(error) => return Err(dequeue_error(path, error)),
            }
        }
    }
}

/// The meaning of an error of VIDIOC_DQBUF. Drivers answer EINVAL once an unplug has stopped streaming.
fn dequeue_error(path: &str, error: io::Error) -> SourceError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EINVAL | Errno::ENODEV) => SourceError::Gone { path: path.into(), source: error },
        // The descriptor reported an error, but there is no buffer.
        Some(Errno::EAGAIN) => SourceError::Gone { path: path.into(), source: Errno::EIO.into() },
        _ => SourceError::of_call(path, "VIDIOC_DQBUF", error),
    }
}
