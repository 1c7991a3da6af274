//! The state that both ends of a ring share, and the slots that hold frames.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard};

use super::slot_memory::SlotMemory;
use super::subscribers::SubscriberTable;
use crate::frame::{Frame, Resolution, Sequence, Timestamp};
use crate::status::Counter;
use crate::sync::lock;

/// Room for one frame. Written only while nothing else refers to it, which `Arc::get_mut` proves.
#[derive(Debug)]
pub(super) struct FrameSlot {
    pub(super) frame: Frame,
    pub(super) buffer: SlotMemory,
    /// Bytes of the JPEG at the start of `buffer`.
    pub(super) len: usize,
    /// Whether any viewer leased the frame that is in the slot now.
    pub(super) seen: AtomicBool,
}

impl FrameSlot {
    /// A slot of `bytes` zeroes, of which no page is touched yet.
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        let frame = Frame {
            sequence: Sequence::default(),
            captured_at: Timestamp::default(),
            resolution: Resolution::new(0, 0),
        };
        Arc::new(Self { frame, buffer: SlotMemory::zeroes(bytes), len: 0, seen: AtomicBool::new(false) })
    }
}

/// The state of a ring that its publisher and its viewers share.
#[derive(Debug)]
pub(super) struct RingState {
    pub(super) table: SubscriberTable,
    pub(super) slot_bytes: AtomicUsize,
    /// Number of leases.
    pub(super) leased: AtomicUsize,
    newest: Mutex<Newest>,
    pub(super) published: Counter,
    pub(super) seen: Counter,
    pub(super) overwritten: Counter,
}

/// The newest frame.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// `None` before the first frame, and after the frames were cleared.
    pub(super) slot: Option<Arc<FrameSlot>>,
    /// The publisher was dropped: no frame will follow.
    pub(super) closed: bool,
}

impl RingState {
    pub(super) fn new(max_viewers: usize, slot_bytes: usize) -> Self {
        Self {
            table: SubscriberTable::new(max_viewers),
            slot_bytes: AtomicUsize::new(slot_bytes),
            leased: AtomicUsize::new(0),
            newest: Mutex::default(),
            published: Counter::default(),
            seen: Counter::default(),
            overwritten: Counter::default(),
        }
    }

    pub(super) fn newest(&self) -> MutexGuard<'_, Newest> {
        lock(&self.newest)
    }
}
