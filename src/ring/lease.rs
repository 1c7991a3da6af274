//! A viewer's hold on a frame: for as long as it lives, the slot is not written to.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Place, Seat, Shared, Slot};
use crate::frame::Frame;

/// A slot that must not be written to.
#[derive(Debug)]
pub(super) struct Held {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
}

impl Held {
    pub(super) fn new(slot: Arc<Slot>, shared: Arc<Shared>) -> Self {
        shared.leased.fetch_add(1, Relaxed);
        Self { slot, shared }
    }

    fn jpeg(&self) -> &[u8] {
        &self.slot.buffer[..self.slot.len]
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.leased.fetch_sub(1, Relaxed);
    }
}

/// A viewer's hold on one slot while it is being written out. Borrows its seat: there can be no second.
#[derive(Debug)]
pub struct Lease<'seat> {
    held: Held,
    skipped: u32,
    _seat: &'seat mut Seat,
}

impl<'seat> Lease<'seat> {
    pub(super) fn new(held: Held, skipped: u32, seat: &'seat mut Seat) -> Self {
        Self { held, skipped, _seat: seat }
    }

    /// The frame's facts.
    pub fn frame(&self) -> Frame {
        self.held.slot.frame
    }

    /// Frames that came and went between this seat's previous lease and this one.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }
}

impl Deref for Lease<'_> {
    type Target = [u8];

    /// The JPEG.
    fn deref(&self) -> &[u8] {
        self.held.jpeg()
    }
}

/// A lease that keeps its viewer's place itself.
#[derive(Debug)]
pub struct OwnedLease {
    held: Held,
    _place: Place,
}

impl OwnedLease {
    pub(super) fn new(held: Held, place: Place) -> Self {
        Self { held, _place: place }
    }

    /// The frame's facts.
    pub fn frame(&self) -> Frame {
        self.held.slot.frame
    }
}

impl AsRef<[u8]> for OwnedLease {
    /// The JPEG.
    fn as_ref(&self) -> &[u8] {
        self.held.jpeg()
    }
}
