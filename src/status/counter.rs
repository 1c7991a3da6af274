//! A counter and a histogram that one thread writes and others read.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only increases.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The current number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Buckets per octave. The bounds are 19 % apart, which is the error of a quantile.
const BUCKETS_PER_OCTAVE: f64 = 4.0;
/// Upper bound of the first bucket in microseconds. Nothing that is measured takes less.
const FIRST_BOUND_US: f64 = 16.0;
/// Buckets from 16 us to 16 s in steps of 19 %; the last one has all longer durations.
const BUCKETS: usize = 81;

/// A histogram of durations with fixed buckets.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: Counter::default() }
    }
}

impl Histogram {
    /// Adds a duration.
    pub fn record(&self, took: Duration) {
        let us = took.as_secs_f64() * 1e6;
        let bucket = ((us.max(1.0) / FIRST_BOUND_US).log2() * BUCKETS_PER_OCTAVE).ceil().max(0.0) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        self.sum_us.add(us as u64);
    }

    /// The quantile `q` (0 to 1) in microseconds, accurate to 19 %; `None` without durations.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(|b| b.load(Relaxed)).sum();
        let wanted = (total as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets
            .iter()
            .position(|b| {
                seen += b.load(Relaxed);
                seen >= wanted
            })
            .map(|bucket| Self::bound_us(bucket) as u64)
    }

    /// The cumulative histogram by octave: each bound in seconds, and the number of durations up to it. The last bound is
    /// infinite.
    pub fn octaves(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut seen = 0;
        let cumulative = self.buckets.iter().enumerate().map(move |(bucket, count)| {
            seen += count.load(Relaxed);
            (bucket, seen)
        });
        cumulative.filter(|(bucket, _)| bucket.is_multiple_of(BUCKETS_PER_OCTAVE as usize)).map(
            |(bucket, seen)| {
                // The last bucket has no bound.
                (if bucket == BUCKETS - 1 { f64::INFINITY } else { Self::bound_us(bucket) / 1e6 }, seen)
            },
        )
    }

    /// The sum of all durations, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_us.get() as f64 / 1e6
    }

    fn bound_us(bucket: usize) -> f64 {
        FIRST_BOUND_US * (bucket as f64 / BUCKETS_PER_OCTAVE).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_accurate_to_a_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), None);
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        for (q, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let us = histogram.quantile_us(q).unwrap() as f64;
            assert!((exact..exact * 1.2).contains(&us), "q{q}: {us} us, exactly {exact}");
        }
        histogram.record(Duration::from_secs(3600));
        assert!(histogram.quantile_us(1.0).unwrap() >= 16_000_000, "beyond the last bound");
    }

    #[test]
    fn octaves_are_cumulative_and_the_last_has_all() {
        let histogram = Histogram::default();
        for us in [1, 16, 17, 32, 33, 20_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let octaves: Vec<(f64, u64)> = histogram.octaves().collect();
        assert_eq!(octaves[..3], [(0.000_016, 2), (0.000_032, 4), (0.000_064, 5)]);
        assert_eq!(octaves.last(), Some(&(f64::INFINITY, 6)));
        assert_eq!((octaves.len(), octaves[octaves.len() - 2]), (21, (8.388_608, 5)));
        assert!((histogram.sum_s() - 20.000_099).abs() < 1e-9, "{}", histogram.sum_s());
    }
}
