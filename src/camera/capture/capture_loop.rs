//! The loop of a capture thread.
//!
//! It rests while nobody watches. Then it opens the source, publishes frames, opens the source again after a stall or a
//! loss, and closes it when there has been no viewer for the linger time. Every wait ends when the thread is woken.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};

use super::publish::{PublishStep, Published};
use super::still::{StillError, StillRequest, StillRequests, take_still};
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::source::{OpenedSource, PictureFault, Source};
use crate::camera::wake::Waker;
use crate::frame::{PixelFormat, Timestamp};
use crate::jpeg::exif::Rotation;
use crate::status::{CameraState, Encoding, SourceInfo};

// The manual's chapter on reliability states these times, and those of `SourceError::retry_after`.

/// Without a frame for this long the camera has stalled, at rates above 2.5 frames per second. USB cameras pause for several
/// hundred milliseconds when exposure or focus changes. With a longer time, viewers see a frozen picture.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// At low rates the camera has stalled when this many frames are missing.
const STALL_FRAMES: f32 = 5.0;
/// For sources that do not state their rate. A long exposure in the dark lasts a second.
const UNKNOWN_RATE_STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The first frame may take this long: USB cameras power up, negotiate and set their exposure first.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a driver to open, start or stop a device. After it the thread counts as stuck.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why capturing from an open source ended.
enum StreamingEnd {
    /// The service stops.
    Stopped,
    /// There has been no viewer for the linger time.
    Unwatched,
    /// A still of a larger size was requested.
    StillRequested,
    /// The source must be opened again, as its settings have changed.
    SettingsChanged,
    /// No frame was published in time.
    Stalled(String),
    /// The source failed.
    Failed(SourceError),
}

pub(super) struct CaptureLoop {
    settings: CameraSettings,
    publish: PublishStep,
    waker: Arc<Waker>,
    stills: Arc<StillRequests>,
    /// Consecutive attempts without a frame.
    failures: u32,
}

impl CaptureLoop {
    pub(super) fn new(
        settings: CameraSettings,
        publish: PublishStep,
        waker: Arc<Waker>,
        stills: Arc<StillRequests>,
    ) -> Self {
        Self { settings, publish, waker, stills, failures: 0 }
    }

    /// Runs until the waker is stopped.
    pub(super) fn run(&mut self, source: &mut dyn Source) {
        while self.rest() {
            self.publish.reporter.state(CameraState::Starting);
            self.failures = 0;
            while self.is_wanted() {
                if let Some(request) = self.stills.take() {
                    self.take_still(source, request);
                }
                match self.session(source) {
                    StreamingEnd::Stopped | StreamingEnd::Unwatched => break,
                    StreamingEnd::StillRequested | StreamingEnd::SettingsChanged => {}
                    StreamingEnd::Stalled(why) => self.fault(CameraState::Stalled, why, Duration::ZERO),
                    // Once: a change before the next frame is a fault, and waits.
                    StreamingEnd::Failed(error) if error.is_change() && self.failures == 0 => {
                        info!("camera {}: {error}", self.settings.name);
                        self.failures = 1;
                    }
                    StreamingEnd::Failed(error) => {
                        let retry = error.retry_after(self.failures + 1);
                        self.fault(error.state(), error.to_string(), retry);
                    }
                }
            }
            if !self.waker.is_stopped() {
                info!("camera {}: closed, nobody watches", self.settings.name);
            }
            self.publish.reporter.state(CameraState::Idle);
        }
    }

    /// Waits for a viewer without using CPU time. Returns false when the service stops.
    fn rest(&self) -> bool {
        self.publish.reporter.counters().set_deadline(None);
        while !self.waker.is_stopped() {
            if self.publish.publisher().subscribers().viewers > 0 {
                return true;
            }
            self.waker.wait(&[], None);
        }
        false
    }

    /// Whether frames are wanted: there is a viewer, or was one within the linger time.
    fn is_wanted(&self) -> bool {
        !self.waker.is_stopped() && self.linger_end().is_none_or(|end| Timestamp::now() < end)
    }

    /// When the linger time ends; `None` while there is a viewer.
    fn linger_end(&self) -> Option<Timestamp> {
        let subscribers = self.publish.publisher().subscribers();
        let left = subscribers.last_left.unwrap_or_default();
        (subscribers.viewers == 0).then(|| left.after(self.settings.linger))
    }

    /// Opens the source, publishes its frames until something ends that, and closes it.
    fn session(&mut self, source: &mut dyn Source) -> StreamingEnd {
        self.set_deadline(Timestamp::now().after(DRIVER_TIMEOUT));
        let end = match source.open() {
            Ok(opened) => {
                self.publish.reporter.capturing(true);
                let rotation = if source.rotates() { Rotation::None } else { self.settings.jpeg.rotation };
                self.source_opened(&opened, rotation);
                self.publish_frames(source, &opened)
            }
            // A wait of the source was ended.
            Err(_) if self.waker.is_stopped() => StreamingEnd::Stopped,
            Err(error) => StreamingEnd::Failed(error),
        };
        self.set_deadline(Timestamp::now().after(DRIVER_TIMEOUT));
        // Before the close, which may take a while: a viewer who connects meanwhile must not get an outdated frame.
        self.publish.close();
        source.close();
        self.publish.reporter.capturing(false);
        self.publish.reporter.counters().frames_stopped();
        end
    }

    /// Takes a still of the largest size and answers the request.
    fn take_still(&mut self, source: &mut dyn Source, request: StillRequest) {
        self.set_deadline(Timestamp::now().after(DRIVER_TIMEOUT));
        let (counters, begun) = (self.publish.reporter.counters(), Timestamp::now());
        let result = match source.open_largest() {
            Ok(None) => Ok(None),
            Ok(Some(opened)) => {
                self.publish.reporter.capturing(true);
                take_still(source, &opened, &self.waker, &self.settings).map(Some)
            }
            Err(error) => Err(StillError::Camera(error.to_string())),
        };
        source.close();
        let name = &self.settings.name;
        match &result {
            Ok(None) => {}
            Ok(Some(still)) => {
                counters.stills.add(1);
                let took = Timestamp::now().since(begun);
                info!("camera {name}: still of {} taken, the stream stood for {took:.1?}", still.resolution);
            }
            Err(error) => {
                counters.failed_stills.add(1);
                warn!("camera {name}: {error}");
            }
        }
        if !matches!(result, Ok(None)) {
            self.stills.stream_interrupted();
        }
        request.answer(result);
    }

    fn source_opened(&mut self, opened: &OpenedSource, rotation: Rotation) {
        let info = &opened.info;
        let size = info.resolution.map(|r| format!(" {r}")).unwrap_or_default();
        let rate =
            if info.fps > 0.0 { format!("at {:.1} fps", info.fps) } else { "at an unknown rate".into() };
        info!(
            "camera {}: opened {} ({}): {}{size} {rate}",
            self.settings.name, info.path, info.card, info.format
        );
        if self.failures > 0 {
            self.publish.reporter.counters().reopens.add(1);
        }
        self.publish.publisher().reserve(opened.max_jpeg_bytes);
        let encoding = (info.format != PixelFormat::Mjpeg).then_some(Encoding {
            quality: self.settings.jpeg.quality,
            subsampling: self.settings.jpeg.subsampling.name(),
        });
        let info = SourceInfo { encoding, ..info.clone() };
        self.publish.reporter.opened(info.clone());
        self.publish.restart(OpenedSource { info, ..opened.clone() }, self.settings.skip_first, rotation);
    }

    fn publish_frames(&mut self, source: &mut dyn Source, opened: &OpenedSource) -> StreamingEnd {
        let stall_timeout = match opened.info.fps {
            0.0 => UNKNOWN_RATE_STALL_TIMEOUT,
            fps => STALL_TIMEOUT.max(Duration::from_secs_f32(STALL_FRAMES / fps.max(0.001))),
        };
        let mut stalled_at = Timestamp::now().after(FIRST_FRAME_TIMEOUT.max(stall_timeout));
        loop {
            if self.waker.is_stopped() {
                return StreamingEnd::Stopped;
            }
            if self.stills.is_pending() {
                if opened.has_larger {
                    return StreamingEnd::StillRequested;
                }
                self.stills.take().into_iter().for_each(|request| request.answer(Ok(None)));
            }
            if source.wants_reopen() {
                return StreamingEnd::SettingsChanged;
            }
            let linger_end = self.linger_end();
            if linger_end.is_some_and(|end| Timestamp::now() >= end) {
                return StreamingEnd::Unwatched;
            }
            let deadline = linger_end.map_or(stalled_at, |end| end.min(stalled_at));
            self.set_deadline(deadline);
            let mut published = None;
            let publish = &mut self.publish;
            let next = source
                .next(&self.waker, deadline, &mut |captured| published = Some(publish.publish(captured)));
            if let Err(error) = next {
                return StreamingEnd::Failed(error);
            }
            if self.publish.wants_key_frame() && source.request_key_frame() {
                self.publish.key_frame_comes();
            }
            match published {
                Some(Published::Frame) => {
                    self.mark_live();
                    stalled_at = Timestamp::now().after(stall_timeout);
                }
                Some(Published::Skipped) => stalled_at = Timestamp::now().after(stall_timeout),
                None if Timestamp::now() >= stalled_at && self.pause(source) => {
                    stalled_at = Timestamp::now().after(stall_timeout);
                }
                Some(Published::Rejected) | None if Timestamp::now() >= stalled_at => {
                    let why = self.stall_message(source, &opened.info.path, stall_timeout);
                    return StreamingEnd::Stalled(why);
                }
                Some(Published::Rejected) | None => {}
            }
        }
    }

    /// Reports that the source is silent, if it goes on by itself. Returns whether it does.
    fn pause(&mut self, source: &dyn Source) -> bool {
        let Some(why) = source.pause_reason().filter(|_| self.publish.last_error.is_none()) else {
            return false;
        };
        self.tell(CameraState::Stalled, &why);
        // A viewer who connects meanwhile gets no outdated frame.
        self.publish.publisher().clear();
        self.publish.reporter.counters().frames_stopped();
        self.publish.reporter.fault(CameraState::Stalled, why);
        true
    }

    /// A frame was published: a fault is over.
    fn mark_live(&mut self) {
        if self.failures > 0 {
            info!("camera {}: live again", self.settings.name);
            self.failures = 0;
        }
    }

    fn stall_message(&self, source: &dyn Source, path: &str, stall_timeout: Duration) -> String {
        let seconds = stall_timeout.as_secs_f32();
        match &self.publish.last_error {
            Some(error) => {
                let remedy = source.remedy(error.into());
                format!("{path}: no whole picture for {seconds} s, the last one {error}; {remedy}")
            }
            None => {
                let remedy = source.remedy(PictureFault::Silent);
                format!("{path}: no frame for {seconds} s; reopening it. If that goes on, {remedy}")
            }
        }
    }

    /// Reports a fault and waits before the next attempt.
    fn fault(&mut self, state: CameraState, why: String, retry: Duration) {
        self.tell(state, &why);
        self.publish.last_error = None;
        self.publish.reporter.fault(state, why);
        let until = Timestamp::now().after(retry);
        self.set_deadline(until);
        while self.is_wanted() && Timestamp::now() < until {
            // A new viewer wakes the thread too, and does not shorten the delay.
            self.waker.wait(&[], Some(until));
        }
    }

    /// Logs a fault: its first message is for people.
    fn tell(&mut self, state: CameraState, why: &str) {
        self.failures += 1;
        if self.failures == 1 {
            warn!("camera {}: {state}: {why}", self.settings.name);
        } else {
            debug!("camera {}: {state} after attempt {}: {why}", self.settings.name, self.failures);
        }
    }

    /// The thread reports again by then, or is stuck.
    fn set_deadline(&self, deadline: Timestamp) {
        self.publish.reporter.counters().set_deadline(Some(deadline));
    }
}
