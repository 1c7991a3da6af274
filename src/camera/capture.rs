//! The capture thread: one for each camera, from an subscribers to frames in the ring.
//!
//! It rests while nobody watches. Then it opens the source, publishes what comes, opens it again after a stall or
//! a loss, and closes it when the subscribers has been gone for the linger time. Every wait ends when the bell rings.
#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use log::{debug, info, warn};
use tokio::sync::oneshot;

use super::bell::Bell;
use super::error::SourceError;
use super::stage::{Stage, Taken};
use super::still::{self, Request, StillError, Stills};
use super::{Opening, Settings, Source};
use crate::frame::{PixelFormat, Timestamp};
use crate::ring::Publisher;
use crate::status::{CameraState, Encoding, Opened, Reporter};

// What users notice of these times, and of `retry_after` of a `SourceError`, is in src/manual/reliability.md.

/// No frame for this long is a stall, at any rate above 2.5 a second. USB cameras hiccup for several hundred
/// milliseconds when exposure or focus changes; more than this and viewers see a frozen picture.
const STALL: Duration = Duration::from_secs(2);
/// At low rates a stall is this many frames missing.
const STALL_FRAMES: f32 = 5.0;
/// The first frame may take this long: USB cameras power up, negotiate and set exposure first.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// A driver may take this long to open, start or stop a device before the thread counts as stuck in it.
const DRIVER: Duration = Duration::from_secs(10);

/// How a capture thread came to its end.
#[derive(Debug)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// It panicked; the message.
    Panicked(String),
}

/// A running capture thread.
#[derive(Debug)]
pub struct CaptureThread {
    name: String,
    bell: Arc<Bell>,
    /// None once it has been told.
    ended: Option<oneshot::Receiver<Ended>>,
    thread: JoinHandle<()>,
}

impl CaptureThread {
    /// The camera's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells the thread to close its source and end.
    pub fn stop(&self) {
        self.bell.stop();
    }

    /// Waits for the thread's end, which is told once; after that it has just stopped. Loses nothing when cancelled.
    pub async fn ended(&mut self) -> Ended {
        let Some(told) = &mut self.ended else { return Ended::Stopped };
        // The sender is dropped unused only by a panic that a panic message caused.
        let ended = told.await.unwrap_or_else(|_| Ended::Panicked("no message".into()));
        self.ended = None;
        ended
    }

    /// Collects a thread that has ended.
    pub fn join(self) {
        // A panic was caught and reported by `ended`.
        let _ = self.thread.join();
    }
}

pub(super) fn spawn(
    settings: Settings,
    source: Box<dyn Source>,
    publisher: Publisher,
    reporter: Reporter,
    (bell, stills): (Arc<Bell>, Arc<Stills>),
) -> io::Result<CaptureThread> {
    let (name, theirs) = (settings.name.clone(), Arc::clone(&bell));
    let (end, ended) = oneshot::channel();
    let thread = Builder::new().name(format!("camera {name}")).spawn(move || {
        let mut capture = Capture {
            stage: Stage::new(settings.jpeg, publisher, reporter),
            settings,
            bell: theirs,
            stills,
            failures: 0,
        };
        // The source is dropped, and a device closed, whatever happens.
        let mut source = source;
        let result = catch_unwind(AssertUnwindSafe(|| capture.run(source.as_mut())));
        let _ = end.send(result.map_or_else(|panic| Ended::Panicked(message(&*panic)), |()| Ended::Stopped));
    })?;
    Ok(CaptureThread { name, bell, ended: Some(ended), thread })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

/// Why a session with an open source ended.
enum Over {
    /// The service stops.
    Stopped,
    /// The subscribers left.
    Unwatched,
    /// Somebody wants a larger picture than these.
    StillWanted,
    /// No good frame came in time.
    Stalled(String),
    /// The source failed.
    Failed(SourceError),
}

struct Capture {
    settings: Settings,
    stage: Stage,
    bell: Arc<Bell>,
    stills: Arc<Stills>,
    /// Attempts in a row that gave no frame.
    failures: u32,
}

impl Capture {
    fn run(&mut self, source: &mut dyn Source) {
        while self.rest() {
            self.stage.reporter.state(CameraState::Starting);
            self.failures = 0;
            while self.is_wanted() {
                if let Some(request) = self.stills.next() {
                    self.still(source, request);
                }
                match self.session(source) {
                    Over::Stopped | Over::Unwatched => break,
                    Over::StillWanted => {}
                    Over::Stalled(why) => self.fault(CameraState::Stalled, why, Duration::ZERO),
                    Over::Failed(error) => {
                        let retry = error.retry_after(self.failures + 1);
                        self.fault(error.state(), error.to_string(), retry);
                    }
                }
            }
            if !self.bell.is_stopped() {
                info!("camera {}: closed, nobody watches", self.settings.name);
            }
            self.stage.reporter.state(CameraState::Idle);
        }
    }

    /// Waits, at no cost, until somebody wants frames. False when the service stops instead.
    fn rest(&self) -> bool {
        self.stage.reporter.counters().promise(None);
        while !self.bell.is_stopped() {
            if self.stage.publisher.subscribers().viewers > 0 {
                return true;
            }
            if let Err(error) = self.bell.wait(&[], None) {
                // ppoll on one valid descriptor fails only for want of kernel memory.
                warn!("camera {}: waiting for viewers: {error}", self.settings.name);
            }
        }
        false
    }

    /// Whether frames shall come: somebody watches, or did until a moment ago.
    fn is_wanted(&self) -> bool {
        !self.bell.is_stopped() && self.unwatched_at().is_none_or(|at| Timestamp::now() < at)
    }

    /// When the linger time ends, if nobody watches.
    fn unwatched_at(&self) -> Option<Timestamp> {
        let subscribers = self.stage.publisher.subscribers();
        let left = subscribers.last_left.unwrap_or_default();
        (subscribers.viewers == 0).then(|| left.after(self.settings.linger))
    }

    /// Opens the source and publishes its frames until something ends that; closes it.
    fn session(&mut self, source: &mut dyn Source) -> Over {
        self.promise(Timestamp::now().after(DRIVER));
        let over = match source.open() {
            Ok(opening) => {
                self.stage.reporter.capturing(true);
                self.opened(&opening);
                self.frames(source, &opening)
            }
            Err(error) => Over::Failed(error),
        };
        self.promise(Timestamp::now().after(DRIVER));
        // First, as closing may take a while: who comes meanwhile must not mistake the last frame for news.
        self.stage.publisher.clear();
        source.close();
        self.stage.reporter.capturing(false);
        self.stage.reporter.counters().halted();
        over
    }

    /// Takes a picture of the largest size for whoever asked.
    fn still(&mut self, source: &mut dyn Source, request: Request) {
        self.promise(Timestamp::now().after(DRIVER));
        let (counters, begun) = (self.stage.reporter.counters(), Timestamp::now());
        let taken = match source.open_largest() {
            Ok(None) => Ok(None),
            Ok(Some(opening)) => {
                self.stage.reporter.capturing(true);
                still::take(source, &opening, &self.bell, &self.settings).map(Some)
            }
            Err(error) => Err(StillError::Camera(error.to_string())),
        };
        source.close();
        let name = &self.settings.name;
        match &taken {
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
        if !matches!(taken, Ok(None)) {
            self.stills.interrupted();
        }
        request.answer(taken);
    }

    fn opened(&mut self, opening: &Opening) {
        let Opening { driver, card, path, format, resolution, fps, frame_bytes, .. } = opening.clone();
        let size = resolution.map(|r| format!(" {r}")).unwrap_or_default();
        info!("camera {}: opened {path} ({card}): {format}{size} at {fps:.1} fps", self.settings.name);
        if self.failures > 0 {
            self.stage.reporter.counters().reopens.add(1);
        }
        self.stage.publisher.reserve(frame_bytes);
        self.stage.begin(self.settings.skip_first);
        let encoding = (format != PixelFormat::Mjpeg).then_some(Encoding {
            quality: self.settings.jpeg.quality,
            subsampling: self.settings.jpeg.subsampling.name(),
        });
        self.stage.reporter.opened(Opened { driver, card, path, format, resolution, fps, encoding });
    }

    fn frames(&mut self, source: &mut dyn Source, opening: &Opening) -> Over {
        let patience = STALL.max(Duration::from_secs_f32(STALL_FRAMES / opening.fps.max(0.001)));
        let mut good_until = Timestamp::now().after(FIRST_FRAME.max(patience));
        loop {
            if self.bell.is_stopped() {
                return Over::Stopped;
            }
            if self.stills.is_asked() {
                if opening.has_larger {
                    return Over::StillWanted;
                }
                self.stills.next().into_iter().for_each(|request| request.answer(Ok(None)));
            }
            let unwatched = self.unwatched_at();
            if unwatched.is_some_and(|at| Timestamp::now() >= at) {
                return Over::Unwatched;
            }
            let until = unwatched.map_or(good_until, |at| at.min(good_until));
            self.promise(until);
            let mut taken = None;
            let stage = &mut self.stage;
            match source.next(&self.bell, until, &mut |captured| taken = Some(stage.take(captured))) {
                Ok(_) => {}
                Err(error) => return Over::Failed(error),
            }
            match taken {
                Some(Taken::Published) => {
                    self.is_live();
                    good_until = Timestamp::now().after(patience);
                }
                Some(Taken::Skipped) => good_until = Timestamp::now().after(patience),
                Some(Taken::Rejected) | None if Timestamp::now() >= good_until => {
                    return Over::Stalled(self.stall(opening, patience));
                }
                Some(Taken::Rejected) | None => {}
            }
        }
    }

    fn is_live(&mut self) {
        if self.failures > 0 {
            info!("camera {}: live again", self.settings.name);
            self.failures = 0;
        }
    }

    fn stall(&self, opening: &Opening, patience: Duration) -> String {
        let seconds = patience.as_secs_f32();
        match &self.stage.last_reject {
            Some(reject) => format!(
                "{}: no whole picture for {seconds} s, the last one {reject}; \
                 try another cable or USB port, or validate = false if the picture is good all the same",
                opening.path
            ),
            None => format!(
                "{}: no frame for {seconds} s; reopening it. If that goes on, try another cable or USB port",
                opening.path
            ),
        }
    }

    /// Reports a fault, and waits before the next attempt.
    fn fault(&mut self, state: CameraState, why: String, retry: Duration) {
        self.failures += 1;
        if self.failures == 1 {
            warn!("camera {}: {state}: {why}", self.settings.name);
        } else {
            debug!("camera {}: {state} after attempt {}: {why}", self.settings.name, self.failures);
        }
        self.stage.last_reject = None;
        self.stage.reporter.fault(state, why);
        let until = Timestamp::now().after(retry);
        self.promise(until);
        while self.is_wanted() && Timestamp::now() < until {
            // A ring may be a viewer who came or the stop; a failed wait counts as the whole of it.
            if self.bell.wait(&[], Some(until)).is_err() {
                return;
            }
        }
    }

    fn promise(&self, until: Timestamp) {
        self.stage.reporter.counters().promise(Some(until));
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("camera", &self.settings.name).finish_non_exhaustive()
    }
}
