//! The viewers: a registry that keeps their number within the limits, and what is counted about each of them and added up
//! for those that have left.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::task::yield_now;

use crate::camera::Camera;
use crate::frame::Timestamp;
use crate::ring::{RingFull, Subscription};
use crate::status::{CameraId, Counter, Histogram};
use crate::sync::lock;
use crate::web::server::address::Peer;
use crate::web::server::client_socket::LateReads;
use crate::websocket::{H264_SUBPROTOCOL, MP4_SUBPROTOCOL, SUBPROTOCOL};

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
    /// WebSocket, access units of H.264 with headers and acknowledgements.
    H264,
    /// WebSocket, fragmented MP4 with headers and acknowledgements.
    Mp4WebSocket,
    /// Fragmented MP4 over HTTP.
    Mp4,
    /// A byte stream of H.264 over HTTP.
    AnnexB,
}

impl ViewerKind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Porthole,
        Self::Bare,
        Self::Tutorial,
        Self::Mjpeg,
        Self::Snapshot,
        Self::H264,
        Self::Mp4WebSocket,
        Self::Mp4,
        Self::AnnexB,
    ];

    /// Its name in `/state` and `/metrics`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Porthole => SUBPROTOCOL,
            Self::Bare => "websocket",
            Self::Tutorial => "tutorial",
            Self::Mjpeg => "mjpeg",
            Self::Snapshot => "snapshot",
            Self::H264 => H264_SUBPROTOCOL,
            Self::Mp4WebSocket => MP4_SUBPROTOCOL,
            Self::Mp4 => "mp4",
            Self::AnnexB => "h264",
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
    pub(crate) const ALL: [Self; 4] = [Self::Stalled, Self::Unacknowledged, Self::Silent, Self::Protocol];

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
    pub(crate) camera: CameraId,
    pub(crate) kind: ViewerKind,
    pub(crate) peer: Peer,
    pub(crate) since: Timestamp,
    pub(crate) sent: Counter,
    pub(crate) skipped: Counter,
    pub(crate) bytes: Counter,
    pub(crate) in_flight: AtomicU32,
    /// Its acknowledgements may have come, and not be counted yet.
    pub(super) late_reads: Arc<LateReads>,
    /// Microseconds from the capture of the newest frame sent until the kernel had all of it.
    age_us: AtomicU64,
    /// The same of every frame sent to any viewer of the camera.
    ages: Arc<Histogram>,
}

impl ViewerStats {
    pub(super) fn new(id: u64, camera: CameraId, kind: ViewerKind, peer: Peer, ages: Arc<Histogram>) -> Self {
        let since = Timestamp::now();
        let (sent, skipped, bytes, in_flight, late_reads, age_us) = Default::default();
        Self { id, camera, kind, peer, since, sent, skipped, bytes, in_flight, late_reads, age_us, ages }
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
    pub(crate) connected_total: u64,
    pub(crate) connected: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) bytes: u64,
    pub(crate) in_flight: u64,
}

impl ViewerTotals {
    pub(super) fn add_connected(&mut self, stats: &ViewerStats) {
        self.add_disconnected(stats);
        self.connected += 1;
        self.in_flight += u64::from(stats.in_flight.load(Relaxed));
    }

    pub(super) fn add_disconnected(&mut self, stats: &ViewerStats) {
        self.connected_total += 1;
        self.sent += stats.sent.get();
        self.skipped += stats.skipped.get();
        self.bytes += stats.bytes.get();
    }
}

/// [`ViewerTotals`] of each [`ViewerKind`], by its number.
pub(crate) type TotalsByKind = [ViewerTotals; ViewerKind::ALL.len()];

/// The limit at which a viewer was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ViewerRejected {
    #[error(transparent)]
    Total(#[from] RingFull),
    #[error("this camera has no H.264, as its h264 is \"off\"; set it to \"auto\", or use /stream")]
    NoH264,
    #[error("your address has all of its {0} viewer places; raise limits.viewers_per_address to allow more")]
    PerAddress(usize),
}

#[derive(Debug)]
struct ViewerTable {
    connected: Vec<Arc<ViewerStats>>,
    cameras: BTreeMap<CameraId, CameraFigures>,
}

/// What is counted for each camera.
#[derive(Debug, Default)]
struct CameraFigures {
    /// Of viewers that have left.
    disconnected: TotalsByKind,
    /// The ages of frames when the kernel had them.
    ages: Arc<Histogram>,
}

#[derive(Debug)]
pub(crate) struct ViewerRegistry {
    max_viewers: usize,
    max_per_address: usize,
    next_id: AtomicU64,
    table: Mutex<ViewerTable>,
    /// Viewers that were disconnected, by the reason.
    pub(crate) dropped: [Counter; DropReason::ALL.len()],
    /// Viewers that were rejected at a limit.
    pub(crate) rejected: Counter,
}

impl ViewerRegistry {
    pub(crate) fn new(max_viewers: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max_viewers,
            max_per_address,
            next_id: AtomicU64::new(1),
            table: Mutex::new(ViewerTable { connected: Vec::new(), cameras: BTreeMap::new() }),
            dropped: Default::default(),
            rejected: Counter::default(),
        })
    }

    pub(crate) fn connected(&self) -> Vec<Arc<ViewerStats>> {
        lock(&self.table).connected.clone()
    }

    /// Has all acknowledgements read that have come, so that the figures of the viewers of `cameras` are true.
    pub(crate) async fn bring_up_to_date(&self, cameras: &[Camera]) {
        // Each is asked.
        if lock(&self.table).connected.iter().filter(|stats| stats.late_reads.ask()).count() > 0 {
            cameras.iter().for_each(Camera::wake_viewers);
            // Their tasks run first: this thread runs them all.
            yield_now().await;
        }
    }

    /// The totals of all viewers of a camera that ever connected, and the ages of frames when the kernel had them.
    pub(crate) fn totals(&self, camera: CameraId) -> (TotalsByKind, Arc<Histogram>) {
        let table = lock(&self.table);
        let figures = table.cameras.get(&camera);
        let mut totals = figures.map(|figures| figures.disconnected).unwrap_or_default();
        for stats in table.connected.iter().filter(|stats| stats.camera == camera) {
            totals[stats.kind as usize].add_connected(stats);
        }
        (totals, figures.map(|figures| Arc::clone(&figures.ages)).unwrap_or_default())
    }

    /// Forgets what was counted for cameras that are gone.
    pub(crate) fn forget_all_but(&self, cameras: &BTreeSet<CameraId>) {
        lock(&self.table).cameras.retain(|id, _| cameras.contains(id));
    }

    /// Registers a viewer of `camera` that subscribes by `subscribe`. Fails with [`ViewerRejected`] at a limit,
    /// which is counted.
    pub(crate) fn register<S>(
        self: &Arc<Self>,
        camera: &Camera,
        kind: ViewerKind,
        peer: Peer,
        subscribe: impl FnOnce(&Camera) -> Result<S, RingFull>,
    ) -> Result<Viewer<S>, ViewerRejected> {
        let mut table = lock(&self.table);
        let admitted = self.admit(&table, peer).and_then(|()| Ok(subscribe(camera)?));
        let subscription = admitted.inspect_err(|_| self.rejected.add(1))?;
        Ok(self.enter(&mut table, camera.id(), kind, peer, subscription))
    }

    fn enter<S>(
        self: &Arc<Self>,
        table: &mut ViewerTable,
        camera: CameraId,
        kind: ViewerKind,
        peer: Peer,
        subscription: S,
    ) -> Viewer<S> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let ages = Arc::clone(&table.cameras.entry(camera).or_default().ages);
        let stats = Arc::new(ViewerStats::new(id, camera, kind, peer, ages));
        table.connected.push(Arc::clone(&stats));
        Viewer { subscription, registration: ViewerRegistration { stats, registry: Arc::clone(self) } }
    }

    /// Whether there is room for another viewer.
    fn admit(&self, table: &ViewerTable, peer: Peer) -> Result<(), ViewerRejected> {
        if table.connected.len() == self.max_viewers {
            return Err(RingFull { max_viewers: self.max_viewers }.into());
        }
        let group = peer.address_group();
        let in_group =
            table.connected.iter().filter(|other| group.is_some() && other.peer.address_group() == group);
        if in_group.count() >= self.max_per_address {
            return Err(ViewerRejected::PerAddress(self.max_per_address));
        }
        Ok(())
    }

    /// The totals of the only camera.
    #[cfg(test)]
    pub(super) fn totals_for_test(&self) -> TotalsByKind {
        let id = lock(&self.table).cameras.keys().next().copied();
        self.totals(id.expect("a viewer was entered")).0
    }

    /// A viewer of a ring that belongs to no camera.
    #[cfg(test)]
    pub(super) fn enter_for_test<S>(self: &Arc<Self>, kind: ViewerKind, subscription: S) -> Viewer<S> {
        let (_, cameras, _) = crate::status::status([("test".into(), "pattern".into(), 30.0)]);
        self.enter(&mut lock(&self.table), cameras[0].id(), kind, Peer::Unix, subscription)
    }
}

/// A viewer with its place at a ring.
#[derive(Debug)]
pub(crate) struct Viewer<S = Subscription> {
    pub(super) subscription: S,
    pub(super) registration: ViewerRegistration,
}

/// The entry of a viewer in the registry, removed when dropped.
#[derive(Debug)]
pub(super) struct ViewerRegistration {
    pub(super) stats: Arc<ViewerStats>,
    registry: Arc<ViewerRegistry>,
}

impl ViewerRegistration {
    /// Counts that the service disconnects this viewer.
    pub(super) fn count_dropped(&self, why: DropReason) {
        self.registry.dropped[why as usize].add(1);
    }
}

impl Drop for ViewerRegistration {
    fn drop(&mut self) {
        let (mut table, stats) = (lock(&self.registry.table), &self.stats);
        table.connected.retain(|other| other.id != stats.id);
        if let Some(figures) = table.cameras.get_mut(&stats.camera) {
            figures.disconnected[stats.kind as usize].add_disconnected(stats);
        }
    }
}
