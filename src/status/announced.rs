//! A broker whose cameras are shown as they are announced.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::counter::Counter;

/// The connection to the broker, and what it has announced.
#[derive(Clone, Debug)]
pub struct AnnouncedStatus {
    /// The source as configured.
    pub source: String,
    /// The address that it is connected to; `None` without a connection.
    pub connected: Option<String>,
    /// What is wrong, and what to do.
    pub error: Option<String>,
    /// Counters since the start of the service.
    pub counters: Arc<AnnouncedCounters>,
}

/// What a broker has announced since the start of the service.
#[derive(Debug, Default)]
pub struct AnnouncedCounters {
    /// Connections after the first one.
    pub reconnects: Counter,
    /// Cameras that came.
    pub added: Counter,
    /// Cameras that went.
    pub removed: Counter,
    /// Cameras that are not shown, for their names or their number.
    pub refused: Counter,
}
