//! The ring under load: a million frames for many viewers, with every guarantee of `src/ring/mod.rs` checked. Small tests are
//! beside the code.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use porthole::frame::{Resolution, Sequence, Timestamp, WrittenJpeg};
use porthole::ring::{Publisher, ring};

use crate::allocator::of_this_thread;
use crate::turn;

/// Writes a frame whose bytes all follow from its number, so that a mix of two frames is noticed.
fn publish(publisher: &mut Publisher, number: u64) -> Sequence {
    let published = publisher.publish(Timestamp(number), |slot| {
        let len = 24 + (number % 40) as usize;
        slot[..8].copy_from_slice(&number.to_le_bytes());
        slot[8..len].fill(number as u8);
        Ok::<_, Infallible>(WrittenJpeg { len, resolution: Resolution::new(8, 8) })
    });
    published.unwrap()
}

/// The number of a frame, after every byte of it was checked.
fn number(jpeg: &[u8]) -> u64 {
    let number = u64::from_le_bytes(jpeg[..8].try_into().unwrap());
    assert_eq!(jpeg.len(), 24 + (number % 40) as usize, "the length of another frame");
    assert!(jpeg[8..].iter().all(|&byte| byte == number as u8), "torn frame {number}");
    number
}

#[test]
fn a_million_frames_for_many_viewers() {
    let _turn = turn();
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
                let before = of_this_thread();
                while !done.load(SeqCst) {
                    let at_least = newest.load(SeqCst);
                    let Some(lease) = subscription.lease() else { continue };
                    let seen = number(&lease);
                    assert_eq!(lease.frame().captured_at, Timestamp(seen), "the facts of another frame");
                    assert!(seen >= at_least, "viewer {viewer} got {seen} after {at_least} was published");
                    assert!(seen >= last, "viewer {viewer} went back from {last} to {seen}");
                    if seen > last {
                        assert_eq!(u64::from(lease.skipped()), if last == 0 { 0 } else { seen - last - 1 });
                        taken += 1;
                    }
                    if viewer % 2 == 0 {
                        // Half of the viewers keep the lease for a while; the frame must not change meanwhile.
                        std::thread::yield_now();
                        assert_eq!(number(&lease), seen, "a leased frame was overwritten");
                    }
                    last = seen;
                }
                assert_eq!(of_this_thread(), before, "leasing allocates");
                assert!(taken > 0, "viewer {viewer} saw nothing");
                leases.fetch_add(taken, SeqCst);
            });
        }
        let before = of_this_thread();
        for number in 1..=FRAMES {
            assert_eq!(publish(&mut publisher, number), Sequence(number as u32));
            newest.store(number, SeqCst);
        }
        assert_eq!(of_this_thread(), before, "publishing allocates");
        done.store(true, SeqCst);
    });
    let stats = frames.stats();
    assert_eq!(stats.published, FRAMES);
    let waiting = stats.published - stats.seen - stats.overwritten;
    assert!(waiting <= 1, "{stats:?}: more frames than the newest are in no counter");
    assert_eq!(stats.leased, 0);
    publisher.clear();
    let stats = frames.stats();
    assert_eq!(stats.published, stats.seen + stats.overwritten, "{stats:?}");
    let (leases, per_frame) = (leases.into_inner(), started.elapsed() / FRAMES as u32);
    println!("{} of {FRAMES} frames seen, {leases} leases, {per_frame:?} a frame", stats.seen);
}

#[test]
fn memory_follows_the_frames_in_flight_and_not_the_slots() {
    let _turn = turn();
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
            Ok::<_, Infallible>(WrittenJpeg { len: 100_000, resolution: Resolution::new(8, 8) })
        };
        publisher.publish(Timestamp(0), fill).unwrap();
        assert_eq!(subscription.lease().unwrap().len(), 100_000);
    }
    let grown = resident() - before;
    // One frame is the newest, one is being written, one may still be leased; the rest is used by the other tests, which run
    // at the same time. All slots touched once would be 20 MB.
    assert!(grown < 30 * 100_000, "{grown} bytes for frames of 100 kB");
}

#[test]
fn waiting_viewers_wake_for_each_frame_and_for_the_end() {
    let _turn = turn();
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
