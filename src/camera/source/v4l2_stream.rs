//! A V4L2 device that streams: its pictures as the capture thread takes them.
//!
//! After an unplug the device answers ENODEV, EINVAL or EIO. A stalled camera reports nothing at all.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use log::debug;
use nix::errno::Errno;

use super::source_trait::{CapturedPicture, OpenedSource, PictureSink};
use crate::camera::error::SourceError;
use crate::camera::frame_timing::{FrameTime, FrameTiming};
use crate::camera::settings::max_jpeg_bytes;
use crate::camera::v4l2::{
    CaptureMode, CaptureNode, DeviceFormats, PictureMemory, RunningCapture, StreamFormat,
};
use crate::camera::wake::{WaitResult, Waker};
use crate::frame::{PixelFormat, Timestamp};
use crate::jpeg::{Picture, PlanarPicture, RawPicture};
use crate::status::SourceInfo;

/// Bytes that are added to the largest buffer of a JPEG camera, for headers that are inserted.
const HEADER_BYTES: usize = 4096;

pub(super) struct V4l2Stream {
    pub(super) capture: RunningCapture,
    path: String,
    /// The device is on USB, which loses data on bad cables.
    pub(super) is_usb: bool,
    pixel_format: PixelFormat,
    format: StreamFormat,
    timing: FrameTiming,
}

impl V4l2Stream {
    /// Starts streaming from `node`, which is at `path`.
    pub(super) fn start(
        path: &Path,
        node: CaptureNode,
        formats: &DeviceFormats,
        mode: &CaptureMode,
    ) -> Result<(Self, OpenedSource), SourceError> {
        let name = path.display().to_string();
        let capability = node.capability.clone();
        debug!("{name}: requesting {} {} at {} fps", mode.format, mode.resolution, mode.fps);
        let started = Timestamp::now();
        let (capture, format) = node.start(formats, mode)?;
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
        let opened = OpenedSource { info, max_jpeg_bytes, has_larger: false, is_told_by_picture: false };
        Ok((Self { capture, path: name, is_usb, pixel_format: mode.format, format, timing }, opened))
    }

    /// As [`Source::next`](super::source_trait::Source::next).
    pub(super) fn next(
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
            let dequeued = capture.dequeue(|memory, info| {
                let FrameTime { at, missed, implausible } = timing.judge(
                    Timestamp::now(),
                    Timestamp(info.timestamp_us),
                    Some(info.is_monotonic),
                    Some(info.sequence),
                );
                let damaged = info.is_damaged;
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
