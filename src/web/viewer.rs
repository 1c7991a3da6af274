//! Who watches: a register of viewers, and what is known of each.
//!
//! A [`Viewer`] is a place at one camera's ring with a name on it. There are `max_viewers` of them for the whole
//! service. How frames get to a viewer is written in [`super::ws`], [`super::mjpeg`] and [`super::snapshot`].
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::listener::Peer;
use crate::camera::Camera;
use crate::frame::Timestamp;
use crate::ring::{OwnedLease, RingFull, Subscription};
use crate::status::{Counter, Histogram};

/// The way a viewer takes its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// WebSocket, with headers and acknowledgements.
    Porthole,
    /// WebSocket, a bare JPEG a message.
    Bare,
    /// WebSocket, base64 in JSON.
    Tutorial,
    /// Multipart over HTTP.
    Mjpeg,
    /// One frame over HTTP.
    Snapshot,
}

impl Kind {
    pub(super) const ALL: [Self; 5] =
        [Self::Porthole, Self::Bare, Self::Tutorial, Self::Mjpeg, Self::Snapshot];

    /// As in `/state`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Porthole => "porthole.v1",
            Self::Bare => "websocket",
            Self::Tutorial => "tutorial",
            Self::Mjpeg => "mjpeg",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Why a viewer was dropped that would have stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// It took no data for too long.
    Stalled,
    /// It acknowledged no frame for too long.
    Unacknowledged,
    /// It gave no sign of life for too long.
    Silent,
    /// It broke the protocol.
    Protocol,
}

impl Dropped {
    pub(super) const ALL: [Self; 4] = [Self::Stalled, Self::Unacknowledged, Self::Silent, Self::Protocol];

    /// As in `/metrics`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::Unacknowledged => "unacknowledged",
            Self::Silent => "silent",
            Self::Protocol => "protocol",
        }
    }
}

/// What has been handed to all viewers of one camera who take frames in one way, or ever did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Total {
    /// Viewers who came.
    pub(super) came: u64,
    /// Viewers who are there.
    pub(super) present: u64,
    pub(super) sent: u64,
    pub(super) skipped: u64,
    pub(super) bytes: u64,
    pub(super) in_flight: u64,
}

impl Total {
    fn add(&mut self, tally: &Tally) {
        self.came += 1;
        self.sent += tally.sent.get();
        self.skipped += tally.skipped.get();
        self.bytes += tally.bytes.get();
    }
}

/// A [`Total`] for each [`Kind`].
pub(super) type Totals = [Total; Kind::ALL.len()];

/// What is counted of one viewer. Written by its task, read by `/state`.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) id: u64,
    pub(super) camera: usize,
    pub(super) kind: Kind,
    pub(super) remote: Peer,
    pub(super) since: Timestamp,
    pub(super) sent: Counter,
    pub(super) skipped: Counter,
    pub(super) bytes: Counter,
    pub(super) in_flight: AtomicU32,
    /// Microseconds from the capture of the newest frame sent to when the kernel had all of it.
    age_us: AtomicU64,
    /// The same of all frames sent to all viewers of the camera.
    ages: Arc<Histogram>,
}

impl Tally {
    /// A frame captured at `captured_at` has been handed to the kernel, as `bytes` on the wire.
    pub(super) fn frame(&self, captured_at: Timestamp, skipped: u32, bytes: usize) {
        self.sent.add(1);
        self.skipped.add(skipped.into());
        self.bytes.add(bytes as u64);
        let age = Timestamp::now().since(captured_at);
        self.age_us.store(age.as_micros() as u64, Relaxed);
        self.ages.record(age);
    }

    pub(super) fn age_ms(&self) -> f64 {
        self.age_us.load(Relaxed) as f64 / 1000.0
    }
}

/// Why somebody cannot be a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error(transparent)]
    All(#[from] RingFull),
    #[error("your address has all of its {0} viewer places; more by limits.viewers_per_address")]
    Address(usize),
}

/// All viewers of the service, and what is remembered of those who left.
#[derive(Debug)]
pub(super) struct Register {
    max_viewers: usize,
    per_address: usize,
    next_id: AtomicU64,
    book: Mutex<Book>,
    /// For each camera, how old frames were when the kernel had them.
    ages: Vec<Arc<Histogram>>,
    dropped: [Counter; Dropped::ALL.len()],
}

#[derive(Debug)]
struct Book {
    present: Vec<Arc<Tally>>,
    /// For each camera, what was sent to those who left.
    departed: Vec<Totals>,
}

impl Register {
    /// For so many viewers, in total and from one address.
    pub(super) fn new((max_viewers, per_address): (usize, usize), cameras: usize) -> Arc<Self> {
        Arc::new(Self {
            max_viewers,
            per_address,
            next_id: AtomicU64::new(1),
            book: Mutex::new(Book { present: Vec::new(), departed: vec![Totals::default(); cameras] }),
            ages: (0..cameras).map(|_| Arc::default()).collect(),
            dropped: Default::default(),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing that holds this lock can panic half way through a change.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody who is there.
    pub(super) fn tallies(&self) -> Vec<Arc<Tally>> {
        self.book().present.clone()
    }

    /// For each camera, what was sent to all who ever came.
    pub(super) fn totals(&self) -> Vec<Totals> {
        let book = self.book();
        let mut all = book.departed.clone();
        for tally in &book.present {
            let total = &mut all[tally.camera][tally.kind as usize];
            total.add(tally);
            total.present += 1;
            total.in_flight += u64::from(tally.in_flight.load(Relaxed));
        }
        all
    }

    /// For each camera, how old frames were when the kernel had them.
    pub(super) fn ages(&self) -> &[Arc<Histogram>] {
        &self.ages
    }

    /// How many viewers were dropped for this reason.
    pub(super) fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize].get()
    }

    /// Gives a viewer of `camera` (the `index`th) a place.
    ///
    /// # Errors
    /// [`NoPlace`] when all of them are taken, or all that one address may have.
    pub(super) fn enter(
        self: &Arc<Self>,
        (index, camera): (usize, &Camera),
        kind: Kind,
        remote: Peer,
    ) -> Result<Viewer, NoPlace> {
        let mut book = self.book();
        if book.present.len() == self.max_viewers {
            return Err(RingFull { max_viewers: self.max_viewers }.into());
        }
        let from = remote.household();
        let near = book.present.iter().filter(|other| from.is_some() && other.remote.household() == from);
        if near.count() >= self.per_address {
            return Err(NoPlace::Address(self.per_address));
        }
        let subscription = camera.subscribe()?;
        let tally = Arc::new(Tally {
            id: self.next_id.fetch_add(1, Relaxed),
            camera: index,
            kind,
            remote,
            since: Timestamp::now(),
            sent: Counter::default(),
            skipped: Counter::default(),
            bytes: Counter::default(),
            in_flight: AtomicU32::new(0),
            age_us: AtomicU64::new(0),
            ages: Arc::clone(&self.ages[index]),
        });
        book.present.push(Arc::clone(&tally));
        Ok(Viewer { subscription, entry: Entry { tally, register: Arc::clone(self) } })
    }
}

/// One connected consumer of frames.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) subscription: Subscription,
    pub(super) entry: Entry,
}

impl Viewer {
    /// Trades the place for the newest frame, which stays in the register until it has been sent.
    pub(super) fn into_frame(self) -> Option<Held> {
        Some(Held { lease: self.subscription.into_lease()?, _entry: self.entry })
    }
}

/// A line in the register, for as long as it lives.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) tally: Arc<Tally>,
    register: Arc<Register>,
}

impl Entry {
    /// Counts that this viewer is dropped.
    pub(super) fn dropped(&self, why: Dropped) {
        self.register.dropped[why as usize].add(1);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let (mut book, tally) = (self.register.book(), &self.tally);
        book.present.retain(|other| other.id != tally.id);
        book.departed[tally.camera][tally.kind as usize].add(tally);
    }
}

/// A frame held by a viewer who wants just that one.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lease: OwnedLease,
    _entry: Entry,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.lease.as_ref()
    }
}
