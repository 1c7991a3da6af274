//! The viewers' end of a ring of access units.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::subscribers::{RingClosed, RingFull};
use super::group::{AccessUnit, NextUnit, Position, UnitRingState, UnitSlot};

/// Gives access to the access units of one camera. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UnitRing {
    state: Arc<UnitRingState>,
}

/// Figures of a ring at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitRingStats {
    /// Number of subscriptions.
    pub viewers: usize,
    /// Number of leases. Several leases may refer to one slot.
    pub leased: usize,
    /// Access units published.
    pub published: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Access units that nobody could decode, as no key frame had come before them.
    pub without_start: u64,
}

impl UnitRing {
    pub(super) fn new(state: Arc<UnitRingState>) -> Self {
        Self { state }
    }

    /// Subscribes to the access units, and asks for a key frame.
    ///
    /// # Errors
    /// [`RingFull`] when `max_viewers` subscriptions are in use.
    pub fn subscribe(&self) -> Result<UnitSubscription, RingFull> {
        self.state.table.connect(true)?;
        self.state.want_key_frame();
        // A key frame may be wanted already; then the publisher was not woken.
        self.state.wake_publisher();
        let (position, skipped) = Default::default();
        Ok(UnitSubscription { position, skipped, state: Arc::clone(&self.state) })
    }

    /// The notifier task: wakes the waiting subscriptions for each new access unit, until the publisher is dropped. Subscriptions are
    /// woken only while it runs; see [`FrameRing::run_notifier`](crate::ring::FrameRing::run_notifier).
    pub async fn run_notifier(self) {
        self.state.table.run_notifier(|| self.state.group().closed).await;
    }

    /// Wakes the tasks of the waiting subscriptions, though there is no new access unit for them.
    pub fn wake_viewers(&self) {
        self.state.table.wake_viewers();
    }

    /// The facts of the newest access unit.
    pub fn newest(&self) -> Option<AccessUnit> {
        self.state.group().newest()
    }

    /// The figures of the ring.
    pub fn stats(&self) -> UnitRingStats {
        let state = &self.state;
        UnitRingStats {
            viewers: state.table.subscribers().viewers,
            leased: state.leased.load(Relaxed),
            published: state.published.get(),
            key_frames: state.key_frames.get(),
            without_start: state.without_start.get(),
        }
    }
}

/// A viewer's place at the ring.
#[derive(Debug)]
pub struct UnitSubscription {
    position: Position,
    /// Access units missed since the last lease.
    skipped: u32,
    state: Arc<UnitRingState>,
}

impl UnitSubscription {
    /// Waits for an access unit that is next for this subscription. Cancel safe.
    ///
    /// # Errors
    /// [`RingClosed`] when none will follow.
    pub async fn changed(&mut self) -> Result<(), RingClosed> {
        let (state, position) = (Arc::clone(&self.state), &mut self.position);
        let ready = || {
            let (next, closed) = {
                let group = state.group();
                (group.next(*position), group.closed)
            };
            match next {
                NextUnit::Unit { .. } => return Some(Ok(())),
                NextUnit::AfterKeyFrame => fall_behind(position, &state),
                NextUnit::UpToDate => {}
            }
            closed.then_some(Err(RingClosed))
        };
        state.table.wait(ready).await
    }

    /// Leases the access unit that is next: the one after that of the last lease, or a key frame. `None` while there is none.
    pub fn lease(&mut self) -> Option<UnitLease<'_>> {
        let (next, newest) = {
            let group = self.state.group();
            (group.next(self.position), group.newest())
        };
        let (slot, skipped) = match next {
            NextUnit::Unit { slot, skipped } => (slot, skipped),
            NextUnit::AfterKeyFrame => {
                fall_behind(&mut self.position, &self.state);
                return None;
            }
            NextUnit::UpToDate => return None,
        };
        let sequence = slot.unit.sequence;
        let is_newest = newest.is_some_and(|newest| newest.sequence == sequence);
        let is_start = slot.unit.is_key;
        self.position = Position {
            last: Some(sequence),
            needs_key: false,
            has_caught_up: is_newest || (self.position.has_caught_up && !(is_start && skipped > 0)),
        };
        self.skipped = skipped;
        Some(UnitLease { slot: UnitRef::new(slot, Arc::clone(&self.state)), skipped, _subscription: self })
    }
}

/// A viewer needs a key frame to go on. It asks for one, once.
fn fall_behind(position: &mut Position, state: &UnitRingState) {
    if !position.needs_key {
        position.needs_key = true;
        state.want_key_frame();
    }
}

impl Drop for UnitSubscription {
    fn drop(&mut self) {
        self.state.table.disconnect(true);
        // An encoder that nobody needs any more is closed.
        self.state.wake_publisher();
    }
}

/// A reference to a slot. The slot is not written while it lives.
#[derive(Debug)]
struct UnitRef {
    slot: Arc<UnitSlot>,
    state: Arc<UnitRingState>,
}

impl UnitRef {
    fn new(slot: Arc<UnitSlot>, state: Arc<UnitRingState>) -> Self {
        state.leased.fetch_add(1, Relaxed);
        Self { slot, state }
    }
}

impl Drop for UnitRef {
    fn drop(&mut self) {
        self.state.leased.fetch_sub(1, Relaxed);
    }
}

/// A lease on one access unit while it is sent. It borrows its subscription, so a subscription has at most one lease.
#[derive(Debug)]
pub struct UnitLease<'subscription> {
    slot: UnitRef,
    skipped: u32,
    _subscription: &'subscription mut UnitSubscription,
}

impl UnitLease<'_> {
    /// The facts of the access unit.
    pub fn unit(&self) -> AccessUnit {
        self.slot.slot.unit
    }

    /// The number of access units that this subscription missed before this one.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }
}

impl Deref for UnitLease<'_> {
    type Target = [u8];

    /// The access unit in the stored form of [`h264`](crate::h264).
    fn deref(&self) -> &[u8] {
        &self.slot.slot.buffer[..self.slot.slot.len]
    }
}
