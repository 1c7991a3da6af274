//! What the capture thread tells the encoding thread of its source, and how both find each other's pictures.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use super::feed::PictureFeed;
use super::output::UnitOutput;
use crate::camera::wake::Waker;
use crate::frame::PixelFormat;
use crate::jpeg::decode::PlanesUnpacker;
use crate::sync::lock;

/// What an open source gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::camera) enum GivenPictures {
    /// Nothing: it is closed.
    Nothing,
    /// Pictures that are taken as frames of the ring.
    Frames { fps: f32 },
    /// Pictures that the capture thread unpacks.
    Unpacked { fps: f32 },
    /// H.264.
    Video,
}

impl GivenPictures {
    /// Of a source with pictures of this format.
    pub(in crate::camera) fn of(format: PixelFormat, fps: f32) -> Self {
        match format {
            format if format.is_video() => Self::Video,
            format if PlanesUnpacker::takes(format) => Self::Unpacked { fps },
            _ => Self::Frames { fps },
        }
    }
}

/// What both threads share.
#[derive(Debug)]
pub(in crate::camera) struct H264Shared {
    pub(in crate::camera) output: UnitOutput,
    pub(in crate::camera) feed: Arc<PictureFeed>,
    given: Mutex<GivenPictures>,
    /// Of the encoding thread.
    pub(super) waker: Arc<Waker>,
}

impl H264Shared {
    pub(super) fn new(output: UnitOutput, feed: Arc<PictureFeed>, waker: Arc<Waker>) -> Self {
        Self { output, feed, given: Mutex::new(GivenPictures::Nothing), waker }
    }

    pub(in crate::camera) fn given(&self) -> GivenPictures {
        *lock(&self.given)
    }

    /// The source was opened or closed, or turned out to be another kind.
    pub(in crate::camera) fn give(&self, given: GivenPictures) {
        *lock(&self.given) = given;
        self.wake();
    }

    /// Wakes the encoding thread.
    pub(in crate::camera) fn wake(&self) {
        self.waker.wake();
    }
}
