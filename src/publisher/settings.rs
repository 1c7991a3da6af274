//! What the configuration says of publishing.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::home_assistant::DiscoverySettings;
use crate::mqtt::BrokerAccess;
use crate::mqtt::topics::HostTopics;

/// Where cameras are published, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherSettings {
    /// The broker.
    pub broker: BrokerAccess,
    /// The topics.
    pub topics: HostTopics,
    /// The name of this machine.
    pub host: String,
    /// How Home Assistant learns of the cameras.
    pub discovery: DiscoverySettings,
    /// Time between two images of an open camera; zero for none.
    pub snapshot: Duration,
}

/// Places at each camera's ring that publishing takes: one for live frames, one for an image that was asked for, and one for an
/// image that is copied.
pub const RING_PLACES: usize = 3;
