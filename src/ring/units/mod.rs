//! The ring of access units: H.264 between one camera and all of its viewers.
//!
//! An access unit refers to those before it, up to a key frame. So where the ring of frames has the newest frame alone, this one
//! has the newest **group of pictures**: a key frame and what has followed it. [`UnitPublisher::publish`] adds to it and never waits
//! for a viewer. A [`UnitSubscription`] begins at a key frame and leases unit after unit, each in the order in which it was published.
//! One that is too far behind goes on at the next key frame, for which the publisher is asked; what it missed is counted.
//!
//! **The invariant.** There are `max_viewers + units + 1` slots. There are at most `max_viewers` leases, as each subscription has
//! at most one (the borrow checker enforces it), and at most `units` slots in the group. So at least one is free for the next access
//! unit: publishing never blocks, never allocates, never fails.
//!
//! Slots are allocated while there is an encoder or a camera that gives H.264. They are zero pages until first written, and the lowest
//! free slot is used first: key frames, which are the largest, nearly always go into the same few slots.
//!
//! What is in an access unit is of no interest here: [`h264`](crate::h264) reads it.
#![forbid(unsafe_code)]

mod group;
mod publisher;
mod subscription;

use std::sync::Arc;

pub use group::{AccessUnit, WakePublisher};
pub use publisher::UnitPublisher;
pub use subscription::{UnitLease, UnitRing, UnitRingStats, UnitSubscription};

use group::UnitRingState;

/// Makes a ring for at most `max_viewers` viewers, without slots yet.
pub fn unit_ring(max_viewers: usize, wake: WakePublisher) -> (UnitPublisher, UnitRing) {
    let state = Arc::new(UnitRingState::new(max_viewers, wake));
    (UnitPublisher::new(Arc::clone(&state)), UnitRing::new(state))
}

#[cfg(test)]
mod tests;
