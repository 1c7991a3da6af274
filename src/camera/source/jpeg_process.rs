//! A child process that writes JPEGs to its standard output, one after the other.
#![forbid(unsafe_code)]

use std::io;
use std::process::Command;

use log::{debug, warn};

use super::process::{ChildProcess, ProcessEnd};
use super::source_trait::{CapturedPicture, PictureSink};
use super::splitter::{Piece, Splitter};
use crate::camera::wake::{WaitResult, Waker};
use crate::frame::Timestamp;
use crate::jpeg::Picture;

/// Bytes per read: the size of a pipe.
const READ_BYTES: usize = 64 * 1024;

/// A process, and the part of its output that has not been passed on.
pub(super) struct JpegProcess {
    process: ChildProcess,
    splitter: Splitter,
    max_jpeg_bytes: usize,
}

/// What ended a wait.
pub(super) enum OutputEvent {
    /// A picture was passed on.
    Picture,
    /// The process wrote to its standard error.
    Message,
    /// The deadline is reached, or the thread was woken.
    Waited,
}

/// Why there are no more pictures.
pub(super) enum OutputFault {
    /// The standard output was closed.
    Closed,
    /// It cannot be read.
    Unreadable(io::Error),
}

impl JpegProcess {
    /// Starts `command`, whose JPEGs have at most `max_jpeg_bytes`.
    pub(super) fn spawn(command: Command, max_jpeg_bytes: usize) -> io::Result<Self> {
        let process = ChildProcess::spawn(command)?;
        debug!("started process group {}", process.group());
        Ok(Self { process, splitter: Splitter::new(max_jpeg_bytes + READ_BYTES), max_jpeg_bytes })
    }

    /// Waits for the next picture.
    pub(super) fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<OutputEvent, OutputFault> {
        let Self { process, splitter, max_jpeg_bytes } = self;
        loop {
            match splitter.next_piece() {
                Piece::Picture(data) => {
                    sink(CapturedPicture::now(Picture::Jpeg { data, expected: None }));
                    return Ok(OutputEvent::Picture);
                }
                Piece::TooLarge => warn!("dropped a frame of more than {max_jpeg_bytes} bytes"),
                Piece::Incomplete => {}
            }
            match process.wait(waker, deadline) {
                WaitResult::Woken | WaitResult::TimedOut => return Ok(OutputEvent::Waited),
                WaitResult::Ready { index: 0, .. } => {
                    let read = splitter.fill(|room| {
                        let n = room.len().min(READ_BYTES);
                        process.read_stdout(&mut room[..n])
                    });
                    match read {
                        Ok(0) => return Err(OutputFault::Closed),
                        Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                            return Err(OutputFault::Unreadable(e));
                        }
                        _ => {}
                    }
                }
                WaitResult::Ready { .. } => {
                    if process.read_stderr() {
                        return Ok(OutputEvent::Message);
                    }
                }
            }
        }
    }

    /// The last lines of its standard error so far.
    pub(super) fn said(&self) -> String {
        self.process.said()
    }

    /// Ends the process, whose output is closed. `None` for how it ended if it has not done so by itself.
    pub(super) fn output_closed(self) -> (Option<String>, ProcessEnd) {
        let by_itself = self.process.ends_after_its_output();
        let end = self.process.terminate();
        (by_itself.then(|| end.outcome.clone()), end)
    }

    /// Ends the process.
    pub(super) fn terminate(self) -> ProcessEnd {
        self.process.terminate()
    }
}
