//! The camera's end of the ring.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::slots::{FrameSlot, RingState};
use super::subscribers::Subscribers;
use crate::frame::{Frame, Sequence, Timestamp, WrittenJpeg};

/// Publishes the frames of one camera.
#[derive(Debug)]
pub struct Publisher {
    slots: Box<[Arc<FrameSlot>]>,
    last: Sequence,
    state: Arc<RingState>,
}

impl Publisher {
    pub(super) fn new(state: Arc<RingState>) -> Self {
        let bytes = state.slot_bytes.load(Relaxed);
        let slots = (0..state.table.max_viewers + 2).map(|_| FrameSlot::new(bytes)).collect();
        Self { slots, last: Sequence::default(), state }
    }

    /// Lets `fill` write the next frame into a free slot, then makes it the newest frame and wakes the notifier task.
    /// `captured_at` is when the camera completed the picture.
    ///
    /// The locks taken here are held by viewers only while they count a reference.
    ///
    /// # Errors
    /// The error of `fill`. Then nothing is published, and the newest frame stays the newest.
    ///
    /// # Panics
    /// If `fill` reports more bytes than the slot holds.
    pub fn publish<E>(
        &mut self,
        captured_at: Timestamp,
        fill: impl FnOnce(&mut [u8]) -> Result<WrittenJpeg, E>,
    ) -> Result<Sequence, E> {
        let index = self.free_slot();
        let sequence = self.last.next();
        let slot =
            Arc::get_mut(&mut self.slots[index]).expect("a slot without a lease has one owner: this table");
        let WrittenJpeg { len, resolution } = fill(&mut slot.buffer)?;
        assert!(len <= slot.buffer.len(), "{len} bytes in a slot of {}", slot.buffer.len());
        slot.len = len;
        slot.frame = Frame { sequence, captured_at, resolution };
        *slot.seen.get_mut() = false;

        self.last = sequence;
        let newest = Arc::clone(&self.slots[index]);
        self.replace(Some(newest));
        Ok(sequence)
    }

    /// Removes the newest frame, so that a viewer who connects later does not get an outdated one.
    pub fn clear(&mut self) {
        self.replace(None);
    }

    /// Makes every slot hold at least `bytes`. Call it when a camera is opened, not for every frame: it allocates. A
    /// leased slot is replaced, and freed when its lease ends.
    pub fn reserve(&mut self, bytes: usize) {
        if bytes > self.state.slot_bytes.load(Relaxed) {
            self.state.slot_bytes.store(bytes, Relaxed);
            self.clear();
            self.slots.fill_with(|| FrameSlot::new(bytes));
        }
    }

    /// How many viewers there are.
    pub fn subscribers(&self) -> Subscribers {
        *self.state.table.subscribers()
    }

    /// The lowest slot that is neither the newest nor leased. The module documentation of the ring proves that there is
    /// one.
    fn free_slot(&mut self) -> usize {
        self.slots.iter_mut().position(|slot| Arc::get_mut(slot).is_some()).expect(
            "max_viewers leases and one newest frame take at most max_viewers + 1 of max_viewers + 2 slots",
        )
    }

    fn replace(&mut self, next: Option<Arc<FrameSlot>>) {
        let state = &self.state;
        // Viewers mark a slot as seen under this lock, so the mark on the old slot is final here, and readers of the
        // counters who hold the lock find them consistent.
        let mut newest = state.newest();
        state.published.add(u64::from(next.is_some()));
        if let Some(old) = std::mem::replace(&mut newest.slot, next) {
            let counter = if old.seen.load(Relaxed) { &state.seen } else { &state.overwritten };
            counter.add(1);
        }
        drop(newest);
        state.table.notify();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.state.newest().closed = true;
        self.state.table.notify();
    }
}
