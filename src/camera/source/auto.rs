//! The `auto` source: a V4L2 camera, such as one on USB, or else a Raspberry Pi's own.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::rpicam::{RpiCamSource, StartControls};
use super::source_trait::{OpenedSource, PictureFault, PictureSink, Source};
use super::v4l2::V4l2Source;
use crate::camera::control::{CameraControls, Control, ControlError, ControlValue};
use crate::camera::error::SourceError;
use crate::camera::v4l2::ControlStore;
use crate::camera::wake::Waker;
use crate::frame::Timestamp;

/// After a look at a Raspberry Pi's cameras without success, the next one is not before this time. A look starts a program that
/// takes a second of processor time, and a ribbon cable is not plugged in while the power is on.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Which of the two is the camera.
#[derive(Debug, Default)]
struct AutoChoice {
    is_rpicam: AtomicBool,
}

/// The first camera of any kind.
pub(super) struct AutoSource {
    v4l2: V4l2Source,
    rpicam: RpiCamSource,
    choice: Arc<AutoChoice>,
    /// A V4L2 camera was open: when it is unplugged, it is waited for.
    was_v4l2: bool,
    /// The last look at a Raspberry Pi's cameras that found none.
    looked_at: Option<Timestamp>,
}

impl AutoSource {
    /// The source, and its controls.
    pub(super) fn new(
        v4l2: V4l2Source,
        rpicam: RpiCamSource,
        controls: (Arc<ControlStore>, Arc<StartControls>),
    ) -> (Self, AutoControls) {
        let choice = Arc::new(AutoChoice::default());
        let (v4l2_controls, rpicam_controls) = controls;
        let controls =
            AutoControls { v4l2: v4l2_controls, rpicam: rpicam_controls, choice: Arc::clone(&choice) };
        (Self { v4l2, rpicam, choice, was_v4l2: false, looked_at: None }, controls)
    }

    fn choose(&mut self, is_rpicam: bool) {
        self.choice.is_rpicam.store(is_rpicam, Relaxed);
        self.was_v4l2 |= !is_rpicam;
    }

    fn chosen(&self) -> &dyn Source {
        if self.choice.is_rpicam.load(Relaxed) { &self.rpicam } else { &self.v4l2 }
    }

    fn chosen_mut(&mut self) -> &mut dyn Source {
        if self.choice.is_rpicam.load(Relaxed) { &mut self.rpicam } else { &mut self.v4l2 }
    }

    /// Chooses the V4L2 camera if it was opened, or else opens the other one.
    fn v4l2_or_else<T>(
        &mut self,
        opened: Result<T, SourceError>,
        open_rpicam: impl FnOnce(&mut RpiCamSource) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        match opened {
            Ok(opened) => {
                self.choose(false);
                Ok(opened)
            }
            Err(error) => {
                self.v4l2.close();
                self.fall_back(error)?;
                open_rpicam(&mut self.rpicam)
            }
        }
    }

    /// Chooses a Raspberry Pi's camera if there is one and no V4L2 camera, which `error` says.
    fn fall_back(&mut self, error: SourceError) -> Result<(), SourceError> {
        let is_recent = self.looked_at.is_some_and(|at| Timestamp::now().since(at) < LOOK_INTERVAL);
        // Nodes of a CSI camera's sensor count as none.
        let is_without = matches!(
            error,
            SourceError::NoCamera { .. } | SourceError::Pipeline { .. } | SourceError::RawSensor { .. }
        );
        if self.was_v4l2 || !is_without || is_recent {
            return Err(error);
        }
        match self.rpicam.look() {
            Ok(()) => {
                self.choose(true);
                Ok(())
            }
            Err(absent) if absent.is_absence() => {
                self.looked_at = Some(Timestamp::now());
                Err(error)
            }
            Err(other) => Err(other.into()),
        }
    }
}

impl Source for AutoSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        let opened = self.v4l2.open();
        self.v4l2_or_else(opened, RpiCamSource::open)
    }

    fn open_largest(&mut self) -> Result<Option<OpenedSource>, SourceError> {
        let opened = self.v4l2.open_largest();
        self.v4l2_or_else(opened, RpiCamSource::open_largest)
    }

    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        self.chosen_mut().next(waker, deadline, sink)
    }

    fn request_key_frame(&mut self) -> bool {
        self.chosen_mut().request_key_frame()
    }

    fn wants_reopen(&self) -> bool {
        self.chosen().wants_reopen()
    }

    fn rotates(&self) -> bool {
        self.chosen().rotates()
    }

    fn remedy(&self, fault: PictureFault) -> &'static str {
        self.chosen().remedy(fault)
    }

    fn close(&mut self) {
        self.v4l2.close();
        self.rpicam.close();
    }
}

/// The controls of the camera that is chosen.
#[derive(Debug)]
pub(super) struct AutoControls {
    v4l2: Arc<ControlStore>,
    rpicam: Arc<StartControls>,
    choice: Arc<AutoChoice>,
}

impl AutoControls {
    fn chosen(&self) -> &dyn CameraControls {
        if self.choice.is_rpicam.load(Relaxed) { &*self.rpicam } else { &*self.v4l2 }
    }
}

impl CameraControls for AutoControls {
    fn list(&self) -> Result<Vec<Control>, ControlError> {
        self.chosen().list()
    }

    fn set(&self, name: &str, value: &ControlValue) -> Result<Control, ControlError> {
        self.chosen().set(name, value)
    }
}
