//! Cameras: where frames come from, and the thread that fetches them.
//!
//! A [`Source`] knows one kind of origin and nothing else; [`capture`] drives any source: opens it when there is
//! an subscribers, notices stalls and losses, opens it again, closes it when nobody watches. Frames leave through
//! the [ring](crate::ring), facts through the [status](crate::status). Who watches, and why, is not known here.

mod bell;
mod capture;
mod command;
mod controls;
mod desk;
mod devices;
mod error;
mod exec;
mod file;
mod kernel;
mod listing;
mod locate;
mod negotiate;
mod pattern;
mod splitter;
mod stage;
mod still;
mod v4l2;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub use capture::{CaptureThread, Ended};
pub use command::{ShellCommand, without_passwords};
pub use controls::{Control, ControlError, Setting};
pub use listing::{Listing, list};
pub use still::{Still, StillError, Taken};

use crate::frame::{PixelFormat, Resolution, Timestamp};
use crate::jpeg::{JpegSettings, Picture};
use crate::ring::{FrameRing, RingFull, Subscription, ring};
use crate::status::Reporter;
use bell::Bell;
use desk::Desk;
use error::SourceError;
use still::Stills;
use tokio::sync::oneshot;

/// Where frames come from, as the operator writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// The first capture device there is.
    Auto,
    /// A V4L2 device, by node or by one of its stable names.
    Device(PathBuf),
    /// A moving test picture.
    Pattern,
    /// The standard output of a shell command.
    Exec(ShellCommand),
    /// A file of JPEGs, over and over.
    File(PathBuf),
}

impl FromStr for SourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = "write auto, pattern, a device path like /dev/video0, exec:COMMAND or file:PATH";
        match text.split_once(':') {
            Some(("exec", command)) if !command.trim().is_empty() => {
                Ok(Self::Exec(ShellCommand::new(command)))
            }
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ if text == "auto" => Ok(Self::Auto),
            _ if text == "pattern" => Ok(Self::Pattern),
            _ if text.starts_with('/') => Ok(Self::Device(text.into())),
            _ => Err(format!("source {text:?} is not known; {remedy}")),
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Pattern => f.write_str("pattern"),
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::Exec(command) => write!(f, "exec:{command}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// What is wanted of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its name in URLs and messages.
    pub name: String,
    /// Where frames come from.
    pub source: SourceSpec,
    /// Picture size: `Some` is taken literally, `None` means [`DEFAULT_RESOLUTION`] or what comes nearest.
    pub resolution: Option<Resolution>,
    /// Frames a second; the nearest rate offered is taken.
    pub fps: f32,
    /// What the device shall send; `None` picks the cheapest it offers.
    pub format: Option<PixelFormat>,
    /// How JPEGs are made and checked.
    pub jpeg: JpegSettings,
    /// How long the source stays open after the last viewer has left.
    pub linger: Duration,
    /// Frames not to show after opening, while a camera settles its exposure.
    pub skip_first: u32,
    /// What the camera's controls are set to whenever it is opened.
    pub controls: BTreeMap<String, Setting>,
    /// Where what viewers set the controls to is kept over a restart, if it is.
    pub controls_file: Option<PathBuf>,
}

/// The picture size when none is configured.
pub const DEFAULT_RESOLUTION: Resolution = Resolution::new(1280, 720);

impl Settings {
    /// Largest JPEG to expect of a source that does not say: two bytes a pixel, as cameras set aside themselves,
    /// and room for headers that are put in.
    fn frame_bytes(&self) -> usize {
        jpeg_bytes(self.resolution.unwrap_or(DEFAULT_RESOLUTION)).max(1 << 20)
    }
}

fn jpeg_bytes(resolution: Resolution) -> usize {
    resolution.pixels() * 2 + 4096
}

/// Something frames can be fetched from. Used by one thread, which opens and closes it many times.
trait Source: Send {
    /// Makes ready to give pictures.
    fn open(&mut self) -> Result<Opening, SourceError>;

    /// Makes ready to give the largest pictures there are, if they are larger than those that `open` makes ready for.
    fn open_largest(&mut self) -> Result<Option<Opening>, SourceError> {
        Ok(None)
    }

    /// Waits for the next picture and hands it to `sink`, which must be done with it when it returns.
    fn next(&mut self, bell: &Bell, until: Timestamp, sink: &mut Sink<'_>) -> Result<Next, SourceError>;

    /// Lets go of everything that opening took. Also after errors, and when not open.
    fn close(&mut self);
}

/// Takes a picture in.
type Sink<'a> = dyn FnMut(Captured<'_>) + 'a;

/// What came of waiting for a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The sink was given a picture.
    Picture,
    /// The time was up.
    TimedOut,
    /// Somebody rang the bell.
    Rung,
}

/// A picture fresh from its source.
struct Captured<'a> {
    picture: Picture<'a>,
    /// When it was complete.
    at: Timestamp,
    /// Pictures that were lost between the one before and this one.
    missed: u32,
    /// The source itself says that the content is damaged.
    damaged: bool,
}

/// What a source turned out to be.
#[derive(Clone, Debug)]
struct Opening {
    driver: String,
    card: String,
    path: String,
    format: PixelFormat,
    /// `None` where only the pictures themselves tell.
    resolution: Option<Resolution>,
    fps: f32,
    /// Most bytes a JPEG of it may take.
    frame_bytes: usize,
    /// The source has larger pictures to give.
    has_larger: bool,
}

/// A camera as its viewers know it.
#[derive(Clone, Debug)]
pub struct Camera {
    name: String,
    ring: FrameRing,
    bell: Arc<Bell>,
    stills: Arc<Stills>,
    /// Only V4L2 cameras have controls.
    desk: Option<Arc<Desk>>,
}

impl Camera {
    /// Its name in URLs and messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a viewer's place, for which the camera is opened if it is not.
    ///
    /// # Errors
    /// [`RingFull`] when all places are taken.
    pub fn subscribe(&self) -> Result<Subscription, RingFull> {
        let subscription = self.ring.subscribe()?;
        self.bell.ring();
        Ok(subscription)
    }

    /// Asks for a picture of the largest size there is, for which the stream is interrupted. A [`subscription`](Self::subscribe)
    /// is to be taken next, which wakes the camera, and kept until the answer comes: in this order, so that a camera
    /// that rests is opened for the still at once. `Ok(None)` says that frames of the stream are as large as any.
    ///
    /// # Errors
    /// [`StillError`] when there is to be none now.
    pub fn still(&self) -> Result<oneshot::Receiver<Taken>, StillError> {
        self.stills.ask()
    }

    /// Its controls. Talks to the driver, so it may take a while.
    ///
    /// # Errors
    /// [`ControlError`] when the camera cannot be asked.
    pub fn controls(&self) -> Result<Vec<Control>, ControlError> {
        self.desk.as_ref().map_or(Ok(Vec::new()), |desk| desk.list(v4l2::is_camera))
    }

    /// Sets a control, now and whenever the camera is opened. Talks to the driver, so it may take a while.
    ///
    /// # Errors
    /// [`ControlError`] says why it was not set.
    pub fn set_control(&self, name: &str, setting: &Setting) -> Result<Control, ControlError> {
        let none = || ControlError::Unknown {
            name: name.into(),
            known: "none, as this source is no V4L2 camera".into(),
        };
        self.desk.as_ref().ok_or_else(none)?.set(name, setting, v4l2::is_camera)
    }

    /// The ring its frames go through.
    pub fn ring(&self) -> &FrameRing {
        &self.ring
    }
}

/// Sets up a camera for at most `max_viewers` viewers and starts its capture thread, which rests until the first
/// one comes.
///
/// # Errors
/// When the thread or what wakes it cannot be made.
pub fn start(
    settings: Settings,
    max_viewers: usize,
    reporter: Reporter,
) -> io::Result<(Camera, CaptureThread)> {
    let bell = Arc::new(Bell::new()?);
    let (publisher, ring) = ring(max_viewers, settings.frame_bytes());
    let (source, desk) = source(&settings);
    let stills = Arc::new(Stills::default());
    let camera = Camera {
        name: settings.name.clone(),
        ring,
        bell: Arc::clone(&bell),
        stills: Arc::clone(&stills),
        desk,
    };
    let thread = capture::spawn(settings, source, publisher, reporter, (bell, stills))?;
    Ok((camera, thread))
}

fn source(settings: &Settings) -> (Box<dyn Source>, Option<Arc<Desk>>) {
    let v4l2 = |path| {
        let Settings { name, controls, controls_file, .. } = settings;
        let desk = Arc::new(Desk::new(name, path, controls.clone(), controls_file.clone()));
        let source: Box<dyn Source> = Box::new(v4l2::V4l2::new(Arc::clone(&desk), settings));
        (source, Some(desk))
    };
    match settings.source.clone() {
        SourceSpec::Auto => v4l2(None),
        SourceSpec::Device(path) => v4l2(Some(path)),
        SourceSpec::Pattern => (Box::new(pattern::Pattern::new(settings)), None),
        SourceSpec::Exec(command) => (Box::new(exec::Exec::new(command, settings)), None),
        SourceSpec::File(path) => (Box::new(file::File::new(path, settings)), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_read_back_as_written() {
        for text in ["auto", "pattern", "/dev/v4l/by-id/usb-x", "exec:rpicam-vid -o -", "file:a clip.mjpeg"] {
            assert_eq!(text.parse::<SourceSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_unknown_source_is_refused_with_the_ways_to_write_one() {
        for text in ["", "video0", "exec:", "exec:  ", "file:", "rtsp://camera"] {
            let error = text.parse::<SourceSpec>().unwrap_err();
            assert!(error.contains(&format!("{text:?}")) && error.contains("/dev/video0"), "{error}");
        }
    }
}
