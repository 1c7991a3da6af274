//! What can be wrong with a hardware encoder. Every message ends with what to do.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use nix::errno::Errno;

use crate::camera::v4l2::EncoderFailure;
use crate::frame::Resolution;

/// Why a hardware encoder gives nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::camera) enum HardwareError {
    #[error(
        "no hardware encoder for H.264 found; on a Raspberry Pi up to the 4 load bcm2835-codec, elsewhere set \
         h264 = \"software\""
    )]
    Absent,

    #[error(
        "{path}: permission denied; add the user this runs as to the group that owns it, usually `video`"
    )]
    Denied { path: String },

    #[error(
        "{path}: the hardware encoder is in use; stop the program that uses it, or set h264 = \"software\""
    )]
    Busy { path: String },

    #[error(
        "{path}: the hardware encoder takes pictures of at most {width}x{height}, not of {wanted}; set width and height, \
         or set h264 = \"software\""
    )]
    TooLarge { path: String, wanted: Resolution, width: u32, height: u32 },

    #[error("{path}: the hardware encoder takes neither YU12 nor NV12; set h264 = \"software\"")]
    NoFormat { path: String },

    #[error(
        "{path}: the hardware encoder is gone ({source}); load its driver again, or set h264 = \"software\""
    )]
    Gone {
        path: String,
        #[source]
        source: io::Error,
    },

    #[error(
        "{path}: the hardware encoder gave nothing for {seconds} s; see the kernel log, or set h264 = \"software\""
    )]
    Silent { path: String, seconds: u64 },

    #[error("{path}: {call}: {source}; see the kernel log, or set h264 = \"software\"")]
    Call {
        path: String,
        call: &'static str,
        #[source]
        source: io::Error,
    },
}

impl HardwareError {
    /// The error for a failed call.
    pub(super) fn of_call(path: &Path, call: &'static str, source: io::Error) -> Self {
        let path = path.display().to_string();
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) if call == "open" => {
                Self::Gone { path, source }
            }
            Some(Errno::EACCES | Errno::EPERM) if call == "open" => Self::Denied { path },
            Some(Errno::EBUSY) => Self::Busy { path },
            // A queue that was stopped, as a removed driver does.
            Some(Errno::EINVAL) if call == "VIDIOC_DQBUF" => Self::Gone { path, source },
            Some(Errno::ENODEV) => Self::Gone { path, source },
            _ => Self::Call { path, call, source },
        }
    }

    /// The error for an encoder that does not start with pictures of this size.
    pub(super) fn of_start(path: &Path, wanted: Resolution, failure: EncoderFailure) -> Self {
        let name = || path.display().to_string();
        match failure {
            EncoderFailure::Call(call, source) => Self::of_call(path, call, source),
            EncoderFailure::Size(width, height) => Self::TooLarge { path: name(), wanted, width, height },
            EncoderFailure::Format => Self::NoFormat { path: name() },
        }
    }
}
