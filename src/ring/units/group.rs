//! The state that both ends of a ring of access units share: the newest group of pictures.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::super::slot_memory::SlotMemory;
use super::super::subscribers::SubscriberTable;
use crate::frame::{Resolution, Sequence, Timestamp};
use crate::status::Counter;
use crate::sync::lock;

/// A viewer that was up to date and is now further behind than this goes on at the next key frame. Its picture stands for a moment
/// instead of being late for good.
const MOST_BEHIND: Duration = Duration::from_millis(500);
/// At low rates a viewer may be this many access units behind.
const MOST_UNITS_BEHIND: usize = 2;

/// Called by viewers when the publisher has something to do: somebody has come or left, or a key frame is wanted.
pub type WakePublisher = Box<dyn Fn() + Send + Sync>;

/// The facts of an access unit in the ring, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Its number in the stream.
    pub sequence: Sequence,
    /// When the camera completed the picture.
    pub captured_at: Timestamp,
    /// The size of the picture.
    pub resolution: Resolution,
    /// A decoder can start here.
    pub is_key: bool,
    /// The time from one picture to the next, smoothed; zero if there was none before.
    pub interval: Duration,
}

/// Room for one access unit. Written only while nothing else refers to it, which `Arc::get_mut` proves.
#[derive(Debug)]
pub(super) struct UnitSlot {
    pub(super) unit: AccessUnit,
    pub(super) buffer: SlotMemory,
    /// Bytes of the access unit at the start of `buffer`.
    pub(super) len: usize,
}

impl UnitSlot {
    /// A slot of `bytes` zeroes, of which no page is touched yet.
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        let unit = AccessUnit {
            sequence: Sequence::default(),
            captured_at: Timestamp::default(),
            resolution: Resolution::new(0, 0),
            is_key: false,
            interval: Duration::ZERO,
        };
        Arc::new(Self { unit, buffer: SlotMemory::zeroes(bytes), len: 0 })
    }
}

/// The state of a ring that its publisher and its viewers share.
pub(super) struct UnitRingState {
    pub(super) table: SubscriberTable,
    /// Number of leases.
    pub(super) leased: AtomicUsize,
    group: Mutex<Group>,
    key_frame_wanted: AtomicBool,
    wake: WakePublisher,
    pub(super) published: Counter,
    pub(super) key_frames: Counter,
    /// Access units that came without a key frame before them.
    pub(super) without_start: Counter,
}

impl fmt::Debug for UnitRingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitRingState").field("table", &self.table).finish_non_exhaustive()
    }
}

impl UnitRingState {
    pub(super) fn new(max_viewers: usize, wake: WakePublisher) -> Self {
        Self {
            table: SubscriberTable::new(max_viewers),
            leased: AtomicUsize::new(0),
            group: Mutex::default(),
            key_frame_wanted: AtomicBool::new(false),
            wake,
            published: Counter::default(),
            key_frames: Counter::default(),
            without_start: Counter::default(),
        }
    }

    pub(super) fn group(&self) -> MutexGuard<'_, Group> {
        lock(&self.group)
    }

    /// Asks the publisher for a key frame, unless it has been asked already.
    pub(super) fn want_key_frame(&self) {
        if !self.key_frame_wanted.swap(true, Relaxed) {
            (self.wake)();
        }
    }

    /// The publisher has found that there is no key frame to start from. It need not be woken.
    pub(super) fn note_missing_start(&self) {
        self.key_frame_wanted.store(true, Relaxed);
    }

    /// Wakes the publisher.
    pub(super) fn wake_publisher(&self) {
        (self.wake)();
    }

    /// Whether a key frame is wanted. Takes the request.
    pub(super) fn take_key_frame_request(&self) -> bool {
        self.key_frame_wanted.swap(false, Relaxed)
    }
}

/// The newest group of pictures.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Access units with numbers that follow each other.
    units: VecDeque<Arc<UnitSlot>>,
    /// The publisher was dropped: nothing will follow.
    pub(super) closed: bool,
}

/// What a viewer gets next.
#[derive(Debug)]
pub(super) enum NextUnit {
    /// This access unit, after it has missed so many.
    Unit { slot: Arc<UnitSlot>, skipped: u32 },
    /// Nothing yet: it has all there is.
    UpToDate,
    /// Nothing before the next key frame.
    AfterKeyFrame,
}

/// Where a viewer is in the stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    /// The access unit that was leased last.
    pub(super) last: Option<Sequence>,
    /// It fell behind, and goes on at a key frame after `last`.
    pub(super) needs_key: bool,
    /// It has had the newest access unit since it began at a key frame. Until then it reads what is there as fast as it can.
    pub(super) has_caught_up: bool,
}

impl Group {
    /// Makes room for `units`, so that adding allocates nothing.
    pub(super) fn reserve(&mut self, units: usize) {
        self.units.clear();
        self.units.reserve(units);
    }

    /// Removes all access units. Their slots are dropped by the caller, outside the lock.
    pub(super) fn clear(&mut self, removed: &mut VecDeque<Arc<UnitSlot>>) {
        std::mem::swap(&mut self.units, removed);
    }

    /// Adds an access unit. A key frame begins a new group; otherwise the oldest unit gives way if there are `most` already.
    pub(super) fn add(&mut self, slot: Arc<UnitSlot>, most: usize) {
        if slot.unit.is_key {
            self.units.clear();
        } else if self.units.len() >= most {
            self.units.pop_front();
        }
        self.units.push_back(slot);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// The facts of the newest access unit.
    pub(super) fn newest(&self) -> Option<AccessUnit> {
        self.units.back().map(|slot| slot.unit)
    }

    /// What a viewer at `position` gets next.
    pub(super) fn next(&self, position: Position) -> NextUnit {
        let (Some(first), Some(newest)) = (self.units.front(), self.units.back()) else {
            return if position.needs_key || position.last.is_none() {
                NextUnit::AfterKeyFrame
            } else {
                NextUnit::UpToDate
            };
        };
        let start = |skipped| match first.unit.is_key {
            true => NextUnit::Unit { slot: Arc::clone(first), skipped },
            false => NextUnit::AfterKeyFrame,
        };
        let Some(last) = position.last else { return start(0) };
        // How far the first unit that is there is beyond the one that is due; wraps where that one is in the group.
        let missed = first.unit.sequence.since(last.next());
        let at = last.next().since(first.unit.sequence) as usize;
        if at < self.units.len() {
            let behind = newest.unit.captured_at.since(self.units[at].unit.captured_at);
            let is_late = behind > MOST_BEHIND && self.units.len() - at > MOST_UNITS_BEHIND;
            if position.needs_key || (position.has_caught_up && is_late) {
                // A key frame can only be the first.
                return if at == 0 && first.unit.is_key { start(0) } else { NextUnit::AfterKeyFrame };
            }
            return NextUnit::Unit { slot: Arc::clone(&self.units[at]), skipped: 0 };
        }
        if at == self.units.len() && !position.needs_key {
            return NextUnit::UpToDate;
        }
        if newest.unit.sequence.since(last) as usize <= self.units.len() {
            return NextUnit::AfterKeyFrame;
        }
        start(missed)
    }
}
