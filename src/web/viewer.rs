//! Who watches: a register of viewers, and what is known of each.
//!
//! A [`Viewer`] is a place at one camera's ring with a name on it. There are `max_viewers` of them for the whole
//! service. How frames get to a viewer is written in [`super::ws`], [`super::mjpeg`] and [`super::snapshot`].
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::camera::Camera;
use crate::frame::Timestamp;
use crate::ring::{Full, OwnedLease, Seat};
use crate::status::Counter;

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

/// What is counted of one viewer. Written by its task, read by `/state`.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) id: u64,
    pub(super) camera: usize,
    pub(super) kind: Kind,
    pub(super) remote: SocketAddr,
    pub(super) since: Timestamp,
    pub(super) sent: Counter,
    pub(super) skipped: Counter,
    pub(super) bytes: Counter,
    pub(super) in_flight: AtomicU32,
    /// Microseconds from the capture of the newest frame sent to when the kernel had all of it.
    age_us: AtomicU64,
}

impl Tally {
    /// A frame captured at `captured_at` has been handed to the kernel, as `bytes` on the wire.
    pub(super) fn frame(&self, captured_at: Timestamp, skipped: u32, bytes: usize) {
        self.sent.add(1);
        self.skipped.add(skipped.into());
        self.bytes.add(bytes as u64);
        self.age_us.store(Timestamp::now().since(captured_at).as_micros() as u64, Relaxed);
    }

    pub(super) fn age_ms(&self) -> f64 {
        self.age_us.load(Relaxed) as f64 / 1000.0
    }
}

/// All viewers of the service.
#[derive(Debug)]
pub(super) struct Register {
    max_viewers: usize,
    next_id: AtomicU64,
    present: Mutex<Vec<Arc<Tally>>>,
}

impl Register {
    pub(super) fn new(max_viewers: usize) -> Arc<Self> {
        Arc::new(Self { max_viewers, next_id: AtomicU64::new(1), present: Mutex::default() })
    }

    fn present(&self) -> MutexGuard<'_, Vec<Arc<Tally>>> {
        // Nothing that holds this lock can panic half way through a change.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody who is there.
    pub(super) fn tallies(&self) -> Vec<Arc<Tally>> {
        self.present().clone()
    }

    /// Gives a viewer of `camera` (the `index`th) a place.
    ///
    /// # Errors
    /// [`Full`] when all of them are taken.
    pub(super) fn enter(
        self: &Arc<Self>,
        (index, camera): (usize, &Camera),
        kind: Kind,
        remote: SocketAddr,
    ) -> Result<Viewer, Full> {
        let mut present = self.present();
        if present.len() == self.max_viewers {
            return Err(Full { max_viewers: self.max_viewers });
        }
        let seat = camera.seat()?;
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
        });
        present.push(Arc::clone(&tally));
        Ok(Viewer { seat, entry: Entry { tally, register: Arc::clone(self) } })
    }
}

/// One connected consumer of frames.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) seat: Seat,
    pub(super) entry: Entry,
}

impl Viewer {
    /// Trades the place for the newest frame, which stays in the register until it has been sent.
    pub(super) fn into_frame(self) -> Option<Held> {
        Some(Held { lease: self.seat.into_lease()?, _entry: self.entry })
    }
}

/// A line in the register, for as long as it lives.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) tally: Arc<Tally>,
    register: Arc<Register>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.register.present().retain(|tally| tally.id != self.tally.id);
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
