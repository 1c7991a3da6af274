//! The part of `/state` of each camera at `CAMERA/state`: on change, at most once a second.
#![forbid(unsafe_code)]

use std::future::ready;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::PublishedCamera;
use crate::frame::Timestamp;
use crate::status::CameraState;
use crate::web::CameraStates;

/// Shortest time between two messages.
const INTERVAL: Duration = Duration::from_secs(1);

/// Publishes until there are no more connections.
pub(super) async fn run(mut camera: PublishedCamera, states: CameraStates) {
    let mut published = None;
    loop {
        // Before the state is made: what changes from here on wakes.
        let state = camera.status.borrow_and_update().camera(camera.camera.id()).map(|camera| camera.state);
        let is_resting = state == Some(CameraState::Idle);
        // With the time zero, as an age alone is no change.
        let now = states.json(camera.camera.id(), Timestamp(0));
        let has_changed = now != published;
        if has_changed && camera.broker.link().is_some() {
            if let Some(json) = states.json(camera.camera.id(), Timestamp::now()) {
                camera.publish(&camera.topics.state(), &json, true).await;
            }
            published = now;
        }
        let connected = tokio::select! {
            connected = camera.connections.changed() => Some(connected),
            () = sleep(INTERVAL) => None,
        };
        let connected = match connected {
            Some(connected) => Some(connected),
            None => tokio::select! {
                connected = camera.connections.changed() => Some(connected),
                _ = camera.status.changed() => None,
                // Counters change without a change of status, unless the camera rests. A viewer that leaves may be counted until
                // the camera has closed.
                () = ready(()), if !is_resting || has_changed => None,
            },
        };
        match connected {
            Some(Ok(())) => published = None,
            Some(Err(_)) => return,
            None => {}
        }
    }
}
