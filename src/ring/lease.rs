//! A viewer's hold on a frame: for as long as it lives, the slot is not written to.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Registration, Shared, Slot, Subscription};
use crate::frame::Frame;

/// A slot that must not be written to.
#[derive(Debug)]
pub(super) struct SlotRef {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
}

impl SlotRef {
    pub(super) fn new(slot: Arc<Slot>, shared: Arc<Shared>) -> Self {
        shared.leased.fetch_add(1, Relaxed);
        Self { slot, shared }
    }

    fn frame(&self) -> Frame {
        self.slot.frame
    }

    fn jpeg(&self) -> &[u8] {
        &self.slot.buffer[..self.slot.len]
    }
}

impl Drop for SlotRef {
    fn drop(&mut self) {
        self.shared.leased.fetch_sub(1, Relaxed);
    }
}

/// A viewer's hold on one slot while it is being written out. Borrows its subscription: there can be no second.
#[derive(Debug)]
pub struct Lease<'subscription> {
    slot: SlotRef,
    skipped: u32,
    _subscription: &'subscription mut Subscription,
}

impl<'subscription> Lease<'subscription> {
    pub(super) fn new(slot: SlotRef, skipped: u32, subscription: &'subscription mut Subscription) -> Self {
        Self { slot, skipped, _subscription: subscription }
    }

    /// The frame's facts.
    pub fn frame(&self) -> Frame {
        self.slot.frame()
    }

    /// Frames that came and went between this subscription's previous lease and this one.
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

/// A lease that keeps its viewer's registration itself.
#[derive(Debug)]
pub struct OwnedLease {
    slot: SlotRef,
    _registration: Registration,
}

impl OwnedLease {
    pub(super) fn new(slot: SlotRef, registration: Registration) -> Self {
        Self { slot, _registration: registration }
    }

    /// The frame's facts.
    pub fn frame(&self) -> Frame {
        self.slot.frame()
    }
}

impl AsRef<[u8]> for OwnedLease {
    /// The JPEG.
    fn as_ref(&self) -> &[u8] {
        self.slot.jpeg()
    }
}
