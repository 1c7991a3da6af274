//! The registry of viewers. It keeps their number within the limits and their statistics.
//!
//! A [`Viewer`] is a subscription to one camera's ring and a registration here.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::viewer_stats::{DropReason, TotalsByKind, ViewerKind, ViewerStats};
use crate::camera::Camera;
use crate::ring::{OwnedLease, RingFull, Subscription};
use crate::status::{Counter, Histogram};
use crate::sync::lock;
use crate::web::server::peer::Peer;

/// The limit at which a viewer was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ViewerRejected {
    #[error(transparent)]
    Total(#[from] RingFull),
    #[error("your address has all of its {0} viewer places; raise limits.viewers_per_address to allow more")]
    PerAddress(usize),
}

#[derive(Debug)]
struct ViewerTable {
    connected: Vec<Arc<ViewerStats>>,
    /// For each camera, the totals of viewers that have left.
    disconnected: Vec<TotalsByKind>,
}

/// All viewers of the service.
#[derive(Debug)]
pub(crate) struct ViewerRegistry {
    max_viewers: usize,
    max_per_address: usize,
    next_id: AtomicU64,
    table: Mutex<ViewerTable>,
    /// For each camera, the ages of frames when the kernel had them.
    ages: Vec<Arc<Histogram>>,
    dropped: [Counter; DropReason::ALL.len()],
    rejected: Counter,
}

impl ViewerRegistry {
    /// For at most `max_viewers` viewers, and `max_per_address` from one address.
    pub(crate) fn new(max_viewers: usize, max_per_address: usize, cameras: usize) -> Arc<Self> {
        let disconnected = vec![TotalsByKind::default(); cameras];
        Arc::new(Self {
            max_viewers,
            max_per_address,
            next_id: AtomicU64::new(1),
            table: Mutex::new(ViewerTable { connected: Vec::new(), disconnected }),
            ages: (0..cameras).map(|_| Arc::default()).collect(),
            dropped: Default::default(),
            rejected: Counter::default(),
        })
    }

    /// The statistics of all connected viewers.
    pub(crate) fn connected(&self) -> Vec<Arc<ViewerStats>> {
        lock(&self.table).connected.clone()
    }

    /// For each camera, the totals of all viewers that ever connected.
    pub(crate) fn totals(&self) -> Vec<TotalsByKind> {
        let table = lock(&self.table);
        let mut all = table.disconnected.clone();
        for stats in &table.connected {
            all[stats.camera][stats.kind as usize].add_connected(stats);
        }
        all
    }

    /// For each camera, the ages of frames when the kernel had them.
    pub(crate) fn ages(&self) -> &[Arc<Histogram>] {
        &self.ages
    }

    /// The number of viewers that were disconnected for this reason.
    pub(crate) fn dropped(&self, why: DropReason) -> u64 {
        self.dropped[why as usize].get()
    }

    /// The number of viewers that were rejected at a limit.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.get()
    }

    /// Registers a viewer of `camera`, the `index`th.
    ///
    /// # Errors
    /// [`ViewerRejected`] at a limit, which is counted.
    pub(crate) fn register(
        self: &Arc<Self>,
        (index, camera): (usize, &Camera),
        kind: ViewerKind,
        peer: Peer,
    ) -> Result<Viewer, ViewerRejected> {
        self.try_register((index, camera), kind, peer).inspect_err(|_| self.rejected.add(1))
    }

    fn try_register(
        self: &Arc<Self>,
        (index, camera): (usize, &Camera),
        kind: ViewerKind,
        peer: Peer,
    ) -> Result<Viewer, ViewerRejected> {
        let mut table = lock(&self.table);
        if table.connected.len() == self.max_viewers {
            return Err(RingFull { max_viewers: self.max_viewers }.into());
        }
        let group = peer.address_group();
        let in_group =
            table.connected.iter().filter(|other| group.is_some() && other.peer.address_group() == group);
        if in_group.count() >= self.max_per_address {
            return Err(ViewerRejected::PerAddress(self.max_per_address));
        }
        let subscription = camera.subscribe()?;
        let id = self.next_id.fetch_add(1, Relaxed);
        let stats = Arc::new(ViewerStats::new(id, index, kind, peer, Arc::clone(&self.ages[index])));
        table.connected.push(Arc::clone(&stats));
        let registration = ViewerRegistration { stats, registry: Arc::clone(self) };
        Ok(Viewer { subscription, registration })
    }
}

/// A viewer of one camera.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(super) subscription: Subscription,
    pub(super) registration: ViewerRegistration,
}

impl Viewer {
    /// Takes the newest frame in exchange for the subscription. The viewer stays registered until the frame is dropped.
    pub(super) fn into_frame(self) -> Option<LeasedFrame> {
        Some(LeasedFrame { lease: self.subscription.into_lease()?, _registration: self.registration })
    }
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
        table.disconnected[stats.camera][stats.kind as usize].add_disconnected(stats);
    }
}

/// The frame of a viewer that wants a single one.
#[derive(Debug)]
pub(super) struct LeasedFrame {
    pub(super) lease: OwnedLease,
    _registration: ViewerRegistration,
}

impl AsRef<[u8]> for LeasedFrame {
    fn as_ref(&self) -> &[u8] {
        self.lease.as_ref()
    }
}
