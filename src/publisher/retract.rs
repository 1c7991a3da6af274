//! Takes back what the broker keeps of cameras that are not configured any more: front ends would show them for ever.
#![forbid(unsafe_code)]

use std::time::Duration;

use log::info;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::escape::escape;
use crate::mqtt::topics::HostTopics;
use crate::mqtt::{BrokerHandle, BrokerLink, NotPublished};

/// The broker sends what it keeps within this time of the subscription. Afterwards there is nothing but the own states.
const KEPT_TIME: Duration = Duration::from_secs(5);

/// At each new connection, has the broker send the states that it keeps. Ends when there are no more connections.
pub(super) async fn run(topics: HostTopics, mut broker: BrokerHandle, mut connections: watch::Receiver<u64>) {
    while connections.changed().await.is_ok() {
        let Some(link) = broker.connected().await else { return };
        let filters = vec![topics.any_state()];
        // The connection ended otherwise, and the next one is a new beginning.
        if link.subscribe(filters.clone()).await.is_ok() {
            sleep(KEPT_TIME).await;
            let _ = link.unsubscribe(filters).await;
        }
    }
}

/// Takes back the camera `name`.
pub(super) async fn retract(link: &BrokerLink, topics: &HostTopics, name: &str) -> Result<(), NotPublished> {
    info!("mqtt: camera {}: is not configured any more, and taken back", escape(name));
    let camera = topics.camera(name);
    link.publish(&camera.state(), &[], true).await?;
    link.publish(&camera.image(), &[], true).await
}
