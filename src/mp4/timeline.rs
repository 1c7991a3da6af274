//! The times of samples, each of which is sent before the next one is known.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::TIMESCALE;
use crate::frame::Timestamp;

/// Shown this long if nothing is known of the rate.
const UNKNOWN_INTERVAL: Duration = Duration::from_millis(33);
/// A picture that comes this much later than was expected, or half an interval, leaves a gap. What is less is jitter.
const JITTER: Duration = Duration::from_millis(100);

/// When a sample is shown, in ticks since the first one, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleTime {
    /// Decode time, which is also when it is shown.
    pub at: u64,
    /// Duration.
    pub lasts: u32,
}

/// The times of one viewer's samples. The first is at 0.
///
/// A sample lasts until the next one is expected, which then begins there: players that find a gap of a few ticks stop, and
/// time that jitters is shown so. The error does not add up, as the end of each sample follows from its own capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeline {
    first: Option<Timestamp>,
    /// Where the last sample ends.
    end: u64,
}

impl Timeline {
    /// The time of a sample that was captured at `captured_at`, where pictures are `interval` apart; zero if that is not known.
    pub fn next(&mut self, captured_at: Timestamp, interval: Duration) -> SampleTime {
        let first = *self.first.get_or_insert(captured_at);
        let interval = if interval.is_zero() { UNKNOWN_INTERVAL } else { interval };
        let elapsed = captured_at.since(first);
        let is_gap = ticks(elapsed) > self.end + ticks(JITTER.max(interval / 2));
        let at = if is_gap { ticks(elapsed) } else { self.end };
        let lasts = ticks(elapsed + interval).saturating_sub(at).clamp(1, u32::MAX.into()) as u32;
        self.end = at + u64::from(lasts);
        SampleTime { at, lasts }
    }
}

fn ticks(time: Duration) -> u64 {
    // A u64 holds the microseconds of a Timestamp; the product does not overflow a u128.
    (time.as_micros() * u128::from(TIMESCALE) / 1_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_micros(33_333);

    /// The times of samples captured at these microseconds.
    fn times(captured: &[u64]) -> Vec<SampleTime> {
        let mut timeline = Timeline::default();
        captured.iter().map(|at| timeline.next(Timestamp(5_000_000 + at), INTERVAL)).collect()
    }

    #[test]
    fn samples_follow_each_other_without_a_gap_while_times_jitter() {
        let jitter = [0, 4_000, 0, 9_000, 30_000, 0, 1_000, 0, 15_000, 0];
        let captured: Vec<u64> = (0..).zip(jitter).map(|(n, late)| n * 33_333 + late).collect();
        let times = times(&captured);
        assert_eq!(times[0].at, 0);
        for (pair, captured) in times.windows(2).zip(&captured[1..]) {
            assert_eq!(pair[1].at, pair[0].at + u64::from(pair[0].lasts));
            let error = pair[1].at.abs_diff(captured * 9 / 100);
            assert!(error <= 30 * 90 + 1, "{error} ticks from its time");
        }
    }

    #[test]
    fn missing_pictures_leave_a_gap() {
        let times = times(&[0, 33_333, 1_000_000]);
        assert_eq!(times[2].at, 90_000);
        assert_eq!(times[1].at + u64::from(times[1].lasts), 5999);
    }

    #[test]
    fn times_never_go_back() {
        let times = times(&[0, 33_333, 10_000, 10_000, 2_000_000, 0, 33_333]);
        for pair in times.windows(2) {
            assert!(pair[1].at >= pair[0].at + u64::from(pair[0].lasts), "{times:?}");
        }
    }

    #[test]
    fn a_slow_camera_is_shown_without_gaps_once_its_rate_is_known() {
        let mut timeline = Timeline::default();
        let second = Duration::from_secs(1);
        let mut next = |s: u64| timeline.next(Timestamp(s * 1_000_000), second);
        assert_eq!(next(1), SampleTime { at: 0, lasts: 90_000 });
        assert_eq!(next(2), SampleTime { at: 90_000, lasts: 90_000 });
    }
}
