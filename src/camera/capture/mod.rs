//! The capture thread of a camera: from subscribers to frames in the ring.
//!
//! From the top down: this file | `capture_loop` | `publish`, `still`.
#![forbid(unsafe_code)]

mod capture_loop;
mod publish;
mod still;

use std::io;
use std::sync::{Arc, Mutex};

use super::camera_thread::CameraThread;
use super::h264::H264Shared;
use super::settings::CameraSettings;
use super::source::Source;
use super::wake::Waker;
use crate::ring::Publisher;
use crate::status::CameraReporter;
use capture_loop::CaptureLoop;
use publish::PublishStep;
pub(super) use still::StillRequests;
pub use still::{Still, StillError, StillResult};

/// Where the capture thread publishes pictures.
pub(super) struct Outputs {
    pub(super) publisher: Arc<Mutex<Publisher>>,
    /// `None` if there is no H.264 by configuration.
    pub(super) h264: Option<Arc<H264Shared>>,
    pub(super) reporter: CameraReporter,
}

/// Starts a capture thread, which rests until there is a subscriber.
pub(super) fn spawn(
    settings: CameraSettings,
    mut source: Box<dyn Source>,
    outputs: Outputs,
    waker: Arc<Waker>,
    stills: Arc<StillRequests>,
) -> io::Result<CameraThread> {
    let (name, thread_waker) = (settings.name.clone(), Arc::clone(&waker));
    CameraThread::spawn("camera", name, waker, move || {
        let Outputs { publisher, h264, reporter } = outputs;
        let publish = PublishStep::new(&settings, publisher, reporter, h264);
        // The source is dropped at the end, also after a panic: the device is closed in any case.
        CaptureLoop::new(settings, publish, thread_waker, stills).run(source.as_mut());
    })
}
