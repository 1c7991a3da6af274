//! A child process that writes JPEGs or H.264 to its standard output. What comes first tells which.
#![forbid(unsafe_code)]

use std::io;
use std::process::Command;

use log::{debug, warn};

use super::process::{ChildProcess, ProcessEnd};
use super::source_trait::{CapturedPicture, PictureSink};
use super::splitter::{Piece, Splitter};
use super::unit_stream::{StreamBegin, UnitStream};
use crate::camera::wake::{WaitResult, Waker};
use crate::frame::Timestamp;
use crate::h264::UnitPiece;
use crate::jpeg::Picture;

/// Bytes per read: the size of a pipe.
const READ_BYTES: usize = 64 * 1024;

/// A process, and the part of its output that has not been passed on.
pub(super) struct PictureProcess {
    process: ChildProcess,
    output: Output,
    max_jpeg_bytes: usize,
}

/// What a process writes.
enum Output {
    /// JPEGs, or not known yet.
    Jpegs {
        splitter: Splitter,
        begin: StreamBegin,
    },
    Units(UnitStream),
}

impl Output {
    /// Reads once. The first bytes of H.264 change what the output is taken for.
    fn read(&mut self, process: &mut ChildProcess, max_jpeg_bytes: usize) -> io::Result<usize> {
        let mut read = |room: &mut [u8]| {
            let n = room.len().min(READ_BYTES);
            process.read_stdout(&mut room[..n])
        };
        match self {
            Self::Units(units) => units.fill(read),
            Self::Jpegs { splitter, begin } => {
                let n = splitter.fill(|room| {
                    let n = read(room)?;
                    begin.add(&room[..n]);
                    Ok(n)
                })?;
                if let Some(bytes) = begin.take_h264() {
                    let mut units = UnitStream::new(max_jpeg_bytes + READ_BYTES);
                    units.fill_from(&bytes);
                    *self = Self::Units(units);
                }
                Ok(n)
            }
        }
    }
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

impl PictureProcess {
    /// Starts `command`, whose JPEGs have at most `max_jpeg_bytes`.
    pub(super) fn spawn(command: Command, max_jpeg_bytes: usize) -> io::Result<Self> {
        let process = ChildProcess::spawn(command)?;
        debug!("started process group {}", process.group());
        let splitter = Splitter::new(max_jpeg_bytes + READ_BYTES);
        let output = Output::Jpegs { splitter, begin: StreamBegin::default() };
        Ok(Self { process, output, max_jpeg_bytes })
    }

    /// Waits for the next picture.
    pub(super) fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<OutputEvent, OutputFault> {
        let Self { process, output, max_jpeg_bytes } = self;
        loop {
            if pass_next(output, *max_jpeg_bytes, sink) {
                return Ok(OutputEvent::Picture);
            }
            let pause_ends = if let Output::Units(units) = output { units.pause_ends() } else { None };
            match process.wait(waker, pause_ends.map_or(deadline, |end| end.min(deadline))) {
                WaitResult::TimedOut if pause_ends.is_some_and(|end| end < deadline) => {
                    if let Output::Units(units) = output
                        && let Some(unit) = units.finish()
                    {
                        sink(CapturedPicture::now(Picture::H264(unit)));
                        return Ok(OutputEvent::Picture);
                    }
                }
                WaitResult::Woken | WaitResult::TimedOut => return Ok(OutputEvent::Waited),
                WaitResult::Ready { index: 0, .. } => match output.read(process, *max_jpeg_bytes) {
                    Ok(0) => return Err(OutputFault::Closed),
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                        return Err(OutputFault::Unreadable(e));
                    }
                    _ => {}
                },
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

/// Passes on the next picture of what was read so far. Returns whether there was one.
fn pass_next(output: &mut Output, max_jpeg_bytes: usize, sink: &mut PictureSink<'_>) -> bool {
    let is_too_large = match output {
        Output::Jpegs { splitter, .. } => match splitter.next_piece() {
            Piece::Picture(data) => {
                sink(CapturedPicture::now(Picture::Jpeg { data, expected: None }));
                return true;
            }
            piece => piece == Piece::TooLarge,
        },
        Output::Units(units) => match units.next_piece() {
            UnitPiece::Unit(unit) => {
                sink(CapturedPicture::now(Picture::H264(unit)));
                return true;
            }
            piece => piece == UnitPiece::TooLarge,
        },
    };
    if is_too_large {
        warn!("dropped a frame of more than {max_jpeg_bytes} bytes");
    }
    false
}
