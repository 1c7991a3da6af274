//! Full-size stills beside a small stream: who asks for one, and how it is taken.
//!
//! A camera gives one size at a time, so the stream makes way: the source is closed, opened at its largest size for one
//! settled picture, and opened again as before. Viewers stay, and see the picture stand for that long. The still does
//! not go through the ring, whose slots are as large as the stream's frames: it goes straight to whoever asked, in
//! memory of its own.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::bell::Bell;
use super::{Captured, Opening, Settings, Source};
use crate::frame::{Resolution, Timestamp};
use crate::jpeg::{JpegError, JpegWriter};

/// Pictures passed over after the switch: the first ones are dark or torn until exposure follows.
const SETTLE: u32 = 4;
/// A camera has this long, from the switch to the settled picture.
const PATIENCE: Duration = Duration::from_secs(6);
/// The stream runs at least this long between two stills, so that whoever wants many cannot have all of it.
const PAUSE: Duration = Duration::from_secs(5);

/// A full-size picture.
#[derive(Debug)]
pub struct Still {
    /// The JPEG.
    pub jpeg: Vec<u8>,
    /// Its size.
    pub resolution: Resolution,
    /// When the camera had it complete.
    pub captured_at: Timestamp,
}

/// Why there is no still.
#[derive(Debug, thiserror::Error)]
pub enum StillError {
    /// Somebody else was faster.
    #[error("another full-size still is being taken; try again when it is done")]
    Busy,
    /// The stream has had too little time since the last one.
    #[error("the last full-size still was less than {} s ago; try again later, or take /snapshot", PAUSE.as_secs())]
    TooSoon,
    /// The camera would not.
    #[error("no full-size still: {0}")]
    Camera(String),
}

/// What comes of asking; nothing where the stream is as large as pictures get.
pub type Taken = Result<Option<Still>, StillError>;

/// Where stills are asked for, one at a time.
#[derive(Debug, Default)]
pub(super) struct Stills {
    asked: Mutex<Option<Request>>,
    turn: Arc<AtomicBool>,
    /// Before this, in microseconds of CLOCK_MONOTONIC, the stream is not to be interrupted again.
    not_before: AtomicU64,
}

/// One who waits for a still.
#[derive(Debug)]
pub(super) struct Request {
    reply: oneshot::Sender<Taken>,
    turn: Turn,
}

/// While it lives, nobody else may ask.
#[derive(Debug)]
struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

impl Stills {
    /// Asks for one. The camera has to be woken then, and to be watched until the answer comes.
    pub(super) fn ask(&self) -> Result<oneshot::Receiver<Taken>, StillError> {
        // Nothing that holds this lock can panic.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever asked and left before the camera took notice is in nobody's way.
        asked.take_if(|request| request.reply.is_closed());
        if self.turn.swap(true, SeqCst) {
            return Err(StillError::Busy);
        }
        let turn = Turn(Arc::clone(&self.turn));
        if Timestamp::now().0 < self.not_before.load(SeqCst) {
            return Err(StillError::TooSoon);
        }
        let (reply, answer) = oneshot::channel();
        *asked = Some(Request { reply, turn });
        Ok(answer)
    }

    /// Whether somebody waits, and is still there.
    pub(super) fn is_asked(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.as_ref().is_some_and(|request| !request.reply.is_closed())
    }

    /// Whoever waits, if somebody still does.
    pub(super) fn next(&self) -> Option<Request> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        asked.filter(|request| !request.reply.is_closed())
    }

    /// The stream has been interrupted just now.
    pub(super) fn interrupted(&self) {
        self.not_before.store(Timestamp::now().after(PAUSE).0, SeqCst);
    }
}

impl Request {
    pub(super) fn answer(self, taken: Taken) {
        let Self { reply, turn } = self;
        // Before the answer: whoever has it may ask again.
        drop(turn);
        // Fails if whoever asked has left.
        let _ = reply.send(taken);
    }
}

/// Takes one settled picture of a source that has been opened at its largest size.
pub(super) fn take(
    source: &mut dyn Source,
    opening: &Opening,
    bell: &Bell,
    settings: &Settings,
) -> Result<Still, StillError> {
    // Its own, so that what it sets aside for a large picture goes with it.
    let mut maker = JpegWriter::new(settings.jpeg);
    let mut jpeg = vec![0; opening.frame_bytes];
    let mut to_skip = settings.skip_first.max(SETTLE);
    let (until, mut last_reject) = (Timestamp::now().after(PATIENCE), None::<JpegError>);
    while Timestamp::now() < until && !bell.is_stopped() {
        let mut made = None;
        let next = source.next(bell, until, &mut |captured: Captured<'_>| {
            if captured.damaged || to_skip > 0 {
                to_skip = to_skip.saturating_sub(1);
            } else {
                made = Some(maker.write(&captured.picture, &mut jpeg).map(|made| (made, captured.at)));
            }
        });
        next.map_err(|error| StillError::Camera(error.to_string()))?;
        match made {
            Some(Ok((made, captured_at))) => {
                jpeg.truncate(made.len);
                jpeg.shrink_to_fit();
                return Ok(Still { jpeg, resolution: made.resolution, captured_at });
            }
            Some(Err(reject)) => last_reject = Some(reject),
            None => {}
        }
    }
    let size = opening.resolution.map(|size| format!(" of {size}")).unwrap_or_default();
    let reject = last_reject.map(|reject| format!(", the last one {reject}")).unwrap_or_default();
    let why = format!("{}: no whole picture{size} within {} s{reject}", opening.path, PATIENCE.as_secs());
    Err(StillError::Camera(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_at_a_time_and_whoever_left_is_in_nobodys_way() {
        let stills = Stills::default();
        let first = stills.ask().unwrap();
        assert!(matches!(stills.ask(), Err(StillError::Busy)));
        drop(first);
        let mut second = stills.ask().unwrap();
        let request = stills.next().unwrap();
        assert!(!stills.is_asked());
        assert!(matches!(stills.ask(), Err(StillError::Busy)), "the camera is at it");
        request.answer(Ok(None));
        assert!(matches!(second.try_recv(), Ok(Ok(None))));
        drop(stills.ask().unwrap());
        assert!(!stills.is_asked(), "the stream would make way for nobody");
        assert!(stills.next().is_none(), "nobody waits for it any more");
        stills.interrupted();
        assert!(matches!(stills.ask(), Err(StillError::TooSoon)));
        assert!(matches!(stills.ask(), Err(StillError::TooSoon)), "the turn was not given back");
    }
}
