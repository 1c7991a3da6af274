//! The ring: a fixed set of frame slots between one camera and all of its viewers.
//!
//! The newest frame, to everyone, now: [`Publisher::publish`] replaces the newest frame and never waits for a
//! viewer; a [`Subscription`] leases whatever is newest when it asks. What a viewer was too slow for is gone, and
//! counted.
//!
//! **The invariant.** There are `max_viewers + 2` slots. At most `max_viewers` subscriptions are given out, each holds
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
use lease::SlotRef;

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
pub struct FilledSlot {
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
        subscribers: Mutex::new(Subscribers { viewers: 0, last_left: None }),
        newest: Mutex::default(),
        publisher_notify: Notify::new(),
        subscriber_notify: Notify::new(),
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
    subscribers: Mutex<Subscribers>,
    newest: Mutex<Newest>,
    /// Wakes the notifier; rung by the publisher.
    publisher_notify: Notify,
    /// Wakes the waiting subscriptions; rung by the notifier.
    subscriber_notify: Notify,
    published: Counter,
    seen: Counter,
    overwritten: Counter,
}

/// What there is to lease.
#[derive(Debug, Default)]
struct Newest {
    slot: Option<Arc<Slot>>,
    /// The camera's end is gone.
    closed: bool,
}

impl Shared {
    fn newest(&self) -> MutexGuard<'_, Newest> {
        // Nothing that holds this lock can panic half way through a change.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        // Nothing that holds this lock can panic half way through a change.
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who watches: the one thing a camera may know of its viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribers {
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
    /// Lets `fill` write the next frame into a free slot, then makes it the newest and wakes the notifier.
    ///
    /// Takes no lock that a viewer holds for longer than it takes to count a reference.
    ///
    /// # Errors
    /// Only what `fill` returns; then nothing is published and the newest frame stays the newest.
    ///
    /// # Panics
    /// If `fill` says it wrote more than the slot holds.
    pub fn publish<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<FilledSlot, E>,
    ) -> Result<Sequence, E> {
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
    pub fn subscribers(&self) -> Subscribers {
        *self.shared.subscribers()
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
        shared.publisher_notify.notify_one();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.newest().closed = true;
        self.shared.publisher_notify.notify_one();
    }
}

/// The viewers' end of the ring. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FrameRing {
    shared: Arc<Shared>,
}

/// All subscriptions of a ring are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {max_viewers} viewer places are taken; close a viewer or raise max_viewers")]
pub struct Full {
    /// How many subscriptions there are.
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
    /// Leases slot now. Several may be of the same slot.
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
    /// Takes a subscription.
    ///
    /// # Errors
    /// [`Full`] when `max_viewers` subscriptions are taken.
    pub fn subscribe(&self) -> Result<Subscription, Full> {
        let mut subscribers = self.shared.subscribers();
        if subscribers.viewers == self.shared.max_viewers {
            return Err(Full { max_viewers: self.shared.max_viewers });
        }
        subscribers.viewers += 1;
        subscribers.last_left = None;
        Ok(Subscription {
            last: None,
            skipped: 0,
            registration: Registration { shared: Arc::clone(&self.shared) },
        })
    }

    /// The notifier: tells the waiting subscriptions whenever there is a newer frame, until the camera's end of the ring is gone.
    ///
    /// It has to run for subscriptions to be woken, and where their tasks run. Then a frame wakes one thread once; told by the
    /// camera's thread itself, each viewer would cost that thread a call to the kernel.
    pub async fn run_notifier(self) {
        while !self.shared.newest().closed {
            self.shared.publisher_notify.notified().await;
            failpoint::pass("notifier");
            self.shared.subscriber_notify.notify_waiters();
        }
        self.shared.subscriber_notify.notify_waiters();
    }

    /// Who watches.
    pub fn subscribers(&self) -> Subscribers {
        *self.shared.subscribers()
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
struct Registration {
    shared: Arc<Shared>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut subscribers = self.shared.subscribers();
        subscribers.viewers -= 1;
        if subscribers.viewers == 0 {
            subscribers.last_left = Some(Timestamp::now());
        }
    }
}

/// A viewer's registration at the ring. While one is slot, the camera has an subscribers.
#[derive(Debug)]
pub struct Subscription {
    last: Option<Sequence>,
    skipped: u32,
    registration: Registration,
}

impl Subscription {
    /// Waits until there is a frame that this subscription has not leased yet. Loses nothing when cancelled.
    ///
    /// # Errors
    /// [`Closed`] when no frame will come any more.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let notified = self.registration.shared.subscriber_notify.notified();
        let mut notified = pin!(notified);
        loop {
            // Before looking, so that no news falls between the look and the wait.
            notified.as_mut().enable();
            let (newest, closed) = {
                let newest = self.registration.shared.newest();
                (newest.slot.as_ref().map(|slot| slot.frame.sequence), newest.closed)
            };
            if newest.is_some() && newest != self.last {
                return Ok(());
            }
            if closed {
                return Err(Closed);
            }
            notified.as_mut().await;
            notified.set(self.registration.shared.subscriber_notify.notified());
        }
    }

    /// Holds on to the newest frame, whether or not this subscription has leased it before; `None` while the camera
    /// has given none.
    pub fn lease(&mut self) -> Option<Lease<'_>> {
        let slot = self.take()?;
        Some(Lease::new(slot, self.skipped, self))
    }

    /// Like [`Subscription::lease`], but gives the subscription up with the lease, for a viewer who wants one frame.
    pub fn into_lease(mut self) -> Option<OwnedLease> {
        let slot = self.take()?;
        Some(OwnedLease::new(slot, self.registration))
    }

    fn take(&mut self) -> Option<SlotRef> {
        let slot = {
            let newest = self.registration.shared.newest();
            let slot = newest.slot.as_ref()?;
            slot.seen.store(true, Relaxed);
            Arc::clone(slot)
        };
        let sequence = slot.frame.sequence;
        self.skipped = self.last.map_or(0, |last| sequence.since(last).saturating_sub(1));
        self.last = Some(sequence);
        Some(SlotRef::new(slot, Arc::clone(&self.registration.shared)))
    }
}
