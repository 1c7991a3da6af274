//! Announces the cameras to Home Assistant: at each connection, when their controls are known or others, and when it has started.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use log::{info, warn};
use tokio::sync::{mpsc, watch};

use super::home_assistant::{AnnouncedDevice, Announcement, Discovery, DiscoveryTopics};
use crate::camera::Control;
use crate::mqtt::{BrokerHandle, NotPublished};
use crate::status::MqttCounters;

/// Controls as they were listed last; `None` if they are not known.
pub(super) type ListedControls = watch::Receiver<Option<Vec<Control>>>;

/// A message at one of the topics of discovery.
#[derive(Debug)]
pub(super) struct DiscoveryMessage {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) is_retained: bool,
}

/// What is announced, and the way to the broker.
#[derive(Debug)]
pub(super) struct Announcer {
    pub(super) topics: DiscoveryTopics,
    /// The service, whose cameras' controls are not known yet.
    pub(super) device: AnnouncedDevice,
    /// Those of each camera, in the order of the device's.
    pub(super) controls: Vec<ListedControls>,
    pub(super) broker: BrokerHandle,
    /// Changes at every new connection, after the topics are subscribed to.
    pub(super) connections: watch::Receiver<u64>,
    pub(super) counters: Arc<MqttCounters>,
}

impl Announcer {
    /// Announces until there are no more connections.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<DiscoveryMessage>) {
        let mut discovery = Discovery::new(self.topics.clone(), &self.device);
        loop {
            let due = tokio::select! {
                connected = self.connections.changed() => match connected {
                    Ok(()) => discovery.connected(),
                    Err(_) => return,
                },
                message = messages.recv() => match message {
                    Some(DiscoveryMessage { topic, payload, is_retained }) => {
                        discovery.received(&topic, &payload, is_retained)
                    }
                    None => return,
                },
                () = any_changed(&mut self.controls) => {
                    let listed = self.controls.iter_mut().map(|controls| controls.borrow_and_update().clone());
                    for (camera, controls) in self.device.cameras.iter_mut().zip(listed) {
                        camera.controls = controls;
                    }
                    discovery.update(&self.device)
                }
            };
            self.publish(due).await;
        }
    }

    /// Without a connection they are lost: at the next one all are published again.
    async fn publish(&self, due: Vec<Announcement>) {
        let Some(link) = self.broker.link() else { return };
        for Announcement { topic, payload } in due {
            match link.publish(&topic, payload.as_bytes(), true).await {
                Ok(()) => {
                    self.counters.published.add(1);
                    info!("mqtt: {} at {topic}", if payload.is_empty() { "taken back" } else { "announced" });
                }
                Err(error @ NotPublished::TooLarge(_)) => {
                    self.counters.too_large.add(1);
                    warn!(
                        "mqtt: {topic} for Home Assistant: {error}; raise its limit, or set discovery = false in [mqtt]"
                    );
                }
                Err(NotPublished::NotConnected) => return,
            }
        }
    }
}

/// Waits until one of them changes; those whose sender is gone do not. Cancel safe.
async fn any_changed(controls: &mut [ListedControls]) {
    let mut changes: Vec<_> = controls.iter_mut().map(|controls| Box::pin(controls.changed())).collect();
    poll_fn(|cx| {
        let mut is_any = false;
        changes.retain_mut(|change| match change.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(changed) => {
                is_any |= changed.is_ok();
                false
            }
        });
        if is_any { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_any_camera_is_noticed_and_one_that_is_gone_is_none() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (gone, first) = watch::channel(None);
            let (second, controls) = watch::channel(None);
            drop(gone);
            let mut both = [first, controls];
            second.send_replace(Some(vec![]));
            any_changed(&mut both).await;
            both.iter_mut().for_each(watch::Receiver::mark_unchanged);
            let waits = tokio::select! {
                biased;
                () = any_changed(&mut both) => false,
                () = std::future::ready(()) => true,
            };
            assert!(waits, "nothing has changed since");
        });
    }
}
