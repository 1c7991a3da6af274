//! A file of JPEGs, played over and over at the wanted rate.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;

use super::bell::{Bell, Wake};
use super::error::SourceError;
use super::splitter::{Piece, Splitter};
use super::{Captured, Next, Opening, Settings, Sink, Source};
use crate::frame::{PixelFormat, Timestamp};
use crate::jpeg::Picture;

/// Bytes asked for in one read: a few frames.
const READ: usize = 256 * 1024;

pub(super) struct File {
    path: PathBuf,
    interval: Duration,
    frame_bytes: usize,
    playing: Option<Playing>,
}

struct Playing {
    file: fs::File,
    splitter: Splitter,
    /// When the next frame is due.
    due: Timestamp,
    /// A picture was found since the start of the file.
    found: bool,
}

impl File {
    pub(super) fn new(path: PathBuf, settings: &Settings) -> Self {
        let interval = Duration::from_secs_f32(1.0 / settings.fps);
        Self { path, interval, frame_bytes: settings.frame_bytes(), playing: None }
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> SourceError {
    move |source| SourceError::File { path: path.display().to_string(), source }
}

impl Source for File {
    fn open(&mut self) -> Result<Opening, SourceError> {
        // A pipe without a writer must not hold up the thread for ever.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
        let open = fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.path);
        let file = open.map_err(failed(&self.path))?;
        let path = self.path.display().to_string();
        if !file.metadata().map_err(failed(&self.path))?.is_file() {
            return Err(SourceError::NoFrames { path });
        }
        let splitter = Splitter::new(self.frame_bytes + READ);
        self.playing = Some(Playing { file, splitter, due: Timestamp::now(), found: false });
        Ok(Opening {
            driver: "file".into(),
            card: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path,
            format: PixelFormat::Mjpeg,
            resolution: None,
            fps: 1.0 / self.interval.as_secs_f32(),
            frame_bytes: self.frame_bytes,
            has_larger: false,
        })
    }

    fn next(&mut self, bell: &Bell, until: Timestamp, sink: &mut Sink<'_>) -> Result<Next, SourceError> {
        let Some(playing) = &mut self.playing else { return Ok(Next::TimedOut) };
        match bell.wait(&[], Some(until.min(playing.due)))? {
            Wake::Rung => return Ok(Next::Rung),
            _ if Timestamp::now() < playing.due => return Ok(Next::TimedOut),
            _ => {}
        }
        loop {
            match playing.splitter.next() {
                Piece::Picture(data) => {
                    playing.found = true;
                    // After a hold-up the clip goes on from where it is; it does not hurry to catch up.
                    playing.due = playing.due.max(Timestamp::now()).after(self.interval);
                    let picture = Picture::Jpeg { data, expected: None };
                    sink(Captured { picture, at: Timestamp::now(), missed: 0, damaged: false });
                    return Ok(Next::Picture);
                }
                Piece::TooLarge => {}
                Piece::Incomplete => {
                    let Playing { file, splitter, .. } = playing;
                    let read = splitter.fill(|room| {
                        let n = room.len().min(READ);
                        file.read(&mut room[..n])
                    });
                    let again = match read {
                        Ok(0) if !playing.found => {
                            return Err(SourceError::NoFrames { path: self.path.display().to_string() });
                        }
                        Ok(0) => {
                            playing.splitter.forget();
                            playing.found = false;
                            playing.file.rewind()
                        }
                        other => other.map(drop),
                    };
                    again.map_err(failed(&self.path))?;
                }
            }
        }
    }

    fn close(&mut self) {
        self.playing = None;
    }
}
