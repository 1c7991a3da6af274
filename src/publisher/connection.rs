//! What is known of the connection, and whether the broker gives back what is published: MQTT 3.1.1 has no way to refuse a message, so
//! what an access list does not allow is seen by what does not come back. Pure.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::time::Instant;

/// Time for a message to come back from the broker.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Its absence is told when it has not come back so often: a cluster that elects its leaders drops what is to be kept, for up to eleven
/// seconds with nats-server 2.9.
const ATTEMPTS: u32 = 3;
/// Time between two attempts after that: an access list may be corrected.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

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
        self.due = Some(now + if self.is_told() { RETRY_INTERVAL } else { TIMEOUT });
    }

    /// It came back. Returns whether its absence was told.
    pub(super) fn came(&mut self) -> bool {
        std::mem::take(self).is_told()
    }

    /// It did not come in time, and is to be published again. Returns whether its absence is to be told.
    pub(super) fn missed(&mut self) -> bool {
        (self.due, self.missed) = (None, self.missed.saturating_add(1));
        self.is_told()
    }

    fn is_told(&self) -> bool {
        self.missed >= ATTEMPTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_told_after_the_third_time_and_taken_back() {
        let (mut echo, now) = (Echo::default(), Instant::now());
        for attempt in 1..=ATTEMPTS {
            echo.published(now);
            assert_eq!(echo.due(), Some(now + TIMEOUT));
            assert_eq!(echo.missed(), attempt == ATTEMPTS);
            assert_eq!(echo.due(), None);
        }
        echo.published(now);
        assert_eq!(echo.due(), Some(now + RETRY_INTERVAL));
        assert!(echo.missed(), "it is still absent");
        assert!(echo.came(), "the access list was corrected");
        echo.published(now);
        assert!(!echo.missed() && !echo.came() && echo.due().is_none());
    }
}
