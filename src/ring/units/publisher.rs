//! The end of a ring of access units at which they are published.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::super::subscribers::Subscribers;
use super::group::{AccessUnit, UnitRingState, UnitSlot};
use crate::frame::{Sequence, Timestamp};
use crate::h264::WrittenUnit;

/// The newest interval counts as one of so many in the smoothed one.
const SMOOTHED_INTERVALS: u32 = 8;

/// Publishes the access units of one camera.
#[derive(Debug)]
pub struct UnitPublisher {
    slots: Vec<Arc<UnitSlot>>,
    /// Most access units in a group.
    units: usize,
    last: Sequence,
    last_captured: Option<Timestamp>,
    interval: Duration,
    /// Where the units of a group go that is cleared; as large as a group.
    removed: VecDeque<Arc<UnitSlot>>,
    state: Arc<UnitRingState>,
}

impl UnitPublisher {
    pub(super) fn new(state: Arc<UnitRingState>) -> Self {
        let (slots, last, last_captured, interval, removed) = Default::default();
        Self { slots, units: 0, last, last_captured, interval, removed, state }
    }

    /// Makes room for groups of `units` access units of `unit_bytes` each, and clears the group. Call it when an encoder or camera is
    /// opened: it allocates. Leased slots are freed when their leases end.
    pub fn reserve(&mut self, units: usize, unit_bytes: usize) {
        let slots = self.state.table.max_viewers + units + 1;
        self.clear();
        if self.slots.first().is_none_or(|slot| slot.buffer.len() != unit_bytes) || self.slots.len() != slots
        {
            self.slots.clear();
            self.slots.resize_with(slots, || UnitSlot::new(unit_bytes));
        }
        self.units = units;
        self.removed.reserve(units);
        self.state.group().reserve(units);
    }

    /// Frees all slots, which [`reserve`](Self::reserve) allocates again.
    pub fn release(&mut self) {
        self.clear();
        self.slots = Vec::new();
    }

    /// Lets `fill` write the next access unit into a free slot, then adds it to the group and wakes the notifier task. A key frame
    /// begins a new group. `Ok(None)` for one that no viewer could decode: there is no key frame before it, or no slots were reserved.
    ///
    /// The locks taken here are held by viewers only while they count a reference.
    ///
    /// # Errors
    /// The error of `fill`. Then nothing is published. If the access unit is lost by that, call [`clear`](Self::clear).
    ///
    /// # Panics
    /// If `fill` reports more bytes than the slot holds.
    pub fn publish<E>(
        &mut self,
        captured_at: Timestamp,
        fill: impl FnOnce(&mut [u8]) -> Result<WrittenUnit, E>,
    ) -> Result<Option<Sequence>, E> {
        let Some(index) = self.free_slot() else { return Ok(None) };
        let sequence = self.last.next();
        let slot =
            Arc::get_mut(&mut self.slots[index]).expect("a slot without a lease has one owner: this table");
        let WrittenUnit { len, resolution, is_key } = fill(&mut slot.buffer)?;
        assert!(len <= slot.buffer.len(), "{len} bytes in a slot of {}", slot.buffer.len());
        let interval = match self.last_captured.map(|last| captured_at.since(last)) {
            None => Duration::ZERO,
            Some(newest) if self.interval.is_zero() => newest,
            Some(newest) => (self.interval * (SMOOTHED_INTERVALS - 1) + newest) / SMOOTHED_INTERVALS,
        };
        slot.len = len;
        slot.unit = AccessUnit { sequence, captured_at, resolution, is_key, interval };
        let newest = Arc::clone(&self.slots[index]);
        {
            let mut group = self.state.group();
            if !is_key && group.is_empty() {
                drop(group);
                self.state.without_start.add(1);
                self.state.note_missing_start();
                return Ok(None);
            }
            group.add(newest, self.units);
            self.state.published.add(1);
            self.state.key_frames.add(is_key.into());
        }
        (self.last, self.last_captured, self.interval) = (sequence, Some(captured_at), interval);
        self.state.table.notify();
        Ok(Some(sequence))
    }

    /// Removes the group: the stream is interrupted, or an access unit was lost. Viewers go on at the next key frame.
    pub fn clear(&mut self) {
        // A number is left out, so that nobody goes on as if nothing was missing.
        let was_empty = {
            let mut group = self.state.group();
            group.clear(&mut self.removed);
            self.removed.is_empty()
        };
        self.removed.clear();
        (self.last_captured, self.interval) = (None, Duration::ZERO);
        if !was_empty {
            self.last = self.last.next();
            self.state.table.notify();
        }
    }

    /// How many viewers there are.
    pub fn subscribers(&self) -> Subscribers {
        *self.state.table.subscribers()
    }

    /// Whether a viewer needs a key frame: one that joined, or one that fell behind. Takes the request.
    pub fn take_key_frame_request(&self) -> bool {
        self.state.take_key_frame_request()
    }

    /// The lowest slot that is neither in the group nor leased. The module documentation proves that there is one, once slots are
    /// reserved.
    fn free_slot(&mut self) -> Option<usize> {
        self.slots.iter_mut().position(|slot| Arc::get_mut(slot).is_some())
    }
}

impl Drop for UnitPublisher {
    fn drop(&mut self) {
        self.state.group().closed = true;
        self.state.table.notify();
    }
}
