//! The size of messages that a broker takes. MQTT 3.1.1 has no way to say it: a broker closes the connection instead. Two
//! connections that end with a large message tell it; nothing of that size is sent for a while then.
#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::lock;

/// Messages up to this size are not suspected. Every broker takes them.
const SMALL: usize = 16 * 1024;
/// A connection that ends within this time of a message may have ended because of it.
const BLAMED: Duration = Duration::from_secs(2);
/// Connections that end with a large message before it is blamed. A network can fail at any time.
const STRIKES: u32 = 2;
/// Then the broker may have been given another limit, and such a message is tried again.
const FORGOTTEN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Sizes {
    /// The newest message of this connection, and when it was begun.
    newest: Option<(usize, Instant)>,
    /// The largest message that did not end the connection.
    survived: usize,
    strikes: u32,
    /// Nothing of this size or more is sent until then.
    limit: Option<(usize, Instant)>,
}

#[derive(Debug, Default)]
pub(super) struct SizeGuard {
    sizes: Mutex<Sizes>,
}

impl SizeGuard {
    /// Whether a message of this size may be sent. Notes that it is, if so.
    pub(super) fn may_send(&self, bytes: usize, now: Instant) -> bool {
        let mut sizes = lock(&self.sizes);
        if let Some((newest, at)) = sizes.newest
            && now >= at + BLAMED
            && newest >= SMALL
        {
            (sizes.survived, sizes.strikes) = (sizes.survived.max(newest), 0);
        }
        if sizes.limit.is_some_and(|(_, until)| now >= until) {
            (sizes.limit, sizes.strikes) = (None, STRIKES - 1);
        }
        if sizes.limit.is_some_and(|(limit, _)| bytes >= limit) {
            return false;
        }
        // The oldest of the suspects is kept until it is cleared.
        if bytes >= SMALL && sizes.newest.is_none_or(|(_, at)| now >= at + BLAMED) {
            sizes.newest = Some((bytes, now));
        }
        true
    }

    /// The connection ended. Returns the size of the message that ended it, once that is sure.
    pub(super) fn lost(&self, now: Instant) -> Option<usize> {
        let mut sizes = lock(&self.sizes);
        let (bytes, at) = sizes.newest.take()?;
        if now >= at + BLAMED || bytes <= sizes.survived {
            sizes.strikes = 0;
            return None;
        }
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
        assert!(guard.may_send(100_000, now));
        assert_eq!(guard.lost(now), None, "any network fails now and then");
        assert!(guard.may_send(100_000, now));
        assert_eq!(guard.lost(now), Some(100_000));
        assert!(
            !guard.may_send(100_000, now) && !guard.may_send(100_001, now) && guard.may_send(99_999, now)
        );
        let later = now + FORGOTTEN;
        assert!(guard.may_send(100_000, later));
        assert_eq!(guard.lost(later), Some(100_000), "once more is enough then");
    }

    #[test]
    fn a_message_that_the_connection_survived_is_not_blamed() {
        let (guard, mut now) = (SizeGuard::default(), Instant::now());
        for _ in 0..3 {
            assert!(guard.may_send(100_000, now));
            now += BLAMED;
            assert!(guard.may_send(100_000, now));
            assert_eq!(guard.lost(now), None);
            assert!(guard.may_send(50, now));
            assert_eq!(guard.lost(now), None);
        }
    }
}
