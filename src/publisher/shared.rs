//! What the tasks of one camera share.
#![forbid(unsafe_code)]

use std::sync::Arc;

use log::debug;
use tokio::sync::watch;

use crate::camera::Camera;
use crate::mqtt::topics::CameraTopics;
use crate::mqtt::{BrokerHandle, NotPublished};
use crate::status::{MqttCounters, Watcher};

/// One camera, and the ways to the broker.
#[derive(Clone, Debug)]
pub(super) struct PublishedCamera {
    pub(super) camera: Camera,
    pub(super) topics: CameraTopics,
    pub(super) broker: BrokerHandle,
    /// The way for live frames.
    pub(super) live: BrokerHandle,
    /// Changes at every new connection: what the broker keeps is published again.
    pub(super) connections: watch::Receiver<u64>,
    pub(super) status: Watcher,
    pub(super) counters: Arc<MqttCounters>,
}

impl PublishedCamera {
    /// Publishes a message that is not a live frame. Without a connection it is lost: at the next one everything is published
    /// again.
    pub(super) async fn publish(&self, topic: &str, payload: &[u8], is_retained: bool) {
        let Some(link) = self.broker.link() else { return };
        match link.publish(topic, payload, is_retained).await {
            Ok(()) => self.counters.published.add(1),
            Err(NotPublished::TooLarge(_)) => self.counters.too_large.add(1),
            Err(NotPublished::NotConnected) => debug!("mqtt: {topic} is published at the next connection"),
        }
    }

    /// Whether its source is open.
    pub(super) fn is_capturing(&self) -> bool {
        self.status.borrow().camera(self.camera.id()).is_some_and(|camera| camera.capturing)
    }
}
