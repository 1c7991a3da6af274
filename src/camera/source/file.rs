//! The `file` source: plays a file of JPEGs in a loop at the configured rate.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;

use super::source_trait::{CapturedPicture, OpenedSource, PictureFault, PictureSink, Source};
use super::splitter::{Piece, Splitter};
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::wake::{WaitResult, Waker};
use crate::frame::{PixelFormat, Timestamp};
use crate::jpeg::Picture;
use crate::status::SourceInfo;

/// Bytes per read: a few frames.
const READ_BYTES: usize = 256 * 1024;

pub(super) struct FileSource {
    path: PathBuf,
    interval: Duration,
    max_jpeg_bytes: usize,
    playing: Option<Playing>,
}

struct Playing {
    file: fs::File,
    splitter: Splitter,
    /// When the next frame is due.
    due: Timestamp,
    /// The file has had a picture since its start.
    found: bool,
}

impl FileSource {
    pub(super) fn new(path: PathBuf, settings: &CameraSettings) -> Self {
        let interval = Duration::from_secs_f32(1.0 / settings.fps);
        Self { path, interval, max_jpeg_bytes: settings.max_jpeg_bytes(), playing: None }
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> SourceError {
    move |source| SourceError::File { path: path.display().to_string(), source }
}

impl Source for FileSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        // Opening a pipe without a writer must not block.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
        let open = fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.path);
        let file = open.map_err(failed(&self.path))?;
        let path = self.path.display().to_string();
        if !file.metadata().map_err(failed(&self.path))?.is_file() {
            return Err(SourceError::NoFrames { path });
        }
        let splitter = Splitter::new(self.max_jpeg_bytes + READ_BYTES);
        self.playing = Some(Playing { file, splitter, due: Timestamp::now(), found: false });
        let info = SourceInfo {
            driver: "file".into(),
            card: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path,
            format: PixelFormat::Mjpeg,
            resolution: None,
            fps: 1.0 / self.interval.as_secs_f32(),
            encoding: None,
            capture: None,
        };
        Ok(OpenedSource {
            info,
            max_jpeg_bytes: self.max_jpeg_bytes,
            has_larger: false,
            is_told_by_picture: false,
        })
    }

    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        let Some(playing) = &mut self.playing else { return Ok(()) };
        let woken = waker.wait(&[], Some(deadline.min(playing.due))) == WaitResult::Woken;
        if woken || Timestamp::now() < playing.due {
            return Ok(());
        }
        loop {
            match playing.splitter.next_piece() {
                Piece::Picture(data) => {
                    playing.found = true;
                    // After a delay the clip continues at its normal rate.
                    playing.due = playing.due.max(Timestamp::now()).after(self.interval);
                    sink(CapturedPicture::now(Picture::Jpeg { data, expected: None }));
                    return Ok(());
                }
                Piece::TooLarge => {}
                Piece::Incomplete => {
                    let Playing { file, splitter, .. } = playing;
                    let read = splitter.fill(|room| {
                        let n = room.len().min(READ_BYTES);
                        file.read(&mut room[..n])
                    });
                    let again = match read {
                        Ok(0) if !playing.found => {
                            return Err(SourceError::NoFrames { path: self.path.display().to_string() });
                        }
                        Ok(0) => {
                            playing.splitter.reset();
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

    fn remedy(&self, fault: PictureFault) -> &'static str {
        match fault {
            PictureFault::Silent => "see whether the disk that it is on answers",
            PictureFault::Corrupt => {
                "make it anew with `ffmpeg -i clip.mp4 -c:v mjpeg -f mjpeg clip.mjpeg`, or set validate = false if the \
                 picture is good all the same"
            }
            _ => "set width and height to the size of its pictures",
        }
    }

    fn close(&mut self) {
        self.playing = None;
    }
}
