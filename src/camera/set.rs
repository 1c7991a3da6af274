//! The cameras of the service. Those of the configuration stay; those that brokers announce come and go.
#![forbid(unsafe_code)]

use std::sync::Arc;

use tokio::sync::watch;

use super::handle::Camera;
use crate::status::CameraId;

/// A set of cameras that changes at run time. Cheap to clone; all clones are the same set.
#[derive(Clone, Debug)]
pub struct CameraSet {
    cameras: Arc<watch::Sender<Arc<[Camera]>>>,
}

impl CameraSet {
    /// A set of these cameras.
    pub fn new(cameras: Vec<Camera>) -> Self {
        Self { cameras: Arc::new(watch::Sender::new(cameras.into())) }
    }

    /// The cameras at this moment, in the order in which they came.
    pub fn current(&self) -> Arc<[Camera]> {
        Arc::clone(&self.cameras.borrow())
    }

    /// Tells of every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<[Camera]>> {
        self.cameras.subscribe()
    }

    /// Adds a camera. Its name is that of no other.
    pub fn add(&self, camera: Camera) {
        self.cameras.send_modify(|cameras| *cameras = cameras.iter().cloned().chain([camera]).collect());
    }

    /// Removes a camera. Its viewers stay until its ring is closed.
    pub fn remove(&self, id: CameraId) {
        self.cameras.send_modify(|cameras| {
            *cameras = cameras.iter().filter(|camera| camera.id() != id).cloned().collect();
        });
    }
}
