//! Live frames at `CAMERA/live` while a front end wants them, as messages of `porthole.v1`.
//!
//! Always the newest: a frame is chosen when nothing else is being written and fewer than two of this camera are on their
//! way. Those that come meanwhile are skipped and counted.
#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::time::{sleep, timeout};

use super::shared::PublishedCamera;
use super::watch::CameraWatchers;
use crate::frame::{Sequence, Timestamp};
use crate::mqtt::{BrokerLink, FramesInFlight, NotPublished};
use crate::ring::{RingClosed, Subscription};
use crate::status::MqttCounters;
use crate::websocket::FrameMessage;

/// Time until it is tried again where there was no place at the ring.
const PLACE_RETRY: Duration = Duration::from_secs(1);

/// Skipped frames are counted so often while there is no connection.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);

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
    let (mut in_flight, mut in_flight_at, mut skips) = (FramesInFlight::default(), None, Skips::default());
    loop {
        // What is being written is not cut off when the watchers leave: that would end the connection.
        let link = tokio::select! {
            link = next_chance(camera, &mut subscription, &mut in_flight, &mut in_flight_at, &mut skips) => link?,
            () = watchers.left() => return Ok(()),
        };
        let turn = link.turn().await;
        let Some(lease) = subscription.lease() else { continue };
        let skipped = lease.skipped();
        let head = FrameMessage { frame: lease.frame(), sent_at: Timestamp::now(), skipped }.encode();
        let published = turn.publish(&topic, false, &mut [IoSlice::new(&head), IoSlice::new(&lease)]).await;
        skips.sent(lease.frame().sequence, skipped, &camera.counters);
        match published {
            Ok(()) => {
                in_flight.sent(&link);
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
    in_flight: &mut FramesInFlight,
    in_flight_at: &mut Option<Arc<BrokerLink>>,
    skips: &mut Skips,
) -> Result<Arc<BrokerLink>, RingClosed> {
    loop {
        subscription.changed().await?;
        skips.waiting(camera.camera.ring().newest().map(|frame| frame.sequence), &camera.counters);
        let Ok(link) = timeout(COUNT_INTERVAL, camera.live.connected()).await else { continue };
        let link = link.ok_or(RingClosed)?;
        if !in_flight_at.as_ref().is_some_and(|at| Arc::ptr_eq(at, &link)) {
            (*in_flight, *in_flight_at) = (FramesInFlight::default(), Some(Arc::clone(&link)));
        }
        match in_flight.wait(&link) {
            None => return Ok(link),
            Some(time) => sleep(time).await,
        }
    }
}

/// Counts skipped frames as they pass, not once the next one is sent: a broker may take none for long.
#[derive(Debug, Default)]
struct Skips {
    last_sent: Option<Sequence>,
    /// Counted since then.
    counted: u32,
}

impl Skips {
    /// The newest frame has this number, and waits.
    fn waiting(&mut self, newest: Option<Sequence>, counters: &MqttCounters) {
        let passed =
            newest.zip(self.last_sent).map_or(0, |(newest, last)| newest.since(last).saturating_sub(1));
        self.count(passed, counters);
    }

    /// A frame is sent, before which so many were skipped.
    fn sent(&mut self, sequence: Sequence, skipped: u32, counters: &MqttCounters) {
        self.count(skipped, counters);
        (self.last_sent, self.counted) = (Some(sequence), 0);
    }

    fn count(&mut self, skipped: u32, counters: &MqttCounters) {
        counters.skipped.add(skipped.saturating_sub(self.counted).into());
        self.counted = self.counted.max(skipped);
    }
}
