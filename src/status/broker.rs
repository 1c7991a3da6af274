//! The counters of a camera whose frames come through a broker.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::counter::Counter;

/// Counters since the start of the service. Only the camera's thread writes them.
#[derive(Debug, Default)]
pub struct BrokerCounters {
    /// Times that a session with the broker was opened again.
    pub reconnects: Counter,
    /// Frames that the broker sent twice in one session, or after a newer one. They were not shown.
    pub repeated: Counter,
    /// Frames that the other machine sent and that did not come.
    pub lost: Counter,
    sessions: AtomicU32,
}

impl BrokerCounters {
    /// So many sessions have a connection now.
    pub fn set_sessions(&self, sessions: u32) {
        self.sessions.store(sessions, Relaxed);
    }

    /// Sessions that have a connection.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Relaxed)
    }
}
