//! The viewers' end of the ring: figures, the notifier task, subscriptions, and their leases on frames.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::slots::{FrameSlot, RingState};
use super::subscribers::{RingClosed, RingFull};
use crate::frame::{Frame, Sequence};

/// Gives access to the frames of one camera. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FrameRing {
    state: Arc<RingState>,
}

/// Figures of a ring at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingStats {
    /// Number of slots.
    pub slots: usize,
    /// Bytes that each slot can hold. A slot takes up memory only once it is written.
    pub slot_bytes: usize,
    /// Number of leases. Several leases may refer to one slot.
    pub leased: usize,
    /// Frames published.
    pub published: u64,
    /// Frames that at least one viewer leased.
    pub seen: u64,
    /// Frames that were replaced before any viewer leased them. `published = seen + overwritten`, plus one while the
    /// newest frame has not been leased.
    pub overwritten: u64,
}

impl FrameRing {
    pub(super) fn new(state: Arc<RingState>) -> Self {
        Self { state }
    }

    /// Subscribes to the frames.
    ///
    /// # Errors
    /// [`RingFull`] when `max_viewers` subscriptions are in use.
    pub fn subscribe(&self) -> Result<Subscription, RingFull> {
        Subscription::new(&self.state)
    }

    /// Keeps the camera open without taking frames.
    ///
    /// # Errors
    /// [`RingFull`] when all subscriptions are in use.
    pub fn presence(&self) -> Result<Presence, RingFull> {
        Ok(Presence { _count: ViewerCount::new(&self.state, false)? })
    }

    /// The notifier task: wakes the waiting subscriptions for each new frame, until the publisher is dropped.
    ///
    /// Subscriptions are woken only while it runs. It belongs on the runtime of their tasks: then each frame wakes one
    /// thread once. If the publisher woke the tasks itself, each viewer would cost the capture thread a system call.
    pub async fn run_notifier(self) {
        self.state.table.run_notifier(|| self.state.newest().closed).await;
    }

    /// Wakes the tasks of the waiting subscriptions, though there is no new frame for them.
    pub fn wake_viewers(&self) {
        self.state.table.wake_viewers();
    }

    /// The facts of the newest frame.
    pub fn newest(&self) -> Option<Frame> {
        self.state.newest().slot.as_ref().map(|slot| slot.frame)
    }

    /// Copies the newest frame, if there is one that is not `known`, for somebody who is no viewer: the camera is not kept open by
    /// it. While it is copied it takes a slot as a subscription does, so there must be a place for it.
    pub fn copy_newest(&self, known: Option<Sequence>) -> Option<(Frame, Vec<u8>)> {
        let slot =
            Arc::clone(self.state.newest().slot.as_ref().filter(|slot| Some(slot.frame.sequence) != known)?);
        let slot = SlotRef::new(slot, Arc::clone(&self.state));
        Some((slot.slot.frame, slot.jpeg().to_vec()))
    }

    /// The figures of the ring.
    pub fn stats(&self) -> RingStats {
        // While this lock is held, the publisher changes no counter.
        let newest = self.state.newest();
        let newest_seen = newest.slot.as_ref().is_some_and(|slot| slot.seen.load(Relaxed));
        RingStats {
            slots: self.state.table.max_viewers + 2,
            slot_bytes: self.state.slot_bytes.load(Relaxed),
            leased: self.state.leased.load(Relaxed),
            published: self.state.published.get(),
            seen: self.state.seen.get() + u64::from(newest_seen),
            overwritten: self.state.overwritten.get(),
        }
    }
}

/// Counts as one viewer while it lives.
#[derive(Debug)]
struct ViewerCount {
    state: Arc<RingState>,
    takes_frames: bool,
}

impl ViewerCount {
    fn new(state: &Arc<RingState>, takes_frames: bool) -> Result<Self, RingFull> {
        state.table.connect(takes_frames)?;
        Ok(Self { state: Arc::clone(state), takes_frames })
    }
}

impl Drop for ViewerCount {
    fn drop(&mut self) {
        self.state.table.disconnect(self.takes_frames);
    }
}

/// Keeps a camera open for a viewer that takes another rendition than the frames of its ring.
#[derive(Debug)]
pub struct Presence {
    _count: ViewerCount,
}

/// A viewer's place at the ring. A camera with at least one subscription is kept open.
#[derive(Debug)]
pub struct Subscription {
    /// The frame that was leased last.
    last: Option<Sequence>,
    skipped: u32,
    count: ViewerCount,
}

impl Subscription {
    pub(super) fn new(state: &Arc<RingState>) -> Result<Self, RingFull> {
        Ok(Self { last: None, skipped: 0, count: ViewerCount::new(state, true)? })
    }

    /// Waits for a frame that this subscription has not leased yet. Cancel safe.
    ///
    /// # Errors
    /// [`RingClosed`] when no frame will follow.
    pub async fn changed(&mut self) -> Result<(), RingClosed> {
        let state = &self.count.state;
        let ready = || {
            let newest = state.newest();
            let sequence = newest.slot.as_ref().map(|slot| slot.frame.sequence);
            if sequence.is_some() && sequence != self.last {
                return Some(Ok(()));
            }
            newest.closed.then_some(Err(RingClosed))
        };
        state.table.wait(ready).await
    }

    /// Leases the newest frame, whether or not this subscription has leased it before. `None` while there is no frame.
    pub fn lease(&mut self) -> Option<Lease<'_>> {
        let slot = self.take()?;
        Some(Lease { slot, skipped: self.skipped, _subscription: self })
    }

    /// Like [`Subscription::lease`], but the subscription ends with the lease. For a viewer that wants one frame.
    pub fn into_lease(mut self) -> Option<OwnedLease> {
        let slot = self.take()?;
        Some(OwnedLease { slot, _count: self.count })
    }

    fn take(&mut self) -> Option<SlotRef> {
        let state = &self.count.state;
        let slot = {
            let newest = state.newest();
            let slot = newest.slot.as_ref()?;
            slot.seen.store(true, Relaxed);
            Arc::clone(slot)
        };
        let sequence = slot.frame.sequence;
        self.skipped = self.last.map_or(0, |last| sequence.since(last).saturating_sub(1));
        self.last = Some(sequence);
        Some(SlotRef::new(slot, Arc::clone(state)))
    }
}

/// A reference to a slot. The slot is not written while it lives.
#[derive(Debug)]
struct SlotRef {
    slot: Arc<FrameSlot>,
    state: Arc<RingState>,
}

impl SlotRef {
    fn new(slot: Arc<FrameSlot>, state: Arc<RingState>) -> Self {
        state.leased.fetch_add(1, Relaxed);
        Self { slot, state }
    }

    fn jpeg(&self) -> &[u8] {
        &self.slot.buffer[..self.slot.len]
    }
}

impl Drop for SlotRef {
    fn drop(&mut self) {
        self.state.leased.fetch_sub(1, Relaxed);
    }
}

/// A lease on one frame while it is sent. It borrows its subscription, so a subscription has at most one lease.
#[derive(Debug)]
pub struct Lease<'subscription> {
    slot: SlotRef,
    skipped: u32,
    _subscription: &'subscription mut Subscription,
}

impl Lease<'_> {
    /// The facts of the frame.
    pub fn frame(&self) -> Frame {
        self.slot.slot.frame
    }

    /// The number of frames published between this subscription's previous lease and this one.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }
}

impl Deref for Lease<'_> {
    type Target = [u8];

    /// The JPEG.
    fn deref(&self) -> &[u8] {
        self.slot.jpeg()
    }
}

/// A lease that owns its place at the ring.
#[derive(Debug)]
pub struct OwnedLease {
    slot: SlotRef,
    _count: ViewerCount,
}

impl OwnedLease {
    /// The facts of the frame.
    pub fn frame(&self) -> Frame {
        self.slot.slot.frame
    }
}

impl AsRef<[u8]> for OwnedLease {
    /// The JPEG.
    fn as_ref(&self) -> &[u8] {
        self.slot.jpeg()
    }
}
