//! The time between two attempts to connect.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Before the second attempt.
const FIRST: Duration = Duration::from_millis(200);
/// Longest, while the broker is away. One that is back is used within two seconds.
const LONGEST: Duration = Duration::from_millis(1250);
/// The first and the longest, while the broker is there and refuses. A person must change something.
const REFUSED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// How often nothing came of an attempt.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The broker accepted a connection.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The time before the next attempt, of which up to a half is left out by chance: all clients of a broker that comes back
    /// would call at the same moment otherwise.
    pub(super) fn next(&mut self, is_refused: bool) -> Duration {
        let (first, longest) = if is_refused { REFUSED } else { (FIRST, LONGEST) };
        let whole = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(1.0 - chance() / 2.0)
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers the delay is the whole one.
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_limit_and_differ() {
        for (is_refused, first, longest) in [(false, FIRST, LONGEST), (true, REFUSED.0, REFUSED.1)] {
            let mut backoff = Backoff::default();
            let delays: Vec<Duration> = (0..64).map(|_| backoff.next(is_refused)).collect();
            assert!(delays[0] <= first && delays[0] >= first / 2, "{delays:?}");
            assert!(
                delays[32..].iter().all(|delay| *delay <= longest && *delay >= longest / 2),
                "{delays:?}"
            );
            let last: std::collections::BTreeSet<_> = delays[32..].iter().collect();
            assert!(last.len() > 16, "{delays:?}");
            backoff.reset();
            assert!(backoff.next(is_refused) <= first);
        }
    }
}
