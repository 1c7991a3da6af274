//! The `exec` source: a shell command that writes JPEGs to its standard output. It serves CSI cameras and every camera with
//! a program of its own.
//!
//! When the command ends by itself, the source has failed, and is opened again with growing delays.
#![forbid(unsafe_code)]

use std::io;

use log::{debug, warn};

use super::process::ShellProcess;
use super::source_trait::{CapturedPicture, OpenedSource, PictureFault, PictureSink, Source};
use super::splitter::{Piece, Splitter};
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::shell_command::{ShellCommand, without_passwords};
use crate::camera::wake::{WaitResult, Waker};
use crate::frame::{PixelFormat, Timestamp};
use crate::jpeg::Picture;
use crate::status::SourceInfo;

/// Bytes per read: the size of a pipe.
const READ_BYTES: usize = 64 * 1024;

pub(super) struct ExecSource {
    command: ShellCommand,
    fps: f32,
    max_jpeg_bytes: usize,
    running: Option<RunningCommand>,
}

struct RunningCommand {
    process: ShellProcess,
    splitter: Splitter,
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
        let Some(RunningCommand { process, .. }) = self.running.take() else {
            return self.failed("was not running", "");
        };
        let ended_by_itself = process.ends_after_its_output();
        let (outcome, last_line) = process.terminate();
        self.failed(if ended_by_itself { &outcome } else { "closed its output and went on" }, &last_line)
    }
}

impl Source for ExecSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        let process = ShellProcess::spawn(&self.command);
        let process = process.map_err(|e| self.failed(format!("could not be started ({e})"), ""))?;
        debug!("exec: started `{}` as process group {}", self.command, process.group());
        self.running =
            Some(RunningCommand { process, splitter: Splitter::new(self.max_jpeg_bytes + READ_BYTES) });
        let info = SourceInfo {
            driver: "exec".into(),
            card: self.command.program(),
            path: self.command.to_string(),
            format: PixelFormat::Mjpeg,
            resolution: None,
            fps: self.fps,
            encoding: None,
            capture: None,
        };
        Ok(OpenedSource { info, max_jpeg_bytes: self.max_jpeg_bytes, has_larger: false })
    }

    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        let Some(RunningCommand { process, splitter }) = &mut self.running else { return Ok(()) };
        loop {
            match splitter.next_piece() {
                Piece::Picture(data) => {
                    sink(CapturedPicture::now(Picture::Jpeg { data, expected: None }));
                    return Ok(());
                }
                Piece::TooLarge => {
                    warn!("exec: dropped a frame of more than {} bytes", self.max_jpeg_bytes);
                }
                Piece::Incomplete => {}
            }
            match process.wait(waker, deadline) {
                WaitResult::Woken | WaitResult::TimedOut => return Ok(()),
                WaitResult::Ready { index: 0, .. } => {
                    let read = splitter.fill(|room| {
                        let n = room.len().min(READ_BYTES);
                        process.read_stdout(&mut room[..n])
                    });
                    match read {
                        Ok(0) => return Err(self.output_closed()),
                        Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                            return Err(self.failed(format!("could not be read from ({e})"), ""));
                        }
                        _ => {}
                    }
                }
                WaitResult::Ready { .. } => process.read_stderr(),
            }
        }
    }

    fn remedy(&self, fault: PictureFault) -> &'static str {
        match fault {
            PictureFault::Silent => {
                "run the command by hand, and see whether it writes JPEGs to its standard output"
            }
            PictureFault::Corrupt => {
                "let the command write whole JPEGs, one after the other (ffmpeg: -c:v mjpeg -f mjpeg -), or set \
                 validate = false if the picture is good all the same"
            }
            _ => "set width and height to the size of its pictures",
        }
    }

    fn close(&mut self) {
        if let Some(RunningCommand { process, .. }) = self.running.take() {
            let (outcome, _) = process.terminate();
            debug!("exec: `{}` {outcome}", self.command);
        }
    }
}
