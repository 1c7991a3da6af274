//! Why a Raspberry Pi's camera delivers no pictures. Every message ends with what to do.
#![forbid(unsafe_code)]

use std::io;

use super::super::process::ProcessEnd;
use crate::status::CameraState;

/// Why a Raspberry Pi's camera delivers no pictures.
#[derive(Debug, thiserror::Error)]
pub(in crate::camera) enum RpiCamError {
    #[error(
        "{camera}: neither rpicam-vid nor libcamera-vid is installed; install it with `sudo apt install rpicam-apps`"
    )]
    NoProgram { camera: String },

    #[error("{camera}: {program} could not be started ({source}); check that this user may run it")]
    NotStarted {
        camera: String,
        program: String,
        #[source]
        source: io::Error,
    },

    #[error(
        "{camera}: {program} finds no camera; with the power off, check the ribbon cable at both ends, then check that \
         /boot/firmware/config.txt has camera_auto_detect=1 or the dtoverlay of the camera"
    )]
    NoCamera { camera: String, program: String },

    #[error("{camera}: there is no such camera{known}; name one that `porthole cameras` lists")]
    NoSuchCamera { camera: String, known: String },

    #[error(
        "{camera}: the camera is in use by another program; stop that, and the picture comes back by itself"
    )]
    Busy { camera: String },

    #[error("{camera}: {program} refuses its options ({message}); change rpicam_options or the controls")]
    Options { camera: String, program: String, message: String },

    #[error(
        "{camera}: the sensor has stopped sending pictures; with the power off, check the ribbon cable at both ends, or try \
         another one"
    )]
    SensorSilent { camera: String },

    #[error(
        "{camera}: {program} gave no list of cameras within {seconds} s; run `{program} --list-cameras` to see why"
    )]
    ListTimeout { camera: String, program: String, seconds: u64 },

    #[error("{camera}: {program} {what}{said}; run `{program} -t 0 -n` by hand to see why")]
    Ended { camera: String, program: String, what: String, said: String },
}

impl RpiCamError {
    /// The error for a program that has ended, by what it said last.
    pub(super) fn of_end(camera: &str, program: &str, what: &str, end: &ProcessEnd) -> Self {
        let (camera, program) = (camera.to_owned(), program.to_owned());
        let last = end.last_line();
        // How the program reports every exception.
        let message = last.strip_prefix("ERROR: *** ").and_then(|rest| rest.strip_suffix(" ***"));
        let message = message.unwrap_or(last);
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        let begins = |words: &[&str]| words.iter().any(|words| message.starts_with(words));
        // What libcamera logs before the program gives up.
        let is_busy = ["in use by another process", "Device or resource busy", "failed to acquire camera"]
            .iter()
            .any(|words| end.said.contains(words));
        if says(&["no cameras available", "No cameras available"]) {
            Self::NoCamera { camera, program }
        } else if says(&["selected camera is not available", "failed to find camera"]) {
            Self::NoSuchCamera { camera, known: String::new() }
        } else if says(&["option"])
            || begins(&["Invalid", "illegal", "incorrect", "unrecognised", "transforms"])
        {
            Self::Options { camera, program, message: message.to_owned() }
        } else if is_busy {
            Self::Busy { camera }
        } else {
            let said = if message.is_empty() { String::new() } else { format!("; it said: {message}") };
            Self::Ended { camera, program, what: what.to_owned(), said }
        }
    }

    /// The state of a camera after this error.
    pub(in crate::camera) fn state(&self) -> CameraState {
        match self {
            Self::NoProgram { .. } | Self::Options { .. } | Self::NoSuchCamera { .. } => {
                CameraState::Unsupported
            }
            _ => CameraState::Lost,
        }
    }

    /// Whether there is no camera, or no program for one.
    pub(in crate::camera) fn is_absence(&self) -> bool {
        matches!(self, Self::NoProgram { .. } | Self::NoCamera { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_the_program_become_the_message_and_the_remedy() {
        let busy = "[0:01:02.345678901] [812]  INFO Camera camera_manager.cpp:297 libcamera v0.5.0\n\
                    [0:01:02.400000000] [815] ERROR V4L2 v4l2_videodevice.cpp:1326 /dev/video0[18:cap]: \
                    Unable to request 1 buffers: Device or resource busy\nERROR: *** failed to start camera ***";
        for (said, part) in [
            ("ERROR: *** no cameras available ***", "camera_auto_detect=1"),
            ("ERROR: *** selected camera is not available ***", "`porthole cameras` lists"),
            (
                "ERROR: *** failed to acquire camera /base/soc/i2c0mux/i2c@1/imx708@1a ***",
                "in use by another",
            ),
            (busy, "in use by another"),
            (
                "ERROR: *** unrecognised option '--foo' ***",
                "(unrecognised option '--foo'); change rpicam_options",
            ),
            ("ERROR: *** Invalid AfMode:up ***", "(Invalid AfMode:up); change rpicam_options"),
            ("Segmentation fault", "ended with status 3; it said: Segmentation fault; run `x-vid"),
            ("", "x-vid ended with status 3; run `x-vid"),
        ] {
            let end = ProcessEnd { outcome: String::new(), said: said.into() };
            let error = RpiCamError::of_end("rpicam:0", "x-vid", "ended with status 3", &end).to_string();
            assert!(error.starts_with("rpicam:0: ") && error.contains(part), "{error}");
        }
    }
}
