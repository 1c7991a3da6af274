//! Why the input of a device gives no picture. Every message ends with what to do.
#![forbid(unsafe_code)]

use std::io;

use crate::status::CameraState;

/// Why the input of a device gives no picture.
#[derive(Debug, thiserror::Error)]
pub(in crate::camera) enum InputError {
    #[error("{path}: has no input {wanted}, only {offered}; set input to one of these, by number or name")]
    NoInput { path: String, wanted: String, offered: String },

    #[error(
        "{path}: its input {input} has no standard {wanted}, only {offered}; set standard to one of these"
    )]
    NoStandard { path: String, input: String, wanted: String, offered: String },

    #[error("{path}: its input {input} does not take analog video; remove standard, or set another input")]
    NotAnalog { path: String, input: String },

    #[error("{path}: its input {input} does not take digital video; remove edid, or set another input")]
    NotDigital { path: String, input: String },

    #[error("{path}: no signal at the {input} input; {remedy}")]
    NoSignal { path: String, input: String, remedy: &'static str },

    #[error("{path}: the signal at the {input} input is not stable; wait a moment, or try another cable")]
    Unstable { path: String, input: String },

    #[error(
        "{path}: the signal at the {input} input is beyond what the device takes; set a smaller size or rate at what is \
         connected, or set edid = \"1080p30\""
    )]
    OutOfRange { path: String, input: String },

    #[error("{path}: its EDID could not be set ({source}); set another edid")]
    EdidRejected {
        path: String,
        #[source]
        source: io::Error,
    },

    #[error("{path}: edid = \"{file}\" {why}; name a file with an EDID, or a mode such as \"1080p30\"")]
    EdidFile { path: String, file: String, why: String },

    #[error(
        "{path}: gives the two fields of an interlaced picture in a buffer each, which is not supported; set a progressive \
         mode at what is connected, or another input"
    )]
    AlternateFields { path: String },
}

impl InputError {
    /// The state of a camera after this error.
    pub(in crate::camera) fn state(&self) -> CameraState {
        match self {
            Self::NoSignal { .. } | Self::Unstable { .. } | Self::OutOfRange { .. } => CameraState::Lost,
            _ => CameraState::Unsupported,
        }
    }

    /// Whether the next look may find a signal.
    pub(in crate::camera) fn waits_for_signal(&self) -> bool {
        self.state() == CameraState::Lost
    }
}
