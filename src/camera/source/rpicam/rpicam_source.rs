//! The source: runs the program while the camera is open.
#![forbid(unsafe_code)]

use std::sync::Arc;

use log::{debug, info};

use super::error::RpiCamError;
use super::listing::{ListedCamera, cameras};
use super::program::{RpiCamProgram, gives_h264};
use super::start_controls::StartControls;
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::source::picture_process::{OutputEvent, OutputFault, PictureProcess};
use crate::camera::source::source_trait::{OpenedSource, PictureFault, PictureSink, Source};
use crate::camera::source_spec::RpiCamSelector;
use crate::camera::wake::Waker;
use crate::frame::{PixelFormat, Timestamp};
use crate::jpeg::exif::Rotation;
use crate::status::SourceInfo;

/// What libcamera and the program say when the sensor sends nothing, while they go on.
const SENSOR_SILENT: [&str; 2] = ["frontend has timed out", "Device timeout detected"];

/// A Raspberry Pi's camera.
pub(in crate::camera::source) struct RpiCamSource {
    selector: RpiCamSelector,
    settings: CameraSettings,
    controls: Arc<StartControls>,
    waker: Arc<Waker>,
    /// The camera that the selector names, once it was looked for.
    found: Option<ListedCamera>,
    running: Option<RunningProgram>,
}

struct RunningProgram {
    name: &'static str,
    output: PictureProcess,
    /// The changes of the controls before it was started.
    changes: u64,
    /// It has given a picture.
    has_started: bool,
}

impl RpiCamSource {
    pub(in crate::camera::source) fn new(
        selector: RpiCamSelector,
        settings: &CameraSettings,
        controls: Arc<StartControls>,
        waker: &Arc<Waker>,
    ) -> Self {
        let (settings, waker) = (settings.clone(), Arc::clone(waker));
        Self { selector, settings, controls, waker, found: None, running: None }
    }

    /// Asks the program which cameras there are, and remembers the one that is meant.
    pub(in crate::camera::source) fn look(&mut self) -> Result<(), RpiCamError> {
        if self.found.is_some() {
            return Ok(());
        }
        let camera = self.selector.to_string();
        let program = RpiCamProgram::find(&camera)?;
        let listed = cameras(&camera, &program, &self.waker)?;
        let is_meant = |listed: &&ListedCamera| match &self.selector {
            RpiCamSelector::Index(index) => listed.index == *index,
            RpiCamSelector::Name(name) => {
                let start = listed.model.get(..name.len()).unwrap_or_default();
                start.eq_ignore_ascii_case(name) || listed.id == *name
            }
        };
        let Some(meant) = listed.iter().find(is_meant) else {
            let known = listed.iter().map(|listed| format!("{} {}", listed.index, listed.model));
            let known = format!(", only {}", known.collect::<Vec<_>>().join(", "));
            return Err(RpiCamError::NoSuchCamera { camera, known });
        };
        info!("{camera}: {} ({}) is camera {} of {}", meant.model, meant.id, meant.index, program.name);
        self.found = Some(meant.clone());
        Ok(())
    }

    /// The program has closed its standard output.
    fn output_closed(&mut self) -> RpiCamError {
        let camera = self.selector.to_string();
        self.found = None;
        let Some(RunningProgram { name, output, .. }) = self.running.take() else {
            return RpiCamError::NoProgram { camera };
        };
        let (outcome, end) = output.output_closed();
        let what = outcome.as_deref().unwrap_or("closed its output and went on");
        RpiCamError::of_end(&camera, name, what, &end)
    }
}

impl Source for RpiCamSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        let camera = self.selector.to_string();
        // A number needs no look.
        if let RpiCamSelector::Name(_) = self.selector {
            self.look()?;
        }
        let program = RpiCamProgram::find(&camera)?;
        let (index, card) = match (&self.found, &self.selector) {
            (Some(found), _) => (found.index, found.model.clone()),
            (None, RpiCamSelector::Index(index)) => (*index, format!("Raspberry Pi camera {index}")),
            (None, RpiCamSelector::Name(name)) => (0, name.clone()),
        };
        // Before the values are read: a change in between starts it once more.
        let changes = self.controls.changes();
        let command = program.video_command(index, &self.settings, self.controls.arguments());
        debug!("{camera}: starting {command:?}");
        let max_jpeg_bytes = self.settings.max_jpeg_bytes();
        let output = PictureProcess::spawn(command, max_jpeg_bytes).map_err(|source| {
            let (camera, program) = (camera.clone(), program.name.to_owned());
            RpiCamError::NotStarted { camera, program, source }
        })?;
        self.running = Some(RunningProgram { name: program.name, output, changes, has_started: false });
        let info = SourceInfo {
            driver: program.name.into(),
            card,
            path: camera,
            format: if gives_h264(&self.settings) { PixelFormat::H264 } else { PixelFormat::Mjpeg },
            resolution: None,
            fps: self.settings.fps,
            encoding: None,
            capture: None,
        };
        Ok(OpenedSource { info, max_jpeg_bytes, has_larger: false, is_told_by_picture: false })
    }

    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        match running.output.next(waker, deadline, sink) {
            Ok(OutputEvent::Picture) => running.has_started = true,
            Ok(OutputEvent::Message) => {
                let said = running.output.said();
                if SENSOR_SILENT.iter().any(|words| said.contains(words)) {
                    return Err(RpiCamError::SensorSilent { camera: self.selector.to_string() }.into());
                }
            }
            Ok(OutputEvent::Waited) => {}
            Err(OutputFault::Closed) => return Err(self.output_closed().into()),
            Err(OutputFault::Unreadable(source)) => {
                let (camera, program) = (self.selector.to_string(), running.name.to_owned());
                let what = format!("could not be read from ({source})");
                return Err(RpiCamError::Ended { camera, program, what, said: String::new() }.into());
            }
        }
        Ok(())
    }

    /// Once there was a picture, so that somebody who moves a slider sees some.
    fn wants_reopen(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.has_started && running.changes != self.controls.changes())
    }

    fn rotates(&self) -> bool {
        self.settings.jpeg.rotation == Rotation::Half
    }

    fn remedy(&self, fault: PictureFault) -> &'static str {
        match fault {
            PictureFault::Silent => {
                "check the ribbon cable at both ends, with the power off, and run `rpicam-hello` to see whether the camera works"
            }
            PictureFault::Corrupt => {
                "remove rpicam_options, or run `rpicam-vid` by hand to see what it writes"
            }
            PictureFault::Video => {
                "remove rpicam_options, or set h264 = \"auto\" to take JPEGs and encode them here"
            }
            _ => "set width and height to the size of its pictures",
        }
    }

    fn close(&mut self) {
        if let Some(RunningProgram { name, output, .. }) = self.running.take() {
            let end = output.terminate();
            debug!("{}: {name} {}", self.selector, end.outcome);
        }
    }
}
