//! The `auto` and device sources: a V4L2 camera.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;

use log::info;

use super::h264_node::{FirstNode, SharedFirstNode};
use super::source_trait::{OpenedSource, PictureFault, PictureSink, Source};
use super::v4l2_stream::V4l2Stream;
use crate::camera::error::SourceError;
use crate::camera::h264::H264Mode;
use crate::camera::settings::{CameraSettings, InputSettings};
use crate::camera::v4l2::{
    CaptureMode, CaptureNode, ControlStore, DeviceFormats, LocatedDevice, WantedMode, h264_node_beside,
};
use crate::camera::wake::Waker;
use crate::frame::{PixelFormat, Resolution, Timestamp};

pub(super) struct V4l2Source {
    wanted: WantedMode,
    /// H.264 is copied from the camera, if the node of its pictures gives that too.
    copies_h264: bool,
    inputs: InputSettings,
    controls: Arc<ControlStore>,
    /// Tells which node is open.
    first: SharedFirstNode,
    stream: Option<V4l2Stream>,
}

/// The size at which a device is opened.
#[derive(Clone, Copy)]
enum OpenSize {
    Wanted,
    Largest,
}

impl V4l2Source {
    pub(super) fn new(
        controls: Arc<ControlStore>,
        settings: &CameraSettings,
        first: SharedFirstNode,
    ) -> Self {
        let CameraSettings { format, resolution, fps, .. } = *settings;
        let inputs = settings.inputs.clone();
        let copies_h264 = settings.h264.mode == H264Mode::Copy && format.is_none();
        let wanted = WantedMode { format, resolution, fps };
        Self { wanted, copies_h264, inputs, controls, first, stream: None }
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
        let (stream, opened) = V4l2Stream::start(&path, node, &formats, &mode)?;
        self.controls.camera_opened(&path, stream.capture.device(), capability.clone());
        let resolution = opened.info.resolution.unwrap_or(mode.resolution);
        self.first.set((!mode.format.is_video()).then_some(FirstNode { path, capability, resolution }));
        self.stream = Some(stream);
        Ok(Some(OpenedSource { has_larger: larger.is_some(), ..opened }))
    }

    /// Opens the node at `path`. If H.264 is wanted, and another node of the device gives it, opens that.
    fn open_node(&self, path: PathBuf) -> Result<(PathBuf, CaptureNode, DeviceFormats), SourceError> {
        let node = CaptureNode::open(&path, &self.inputs)?;
        let formats = node.formats(self.wanted.fps);
        if self.wanted.format == Some(PixelFormat::H264)
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
        self.first.set(None);
        self.stream = None;
    }
}
