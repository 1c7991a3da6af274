//! Single pictures: the newest frame of the stream, or a still of the largest size that the camera has.
#![forbid(unsafe_code)]

use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::oneshot::Receiver;
use tokio::time::timeout;

use super::viewers::Viewer;
use crate::camera::{Camera, StillError, StillResult};
use crate::frame::Timestamp;
use crate::ring::RingClosed;
use crate::web::response::{Answer, bytes_holding, jpeg, unavailable};

/// Time for the frame of a snapshot. A camera that has to be opened first takes one to three seconds.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a still. The camera is closed and opened again, and settles its exposure.
const STILL_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("no frame within {} s", FRAME_TIMEOUT.as_secs())]
    NoFrame,
    #[error("no answer within {} s", STILL_TIMEOUT.as_secs())]
    NoStill,
    #[error("{0}")]
    Closed(#[from] RingClosed),
    #[error("{0}")]
    Fault(String),
    #[error("{0}")]
    Still(#[from] StillError),
}

/// Answers with a picture of `camera`, or with the reason why there is none.
pub(crate) fn answer(camera: &Camera, picture: Result<Bytes, SnapshotError>) -> Answer {
    let error = match picture {
        Ok(bytes) => return jpeg(bytes),
        Err(error) => error,
    };
    let mut answer = unavailable(&format!("camera {}: {error}", camera.name()));
    if matches!(error, SnapshotError::Still(StillError::Busy | StillError::TooSoon)) {
        *answer.status_mut() = StatusCode::CONFLICT;
    }
    answer
}

/// The still that `requested` gives, or a frame of the stream if that is as large.
pub(crate) async fn still(
    viewer: Viewer,
    requested: Receiver<StillResult>,
    fault: impl Future<Output = String>,
) -> Result<Bytes, SnapshotError> {
    let taken = timeout(STILL_TIMEOUT, requested).await.map_err(|_| SnapshotError::NoStill)?;
    match taken.map_err(|_| RingClosed)?? {
        Some(still) => {
            viewer.registration.stats.frame_sent(still.captured_at, 0, still.jpeg.len());
            Ok(bytes_holding(still.jpeg, viewer))
        }
        None => frame(viewer, Some(Duration::ZERO), fault).await,
    }
}

/// The newest frame, if there is one and it is not older than `max_age`. Otherwise waits for the next one, until `fault` is
/// ready: then the camera gives none.
pub(crate) async fn frame(
    mut viewer: Viewer,
    max_age: Option<Duration>,
    fault: impl Future<Output = String>,
) -> Result<Bytes, SnapshotError> {
    let oldest = max_age.map(|age| Timestamp(Timestamp::now().0.saturating_sub(age.as_micros() as u64)));
    let recent = async {
        loop {
            viewer.subscription.changed().await?;
            let captured_at = viewer.subscription.lease().map(|lease| lease.frame().captured_at);
            if captured_at.is_some_and(|at| oldest.is_none_or(|oldest| at >= oldest)) {
                return Ok::<_, RingClosed>(());
            }
        }
    };
    tokio::select! {
        biased;
        found = timeout(FRAME_TIMEOUT, recent) => found.map_err(|_| SnapshotError::NoFrame)??,
        why = fault => return Err(SnapshotError::Fault(why)),
    }
    let Viewer { subscription, registration } = viewer;
    let lease = subscription.into_lease().ok_or(SnapshotError::NoFrame)?;
    registration.stats.frame_sent(lease.frame().captured_at, 0, lease.as_ref().len());
    Ok(bytes_holding(lease, registration))
}
