//! Why a source delivers no pictures. Every message ends with what to do.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use nix::errno::Errno;

use super::source::{RemoteError, RpiCamError};
use super::v4l2::InputError;
use crate::frame::{PixelFormat, Resolution};
use crate::status::CameraState;

/// Why a source delivers no pictures.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("{path}: no such device; plug the camera in, or pick one that `porthole cameras` lists")]
    Absent { path: String },

    #[error("no camera found ({looked}); plug one in, or name another source")]
    NoCamera { looked: String },

    #[error(
        "{path}: permission denied; add the user this runs as to the group that owns it, usually `video`; \
         for a container: --device {path} --group-add with the number that `stat -c %g {path}` shows"
    )]
    Denied { path: String },

    #[error("{path}: in use by {holder}; stop that, and the picture comes back by itself")]
    Busy { path: String, holder: String },

    #[error("{path}: {call}: {source}; {remedy}")]
    Call {
        path: String,
        call: &'static str,
        #[source]
        source: io::Error,
        remedy: &'static str,
    },

    #[error("{path}: unplugged ({source}); plug it back in, and the picture comes back by itself")]
    Gone {
        path: String,
        #[source]
        source: io::Error,
    },

    #[error("{path}: is {what}, not a camera; {remedy}")]
    NotACamera { path: String, what: &'static str, remedy: String },

    #[error(
        "{path}: gives raw sensor data ({fourcc}); a CSI camera needs its ISP: \
         use source = \"rpicam\" on a Raspberry Pi, or run porthole under libcamerify"
    )]
    RawSensor { path: String, fourcc: String },

    #[error(
        "{path}: gives compressed video only ({codec}), which is not made of whole pictures; let ffmpeg decode it: \
         source = \"exec:ffmpeg -v error -nostdin -f v4l2 -input_format {codec} -i {path} -c:v mjpeg -q:v 5 -f mjpeg -\""
    )]
    VideoOnly { path: String, codec: &'static str },

    #[error("{path}: offers no supported format, only {offered}; pick another device")]
    NoFormat { path: String, offered: String },

    #[error("{path}: does not offer {format}, only {offered}; set format to one of these, or to \"auto\"")]
    WrongFormat { path: String, format: PixelFormat, offered: String },

    #[error("{path}: does not offer {resolution}, only {offered}; set width and height to one of these")]
    WrongSize { path: String, resolution: Resolution, offered: String },

    #[error(
        "{path}: the driver refuses to start, because the sensors and image processors before this node are not set up; \
         set them up with media-ctl, or use libcamera: source = \"rpicam\" on a Raspberry Pi"
    )]
    Pipeline { path: String },

    #[error("{path}: not enough USB bandwidth; choose mjpeg, a smaller size or rate, or another USB port")]
    Bandwidth { path: String },

    #[error("the camera gives no H.264; set h264 = \"auto\" to encode it here")]
    NoH264,

    #[error(transparent)]
    Input(#[from] InputError),

    #[error("{path}: its input receives another signal; the picture comes back by itself")]
    SignalChanged { path: String },

    #[error("exec: `{command}` {what}{said}; run it by hand to see why")]
    Exec { command: String, what: String, said: String },

    #[error(
        "exec: `{command}` could not be started, as there is no /bin/sh here; in a container, use an image that has a shell \
         and the command, with the program porthole added to it"
    )]
    NoShell { command: String },

    #[error("file: {path}: {source}; check the path, and that this user may read it")]
    File {
        path: String,
        #[source]
        source: io::Error,
    },

    #[error("file: {path}: holds no JPEG; make one with `ffmpeg -i clip.mp4 -c:v mjpeg -f mjpeg clip.mjpeg`")]
    NoFrames { path: String },

    #[error(transparent)]
    Remote(#[from] RemoteError),

    #[error(transparent)]
    RpiCam(#[from] RpiCamError),
}

impl SourceError {
    /// The error for a failed system call on a video device.
    pub(super) fn of_call(path: &str, call: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) if call == "open" => Self::Absent { path },
            Some(Errno::EACCES | Errno::EPERM) if call == "open" => Self::Denied { path },
            Some(Errno::EBUSY) => {
                let holder = holder(&path).unwrap_or_else(|| "another program".into());
                Self::Busy { path, holder }
            }
            Some(Errno::ENODEV) => Self::Gone { path, source },
            Some(Errno::EPIPE) if call == "VIDIOC_STREAMON" => Self::Pipeline { path },
            // Bridges say so when a stream is started, if they cannot tell before.
            Some(Errno::ENOLINK) => Self::Input(InputError::NoSignal {
                path,
                input: "video".into(),
                remedy: "connect a source and switch it on",
            }),
            Some(Errno::ENOSPC) => Self::Bandwidth { path },
            _ => {
                let remedy = if is_fixed(&path) {
                    "see the kernel log, and load its driver again or restart the machine"
                } else {
                    "unplug the camera and plug it in again; if that does not help, see the kernel log"
                };
                Self::Call { path, call, source, remedy }
            }
        }
    }

    /// The state of a camera after this error.
    pub(super) fn state(&self) -> CameraState {
        match self {
            Self::NotACamera { .. }
            | Self::RawSensor { .. }
            | Self::VideoOnly { .. }
            | Self::NoFormat { .. }
            | Self::WrongFormat { .. }
            | Self::WrongSize { .. }
            | Self::Pipeline { .. }
            | Self::Bandwidth { .. } => CameraState::Unsupported,
            Self::Remote(error) => error.state(),
            Self::RpiCam(error) => error.state(),
            Self::Input(error) => error.state(),
            _ => CameraState::Lost,
        }
    }

    /// Whether the source can be opened again at once: it was not lost, but changed.
    pub(super) fn is_change(&self) -> bool {
        matches!(self, Self::SignalChanged { .. })
    }

    /// The delay before retry number `attempt`, from 1.
    ///
    /// Looking for a node is cheap, so a camera that is plugged in again is found at once. Every other retry calls a device or
    /// starts a program; its delay doubles up to two seconds.
    pub(super) fn retry_after(&self, attempt: u32) -> Duration {
        const FIRST: Duration = Duration::from_millis(100);
        const LAST: Duration = Duration::from_secs(2);
        /// A look asks a bridge over its slow bus. A source that is switched on takes seconds itself.
        const NEXT_LOOK_FOR_SIGNAL: Duration = Duration::from_millis(250);
        let growing = FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(LAST);
        match self {
            Self::Remote(error) => error.retry_after(growing),
            Self::Absent { .. } | Self::NoCamera { .. } | Self::Gone { .. } => FIRST,
            Self::Input(error) if error.waits_for_signal() => NEXT_LOOK_FOR_SIGNAL,
            _ => growing,
        }
    }
}

/// Whether the device at `path` is known to be on another bus than USB, so that it cannot be unplugged.
fn is_fixed(path: &str) -> bool {
    let node = std::fs::canonicalize(path).ok().and_then(|node| node.file_name().map(ToOwned::to_owned));
    let device = node.and_then(|node| {
        std::fs::canonicalize(std::path::Path::new("/sys/class/video4linux").join(node).join("device")).ok()
    });
    device.is_some_and(|device| !device.to_string_lossy().contains("/usb"))
}

/// The program that has `path` open, as `name (PID n)`. Programs of other users cannot be inspected.
fn holder(path: &str) -> Option<String> {
    let device = std::fs::canonicalize(path).ok()?;
    let me = std::process::id().to_string();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if pid == me || !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let Ok(mut descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        if descriptors.any(|fd| fd.is_ok_and(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == device)))
        {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (PID {pid})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meaning_of_an_errno_depends_on_the_call() {
        let of = |call, errno: Errno| SourceError::of_call("/dev/video7", call, errno.into());
        assert!(matches!(of("open", Errno::ENOENT), SourceError::Absent { .. }));
        assert!(matches!(of("open", Errno::EACCES), SourceError::Denied { .. }));
        assert!(matches!(of("VIDIOC_STREAMON", Errno::EBUSY), SourceError::Busy { .. }));
        assert!(matches!(of("VIDIOC_STREAMON", Errno::ENOSPC), SourceError::Bandwidth { .. }));
        assert!(matches!(of("VIDIOC_DQBUF", Errno::ENODEV), SourceError::Gone { .. }));
        let error = of("VIDIOC_DQBUF", Errno::EIO);
        assert!(error.to_string().starts_with("/dev/video7: VIDIOC_DQBUF: Input/output error"), "{error}");
    }

    #[test]
    fn absent_devices_are_retried_often_and_other_errors_with_growing_delays() {
        let absent = SourceError::Absent { path: String::new() };
        assert_eq!(absent.retry_after(1), absent.retry_after(1000));
        let busy = SourceError::Busy { path: String::new(), holder: String::new() };
        let delays: Vec<_> = [1, 2, 3, 6, 7, 40].map(|n| busy.retry_after(n).as_millis()).into();
        assert_eq!(delays, [100, 200, 400, 2000, 2000, 2000]);
    }
}
