//! The ring of access units under load: many groups of pictures for many viewers, with every guarantee of
//! `src/ring/units/mod.rs` checked. Small tests are beside the code.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use porthole::frame::{Resolution, Sequence, Timestamp};
use porthole::h264::WrittenUnit;
use porthole::ring::units::unit_ring;

use crate::allocator::of_this_thread;
use crate::turn;

const UNITS: u64 = 500_000;
const GROUP: u64 = 40;
const VIEWERS: usize = 8;
/// Microseconds between two units: groups are older than a viewer may start at, so all rules apply.
const INTERVAL: u64 = 20_000;

/// The number of a unit, after every byte of it was checked.
fn number(unit: &[u8]) -> u64 {
    let number = u64::from_le_bytes(unit[..8].try_into().unwrap());
    assert_eq!(unit.len(), 24 + (number % 40) as usize, "the length of another unit");
    assert!(unit[8..].iter().all(|&byte| byte == number as u8), "torn unit {number}");
    number
}

#[test]
fn half_a_million_access_units_for_many_viewers() {
    let _turn = turn();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let wake = move || {
        count.fetch_add(1, SeqCst);
    };
    let (mut publisher, units) = unit_ring(VIEWERS, Box::new(wake));
    publisher.reserve(GROUP as usize, 64);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for viewer in 0..VIEWERS {
            let (done, units) = (&done, &units);
            scope.spawn(move || {
                let mut subscription = units.subscribe().unwrap();
                let (mut last, mut taken) = (0, 0u64);
                let before = of_this_thread();
                while !done.load(SeqCst) {
                    let Some(lease) = subscription.lease() else { continue };
                    let (seen, unit) = (number(&lease), lease.unit());
                    assert_eq!(unit.sequence, Sequence(seen as u32), "the facts of another unit");
                    assert_eq!(unit.is_key, seen % GROUP == 1);
                    assert!(unit.is_key || seen == last + 1, "viewer {viewer} got {seen} after {last}");
                    assert!(seen > last, "viewer {viewer} went back from {last} to {seen}");
                    assert_eq!(u64::from(lease.skipped()), if last == 0 { 0 } else { seen - last - 1 });
                    if viewer % 2 == 0 {
                        // Half of the viewers keep the lease for a while; the unit must not change meanwhile.
                        std::thread::yield_now();
                        assert_eq!(number(&lease), seen, "a leased unit was overwritten");
                    }
                    (last, taken) = (seen, taken + 1);
                }
                assert_eq!(of_this_thread(), before, "leasing allocates");
                assert!(taken > 0, "viewer {viewer} saw nothing");
            });
        }
        let before = of_this_thread();
        for number in 1..=UNITS {
            let published = publisher.publish(Timestamp(number * INTERVAL), |slot| {
                let len = 24 + (number % 40) as usize;
                slot[..8].copy_from_slice(&number.to_le_bytes());
                slot[8..len].fill(number as u8);
                let resolution = Resolution::new(8, 8);
                Ok::<_, Infallible>(WrittenUnit { len, resolution, is_key: number % GROUP == 1 })
            });
            assert_eq!(published, Ok(Some(Sequence(number as u32))));
            publisher.take_key_frame_request();
        }
        assert_eq!(of_this_thread(), before, "publishing allocates");
        done.store(true, SeqCst);
    });
    let stats = units.stats();
    assert_eq!((stats.published, stats.leased), (UNITS, 0));
    assert!(asked.load(SeqCst) >= VIEWERS as u64, "each of them woke the publisher once at least");
}
