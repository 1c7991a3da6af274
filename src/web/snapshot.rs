//! One frame, fresh; or one picture as large as the camera has.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::sync::oneshot::Receiver;
use tokio::time::timeout;

use super::viewer::{Held, Viewer};
use crate::camera::{Still, StillError, StillResult};
use crate::frame::Timestamp;
use crate::ring::RingClosed;

/// How long a snapshot may wait for its frame. A camera that has to be opened first takes one to three seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a full-size still may take: the camera is closed, opened, and settles.
const STILL_PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSnapshot {
    #[error("no frame within {} s", PATIENCE.as_secs())]
    Late,
    #[error("{0}")]
    Closed(#[from] RingClosed),
    #[error("{0}")]
    Fault(String),
    #[error("{0}")]
    Still(#[from] StillError),
}

/// A full-size still, and the place of the one who asked for it.
#[derive(Debug)]
pub(super) struct Large {
    still: Still,
    _viewer: Viewer,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.still.jpeg
    }
}

/// What a snapshot is made of.
#[derive(Debug)]
pub(super) enum Sized {
    Large(Large),
    /// The stream is as large as pictures get.
    Frame(Held),
}

/// One picture as large as the camera has, which has been asked for.
pub(super) async fn largest(
    viewer: Viewer,
    taken: Receiver<StillResult>,
    fault: impl Future<Output = String>,
) -> Result<Sized, NoSnapshot> {
    let answer = timeout(STILL_PATIENCE, taken).await;
    let late = || NoSnapshot::Fault(format!("no answer within {} s", STILL_PATIENCE.as_secs()));
    match answer.map_err(|_| late())?.map_err(|_| NoSnapshot::Closed(RingClosed))?? {
        Some(still) => {
            viewer.entry.tally.frame(still.captured_at, 0, still.jpeg.len());
            Ok(Sized::Large(Large { still, _viewer: viewer }))
        }
        None => take(viewer, Some(Duration::ZERO), fault).await.map(Sized::Frame),
    }
}

/// The newest frame, if it was captured no earlier than `max_age` before now; else the next one that was. Gives up
/// when `fault` is ready: the camera cannot give any.
pub(super) async fn take(
    mut viewer: Viewer,
    max_age: Option<Duration>,
    fault: impl Future<Output = String>,
) -> Result<Held, NoSnapshot> {
    let oldest = max_age.map(|age| Timestamp(Timestamp::now().0.saturating_sub(age.as_micros() as u64)));
    let fresh = async {
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
        fresh = timeout(PATIENCE, fresh) => fresh.map_err(|_| NoSnapshot::Late)??,
        why = fault => return Err(NoSnapshot::Fault(why)),
    }
    let tally = viewer.entry.tally.clone();
    let held = viewer.into_frame().ok_or(NoSnapshot::Late)?;
    tally.frame(held.lease.frame().captured_at, 0, held.as_ref().len());
    Ok(held)
}
