//! The viewers' end of the ring: subscriptions, figures, and the notifier task.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::slots::RingState;
use super::subscription::{RingFull, Subscription};
use crate::failpoint;
use crate::frame::Frame;

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

    /// The notifier task: wakes the waiting subscriptions for each new frame, until the publisher is dropped.
    ///
    /// Subscriptions are woken only while it runs. It belongs on the runtime of their tasks: then each frame wakes one
    /// thread once. If the publisher woke the tasks itself, each viewer would cost the capture thread a system call.
    pub async fn run_notifier(self) {
        while !self.state.newest().closed {
            self.state.publisher_notify.notified().await;
            failpoint::pass("notifier");
            self.state.subscriber_notify.notify_waiters();
        }
        self.state.subscriber_notify.notify_waiters();
    }

    /// The facts of the newest frame.
    pub fn newest(&self) -> Option<Frame> {
        self.state.newest().slot.as_ref().map(|slot| slot.frame)
    }

    /// The figures of the ring.
    pub fn stats(&self) -> RingStats {
        // While this lock is held, the publisher changes no counter.
        let newest = self.state.newest();
        let newest_seen = newest.slot.as_ref().is_some_and(|slot| slot.seen.load(Relaxed));
        RingStats {
            slots: self.state.max_viewers + 2,
            slot_bytes: self.state.slot_bytes.load(Relaxed),
            leased: self.state.leased.load(Relaxed),
            published: self.state.published.get(),
            seen: self.state.seen.get() + u64::from(newest_seen),
            overwritten: self.state.overwritten.get(),
        }
    }
}
