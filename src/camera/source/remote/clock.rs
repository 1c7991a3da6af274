//! The clock of another machine, compared with this one's by pings as in NTP (RFC 5905, section 8): the answer says what
//! its time was, at the middle of the round trip, give or take half of it. How pings travel does not belong here.
#![forbid(unsafe_code)]

use std::time::Duration;

use heapless::Deque;

use crate::frame::Timestamp;

/// Measurements at the start, one after the other, and number that the best is taken from.
const MEASUREMENTS: usize = 8;

/// The clock of another machine.
#[derive(Debug)]
pub(super) struct FarClock {
    /// Time between two measurements after the first ones.
    interval: Duration,
    /// Oldest first.
    measurements: Deque<Measurement, MEASUREMENTS>,
    /// When the ping was sent that has not been answered.
    pinged_at: Option<Timestamp>,
    next_ping: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Measurement {
    trip: Duration,
    /// The other clock minus this one, modulo 2^64: either may be ahead.
    offset: u64,
}

impl FarClock {
    /// A clock that was not compared yet. After the first measurements there is one every `interval`: the oldest is eight times as
    /// old, and quartz clocks drift by up to 100 µs a second against each other.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, measurements: Deque::new(), pinged_at: None, next_ping: Timestamp::default() }
    }

    /// When the next ping is due.
    pub(super) fn next_ping(&self) -> Timestamp {
        self.next_ping
    }

    /// A ping is sent at `now`.
    pub(super) fn pinged(&mut self, now: Timestamp) {
        (self.pinged_at, self.next_ping) = (Some(now), now.after(self.interval));
    }

    /// The ping sent at `sent` was answered, which came at `now`. The other clock showed `far` in between.
    pub(super) fn answered(&mut self, sent: Timestamp, now: Timestamp, far: Timestamp) {
        if self.pinged_at != Some(sent) {
            // Not the answer to the last ping.
            return;
        }
        self.pinged_at = None;
        let trip = now.since(sent);
        let middle = sent.after(trip / 2);
        if self.measurements.is_full() {
            self.measurements.pop_front();
        }
        let measurement = Measurement { trip, offset: far.0.wrapping_sub(middle.0) };
        // There is room: one was removed.
        let _ = self.measurements.push_back(measurement);
        if !self.measurements.is_full() {
            self.next_ping = now;
        }
    }

    /// The time on this machine's clock at which the other one showed `captured`. What was sent at `sent` came at `now`: before
    /// the first measurement the way is taken to have been short.
    pub(super) fn here(&self, captured: Timestamp, sent: Timestamp, now: Timestamp) -> Timestamp {
        let arrival = Measurement { trip: Duration::ZERO, offset: sent.0.wrapping_sub(now.0) };
        let best = self.measurements.iter().min_by_key(|measurement| measurement.trip).unwrap_or(&arrival);
        let here = Timestamp(captured.0.wrapping_sub(best.offset));
        // The measurement may be wrong by half the round trip. Nothing was captured in the future.
        if here.since(now) <= best.trip { here.min(now) } else { here }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000;
    const INTERVAL: Duration = Duration::from_secs(2);

    fn measured(clock: &mut FarClock, sent: u64, received: u64, far: u64) {
        clock.pinged(Timestamp(sent));
        clock.answered(Timestamp(sent), Timestamp(received), Timestamp(far));
    }

    #[test]
    fn the_answer_with_the_shortest_way_tells_the_time_whichever_clock_is_ahead() {
        for (here, far) in [(2 * HOUR, HOUR), (HOUR, 2 * HOUR), (HOUR, u64::MAX - 5_000_000)] {
            let mut clock = FarClock::new(INTERVAL);
            measured(&mut clock, here, here + 80_000, far + 70_000);
            measured(&mut clock, here + 100_000, here + 102_000, far.wrapping_add(101_000));
            measured(&mut clock, here + 200_000, here + 260_000, far.wrapping_add(201_000));
            let at = |time: u64| Timestamp(far.wrapping_add(time));
            let found = clock.here(at(250_000), at(255_000), Timestamp(here + 300_000));
            assert_eq!(found, Timestamp(here + 250_000));
        }
    }

    #[test]
    fn pings_follow_one_another_at_the_start_and_rarely_later() {
        let mut clock = FarClock::new(INTERVAL);
        for nth in 1..=MEASUREMENTS as u64 {
            assert!(clock.next_ping() <= Timestamp(nth * 1000));
            measured(&mut clock, nth * 1000, nth * 1000 + 500, 0);
        }
        assert_eq!(clock.next_ping(), Timestamp(MEASUREMENTS as u64 * 1000).after(INTERVAL));
    }

    #[test]
    fn old_measurements_give_way_and_answers_to_nothing_are_ignored() {
        let mut clock = FarClock::new(INTERVAL);
        measured(&mut clock, 0, 0, 77);
        for nth in 1..=MEASUREMENTS as u64 {
            measured(&mut clock, nth * 1000, nth * 1000 + 10, nth * 1000 + 5 + HOUR);
        }
        clock.answered(Timestamp(8000), Timestamp(8000), Timestamp(0));
        assert_eq!(clock.here(Timestamp(HOUR + 500), Timestamp(0), Timestamp(9000)), Timestamp(500));
    }

    #[test]
    fn before_a_measurement_the_way_counts_as_short() {
        let clock = FarClock::new(INTERVAL);
        let (captured, sent) = (Timestamp(HOUR), Timestamp(HOUR + 30_000));
        assert_eq!(clock.here(captured, sent, Timestamp(100_000)), Timestamp(70_000));
    }

    #[test]
    fn an_error_of_the_measurement_makes_no_picture_of_the_future() {
        let mut clock = FarClock::new(INTERVAL);
        measured(&mut clock, 1000, 1400, 1100);
        assert_eq!(clock.here(Timestamp(1400), Timestamp(1400), Timestamp(1450)), Timestamp(1450));
        assert_eq!(clock.here(Timestamp(9000), Timestamp(9000), Timestamp(1450)), Timestamp(9100), "a lie");
    }
}
