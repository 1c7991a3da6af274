//! The ring: a fixed set of frame slots between one camera and all of its viewers.
//!
//! The newest frame, to everyone, now: [`Publisher::publish`] replaces the newest frame and never waits for a
//! viewer; a [`Seat`] leases whatever is newest when it asks. What a viewer was too slow for is gone, and
//! counted.
//!
//! **The invariant.** There are `max_viewers + 2` slots. At most `max_viewers` seats are given out, each holds
//! at most one [`Lease`] (the borrow checker sees to it), and one slot holds the newest frame. So at most
//! `max_viewers + 1` slots are taken, and by the pigeonhole principle there is always one to write the next
//! frame into: publishing never blocks, never allocates, never fails.
//!
//! Slots are zero pages until first written, and the lowest free one is always taken first, so memory in use
//! follows the number of frames in flight, not the number of slots.
//!
//! What a frame is made from and where it goes are not known here.
#![forbid(unsafe_code)]

mod lease;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use lease::{Lease, OwnedLease};

use crate::failpoint;
use crate::frame::{Frame, Resolution, Sequence, Timestamp};
use crate::status::Counter;
use lease::Held;

/// Room for one frame. Written only while nobody else holds it, which `Arc::get_mut` proves.
#[derive(Debug)]
struct Slot {
    frame: Frame,
    buffer: Box<[u8]>,
    len: usize,
    /// Whether any viewer leased the frame now in it.
    seen: AtomicBool,
}

impl Slot {
    /// A slot of `bytes` zeroes: the allocator maps them, nothing touches them yet.
    fn new(bytes: usize) -> Arc<Self> {
        let frame = Frame {
            sequence: Sequence::default(),
            captured_at: Timestamp::default(),
            resolution: Resolution::new(0, 0),
        };
        Arc::new(Self { frame, buffer: vec![0; bytes].into(), len: 0, seen: AtomicBool::new(false) })
    }
}

/// What was written into a slot.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    /// Bytes of JPEG, from the start of the slot.
    pub len: usize,
    /// When the camera had the picture complete.
    pub captured_at: Timestamp,
    /// Its size.
    pub resolution: Resolution,
}

/// Makes a ring for at most `max_viewers` viewers, of slots holding `slot_bytes` each.
pub fn ring(max_viewers: usize, slot_bytes: usize) -> (Publisher, FrameRing) {
    let shared = Arc::new(Shared {
        max_viewers,
        slot_bytes: AtomicUsize::new(slot_bytes),
        leased: AtomicUsize::new(0),
        audience: Mutex::new(Audience { viewers: 0, last_left: None }),
        newest: Mutex::default(),
        call: Notify::new(),
        news: Notify::new(),
        published: Counter::default(),
        seen: Counter::default(),
        overwritten: Counter::default(),
    });
    let slots = (0..max_viewers + 2).map(|_| Slot::new(slot_bytes)).collect();
    let publisher = Publisher { slots, last: Sequence::default(), shared: Arc::clone(&shared) };
    (publisher, FrameRing { shared })
}

#[derive(Debug)]
struct Shared {
    max_viewers: usize,
    slot_bytes: AtomicUsize,
    leased: AtomicUsize,
    audience: Mutex<Audience>,
    newest: Mutex<Newest>,
    /// Wakes the herald; rung by the publisher.
    call: Notify,
    /// Wakes the waiting seats; rung by the herald.
    news: Notify,
    published: Counter,
    seen: Counter,
    overwritten: Counter,
}

/// What there is to lease.
#[derive(Debug, Default)]
struct Newest {
    slot: Option<Arc<Slot>>,
    /// The camera's end is gone.
    over: bool,
}

impl Shared {
    fn newest(&self) -> MutexGuard<'_, Newest> {
        // Nothing that holds this lock can panic half way through a change.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn audience(&self) -> MutexGuard<'_, Audience> {
        // Nothing that holds this lock can panic half way through a change.
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who watches: the one thing a camera may know of its viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// Seats taken.
    pub viewers: usize,
    /// When the last viewer left; `None` while there is one and before the first came.
    pub last_left: Option<Timestamp>,
}

/// The camera's end of the ring.
#[derive(Debug)]
pub struct Publisher {
    slots: Box<[Arc<Slot>]>,
    last: Sequence,
    shared: Arc<Shared>,
}

impl Publisher {
    /// Lets `fill` write the next frame into a free slot, then makes it the newest and wakes the herald.
    ///
    /// Takes no lock that a viewer holds for longer than it takes to count a reference.
    ///
    /// # Errors
    /// Only what `fill` returns; then nothing is published and the newest frame stays the newest.
    ///
    /// # Panics
    /// If `fill` says it wrote more than the slot holds.
    pub fn publish<E>(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<Filled, E>) -> Result<Sequence, E> {
        let index = self.free_slot();
        let sequence = self.last.next();
        let slot =
            Arc::get_mut(&mut self.slots[index]).expect("a slot nobody leases has one owner: this table");
        let filled = fill(&mut slot.buffer)?;
        assert!(filled.len <= slot.buffer.len(), "{} bytes in a slot of {}", filled.len, slot.buffer.len());
        slot.len = filled.len;
        slot.frame = Frame { sequence, captured_at: filled.captured_at, resolution: filled.resolution };
        *slot.seen.get_mut() = false;

        self.last = sequence;
        let next = Some(Arc::clone(&self.slots[index]));
        self.replace(next);
        Ok(sequence)
    }

    /// Takes the newest frame away, so that a viewer who comes later does not mistake it for news.
    pub fn clear(&mut self) {
        self.replace(None);
    }

    /// Makes every slot hold at least `bytes` from now on. For the moment a camera is opened, not for every
    /// frame: it allocates. A slot under lease is replaced and freed when its lease ends.
    pub fn reserve(&mut self, bytes: usize) {
        if bytes > self.shared.slot_bytes.load(Relaxed) {
            self.shared.slot_bytes.store(bytes, Relaxed);
            self.clear();
            self.slots.fill_with(|| Slot::new(bytes));
        }
    }

    /// Who watches.
    pub fn audience(&self) -> Audience {
        *self.shared.audience()
    }

    /// The lowest slot that is neither the newest nor leased. See the invariant in the module's text.
    fn free_slot(&mut self) -> usize {
        self.slots.iter_mut().position(|slot| Arc::get_mut(slot).is_some()).expect(
            "max_viewers leases and one newest frame take at most max_viewers + 1 of max_viewers + 2 slots",
        )
    }

    fn replace(&mut self, next: Option<Arc<Slot>>) {
        let shared = &self.shared;
        // Counted under the lock. Leasing marks a slot under the same, so the mark on the old one is final here, and
        // whoever reads the counts under it finds them in agreement.
        let mut newest = shared.newest();
        shared.published.add(u64::from(next.is_some()));
        if let Some(old) = std::mem::replace(&mut newest.slot, next) {
            let count = if old.seen.load(Relaxed) { &shared.seen } else { &shared.overwritten };
            count.add(1);
        }
        drop(newest);
        shared.call.notify_one();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.newest().over = true;
        self.shared.call.notify_one();
    }
}

/// The viewers' end of the ring. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FrameRing {
    shared: Arc<Shared>,
}

/// All seats of a ring are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {max_viewers} viewer places are taken; close a viewer or raise max_viewers")]
pub struct Full {
    /// How many seats there are.
    pub max_viewers: usize,
}

/// The camera's end of the ring is gone: no frame will come any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the camera has been shut down")]
pub struct Closed;

/// Figures of a ring at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingStats {
    /// Slots there are.
    pub slots: usize,
    /// Bytes each of them has room for. They take up memory only once written.
    pub slot_bytes: usize,
    /// Leases held now. Several may be of the same slot.
    pub leased: usize,
    /// Frames published.
    pub published: u64,
    /// Frames that at least one viewer leased.
    pub seen: u64,
    /// Frames replaced before any viewer leased them. `published = seen + overwritten`, and one more while
    /// the newest waits for its first viewer.
    pub overwritten: u64,
}

impl FrameRing {
    /// Takes a seat.
    ///
    /// # Errors
    /// [`Full`] when `max_viewers` seats are taken.
    pub fn seat(&self) -> Result<Seat, Full> {
        let mut audience = self.shared.audience();
        if audience.viewers == self.shared.max_viewers {
            return Err(Full { max_viewers: self.shared.max_viewers });
        }
        audience.viewers += 1;
        audience.last_left = None;
        Ok(Seat { last: None, skipped: 0, place: Place { shared: Arc::clone(&self.shared) } })
    }

    /// The herald: tells the waiting seats whenever there is a newer frame, until the camera's end of the ring is gone.
    ///
    /// It has to run for seats to be woken, and where their tasks run. Then a frame wakes one thread once; told by the
    /// camera's thread itself, each viewer would cost that thread a call to the kernel.
    pub async fn herald(self) {
        while !self.shared.newest().over {
            self.shared.call.notified().await;
            failpoint::pass("herald");
            self.shared.news.notify_waiters();
        }
        self.shared.news.notify_waiters();
    }

    /// Who watches.
    pub fn audience(&self) -> Audience {
        *self.shared.audience()
    }

    /// The newest frame's facts, without its bytes.
    pub fn newest(&self) -> Option<Frame> {
        self.shared.newest().slot.as_ref().map(|slot| slot.frame)
    }

    /// What has gone through.
    pub fn stats(&self) -> RingStats {
        // Holding the newest keeps the publisher from counting meanwhile.
        let newest = self.shared.newest();
        let seen_now = newest.slot.as_ref().is_some_and(|slot| slot.seen.load(Relaxed));
        RingStats {
            slots: self.shared.max_viewers + 2,
            slot_bytes: self.shared.slot_bytes.load(Relaxed),
            leased: self.shared.leased.load(Relaxed),
            published: self.shared.published.get(),
            seen: self.shared.seen.get() + u64::from(seen_now),
            overwritten: self.shared.overwritten.get(),
        }
    }
}

/// Counts a viewer for as long as it lives.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut audience = self.shared.audience();
        audience.viewers -= 1;
        if audience.viewers == 0 {
            audience.last_left = Some(Timestamp::now());
        }
    }
}

/// A viewer's place at the ring. While one is held, the camera has an audience.
#[derive(Debug)]
pub struct Seat {
    last: Option<Sequence>,
    skipped: u32,
    place: Place,
}

impl Seat {
    /// Waits until there is a frame that this seat has not leased yet. Loses nothing when cancelled.
    ///
    /// # Errors
    /// [`Closed`] when no frame will come any more.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let news = self.place.shared.news.notified();
        let mut news = pin!(news);
        loop {
            // Before looking, so that no news falls between the look and the wait.
            news.as_mut().enable();
            let (newest, over) = {
                let newest = self.place.shared.newest();
                (newest.slot.as_ref().map(|slot| slot.frame.sequence), newest.over)
            };
            if newest.is_some() && newest != self.last {
                return Ok(());
            }
            if over {
                return Err(Closed);
            }
            news.as_mut().await;
            news.set(self.place.shared.news.notified());
        }
    }

    /// Holds on to the newest frame, whether or not this seat has leased it before; `None` while the camera
    /// has given none.
    pub fn lease(&mut self) -> Option<Lease<'_>> {
        let held = self.take()?;
        Some(Lease::new(held, self.skipped, self))
    }

    /// Like [`Seat::lease`], but gives the seat up with the lease, for a viewer who wants one frame.
    pub fn into_lease(mut self) -> Option<OwnedLease> {
        let held = self.take()?;
        Some(OwnedLease::new(held, self.place))
    }

    fn take(&mut self) -> Option<Held> {
        let slot = {
            let newest = self.place.shared.newest();
            let slot = newest.slot.as_ref()?;
            slot.seen.store(true, Relaxed);
            Arc::clone(slot)
        };
        let sequence = slot.frame.sequence;
        self.skipped = self.last.map_or(0, |last| sequence.since(last).saturating_sub(1));
        self.last = Some(sequence);
        Some(Held::new(slot, Arc::clone(&self.place.shared)))
    }
}
