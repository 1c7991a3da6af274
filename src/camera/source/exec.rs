//! The `exec` source: a shell command that writes JPEGs or H.264 to its standard output. It serves CSI cameras and every camera with
//! a program of its own.
//!
//! When the command ends by itself, the source has failed, and is opened again with growing delays.
#![forbid(unsafe_code)]

use std::io;
use std::process::Command;

use log::debug;

use super::picture_process::{OutputFault, PictureProcess};
use super::source_trait::{OpenedSource, PictureFault, PictureSink, Source};
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::shell_command::{ShellCommand, without_passwords};
use crate::camera::wake::Waker;
use crate::frame::Timestamp;

pub(super) struct ExecSource {
    command: ShellCommand,
    fps: f32,
    max_jpeg_bytes: usize,
    running: Option<PictureProcess>,
}

impl ExecSource {
    pub(super) fn new(command: ShellCommand, settings: &CameraSettings) -> Self {
        Self { command, fps: settings.fps, max_jpeg_bytes: settings.max_jpeg_bytes(), running: None }
    }

    fn failed(&self, what: impl Into<String>, last_line: &str) -> SourceError {
        let said = match last_line {
            "" => String::new(),
            line => format!("; it said: {}", without_passwords(line)),
        };
        SourceError::Exec { command: self.command.to_string(), what: what.into(), said }
    }

    /// Why a command closed its standard output: it ended, or it is of no use any more and is terminated.
    fn output_closed(&mut self) -> SourceError {
        let Some(process) = self.running.take() else { return self.failed("was not running", "") };
        let (outcome, end) = process.output_closed();
        self.failed(outcome.as_deref().unwrap_or("closed its output and went on"), end.last_line())
    }
}

impl Source for ExecSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(self.command.with_passwords());
        let process = PictureProcess::spawn(shell, self.max_jpeg_bytes);
        let process = process.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => SourceError::NoShell { command: self.command.to_string() },
            _ => self.failed(format!("could not be started ({e})"), ""),
        })?;
        self.running = Some(process);
        let (card, path) = (self.command.program(), self.command.to_string());
        Ok(OpenedSource::of_stream("exec", card, path, self.fps, self.max_jpeg_bytes))
    }

    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        let Some(process) = &mut self.running else { return Ok(()) };
        match process.next(waker, deadline, sink) {
            Ok(_) => Ok(()),
            Err(OutputFault::Closed) => Err(self.output_closed()),
            Err(OutputFault::Unreadable(e)) => Err(self.failed(format!("could not be read from ({e})"), "")),
        }
    }

    fn remedy(&self, fault: PictureFault) -> &'static str {
        match fault {
            PictureFault::Silent => {
                "run the command by hand, and see whether it writes JPEGs or H.264 to its standard output"
            }
            PictureFault::Video => {
                "let the command write H.264 with parameter sets, as rpicam-vid does with --codec h264 --inline"
            }
            PictureFault::Corrupt => {
                "let the command write whole JPEGs, one after the other (ffmpeg: -c:v mjpeg -f mjpeg -), or set \
                 validate = false if the picture is good all the same"
            }
            _ => "set width and height to the size of its pictures",
        }
    }

    fn close(&mut self) {
        if let Some(process) = self.running.take() {
            let end = process.terminate();
            debug!("exec: `{}` {}", self.command, end.outcome);
        }
    }
}
