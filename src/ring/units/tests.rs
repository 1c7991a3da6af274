//! The promises of the ring of access units, also against a model and from several threads.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::frame::{Resolution, Sequence, Timestamp};
use crate::h264::WrittenUnit;
use crate::ring::RingFull;

const FRAME_US: u64 = 33_333;

fn ring_of(max_viewers: usize, units: usize) -> (UnitPublisher, UnitRing) {
    let (mut publisher, ring) = unit_ring(max_viewers, Box::new(|| {}));
    publisher.reserve(units, 64);
    (publisher, ring)
}

/// Publishes an access unit of `len` bytes, each the low byte of `number`, which is also its time in frames.
fn publish_at(publisher: &mut UnitPublisher, number: u64, len: usize, is_key: bool) -> Option<Sequence> {
    let fill = |slot: &mut [u8]| {
        slot[..len].fill(number as u8);
        Ok::<_, Infallible>(WrittenUnit { len, resolution: Resolution::new(8, 8), is_key })
    };
    publisher.publish(Timestamp(number * FRAME_US), fill).unwrap()
}

fn publish(publisher: &mut UnitPublisher, number: u64, is_key: bool) -> Option<Sequence> {
    publish_at(publisher, number, 16, is_key)
}

/// The number of the next access unit, and how many were skipped before it.
fn next(subscription: &mut UnitSubscription) -> Option<(u64, u32)> {
    let lease = subscription.lease()?;
    let number = lease.unit().captured_at.0 / FRAME_US;
    assert!(lease.iter().all(|byte| *byte == number as u8), "torn");
    Some((number, lease.skipped()))
}

#[test]
fn a_viewer_begins_at_the_key_frame_and_gets_every_unit_in_order() {
    let (mut publisher, ring) = ring_of(2, 10);
    assert_eq!(publish(&mut publisher, 0, false), None, "nobody can decode it");
    assert!(publisher.take_key_frame_request(), "the stream has no start");
    for number in 1..5 {
        publish(&mut publisher, number, number == 1);
    }
    let mut viewer = ring.subscribe().unwrap();
    assert!(publisher.take_key_frame_request() && !publisher.take_key_frame_request());
    for number in 1..5 {
        assert_eq!(next(&mut viewer), Some((number, 0)));
    }
    assert_eq!(next(&mut viewer), None);
    publish(&mut publisher, 5, true);
    publish(&mut publisher, 6, false);
    assert_eq!((next(&mut viewer), next(&mut viewer)), (Some((5, 0)), Some((6, 0))));
    assert!(!publisher.take_key_frame_request(), "a viewer who follows needs none");
    let stats = ring.stats();
    assert_eq!((stats.published, stats.key_frames, stats.without_start), (6, 2, 1));
}

#[test]
fn a_viewer_who_missed_the_rest_of_a_group_goes_on_at_the_next_one() {
    let (mut publisher, ring) = ring_of(2, 10);
    publish(&mut publisher, 0, true);
    let mut viewer = ring.subscribe().unwrap();
    assert_eq!(next(&mut viewer), Some((0, 0)));
    for number in 1..8 {
        publish(&mut publisher, number, number == 6);
    }
    assert_eq!(next(&mut viewer), Some((6, 5)));
    assert_eq!(next(&mut viewer), Some((7, 0)));
}

#[test]
fn a_viewer_too_far_behind_asks_for_a_key_frame_and_gets_nothing_before_it() {
    let (mut publisher, ring) = ring_of(2, 60);
    publish(&mut publisher, 0, true);
    let mut viewer = ring.subscribe().unwrap();
    publisher.take_key_frame_request();
    assert_eq!(next(&mut viewer), Some((0, 0)));
    for number in 1..16 {
        publish(&mut publisher, number, false);
    }
    assert_eq!(next(&mut viewer), Some((1, 0)), "467 ms behind");
    for number in 16..19 {
        publish(&mut publisher, number, false);
    }
    assert_eq!(next(&mut viewer), None, "533 ms behind");
    assert!(publisher.take_key_frame_request());
    for number in 19..20 {
        publish(&mut publisher, number, false);
    }
    assert_eq!(next(&mut viewer), None);
    assert!(!publisher.take_key_frame_request(), "it has asked once");
    publish(&mut publisher, 20, true);
    assert_eq!(next(&mut viewer), Some((20, 18)));
}

#[test]
fn a_viewer_who_joins_late_reads_the_group_as_fast_as_it_can() {
    let (mut publisher, ring) = ring_of(1, 60);
    for number in 0..50 {
        publish(&mut publisher, number, number == 0);
    }
    let mut viewer = ring.subscribe().unwrap();
    assert_eq!((0..50).map_while(|_| next(&mut viewer)).count(), 50, "it is behind, and catches up");
}

#[test]
fn a_group_longer_than_the_ring_is_no_start_but_goes_on_for_those_who_follow() {
    let (mut publisher, ring) = ring_of(2, 4);
    publish(&mut publisher, 0, true);
    let mut follower = ring.subscribe().unwrap();
    for number in 1..10 {
        assert_eq!(next(&mut follower), Some((number - 1, 0)));
        publish(&mut publisher, number, false);
    }
    publisher.take_key_frame_request();
    let mut late = ring.subscribe().unwrap();
    assert!(publisher.take_key_frame_request());
    assert_eq!((next(&mut late), next(&mut follower)), (None, Some((9, 0))));
    publish(&mut publisher, 10, true);
    assert_eq!((next(&mut late), next(&mut follower)), (Some((10, 0)), Some((10, 0))));
}

#[test]
fn after_an_interruption_everybody_goes_on_at_a_key_frame() {
    let (mut publisher, ring) = ring_of(1, 10);
    for number in 0..3 {
        publish(&mut publisher, number, number == 0);
    }
    let mut viewer = ring.subscribe().unwrap();
    assert_eq!((0..3).map_while(|_| next(&mut viewer)).count(), 3);
    publisher.clear();
    publisher.clear();
    assert_eq!((next(&mut viewer), ring.newest()), (None, None));
    assert_eq!(publish(&mut publisher, 3, false), None);
    publish(&mut publisher, 4, true);
    assert_eq!(next(&mut viewer), Some((4, 1)));
}

#[test]
fn a_leased_unit_is_not_touched_and_there_is_a_slot_in_any_case() {
    const VIEWERS: u64 = 20;
    let (mut publisher, ring) = ring_of(VIEWERS as usize, 3);
    let mut viewers: Vec<_> = (0..VIEWERS).map(|_| ring.subscribe().unwrap()).collect();
    assert_eq!(ring.subscribe().unwrap_err(), RingFull { max_viewers: VIEWERS as usize });
    let mut leases = Vec::new();
    for (number, viewer) in (0..).zip(&mut viewers) {
        publish(&mut publisher, number, true);
        leases.push(viewer.lease().unwrap());
    }
    (VIEWERS..500)
        .for_each(|number| assert!(publish_at(&mut publisher, number, 64, number % 7 == 0).is_some()));
    for (number, lease) in (0..).zip(&leases) {
        assert_eq!(**lease, [number; 16]);
    }
    assert_eq!(ring.stats().leased, VIEWERS as usize);
    publisher.reserve(2, 128);
    assert_eq!(**leases.last().unwrap(), [VIEWERS as u8 - 1; 16], "slots were replaced");
    drop(leases);
    publisher.release();
    assert_eq!(publish(&mut publisher, 1, true), None, "no slots");
}

#[test]
fn the_publisher_is_woken_for_those_who_come_fall_behind_and_leave() {
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let wake = move || {
        count.fetch_add(1, Relaxed);
    };
    let (mut publisher, ring) = unit_ring(3, Box::new(wake));
    publisher.reserve(30, 64);
    let mut viewer = ring.subscribe().unwrap();
    assert!(woken.swap(0, Relaxed) > 0);
    let second = ring.subscribe().unwrap();
    assert!(
        woken.swap(0, Relaxed) > 0,
        "a key frame was wanted already, and the second viewer is not noticed"
    );
    drop(second);
    woken.store(0, Relaxed);
    publish(&mut publisher, 0, true);
    publisher.take_key_frame_request();
    assert_eq!(next(&mut viewer), Some((0, 0)));
    for number in 1..30 {
        publish(&mut publisher, number, false);
    }
    assert_eq!(next(&mut viewer), None);
    assert_eq!(woken.swap(0, Relaxed), 1);
    drop(viewer);
    assert_eq!((woken.swap(0, Relaxed), publisher.subscribers().viewers), (1, 0));
}

/// Numbers of a known sequence (xorshift64), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn whatever_happens_a_viewer_gets_only_what_it_can_decode_in_order_and_counted() {
    for seed in 1..300 {
        let mut random = Random(seed * 0x9e37_79b9);
        let units = 1 + random.below(12) as usize;
        let (mut publisher, ring) = ring_of(4, units);
        let mut viewers: Vec<(UnitSubscription, Option<Sequence>)> = Vec::new();
        // Sequences that cannot be decoded without the one before, by their number; others are key frames.
        let mut number = 0;
        for _ in 0..400 {
            match random.below(12) {
                0..5 => {
                    let is_key = random.below(8) == 0;
                    publish(&mut publisher, number, is_key);
                    number += 1;
                }
                5 if viewers.len() < 4 => viewers.push((ring.subscribe().unwrap(), None)),
                6 if random.below(8) == 0 => publisher.clear(),
                7 if random.below(8) == 0 && !viewers.is_empty() => {
                    viewers.swap_remove(random.below(viewers.len() as u64) as usize);
                }
                _ if !viewers.is_empty() => {
                    let at = random.below(viewers.len() as u64) as usize;
                    let (viewer, last) = &mut viewers[at];
                    let Some(lease) = viewer.lease() else { continue };
                    let unit = lease.unit();
                    assert!(lease.iter().all(|byte| u64::from(*byte) == unit.captured_at.0 / FRAME_US % 256));
                    match *last {
                        Some(last) => {
                            let ahead = unit.sequence.since(last);
                            assert!((1..1000).contains(&ahead), "order: {last:?}, {unit:?}");
                            assert_eq!(lease.skipped(), ahead - 1);
                            assert!(unit.is_key || ahead == 1, "cannot be decoded: {last:?}, {unit:?}");
                        }
                        None => assert!(unit.is_key && lease.skipped() == 0, "{unit:?}"),
                    }
                    *last = Some(unit.sequence);
                }
                _ => {}
            }
            assert!(ring.stats().leased == 0 && ring.stats().viewers == viewers.len());
        }
    }
}

#[test]
fn threads_that_publish_and_lease_at_once_see_nothing_torn() {
    let (mut publisher, ring) = ring_of(3, 20);
    const ENOUGH: usize = 2000;
    let done = AtomicBool::new(false);
    let got: [AtomicUsize; 3] = Default::default();
    std::thread::scope(|scope| {
        for got in &got {
            let (ring, done) = (ring.clone(), &done);
            scope.spawn(move || {
                let mut viewer = ring.subscribe().unwrap();
                while !done.load(Relaxed) {
                    got.fetch_add(next(&mut viewer).is_some().into(), Relaxed);
                }
            });
        }
        let mut random = Random(7);
        let mut number = 0;
        while got.iter().any(|got| got.load(Relaxed) < ENOUGH) {
            let len = 1 + random.below(64) as usize;
            let is_key = random.below(15) == 0 || publisher.take_key_frame_request();
            publish_at(&mut publisher, number, len, is_key);
            number += 1;
            assert!(number < 1 << 32, "a viewer gets nothing");
        }
        done.store(true, Relaxed);
    });
}

#[tokio::test]
async fn those_who_wait_are_woken_for_what_is_theirs_and_at_the_end() {
    let (mut publisher, ring) = ring_of(1, 10);
    let notifier = tokio::spawn(ring.clone().run_notifier());
    let mut viewer = ring.subscribe().unwrap();
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let mut numbers = Vec::new();
        while viewer.changed().await.is_ok() {
            numbers.push(next(&mut viewer).unwrap().0);
            ended.send(numbers.len()).unwrap();
        }
        numbers
    });
    for number in 0..5 {
        publish(&mut publisher, number, number == 0);
        assert_eq!(end.recv().await, Some(number as usize + 1));
    }
    drop(publisher);
    assert_eq!(task.await.unwrap(), [0, 1, 2, 3, 4]);
    notifier.await.unwrap();
}
