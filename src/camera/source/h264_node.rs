//! The second node of a V4L2 camera: some USB cameras give H.264 there while the first node gives pictures.
//!
//! It is a source of its own. The thread of H.264 opens it while somebody takes H.264, so the first node does not notice it, whatever
//! it does.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::source_trait::{OpenedSource, PictureFault, PictureSink, Source};
use super::v4l2_stream::V4l2Stream;
use crate::camera::error::SourceError;
use crate::camera::settings::{CameraSettings, InputSettings};
use crate::camera::v4l2::{Capability, CaptureNode, WantedMode, h264_node_beside};
use crate::camera::wake::Waker;
use crate::frame::{PixelFormat, Resolution, Timestamp};
use crate::sync::lock;

/// The node that is open for pictures.
#[derive(Clone, Debug)]
pub(super) struct FirstNode {
    pub(super) path: PathBuf,
    pub(super) capability: Capability,
    pub(super) resolution: Resolution,
}

/// What the source of the first node tells that of the second.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedFirstNode(Arc<Mutex<Option<FirstNode>>>);

impl SharedFirstNode {
    /// The node was opened, or closed.
    pub(super) fn set(&self, node: Option<FirstNode>) {
        *lock(&self.0) = node;
    }

    fn get(&self) -> Option<FirstNode> {
        lock(&self.0).clone()
    }
}

/// The H.264 of a camera whose pictures come from another node.
pub(super) struct H264NodeSource {
    first: SharedFirstNode,
    fps: f32,
    stream: Option<V4l2Stream>,
}

impl H264NodeSource {
    pub(super) fn new(first: SharedFirstNode, settings: &CameraSettings) -> Self {
        Self { first, fps: settings.fps, stream: None }
    }
}

impl Source for H264NodeSource {
    /// Looks for the node each time: it is another one when the camera was plugged in again.
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        let first = self.first.get().ok_or(SourceError::NoH264)?;
        let path = h264_node_beside(&first.path, &first.capability).ok_or(SourceError::NoH264)?;
        let node = CaptureNode::open(&path, &InputSettings::default())?;
        let (formats, name) = (node.formats(self.fps), path.display().to_string());
        // The size of the pictures, or else what the node has.
        let mut wanted =
            WantedMode { format: Some(PixelFormat::H264), resolution: Some(first.resolution), fps: self.fps };
        let mode = formats.choose(&name, &wanted).or_else(|_| {
            wanted.resolution = None;
            formats.choose(&name, &wanted)
        })?;
        let (stream, opened) = V4l2Stream::start(&path, node, &formats, &mode)?;
        self.stream = Some(stream);
        Ok(opened)
    }

    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        self.stream.as_mut().map_or(Ok(()), |stream| stream.next(waker, deadline, sink))
    }

    fn request_key_frame(&mut self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.capture.force_key_frame())
    }

    fn remedy(&self, _: PictureFault) -> &'static str {
        "set h264 = \"software\" to leave this node alone"
    }

    fn close(&mut self) {
        self.stream = None;
    }
}
