//! Images at `CAMERA/image`: now and then while the camera is open for others, and whenever one is asked for.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::shared::PublishedCamera;
use crate::frame::{Sequence, Timestamp};

/// Time for the image that was asked for. A camera that has to be opened first takes one to three seconds.
const IMAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes an image at each notification of `asked`, and one every `snapshot`, unless that is zero, while the camera is open.
/// A camera is opened only because somebody asked.
pub(super) async fn run(camera: PublishedCamera, asked: Arc<Notify>, snapshot: Duration) {
    let mut last = None;
    // Without a time the interval is not used.
    let mut tick = interval(if snapshot.is_zero() { Duration::from_secs(3600) } else { snapshot });
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = asked.notified() => match timeout(IMAGE_TIMEOUT, fresh(&camera)).await {
                Ok(Some((sequence, jpeg))) => publish(&camera, &mut last, sequence, &jpeg).await,
                Ok(None) => {}
                Err(_) => warn!(
                    "mqtt: camera {}: no frame within {} s for the image that was asked for; see its state",
                    camera.camera.name(),
                    IMAGE_TIMEOUT.as_secs()
                ),
            },
            _ = tick.tick(), if !snapshot.is_zero() && camera.broker.link().is_some() && camera.is_capturing() => {
                if let Some((frame, jpeg)) = camera.camera.ring().copy_newest(last) {
                    publish(&camera, &mut last, frame.sequence, &jpeg).await;
                }
            }
            // To look again whether the camera is open.
            _ = tokio::time::sleep(snapshot), if !snapshot.is_zero() => {}
        }
    }
}

async fn publish(camera: &PublishedCamera, last: &mut Option<Sequence>, sequence: Sequence, jpeg: &[u8]) {
    *last = Some(sequence);
    camera.publish(&camera.topics.image(), jpeg, false).await;
}

/// A frame that was captured after this call. The camera is opened for it. `None` if the camera is shut down or has no place.
async fn fresh(camera: &PublishedCamera) -> Option<(Sequence, Vec<u8>)> {
    let now = Timestamp::now();
    let subscription = camera.camera.subscribe();
    let mut subscription =
        subscription.inspect_err(|full| warn!("mqtt: camera {}: {full}", camera.camera.name())).ok()?;
    loop {
        subscription.changed().await.ok()?;
        let lease = subscription.lease()?;
        if lease.frame().captured_at >= now {
            return Some((lease.frame().sequence, lease.to_vec()));
        }
    }
}
