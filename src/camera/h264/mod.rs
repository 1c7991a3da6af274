//! The H.264 of a camera: copied from it, or encoded in a thread of its own while somebody takes it. That thread also copies the H.264
//! that a camera gives on a second node.
//!
//! The thread never delays the capture thread: it takes the newest picture, and leaves out those that came while it was busy. How
//! H.264 is read and kept is in rooms [`h264`](crate::h264) and [`ring`](crate::ring).
//!
//! From the top down: this file | `rendition` | `choice`, `pictures`, `decode`, `copy` | `given` | `feed`, `output`, `software`, `mem2mem/` |
//! `encoder` | `mem2mem/error`, `settings`.
#![forbid(unsafe_code)]

mod choice;
mod copy;
#[cfg(feature = "h264")]
mod decode;
mod encoder;
mod feed;
mod given;
mod mem2mem;
mod output;
mod pictures;
mod rendition;
mod settings;
#[cfg(feature = "h264")]
mod software;

use std::io;
use std::sync::{Arc, Mutex};

use super::camera_thread::CameraThread;
use super::settings::CameraSettings;
use super::source::Source;
use super::wake::Waker;
use crate::ring::units::{UnitRing, unit_ring};
use crate::ring::{FrameRing, Publisher};
use crate::status::CameraReporter;
pub(super) use feed::PictureFeeder;
pub(super) use given::{GivenPictures, H264Shared};
pub(super) use output::UnitOrigin;
use output::UnitOutput;
use rendition::Rendition;
pub use settings::{H264Mode, H264Settings};

/// Sets up the H.264 of a camera for at most `max_viewers` viewers, and starts its thread. `node` may give H.264 beside the camera's
/// source. `None` if there is no H.264 by configuration.
pub(super) fn start(
    settings: &CameraSettings,
    node: Option<Box<dyn Source>>,
    max_viewers: usize,
    frames: &FrameRing,
    publisher: &Arc<Mutex<Publisher>>,
    reporter: &CameraReporter,
) -> io::Result<Option<(UnitRing, Arc<H264Shared>, CameraThread)>> {
    if settings.h264.mode == H264Mode::Off {
        return Ok(None);
    }
    let waker = Arc::new(Waker::new()?);
    let wake = Arc::clone(&waker);
    // One more for the thread itself, which decodes.
    let (unit_publisher, units) = unit_ring(max_viewers + 1, Box::new(move || wake.wake()));
    let feed = Arc::new(feed::PictureFeed::new(Arc::clone(&waker)));
    let output = UnitOutput::new(unit_publisher, Arc::clone(reporter.counters()));
    let shared = Arc::new(H264Shared::new(output, feed, Arc::clone(&waker)));
    let rendition = Rendition {
        name: settings.name.clone(),
        settings: settings.h264,
        node,
        passed_over: None,
        #[cfg(feature = "h264")]
        jpeg: settings.jpeg,
        fps: settings.fps,
        shared: Arc::clone(&shared),
        frames: frames.clone(),
        #[cfg(feature = "h264")]
        units: units.clone(),
        publisher: Arc::clone(publisher),
        reporter: reporter.clone(),
    };
    let thread = CameraThread::spawn("h264", settings.name.clone(), waker, move || rendition.run())?;
    Ok(Some((units, shared, thread)))
}

#[cfg(all(test, feature = "h264"))]
mod tests;
