//! The status of the connection to an MQTT broker.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::counter::Counter;

/// The connection to the broker that cameras are published to.
#[derive(Clone, Debug, Default)]
pub struct MqttStatus {
    /// The broker as configured, without its password.
    pub broker: String,
    /// The address of the connection; `None` while there is none.
    pub connected: Option<String>,
    /// Why there is no connection or something cannot be published, and what to do.
    pub error: Option<String>,
    /// Counters since the start of the service.
    pub counters: Arc<MqttCounters>,
}

/// What the connections carried.
#[derive(Debug, Default)]
pub struct MqttCounters {
    /// Connections after the first one.
    pub reconnects: Counter,
    /// Messages published, frames included.
    pub published: Counter,
    /// Live frames published.
    pub frames: Counter,
    /// Live frames that the way to the broker was too slow for.
    pub skipped: Counter,
    /// Messages not published, because the broker takes none of that size.
    pub too_large: Counter,
    /// Messages from the broker that asked for something that cannot be done.
    pub refused: Counter,
    /// Front ends that want live frames.
    pub watchers: Gauge,
    /// Bytes written that the broker's machine has not taken.
    pub backlog: Gauge,
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The current number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
