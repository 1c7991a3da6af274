//! The size of messages that a broker takes. MQTT 3.1.1 has no way to say it: a broker closes the connection instead. A ping
//! behind each message that is the largest so far tells whether it was taken, as packets are answered in their order. If two
//! connections end before that answer, nothing of that size is sent for a while.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::lock;

/// Messages up to this size are not suspected. Every broker takes them.
const SMALL: usize = 16 * 1024;
/// Connections that end with a large message before it is blamed. A network can fail at any time.
const STRIKES: u32 = 2;
/// Then the broker may have been given another limit, and such a message is tried again.
const FORGOTTEN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Sizes {
    /// Pings of this connection that were not answered. True for one that stands behind the suspect.
    pings: VecDeque<bool>,
    /// A message that was sent over this connection, and may be too large.
    suspect: Option<usize>,
    /// The largest message that was taken over this connection.
    taken: usize,
    strikes: u32,
    /// Nothing of this size or more is sent until then.
    limit: Option<(usize, Instant)>,
}

#[derive(Debug, Default)]
pub(super) struct SizeGuard {
    sizes: Mutex<Sizes>,
}

impl SizeGuard {
    /// Whether a message of this size may be sent.
    pub(super) fn may_send(&self, bytes: usize, now: Instant) -> bool {
        let mut sizes = lock(&self.sizes);
        if sizes.limit.is_some_and(|(_, until)| now >= until) {
            (sizes.limit, sizes.strikes) = (None, STRIKES - 1);
        }
        sizes.limit.is_none_or(|(limit, _)| bytes < limit)
    }

    /// A message of this size is sent. Returns whether a ping must follow it.
    pub(super) fn sends(&self, bytes: usize) -> bool {
        let mut sizes = lock(&self.sizes);
        if bytes < SMALL || bytes <= sizes.taken || sizes.suspect.is_some() {
            return false;
        }
        sizes.suspect = Some(bytes);
        sizes.pings.push_back(true);
        true
    }

    /// A ping is sent for another reason.
    pub(super) fn pings(&self) {
        lock(&self.sizes).pings.push_back(false);
    }

    /// A ping was answered.
    pub(super) fn answered(&self) {
        let mut sizes = lock(&self.sizes);
        if sizes.pings.pop_front() == Some(true)
            && let Some(bytes) = sizes.suspect.take()
        {
            (sizes.taken, sizes.strikes) = (bytes, 0);
        }
    }

    /// The connection ended. Returns the size of the message that ended it, once that is sure.
    pub(super) fn lost(&self, now: Instant) -> Option<usize> {
        let mut sizes = lock(&self.sizes);
        sizes.pings.clear();
        sizes.taken = 0;
        let bytes = sizes.suspect.take()?;
        sizes.strikes += 1;
        if sizes.strikes < STRIKES {
            return None;
        }
        sizes.limit = Some((bytes, now + FORGOTTEN));
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_ends_two_connections_is_not_sent_for_a_while() {
        let (guard, now) = (SizeGuard::default(), Instant::now());
        assert!(guard.may_send(100_000, now) && guard.sends(100_000));
        assert!(!guard.sends(200_000), "one is looked at after the other");
        assert_eq!(guard.lost(now), None, "any network fails now and then");
        assert!(guard.sends(100_000));
        assert_eq!(guard.lost(now), Some(100_000));
        assert!(
            !guard.may_send(100_000, now) && !guard.may_send(100_001, now) && guard.may_send(99_999, now)
        );
        let later = now + FORGOTTEN;
        assert!(guard.may_send(100_000, later) && guard.sends(100_000));
        assert_eq!(guard.lost(later), Some(100_000), "once more is enough then");
    }

    #[test]
    fn a_message_that_was_taken_is_not_blamed() {
        let (guard, now) = (SizeGuard::default(), Instant::now());
        for _ in 0..5 {
            guard.pings();
            assert!(guard.sends(100_000));
            guard.answered();
            assert!(!guard.sends(100_000), "that was the answer to another ping");
            guard.answered();
            assert!(!guard.sends(100_000) && !guard.sends(50) && guard.sends(100_001));
            guard.answered();
            assert_eq!(guard.lost(now), None);
        }
    }
}
