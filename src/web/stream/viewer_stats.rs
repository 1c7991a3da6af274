//! What is counted about each viewer, and added up for those that have left.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::frame::Timestamp;
use crate::status::{Counter, Histogram};
use crate::web::server::peer::Peer;

/// The way in which a viewer receives frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewerKind {
    /// WebSocket, with frame headers and acknowledgements.
    Porthole,
    /// WebSocket, a bare JPEG in each message.
    Bare,
    /// WebSocket, base64 in JSON.
    Tutorial,
    /// Multipart over HTTP.
    Mjpeg,
    /// One frame over HTTP.
    Snapshot,
}

impl ViewerKind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Porthole, Self::Bare, Self::Tutorial, Self::Mjpeg, Self::Snapshot];

    /// Its name in `/state` and `/metrics`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Porthole => "porthole.v1",
            Self::Bare => "websocket",
            Self::Tutorial => "tutorial",
            Self::Mjpeg => "mjpeg",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Why the service disconnected a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// It took no data within the write timeout.
    Stalled,
    /// It acknowledged no frame within the write timeout.
    Unacknowledged,
    /// It sent nothing within the pong timeout.
    Silent,
    /// It violated the WebSocket protocol.
    Protocol,
}

impl DropReason {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Stalled, Self::Unacknowledged, Self::Silent, Self::Protocol];

    /// Its name in `/metrics`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::Unacknowledged => "unacknowledged",
            Self::Silent => "silent",
            Self::Protocol => "protocol",
        }
    }
}

/// The statistics of one viewer. Written by its task, read by `/state`.
#[derive(Debug)]
pub(crate) struct ViewerStats {
    pub(crate) id: u64,
    /// Index of its camera.
    pub(crate) camera: usize,
    pub(crate) kind: ViewerKind,
    pub(crate) peer: Peer,
    /// When it connected.
    pub(crate) since: Timestamp,
    pub(crate) sent: Counter,
    pub(crate) skipped: Counter,
    pub(crate) bytes: Counter,
    pub(crate) in_flight: AtomicU32,
    /// Microseconds from the capture of the newest frame sent until the kernel had all of it.
    age_us: AtomicU64,
    /// The same of every frame sent to any viewer of the camera.
    ages: Arc<Histogram>,
}

impl ViewerStats {
    pub(super) fn new(id: u64, camera: usize, kind: ViewerKind, peer: Peer, ages: Arc<Histogram>) -> Self {
        Self {
            id,
            camera,
            kind,
            peer,
            since: Timestamp::now(),
            sent: Counter::default(),
            skipped: Counter::default(),
            bytes: Counter::default(),
            in_flight: AtomicU32::new(0),
            age_us: AtomicU64::new(0),
            ages,
        }
    }

    /// Counts a frame captured at `captured_at` that was handed to the kernel as `bytes`.
    pub(super) fn frame_sent(&self, captured_at: Timestamp, skipped: u32, bytes: usize) {
        self.sent.add(1);
        self.skipped.add(skipped.into());
        self.bytes.add(bytes as u64);
        let age = Timestamp::now().since(captured_at);
        self.age_us.store(age.as_micros() as u64, Relaxed);
        self.ages.record(age);
    }

    /// Age in milliseconds of the newest frame sent, when the kernel had all of it.
    pub(crate) fn age_ms(&self) -> f64 {
        self.age_us.load(Relaxed) as f64 / 1000.0
    }
}

/// The statistics of all viewers of one camera and kind, those that have left included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ViewerTotals {
    /// Viewers that ever connected.
    pub(crate) connected_total: u64,
    /// Viewers that are connected now.
    pub(crate) connected: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) bytes: u64,
    pub(crate) in_flight: u64,
}

impl ViewerTotals {
    /// Adds a viewer that is connected.
    pub(super) fn add_connected(&mut self, stats: &ViewerStats) {
        self.add_disconnected(stats);
        self.connected += 1;
        self.in_flight += u64::from(stats.in_flight.load(Relaxed));
    }

    /// Adds a viewer that has left.
    pub(super) fn add_disconnected(&mut self, stats: &ViewerStats) {
        self.connected_total += 1;
        self.sent += stats.sent.get();
        self.skipped += stats.skipped.get();
        self.bytes += stats.bytes.get();
    }
}

/// [`ViewerTotals`] of each [`ViewerKind`], by its number.
pub(crate) type TotalsByKind = [ViewerTotals; ViewerKind::ALL.len()];
