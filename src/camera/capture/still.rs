//! Full-size stills beside a smaller stream.
//!
//! A camera delivers one size at a time, so the stream is interrupted: the source is closed, opened at its largest size for
//! one picture with settled exposure, and opened again as before. Viewers stay connected and see the last frame meanwhile.
//! A still does not go through the ring, whose slots have the size of the stream's frames. It is returned in its own memory.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::camera::settings::CameraSettings;
use crate::camera::source::{CapturedPicture, OpenedSource, PictureFault, Source};
use crate::camera::wake::Waker;
use crate::frame::{Resolution, Timestamp};
use crate::jpeg::{JpegError, JpegWriter};
use crate::sync::lock;

/// Pictures that are skipped after the switch: the first ones are dark or torn until exposure settles.
const SETTLE_FRAMES: u32 = 4;
/// Longest time from the switch to the picture. Viewers of the stream see no new frame meanwhile.
const TIMEOUT: Duration = Duration::from_secs(6);
/// Shortest time between two stills, so that a client who requests many cannot stop the stream for others.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// A full-size picture.
#[derive(Debug)]
pub struct Still {
    /// The JPEG.
    pub jpeg: Vec<u8>,
    /// Its size.
    pub resolution: Resolution,
    /// When the camera completed the picture.
    pub captured_at: Timestamp,
}

/// Why there is no still.
#[derive(Debug, thiserror::Error)]
pub enum StillError {
    /// Another still is in progress.
    #[error("another full-size still is being taken; try again when it is done")]
    Busy,
    /// The last still was too recent.
    #[error(
        "the last full-size still was less than {} s ago; try again later, or take /snapshot",
        MIN_INTERVAL.as_secs()
    )]
    TooSoon,
    /// The camera did not deliver one.
    #[error("no full-size still: {0}")]
    Camera(String),
}

/// The answer to a request; `None` if the frames of the stream have the largest size.
pub type StillResult = Result<Option<Still>, StillError>;

/// Requests for stills of one camera, one at a time.
#[derive(Debug, Default)]
pub(in crate::camera) struct StillRequests {
    pending: Mutex<Option<StillRequest>>,
    busy: Arc<AtomicBool>,
    /// The stream must not be interrupted before this time, in microseconds of CLOCK_MONOTONIC.
    not_before: AtomicU64,
}

/// A request for a still.
#[derive(Debug)]
pub(super) struct StillRequest {
    reply: oneshot::Sender<StillResult>,
    busy: BusyGuard,
}

/// While it lives, further requests are refused.
#[derive(Debug)]
struct BusyGuard(Arc<AtomicBool>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

impl StillRequests {
    /// Requests a still. The caller wakes the camera then, and keeps a subscription until the answer arrives.
    pub(in crate::camera) fn request(&self) -> Result<oneshot::Receiver<StillResult>, StillError> {
        let mut pending = lock(&self.pending);
        // A request whose client has left does not block others.
        pending.take_if(|request| request.reply.is_closed());
        if self.busy.swap(true, SeqCst) {
            return Err(StillError::Busy);
        }
        let busy = BusyGuard(Arc::clone(&self.busy));
        if Timestamp::now().0 < self.not_before.load(SeqCst) {
            return Err(StillError::TooSoon);
        }
        let (reply, answer) = oneshot::channel();
        *pending = Some(StillRequest { reply, busy });
        Ok(answer)
    }

    /// Whether there is a request whose client waits.
    pub(super) fn is_pending(&self) -> bool {
        lock(&self.pending).as_ref().is_some_and(|request| !request.reply.is_closed())
    }

    /// Takes the request, if its client waits.
    pub(super) fn take(&self) -> Option<StillRequest> {
        lock(&self.pending).take().filter(|request| !request.reply.is_closed())
    }

    /// The stream was interrupted for a still just now.
    pub(super) fn stream_interrupted(&self) {
        self.not_before.store(Timestamp::now().after(MIN_INTERVAL).0, SeqCst);
    }
}

impl StillRequest {
    pub(super) fn answer(self, result: StillResult) {
        let Self { reply, busy } = self;
        // Before the answer: a client that has it may request another still.
        drop(busy);
        // Fails if the client has left.
        let _ = reply.send(result);
    }
}

/// Takes one picture with settled exposure from a source that is open at its largest size.
pub(super) fn take_still(
    source: &mut dyn Source,
    opened: &OpenedSource,
    waker: &Waker,
    settings: &CameraSettings,
) -> Result<Still, StillError> {
    // A writer of its own: the memory of its encoder, for a large picture, is freed with it.
    let mut writer = JpegWriter::new(settings.jpeg);
    let mut jpeg = vec![0; opened.max_jpeg_bytes];
    let mut to_skip = settings.skip_first.max(SETTLE_FRAMES);
    let (deadline, mut last_error) = (Timestamp::now().after(TIMEOUT), None::<JpegError>);
    while Timestamp::now() < deadline && !waker.is_stopped() {
        let mut result = None;
        let next = source.next(waker, deadline, &mut |captured: CapturedPicture<'_>| {
            if captured.damaged || to_skip > 0 {
                to_skip = to_skip.saturating_sub(1);
            } else {
                let written = writer.write(&captured.picture, &mut jpeg);
                result = Some(written.map(|written| (written, captured.at)));
            }
        });
        next.map_err(|error| StillError::Camera(error.to_string()))?;
        match result {
            Some(Ok((written, captured_at))) => {
                jpeg.truncate(written.len);
                jpeg.shrink_to_fit();
                return Ok(Still { jpeg, resolution: written.resolution, captured_at });
            }
            Some(Err(error)) => last_error = Some(error),
            None => {}
        }
    }
    let size = opened.info.resolution.map(|size| format!(" of {size}")).unwrap_or_default();
    let remedy = source.remedy(last_error.as_ref().map_or(PictureFault::Silent, PictureFault::from));
    let error = last_error.map(|error| format!(", the last one {error}")).unwrap_or_default();
    let path = &opened.info.path;
    let why = format!("{path}: no whole picture{size} within {} s{error}; {remedy}", TIMEOUT.as_secs());
    Err(StillError::Camera(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_and_those_of_clients_who_left_do_not_count() {
        let stills = StillRequests::default();
        let first = stills.request().unwrap();
        assert!(matches!(stills.request(), Err(StillError::Busy)));
        drop(first);
        let mut second = stills.request().unwrap();
        let request = stills.take().unwrap();
        assert!(!stills.is_pending());
        assert!(matches!(stills.request(), Err(StillError::Busy)), "a still is in progress");
        request.answer(Ok(None));
        assert!(matches!(second.try_recv(), Ok(Ok(None))));
        drop(stills.request().unwrap());
        assert!(!stills.is_pending(), "the stream would be interrupted for a client who left");
        assert!(stills.take().is_none(), "the client left");
        stills.stream_interrupted();
        assert!(matches!(stills.request(), Err(StillError::TooSoon)));
        assert!(matches!(stills.request(), Err(StillError::TooSoon)), "a refused request blocks others");
    }
}
