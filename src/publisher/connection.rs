//! What is known of the connection, and whether the broker gives back what is published: MQTT 3.1.1 has no way to refuse a message, so
//! what an access list does not allow is seen by what does not come back. Pure.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::time::Instant;

/// Time for a message to come back from the broker.
const TIMEOUT: Duration = Duration::from_secs(5);
/// It is published so often before its absence is told: a cluster that elects its leaders drops what is to be kept, for up to eleven
/// seconds with nats-server 2.9.
const ATTEMPTS: u32 = 3;

/// The connection as far as it is known.
#[derive(Debug, Default)]
pub(super) struct EdgeConnection {
    pub(super) address: Option<String>,
    /// The last error that was logged.
    pub(super) error: Option<String>,
    /// Of the message at `status`.
    pub(super) echo: Echo,
}

/// What is known of the message that must come back.
#[derive(Debug, Default)]
pub(super) struct Echo {
    due: Option<Instant>,
    /// How often it did not come, since it came last.
    missed: u32,
}

impl Echo {
    /// When it must have come back; `None` while none is awaited.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It is published.
    pub(super) fn published(&mut self, now: Instant) {
        self.due = Some(now + TIMEOUT);
    }

    /// It came back. Returns whether its absence was told.
    pub(super) fn came(&mut self) -> bool {
        let was_told = self.missed >= ATTEMPTS;
        *self = Self::default();
        was_told
    }

    /// It did not come in time. Returns whether that is to be told. Otherwise it is to be published again.
    pub(super) fn is_missing(&mut self) -> bool {
        (self.due, self.missed) = (None, self.missed.saturating_add(1));
        self.missed >= ATTEMPTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_absence_is_told_once_it_is_no_chance() {
        let (mut echo, now) = (Echo::default(), Instant::now());
        for attempt in 1..=ATTEMPTS {
            echo.published(now);
            assert_eq!(echo.due(), Some(now + TIMEOUT));
            assert_eq!(echo.is_missing(), attempt == ATTEMPTS);
            assert_eq!(echo.due(), None);
        }
        assert!(echo.came(), "somebody has changed the access list");
        echo.published(now);
        assert!(!echo.is_missing() && !echo.came() && echo.due().is_none());
    }
}
