//! The ring: a fixed set of frame slots between one camera and all of its viewers.
//!
//! [`Publisher::publish`] replaces the newest frame and never waits for a viewer. A [`Subscription`] leases the frame that
//! is newest when it asks. Frames that a viewer was too slow for are skipped and counted, not queued.
//!
//! **The invariant.** There are `max_viewers + 2` slots. There are at most `max_viewers` subscriptions, each has at most
//! one [`Lease`] (the borrow checker enforces it), and one slot holds the newest frame. So at most `max_viewers + 1` slots
//! are in use, and at least one is free for the next frame: publishing never blocks, never allocates, never fails.
//!
//! Slots are zero pages until first written, and the lowest free slot is used first. So memory follows the number of
//! frames in flight, not the number of slots.
//!
//! How frames are made and where they are sent does not belong here.
#![forbid(unsafe_code)]

mod publisher;
mod slot_memory;
mod slots;
mod subscribers;
mod subscription;
pub mod units;

use std::sync::Arc;

pub use publisher::Publisher;
pub use subscribers::{RingClosed, RingFull, Subscribers};
pub use subscription::{FrameRing, Lease, OwnedLease, Presence, RingStats, Subscription};

use slots::RingState;

/// Makes a ring for at most `max_viewers` viewers, of slots that hold `slot_bytes` each.
pub fn ring(max_viewers: usize, slot_bytes: usize) -> (Publisher, FrameRing) {
    let state = Arc::new(RingState::new(max_viewers, slot_bytes));
    (Publisher::new(Arc::clone(&state)), FrameRing::new(state))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::frame::{Resolution, Sequence, Timestamp, WrittenJpeg};

    /// Publishes a frame of `len` bytes, each `number`.
    fn publish(publisher: &mut Publisher, number: u8, len: usize) -> Sequence {
        let fill = |slot: &mut [u8]| {
            slot[..len].fill(number);
            Ok::<_, Infallible>(WrittenJpeg { len, resolution: Resolution::new(8, 8) })
        };
        publisher.publish(Timestamp(number.into()), fill).unwrap()
    }

    #[test]
    fn every_viewer_may_lease_a_different_frame_and_a_slot_is_still_free() {
        const VIEWERS: u8 = 20;
        let (mut publisher, frames) = ring(VIEWERS.into(), 64);
        let mut subscriptions: Vec<_> = (0..VIEWERS).map(|_| frames.subscribe().unwrap()).collect();
        let mut leases = Vec::new();
        for (number, subscription) in (1..).zip(&mut subscriptions) {
            publish(&mut publisher, number, 40);
            leases.push(subscription.lease().unwrap());
        }
        for _ in 0..1000 {
            publish(&mut publisher, 255, 64);
        }
        for (number, lease) in (1..).zip(&leases) {
            assert_eq!(**lease, [number; 40], "a leased frame was overwritten");
            assert_eq!(lease.frame().captured_at, Timestamp(number.into()));
        }
        assert_eq!(frames.stats().leased, usize::from(VIEWERS));
    }

    #[test]
    fn a_frame_that_failed_is_not_published_and_takes_no_number() {
        let (mut publisher, frames) = ring(1, 64);
        publish(&mut publisher, 1, 40);
        let failed = publisher.publish(Timestamp(2), |slot| {
            slot.fill(0xee);
            Err("the encoder failed")
        });
        assert_eq!(failed, Err("the encoder failed"));
        let mut subscription = frames.subscribe().unwrap();
        assert_eq!(*subscription.lease().unwrap(), [1; 40]);
        assert_eq!(publish(&mut publisher, 2, 40), Sequence(2));
    }

    #[test]
    fn subscriptions_are_limited_and_counted() {
        let (publisher, frames) = ring(2, 64);
        assert_eq!(publisher.subscribers(), Subscribers { viewers: 0, takers: 0, last_left: None });
        let (one, two) = (frames.subscribe().unwrap(), frames.subscribe().unwrap());
        assert_eq!(frames.subscribe().unwrap_err(), RingFull { max_viewers: 2 });
        drop(one);
        assert_eq!(publisher.subscribers(), Subscribers { viewers: 1, takers: 1, last_left: None });
        let before = Timestamp::now();
        drop(two);
        assert_eq!(publisher.subscribers().viewers, 0);
        assert!(publisher.subscribers().last_left.unwrap() >= before);
        let _three = frames.subscribe().unwrap();
        assert_eq!(publisher.subscribers().last_left, None);
    }

    #[test]
    fn skipped_frames_and_seen_frames_are_counted() {
        let (mut publisher, frames) = ring(1, 64);
        let mut subscription = frames.subscribe().unwrap();
        assert!(subscription.lease().is_none());
        publish(&mut publisher, 1, 8);
        assert_eq!(subscription.lease().unwrap().skipped(), 0);
        for number in 2..=5 {
            publish(&mut publisher, number, 8);
        }
        assert_eq!(subscription.lease().unwrap().skipped(), 3);
        let stats = frames.stats();
        assert_eq!((stats.published, stats.seen, stats.overwritten), (5, 2, 3));
        publisher.clear();
        assert_eq!((frames.newest(), frames.stats()), (None, stats), "the newest frame was seen");
    }

    #[test]
    fn reserve_replaces_slots_and_keeps_leased_ones_intact() {
        let (mut publisher, frames) = ring(1, 64);
        let mut subscription = frames.subscribe().unwrap();
        publish(&mut publisher, 1, 40);
        let lease = subscription.lease().unwrap();
        publisher.reserve(4096);
        assert_eq!(frames.newest(), None, "a frame from before the change is not given to new viewers");
        assert_eq!(publish(&mut publisher, 7, 4096), Sequence(2));
        assert_eq!(*lease, [1; 40]);
        drop(lease);
        assert_eq!(*subscription.lease().unwrap(), [7; 4096]);
        assert_eq!(frames.stats().slot_bytes, 4096);
    }
}
