//! A camera as its viewers see it.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};

use super::camera_thread::CameraThread;
use super::capture::{self, Outputs, StillError, StillRequests, StillResult};
use super::control::{CameraControls, Control, ControlError, ControlValue};
use super::h264::{self, GivenPictures, H264Mode, H264Shared};
use super::settings::CameraSettings;
use super::source::{self, CreatedSource};
use super::wake::Waker;
use crate::ring::units::{UnitRing, UnitSubscription};
use crate::ring::{FrameRing, Presence, RingFull, Subscription, ring};
use crate::status::{CameraId, CameraReporter};

/// Gives viewers access to a camera: its frames, stills and controls.
#[derive(Clone, Debug)]
pub struct Camera {
    id: CameraId,
    name: String,
    ring: FrameRing,
    waker: Arc<Waker>,
    /// `None` if there is no H.264 by configuration.
    h264: Option<(UnitRing, Arc<H264Shared>)>,
    stills: Arc<StillRequests>,
    /// `None` for sources that have no controls.
    controls: Option<Arc<dyn CameraControls>>,
    /// Requests for the controls wait here, in the order of their arrival.
    controls_queue: Arc<Mutex<()>>,
    /// How often a control was set.
    controls_set: Arc<watch::Sender<u64>>,
}

impl Camera {
    /// Its place in the [status](crate::status).
    pub fn id(&self) -> CameraId {
        self.id
    }

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
        // H.264 is decoded while there are viewers of JPEG.
        if let Some((_, shared)) = self.h264.as_ref().filter(|(_, h264)| h264.given() == GivenPictures::Video)
        {
            shared.wake();
        }
        Ok(subscription)
    }

    /// Subscribes to `units`, which are those of this camera. The camera is opened if it is closed.
    ///
    /// # Errors
    /// [`RingFull`] when all subscriptions are in use.
    pub fn subscribe_units(&self, units: &UnitRing) -> Result<UnitViewer, RingFull> {
        let presence = self.ring.presence()?;
        let viewer = UnitViewer { units: units.subscribe()?, presence };
        self.waker.wake();
        Ok(viewer)
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
        let set = self.controls.as_ref().ok_or_else(unknown)?.set(name, value)?;
        self.controls_set.send_modify(|times| *times += 1);
        Ok(set)
    }

    /// Changes whenever a control was set here.
    pub fn controls_changed(&self) -> watch::Receiver<u64> {
        self.controls_set.subscribe()
    }

    /// Wakes the tasks of its viewers, without a picture. Belongs on the thread that runs them.
    pub fn wake_viewers(&self) {
        self.ring.wake_viewers();
        self.units().iter().for_each(|units| units.wake_viewers());
    }

    /// The ring of its frames.
    pub fn ring(&self) -> &FrameRing {
        &self.ring
    }

    /// The ring of its access units; `None` if there is no H.264 by configuration.
    pub fn units(&self) -> Option<&UnitRing> {
        self.h264.as_ref().map(|(units, _)| units)
    }
}

/// A viewer of H.264: its place at the ring of access units, and at the camera, which is open for it.
#[derive(Debug)]
pub struct UnitViewer {
    /// Its place at the ring of access units.
    pub units: UnitSubscription,
    /// Keeps the camera open.
    pub presence: Presence,
}

/// Sets up a camera for at most `max_viewers` viewers and starts its threads. The source stays closed until the first viewer
/// subscribes.
///
/// # Errors
/// When a thread or its eventfd cannot be created.
pub fn start(
    settings: CameraSettings,
    max_viewers: usize,
    reporter: CameraReporter,
) -> io::Result<(Camera, Vec<CameraThread>)> {
    let waker = Arc::new(Waker::new()?);
    // One more for the thread that encodes H.264 from frames, if there is one.
    let encoders = usize::from(settings.h264.mode != H264Mode::Off);
    let (publisher, ring) = ring(max_viewers + encoders, settings.max_jpeg_bytes());
    let publisher = Arc::new(std::sync::Mutex::new(publisher));
    let CreatedSource { source, controls, h264_node } =
        source::create(&settings, &waker, reporter.counters());
    let stills = Arc::new(StillRequests::default());
    let (mut threads, mut h264) = (Vec::new(), None);
    if let Some((units, shared, thread)) =
        h264::start(&settings, h264_node, max_viewers, &ring, &publisher, &reporter)?
    {
        h264 = Some((units, shared));
        threads.push(thread);
    }
    let camera = Camera {
        id: reporter.id(),
        name: settings.name.clone(),
        ring,
        waker: Arc::clone(&waker),
        h264,
        stills: Arc::clone(&stills),
        controls,
        controls_queue: Arc::default(),
        controls_set: Arc::default(),
    };
    let shared = camera.h264.as_ref().map(|(_, shared)| Arc::clone(shared));
    let outputs = Outputs { publisher, h264: shared, reporter };
    // Before the thread of H.264: a source is closed when that still takes what it gave.
    threads.insert(0, capture::spawn(settings, source, outputs, waker, stills)?);
    Ok((camera, threads))
}
