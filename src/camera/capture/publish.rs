//! The publish step: from a captured picture to a frame in the ring.
//!
//! It counts the picture, skips it while exposure settles, and writes it as a JPEG into a slot of the ring. When pictures
//! are captured, and what happens without any, is in [`capture_loop`](super::capture_loop).
#![forbid(unsafe_code)]

use std::time::Instant;

use log::{debug, info};

use crate::camera::settings::CameraSettings;
use crate::camera::source::CapturedPicture;
use crate::failpoint;
use crate::frame::Timestamp;
use crate::jpeg::exif::Rotation;
use crate::jpeg::{JpegError, JpegWriter};
use crate::ring::Publisher;
use crate::status::{CameraReporter, CameraState};

/// What became of a captured picture.
pub(super) enum Published {
    /// It is the newest frame.
    Frame,
    /// It is intact, and was skipped while exposure settles.
    Skipped,
    /// It cannot be shown.
    Rejected,
}

/// Publishes captured pictures.
pub(super) struct PublishStep {
    writer: JpegWriter,
    pub(super) publisher: Publisher,
    pub(super) reporter: CameraReporter,
    rate: FrameRate,
    /// Frames to skip while exposure settles.
    to_skip: u32,
    /// Why the last rejected picture was rejected.
    pub(super) last_error: Option<JpegError>,
    /// Name of the camera, for messages.
    name: String,
}

impl PublishStep {
    pub(super) fn new(settings: &CameraSettings, publisher: Publisher, reporter: CameraReporter) -> Self {
        let (writer, rate) = (JpegWriter::new(settings.jpeg), FrameRate::default());
        let name = settings.name.clone();
        Self { writer, publisher, reporter, rate, to_skip: 0, last_error: None, name }
    }

    /// The source was opened. Its first `to_skip` frames are skipped; viewers are told of `rotation`.
    pub(super) fn restart(&mut self, to_skip: u32, rotation: Rotation) {
        (self.rate, self.to_skip) = (FrameRate::default(), to_skip);
        self.writer.restart(rotation);
    }

    pub(super) fn publish(&mut self, captured: CapturedPicture<'_>) -> Published {
        failpoint::pass("camera");
        let counters = self.reporter.counters();
        counters.dropped.add(captured.missed.into());
        counters.implausible_times.add(captured.implausible.time.into());
        counters.implausible_sequences.add(captured.implausible.sequence.into());
        if captured.damaged {
            counters.corrupt.add(1);
            return Published::Rejected;
        }
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return Published::Skipped;
        }
        let (writer, rate, reporter) = (&mut self.writer, &mut self.rate, &self.reporter);
        let added_ends = writer.adds_ends();
        let published = self.publisher.publish(captured.at, |slot| {
            let started = Instant::now();
            let jpeg = writer.write(&captured.picture, slot)?;
            if !captured.picture.is_jpeg() {
                counters.encode.record(started.elapsed());
            }
            // Before viewers get the frame, so that the status is never behind what they see.
            counters.frame(captured.at, rate.add(captured.at));
            reporter.state(CameraState::Live);
            Ok(jpeg)
        });
        if self.writer.adds_ends() && !added_ends {
            info!("camera {}: writes JPEGs without their end marker, which is added", self.name);
        }
        match published {
            Ok(_) => Published::Frame,
            Err(error) => {
                match error {
                    JpegError::TooLarge(_) | JpegError::Encode(_) => counters.dropped.add(1),
                    _ => counters.corrupt.add(1),
                }
                debug!("frame rejected: {error}");
                self.last_error = Some(error);
                Published::Rejected
            }
        }
    }
}

/// The rate of the last frames.
#[derive(Default)]
struct FrameRate {
    times: [Timestamp; FrameRate::WINDOW],
    count: usize,
}

impl FrameRate {
    /// Number of frames over which the rate is averaged: about a second.
    const WINDOW: usize = 32;

    /// Adds a frame captured at `at`; returns the rate in frames per second.
    fn add(&mut self, at: Timestamp) -> f32 {
        self.times[self.count % Self::WINDOW] = at;
        self.count += 1;
        let intervals = self.count.min(Self::WINDOW) - 1;
        let oldest = self.times[(self.count - 1 - intervals) % Self::WINDOW];
        let span = at.since(oldest).as_secs_f32();
        if span > 0.0 { intervals as f32 / span } else { 0.0 }
    }
}
