//! The program of rpicam-apps that records video: where it is, and the arguments it is started with.
#![forbid(unsafe_code)]

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::error::RpiCamError;
use crate::camera::h264::H264Mode;
use crate::camera::settings::{CameraSettings, DEFAULT_RESOLUTION};
use crate::frame::Resolution;
use crate::jpeg::exif::Rotation;

/// Its names: that of today, and that until the end of 2023.
const NAMES: [&str; 2] = ["rpicam-vid", "libcamera-vid"];

/// Seconds from one key frame to the next. The program cannot be asked for one, so who joins waits for so long at most.
const KEY_SECONDS: f32 = 2.0;

/// The program that is installed.
#[derive(Clone, Debug)]
pub(super) struct RpiCamProgram {
    pub(super) name: &'static str,
    path: PathBuf,
}

impl RpiCamProgram {
    /// Looks for it in the folders of `PATH`. `camera` is named in the error.
    pub(super) fn find(camera: &str) -> Result<Self, RpiCamError> {
        let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        let programs =
            NAMES.iter().flat_map(|name| folders.iter().map(move |folder| (name, folder.join(name))));
        let mut found = programs.filter(|(_, path)| is_program(path));
        let (name, path) =
            found.next().ok_or_else(|| RpiCamError::NoProgram { camera: camera.to_owned() })?;
        Ok(Self { name, path })
    }

    /// The command that lists the cameras.
    pub(super) fn list_command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--list-cameras");
        command
    }

    /// The command that writes JPEGs of the camera with this number, or its H.264 where that is to be copied: the program makes one of
    /// both.
    pub(super) fn video_command(
        &self,
        camera: u32,
        settings: &CameraSettings,
        controls: Vec<String>,
    ) -> Command {
        let resolution = settings.resolution.unwrap_or(DEFAULT_RESOLUTION);
        let mut command = Command::new(&self.path);
        let is_video = gives_h264(settings);
        let codec = if is_video { "h264" } else { "mjpeg" };
        command.args(["--codec", codec, "--timeout", "0", "--nopreview", "--flush", "--output", "-"]);
        for (option, value) in [
            ("--camera", camera.to_string()),
            ("--width", resolution.width.to_string()),
            ("--height", resolution.height.to_string()),
            ("--framerate", settings.fps.to_string()),
        ] {
            command.args([option, &value]);
        }
        if is_video {
            command.args(video_options(settings, resolution));
        } else {
            command.args(["--quality", &settings.jpeg.quality.to_string()]);
        }
        // All that it can do. Viewers turn the picture for the others.
        if settings.jpeg.rotation == Rotation::Half {
            command.args(["--rotation", "180"]);
        }
        command.args(&settings.rpicam_options).args(controls);
        command
    }
}

/// Whether the program is to write H.264.
pub(super) fn gives_h264(settings: &CameraSettings) -> bool {
    settings.h264.mode == H264Mode::Copy
}

/// How H.264 is encoded, except for what the configuration sets by itself.
fn video_options(settings: &CameraSettings, resolution: Resolution) -> Vec<String> {
    let key_interval = (settings.fps * KEY_SECONDS).ceil().max(1.0) as u32;
    let bits_per_second = settings.h264.bit_rate(resolution, settings.fps);
    let ours = [
        (["--inline", ""], None),
        (["--intra", "-g"], Some(key_interval)),
        (["--bitrate", "-b"], Some(bits_per_second)),
    ];
    let is_set = |names: &[&str; 2]| {
        let name = |option: &String| option.split('=').next().unwrap_or_default().to_owned();
        settings.rpicam_options.iter().any(|option| names.contains(&name(option).as_str()))
    };
    let unset = ours.into_iter().filter(|(names, _)| !is_set(names));
    unset
        .flat_map(|([name, _], value)| [Some(name.to_owned()), value.map(|value| value.to_string())])
        .flatten()
        .collect()
}
