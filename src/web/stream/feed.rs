//! What a stream is fed from: the newest frames, or the access units in their order.
#![forbid(unsafe_code)]

use crate::camera::UnitViewer;
use crate::ring::{RingClosed, Subscription};

/// A place at a ring.
pub(crate) trait Feed {
    /// Waits for a picture that was not sent yet. Cancel safe.
    fn changed(&mut self) -> impl Future<Output = Result<(), RingClosed>> + Send;
}

impl Feed for Subscription {
    async fn changed(&mut self) -> Result<(), RingClosed> {
        Self::changed(self).await
    }
}

impl Feed for UnitViewer {
    async fn changed(&mut self) -> Result<(), RingClosed> {
        self.units.changed().await
    }
}
