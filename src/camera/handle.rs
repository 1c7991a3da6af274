//! A camera as its viewers see it.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::capture::{self, CaptureThread, StillError, StillRequests, StillResult};
use super::control::{CameraControls, Control, ControlError, ControlValue};
use super::settings::CameraSettings;
use super::source;
use super::wake::Waker;
use crate::ring::{FrameRing, RingFull, Subscription, ring};
use crate::status::CameraReporter;

/// Gives viewers access to a camera: its frames, stills and controls.
#[derive(Clone, Debug)]
pub struct Camera {
    name: String,
    ring: FrameRing,
    waker: Arc<Waker>,
    stills: Arc<StillRequests>,
    /// `None` for sources that have no controls.
    controls: Option<Arc<dyn CameraControls>>,
    /// Requests for the controls wait here, in the order of their arrival.
    controls_queue: Arc<Mutex<()>>,
}

impl Camera {
    /// The name in URLs and messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Subscribes to the frames. The camera is opened if it is closed.
    ///
    /// # Errors
    /// [`RingFull`] when all subscriptions are in use.
    pub fn subscribe(&self) -> Result<Subscription, RingFull> {
        let subscription = self.ring.subscribe()?;
        self.waker.wake();
        Ok(subscription)
    }

    /// Requests a picture of the largest size. The stream is interrupted for it. `Ok(None)` in the answer means that the
    /// frames of the stream have the largest size.
    ///
    /// Call [`subscribe`](Self::subscribe) next, and keep the subscription until the answer arrives. The subscription wakes the
    /// camera; in this order a closed camera is opened for the still at once.
    ///
    /// # Errors
    /// [`StillError`] when a still cannot be taken now.
    pub fn still(&self) -> Result<oneshot::Receiver<StillResult>, StillError> {
        self.stills.request()
    }

    /// Waits for all earlier requests for the controls. Hold the guard during a call of [`controls`](Self::controls) or
    /// [`set_control`](Self::set_control), also when nobody waits for its result any more: then a driver that hangs holds one
    /// thread.
    pub async fn controls_turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.controls_queue).lock_owned().await
    }

    /// The controls of the camera. Calls the driver, so it may block for a while.
    ///
    /// # Errors
    /// [`ControlError`] when the camera does not answer.
    pub fn controls(&self) -> Result<Vec<Control>, ControlError> {
        self.controls.as_ref().map_or(Ok(Vec::new()), |controls| controls.list())
    }

    /// Sets a control now, and again whenever the camera is opened. Calls the driver, so it may block for a while.
    ///
    /// # Errors
    /// [`ControlError`] says why it was not set.
    pub fn set_control(&self, name: &str, value: &ControlValue) -> Result<Control, ControlError> {
        let unknown = || ControlError::Unknown {
            name: name.into(),
            known: "none, as this source has no controls".into(),
        };
        self.controls.as_ref().ok_or_else(unknown)?.set(name, value)
    }

    /// The ring of its frames.
    pub fn ring(&self) -> &FrameRing {
        &self.ring
    }
}

/// Sets up a camera for at most `max_viewers` viewers and starts its capture thread. The source stays closed until the first
/// viewer subscribes.
///
/// # Errors
/// When the thread or its eventfd cannot be created.
pub fn start(
    settings: CameraSettings,
    max_viewers: usize,
    reporter: CameraReporter,
) -> io::Result<(Camera, CaptureThread)> {
    let waker = Arc::new(Waker::new()?);
    let (publisher, ring) = ring(max_viewers, settings.max_jpeg_bytes());
    let (source, controls) = source::create(&settings, &waker);
    let stills = Arc::new(StillRequests::default());
    let camera = Camera {
        name: settings.name.clone(),
        ring,
        waker: Arc::clone(&waker),
        stills: Arc::clone(&stills),
        controls,
        controls_queue: Arc::default(),
    };
    let thread = capture::spawn(settings, source, publisher, reporter, waker, stills)?;
    Ok((camera, thread))
}
