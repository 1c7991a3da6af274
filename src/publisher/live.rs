//! Live frames at `CAMERA/live` while a front end wants them, as messages of `porthole.v1`.
//!
//! Always the newest: a frame is chosen when nothing else is being written and fewer than two of this camera are on their
//! way. Those that come meanwhile are skipped and counted.
#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::time::sleep;

use super::shared::PublishedCamera;
use super::watch::CameraWatchers;
use crate::frame::Timestamp;
use crate::mqtt::{BrokerLink, FrameLane, NotPublished};
use crate::ring::{RingClosed, Subscription};
use crate::websocket::FrameMessage;

/// Time until it is tried again where there was no place at the ring.
const PLACE_RETRY: Duration = Duration::from_secs(1);

/// Publishes while there are watchers, until the camera is shut down.
pub(super) async fn run(mut camera: PublishedCamera, watchers: Arc<CameraWatchers>) {
    loop {
        watchers.wanted().await;
        match camera.camera.subscribe() {
            Ok(subscription) => {
                if send_all(&mut camera, subscription, &watchers).await.is_err() {
                    return;
                }
            }
            Err(full) => {
                warn!("mqtt: camera {}: {full}", camera.camera.name());
                sleep(PLACE_RETRY).await;
            }
        }
    }
}

/// Sends frame after frame until the watchers have left.
async fn send_all(
    camera: &mut PublishedCamera,
    mut subscription: Subscription,
    watchers: &CameraWatchers,
) -> Result<(), RingClosed> {
    let topic = camera.topics.live();
    let (mut lane, mut lane_of) = (FrameLane::default(), None);
    loop {
        // What is being written is not cut off when the watchers leave: that would end the connection.
        let link = tokio::select! {
            link = next_chance(camera, &mut subscription, &mut lane, &mut lane_of) => link?,
            () = watchers.left() => return Ok(()),
        };
        let turn = link.turn().await;
        let Some(lease) = subscription.lease() else { continue };
        let skipped = lease.skipped();
        let head = FrameMessage { frame: lease.frame(), sent_at: Timestamp::now(), skipped }.encode();
        let published = turn.publish(&topic, false, &mut [IoSlice::new(&head), IoSlice::new(&lease)]).await;
        camera.counters.skipped.add(skipped.into());
        match published {
            Ok(()) => {
                lane.sent(&link);
                camera.counters.frames.add(1);
                camera.counters.published.add(1);
            }
            Err(NotPublished::TooLarge(_)) => camera.counters.too_large.add(1),
            // The next one waits for a connection.
            Err(NotPublished::NotConnected) => {}
        }
    }
}

/// Waits for a new frame, and until it may be sent; over which connection. Cancel safe.
async fn next_chance(
    camera: &mut PublishedCamera,
    subscription: &mut Subscription,
    lane: &mut FrameLane,
    lane_of: &mut Option<Arc<BrokerLink>>,
) -> Result<Arc<BrokerLink>, RingClosed> {
    loop {
        subscription.changed().await?;
        let link = camera.broker.connected().await.ok_or(RingClosed)?;
        if !lane_of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &link)) {
            (*lane, *lane_of) = (FrameLane::default(), Some(Arc::clone(&link)));
        }
        camera.counters.backlog.set(link.backlog().into());
        match lane.wait(&link) {
            None => return Ok(link),
            Some(time) => sleep(time).await,
        }
    }
}
