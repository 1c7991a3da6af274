//! The ring under load: a million frames past many viewers, with every promise of `src/ring.rs` slot to.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use porthole::frame::{Resolution, Sequence, Timestamp};
use porthole::ring::{FilledSlot, Full, Publisher, ring};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// Writes a frame whose every byte follows from its number, so that no two frames can be mixed unnoticed.
fn publish(publisher: &mut Publisher, number: u64) -> Sequence {
    let published = publisher.publish(|slot| {
        let len = 24 + (number % 40) as usize;
        slot[..8].copy_from_slice(&number.to_le_bytes());
        slot[8..len].fill(number as u8);
        Ok::<_, Infallible>(FilledSlot {
            len,
            captured_at: Timestamp(number),
            resolution: Resolution::new(8, 8),
        })
    });
    published.unwrap()
}

/// The number of a frame, after every byte of it has been looked at.
fn number(jpeg: &[u8]) -> u64 {
    let number = u64::from_le_bytes(jpeg[..8].try_into().unwrap());
    assert_eq!(jpeg.len(), 24 + (number % 40) as usize, "the length of another frame");
    assert!(jpeg[8..].iter().all(|&byte| byte == number as u8), "torn frame {number}");
    number
}

#[test]
fn a_million_frames_past_many_viewers() {
    const FRAMES: u64 = 1_000_000;
    const VIEWERS: usize = 8;
    let (mut publisher, frames) = ring(VIEWERS, 64);
    let done = AtomicBool::new(false);
    let newest = AtomicU64::new(0);
    let leases = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for viewer in 0..VIEWERS {
            let (done, newest, leases, frames) = (&done, &newest, &leases, &frames);
            scope.spawn(move || {
                let mut subscription = frames.subscribe().unwrap();
                let (mut last, mut taken) = (0, 0u64);
                let before = allocations();
                while !done.load(SeqCst) {
                    let at_least = newest.load(SeqCst);
                    let Some(lease) = subscription.lease() else { continue };
                    let seen = number(&lease);
                    assert_eq!(lease.frame().captured_at, Timestamp(seen), "facts of another frame");
                    assert!(
                        seen >= at_least,
                        "viewer {viewer} got {seen} when {at_least} was published already"
                    );
                    assert!(seen >= last, "viewer {viewer} went back from {last} to {seen}");
                    if seen > last {
                        assert_eq!(u64::from(lease.skipped()), if last == 0 { 0 } else { seen - last - 1 });
                        taken += 1;
                    }
                    if viewer % 2 == 0 {
                        // Half of them hold on for a while; the frame must not change under them.
                        std::thread::yield_now();
                        assert_eq!(number(&lease), seen, "a leased frame was overwritten");
                    }
                    last = seen;
                }
                assert_eq!(allocations(), before, "leasing allocates");
                assert!(taken > 0, "viewer {viewer} saw nothing");
                leases.fetch_add(taken, SeqCst);
            });
        }
        let before = allocations();
        for number in 1..=FRAMES {
            assert_eq!(publish(&mut publisher, number), Sequence(number as u32));
            newest.store(number, SeqCst);
        }
        assert_eq!(allocations(), before, "publishing allocates");
        done.store(true, SeqCst);
    });
    let stats = frames.stats();
    assert_eq!(stats.published, FRAMES);
    let waiting = stats.published - stats.seen - stats.overwritten;
    assert!(waiting <= 1, "{stats:?}: more than the newest is unaccounted for");
    assert_eq!(stats.leased, 0);
    publisher.clear();
    let stats = frames.stats();
    assert_eq!(stats.published, stats.seen + stats.overwritten, "{stats:?}");
    let (leases, per_frame) = (leases.into_inner(), started.elapsed() / FRAMES as u32);
    println!("{} of {FRAMES} frames seen, {leases} leases, {per_frame:?} a frame", stats.seen);
}

#[test]
fn every_viewer_may_hold_a_different_frame_and_there_is_still_room() {
    const VIEWERS: usize = 20;
    let (mut publisher, frames) = ring(VIEWERS, 64);
    let mut subscriptions: Vec<_> = (0..VIEWERS).map(|_| frames.subscribe().unwrap()).collect();
    let mut slot = Vec::new();
    for (i, subscription) in subscriptions.iter_mut().enumerate() {
        publish(&mut publisher, i as u64 + 1);
        slot.push(subscription.lease().unwrap());
    }
    for more in 0..1000 {
        publish(&mut publisher, VIEWERS as u64 + 1 + more);
    }
    for (i, lease) in slot.iter().enumerate() {
        assert_eq!(number(lease), i as u64 + 1, "a leased frame was overwritten");
    }
    assert_eq!(frames.stats().leased, VIEWERS);
}

#[test]
fn memory_follows_the_frames_in_flight_and_not_the_slots() {
    const SLOT: usize = 4 << 20;
    let resident = || {
        let pages: u64 =
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    };
    let before = resident();
    let (mut publisher, frames) = ring(200, SLOT);
    let mut subscription = frames.subscribe().unwrap();
    for number in 1..=1000u64 {
        let fill = |slot: &mut [u8]| {
            slot[..100_000].fill(number as u8);
            Ok::<_, Infallible>(FilledSlot {
                len: 100_000,
                captured_at: Timestamp(0),
                resolution: Resolution::new(8, 8),
            })
        };
        publisher.publish(fill).unwrap();
        assert_eq!(subscription.lease().unwrap().len(), 100_000);
    }
    let grown = resident() - before;
    // One frame is the newest, one is being written, one may still be leased; the rest is what the other tests, running
    // meanwhile, take. All slots touched once would be 20 MB.
    assert!(grown < 30 * 100_000, "{grown} bytes for frames of 100 kB");
}

#[test]
fn a_frame_that_was_not_finished_is_not_published() {
    let (mut publisher, frames) = ring(1, 64);
    publish(&mut publisher, 1);
    let failed = publisher.publish(|slot| {
        slot.fill(0xee);
        Err("the encoder failed")
    });
    assert_eq!(failed, Err("the encoder failed"));
    let mut subscription = frames.subscribe().unwrap();
    assert_eq!(number(&subscription.lease().unwrap()), 1);
    assert_eq!(publish(&mut publisher, 2), Sequence(2), "the failed attempt took a number");
}

#[test]
fn seats_are_counted_and_the_audience_known() {
    let (publisher, frames) = ring(2, 64);
    assert_eq!(publisher.subscribers().last_left, None);
    let (one, two) = (frames.subscribe().unwrap(), frames.subscribe().unwrap());
    assert_eq!(frames.subscribe().unwrap_err(), Full { max_viewers: 2 });
    drop(one);
    assert_eq!((publisher.subscribers().viewers, publisher.subscribers().last_left), (1, None));
    let before = Timestamp::now();
    drop(two);
    assert_eq!(publisher.subscribers().viewers, 0);
    assert!(publisher.subscribers().last_left.unwrap() >= before);
    let _three = frames.subscribe().unwrap();
    assert_eq!(publisher.subscribers().last_left, None);
}

#[test]
fn larger_slots_take_the_place_of_smaller_ones_under_lease() {
    let (mut publisher, frames) = ring(1, 64);
    let mut subscription = frames.subscribe().unwrap();
    publish(&mut publisher, 1);
    let lease = subscription.lease().unwrap();
    publisher.reserve(4096);
    assert_eq!(frames.newest(), None, "what a viewer would get now is from before the change");
    let big = |slot: &mut [u8]| {
        slot[..4096].fill(7);
        Ok::<_, Infallible>(FilledSlot {
            len: 4096,
            captured_at: Timestamp(0),
            resolution: Resolution::new(8, 8),
        })
    };
    assert_eq!(publisher.publish(big), Ok(Sequence(2)));
    assert_eq!(number(&lease), 1);
    drop(lease);
    assert_eq!(subscription.lease().unwrap().len(), 4096);
    assert_eq!(frames.stats().slot_bytes, 4096);
}

#[test]
fn waiting_viewers_wake_for_each_frame_and_for_the_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut publisher, frames) = ring(1, 64);
    let mut subscription = frames.subscribe().unwrap();
    let camera = std::thread::spawn(move || {
        for number in 1..=1000 {
            publish(&mut publisher, number);
            std::thread::yield_now();
        }
    });
    let notifier = frames.clone().run_notifier();
    runtime.block_on(async {
        let notifier = tokio::spawn(notifier);
        let mut last = 0;
        while subscription.changed().await.is_ok() {
            let seen = number(&subscription.lease().unwrap());
            assert!(seen > last, "woken for {seen} after {last}");
            last = seen;
        }
        assert_eq!(last, 1000, "the last frame was not delivered");
        notifier.await.unwrap();
    });
    camera.join().unwrap();
}
