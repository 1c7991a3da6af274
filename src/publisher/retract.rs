//! Takes back what the broker keeps of cameras that are not configured any more: front ends would show them for ever.
#![forbid(unsafe_code)]

use log::info;

use crate::escape::escape;
use crate::mqtt::topics::HostTopics;
use crate::mqtt::{BrokerLink, NotPublished};

/// Takes back the camera `name`.
pub(super) async fn retract(link: &BrokerLink, topics: &HostTopics, name: &str) -> Result<(), NotPublished> {
    info!("mqtt: camera {}: is not configured any more, and taken back", escape(name));
    let camera = topics.camera(name);
    link.publish(&camera.state(), &[], true).await?;
    link.publish(&camera.image(), &[], true).await
}
