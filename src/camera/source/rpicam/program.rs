//! The program of rpicam-apps that records video: where it is, and the arguments it is started with.
#![forbid(unsafe_code)]

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::error::RpiCamError;
use crate::camera::settings::{CameraSettings, DEFAULT_RESOLUTION};
use crate::jpeg::exif::Rotation;

/// Its names: that of today, and that until the end of 2023.
const NAMES: [&str; 2] = ["rpicam-vid", "libcamera-vid"];

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

    /// The command that writes JPEGs of the camera with this number.
    pub(super) fn video_command(
        &self,
        camera: u32,
        settings: &CameraSettings,
        controls: Vec<String>,
    ) -> Command {
        let resolution = settings.resolution.unwrap_or(DEFAULT_RESOLUTION);
        let mut command = Command::new(&self.path);
        command.args(["--codec", "mjpeg", "--timeout", "0", "--nopreview", "--flush", "--output", "-"]);
        for (option, value) in [
            ("--camera", camera.to_string()),
            ("--width", resolution.width.to_string()),
            ("--height", resolution.height.to_string()),
            ("--framerate", settings.fps.to_string()),
            ("--quality", settings.jpeg.quality.to_string()),
        ] {
            command.args([option, &value]);
        }
        // All that it can do. Viewers turn the picture for the others.
        if settings.jpeg.rotation == Rotation::Half {
            command.args(["--rotation", "180"]);
        }
        command.args(&settings.rpicam_options).args(controls);
        command
    }
}
