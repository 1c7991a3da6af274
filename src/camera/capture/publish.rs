//! The publish step: from a captured picture to a frame in the ring.
//!
//! It counts the picture, skips it while exposure settles, and writes it as a JPEG into a slot of the ring, or H.264 as it is into
//! one of the ring of access units. When pictures are captured, and what happens without any, is in [`capture_loop`](super::capture_loop).
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use log::{debug, info};

use crate::camera::h264::{GivenPictures, H264Shared, PictureFeeder, UnitOrigin};
use crate::camera::settings::CameraSettings;
use crate::camera::source::{CapturedPicture, OpenedSource, PictureFault};
use crate::failpoint;
use crate::frame::{PixelFormat, Timestamp};
use crate::h264::H264Error;
use crate::jpeg::exif::Rotation;
use crate::jpeg::{JpegError, JpegWriter, Picture};
use crate::ring::Publisher;
use crate::status::{CameraReporter, CameraState, SourceInfo};
use crate::sync::lock;

/// Of a source of H.264 that does not state its rate, in frames a second.
const USUAL_FPS: f32 = 30.0;

/// What became of a captured picture.
pub(super) enum Published {
    /// It is the newest frame.
    Frame,
    /// It is intact, and was skipped while exposure settles.
    Skipped,
    /// It cannot be shown.
    Rejected,
}

/// Why a picture was rejected.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error(transparent)]
    Jpeg(#[from] JpegError),
    #[error(transparent)]
    Video(#[from] H264Error),
    #[error("is H.264, which h264 = \"off\" leaves out")]
    Off,
}

impl From<&Rejection> for PictureFault {
    fn from(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::Jpeg(error) => error.into(),
            Rejection::Video(H264Error::TooLarge { .. }) => Self::TooLarge,
            Rejection::Video(_) | Rejection::Off => Self::Video,
        }
    }
}

/// Publishes captured pictures.
pub(super) struct PublishStep {
    writer: JpegWriter,
    /// Shared with the thread that decodes H.264. Each publishes while the other does not.
    publisher: Arc<Mutex<Publisher>>,
    pub(super) reporter: CameraReporter,
    /// `None` if there is no H.264 by configuration.
    h264: Option<H264Step>,
    /// What was opened, if its first picture tells whether it gives H.264; until then.
    undecided: Option<SourceInfo>,
    rate: FrameRate,
    /// Frames to skip while exposure settles.
    to_skip: u32,
    /// Why the last rejected picture was rejected.
    pub(super) last_error: Option<Rejection>,
    /// Name of the camera, for messages.
    name: String,
}

/// What the capture thread has to do with H.264.
struct H264Step {
    shared: Arc<H264Shared>,
    feeder: PictureFeeder,
    /// Most bytes of an access unit of the source.
    unit_bytes: usize,
}

impl PublishStep {
    pub(super) fn new(
        settings: &CameraSettings,
        publisher: Arc<Mutex<Publisher>>,
        reporter: CameraReporter,
        h264: Option<Arc<H264Shared>>,
    ) -> Self {
        let (writer, rate) = (JpegWriter::new(settings.jpeg), FrameRate::default());
        let name = settings.name.clone();
        let h264 = h264.map(|shared| {
            let feeder = PictureFeeder::new(Arc::clone(&shared.feed), Arc::clone(reporter.counters()));
            H264Step { shared, feeder, unit_bytes: 0 }
        });
        Self { writer, publisher, reporter, h264, undecided: None, rate, to_skip: 0, last_error: None, name }
    }

    /// The ring's publisher. Never locked while a device is called.
    pub(super) fn publisher(&self) -> MutexGuard<'_, Publisher> {
        lock(&self.publisher)
    }

    /// The source was opened. Its first `to_skip` frames are skipped; viewers are told of `rotation`. Its access units, if it gives
    /// H.264, have no more bytes than its JPEGs.
    pub(super) fn restart(&mut self, opened: OpenedSource, to_skip: u32, rotation: Rotation) {
        (self.rate, self.to_skip) = (FrameRate::default(), to_skip);
        self.writer.restart(rotation);
        let OpenedSource { info, max_jpeg_bytes, is_told_by_picture, .. } = opened;
        if let Some(h264) = &mut self.h264 {
            h264.unit_bytes = max_jpeg_bytes;
            if !is_told_by_picture {
                h264.give(&self.reporter, GivenPictures::of(info.format, info.fps), info.fps);
            }
        }
        self.undecided = is_told_by_picture.then_some(info);
    }

    /// A picture has come. The first one of some sources tells whether they give H.264.
    fn decide(&mut self, is_video: bool) {
        let Some(info) = self.undecided.take() else { return };
        let (format, fps) = (if is_video { PixelFormat::H264 } else { info.format }, info.fps);
        if format != info.format {
            self.reporter.opened(SourceInfo { format, ..info });
        }
        if let Some(h264) = &self.h264 {
            h264.give(&self.reporter, GivenPictures::of(format, fps), fps);
        }
    }

    /// The source is about to be closed: a viewer who connects meanwhile gets no outdated frame.
    pub(super) fn close(&mut self) {
        if let Some(h264) = &mut self.h264 {
            h264.close(&self.reporter);
        }
        self.publisher().clear();
    }

    pub(super) fn publish(&mut self, captured: CapturedPicture<'_>) -> Published {
        failpoint::pass("camera");
        let counters = self.reporter.counters();
        counters.dropped.add(captured.missed.into());
        counters.implausible_times.add(captured.implausible.time.into());
        counters.implausible_sequences.add(captured.implausible.sequence.into());
        if let Some(h264) = &self.h264
            && (captured.damaged || captured.missed > 0)
            && h264.shared.given() == GivenPictures::Video
        {
            h264.shared.output.lost(UnitOrigin::Copied, captured.missed + u32::from(captured.damaged));
        }
        if captured.damaged {
            counters.corrupt.add(1);
            return Published::Rejected;
        }
        self.decide(matches!(captured.picture, Picture::H264(_)));
        if let Picture::H264(unit) = captured.picture {
            return self.publish_unit(unit, captured.at);
        }
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return Published::Skipped;
        }
        match self.feed(&captured) {
            Ok(true) => {}
            Ok(false) => return self.publish_jpeg(&captured),
            Err(error) => return self.reject(error),
        }
        // Nobody takes JPEG.
        let counters = self.reporter.counters();
        counters.frame(captured.at, self.rate.add(captured.at));
        self.reporter.state(CameraState::Live);
        Published::Frame
    }

    /// Hands a picture to the thread that encodes H.264, if that wants it and takes it as it is. Returns whether that is all there is
    /// to do with it.
    fn feed(&mut self, captured: &CapturedPicture<'_>) -> Result<bool, JpegError> {
        let Some(h264) = self.h264.as_mut().filter(|h264| h264.feeder.is_wanted()) else { return Ok(false) };
        let is_fed = matches!(h264.shared.given(), GivenPictures::Unpacked { .. })
            && h264.feeder.feed(&captured.picture, captured.at)?;
        Ok(is_fed && self.publisher().subscribers().takers == 0)
    }

    /// Publishes a picture as a frame.
    fn publish_jpeg(&mut self, captured: &CapturedPicture<'_>) -> Published {
        let counters = self.reporter.counters();
        let (writer, rate, reporter) = (&mut self.writer, &mut self.rate, &self.reporter);
        let added_ends = writer.adds_ends();
        let published = lock(&self.publisher).publish(captured.at, |slot| {
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
            Ok(_) => {
                // It may be encoded as H.264 from the ring.
                if let Some(h264) = self.h264.as_ref().filter(|h264| h264.feeder.is_wanted()) {
                    h264.feeder.wake();
                }
                Published::Frame
            }
            Err(error) => self.reject(error),
        }
    }

    fn reject(&mut self, error: JpegError) -> Published {
        let counters = self.reporter.counters();
        match error {
            JpegError::TooLarge(_) | JpegError::Encode(_) => counters.dropped.add(1),
            _ => counters.corrupt.add(1),
        }
        debug!("frame rejected: {error}");
        self.last_error = Some(error.into());
        Published::Rejected
    }

    /// Publishes an access unit. None is skipped while exposure settles: the first is the key frame.
    fn publish_unit(&mut self, unit: &[u8], at: Timestamp) -> Published {
        let Some(h264) = &mut self.h264 else {
            self.last_error = Some(Rejection::Off);
            return Published::Rejected;
        };
        let counters = self.reporter.counters();
        match h264.shared.output.publish(UnitOrigin::Copied, unit, at) {
            Ok(_) => {
                counters.frame(at, self.rate.add(at));
                self.reporter.state(CameraState::Live);
                // It may be decoded.
                if h264.feeder.is_wanted() {
                    h264.feeder.wake();
                }
                Published::Frame
            }
            // Parameter sets in a buffer of their own, or what comes before the first key frame.
            Err(H264Error::NoPicture) => Published::Skipped,
            Err(error) => {
                counters.corrupt.add(1);
                debug!("access unit rejected: {error}");
                self.last_error = Some(error.into());
                Published::Rejected
            }
        }
    }

    /// Whether the source is to be asked for a key frame now.
    pub(super) fn wants_key_frame(&self) -> bool {
        self.h264.as_ref().is_some_and(|h264| {
            h264.shared.given() == GivenPictures::Video
                && h264.shared.output.wants_key_frame(UnitOrigin::Copied)
        })
    }

    /// The source was asked for a key frame.
    pub(super) fn key_frame_comes(&self) {
        self.h264.iter().for_each(|h264| h264.shared.output.key_frame_comes(UnitOrigin::Copied));
    }
}

impl H264Step {
    /// Tells the other thread what the source gives.
    fn give(&self, reporter: &CameraReporter, given: GivenPictures, fps: f32) {
        if let GivenPictures::Video = given {
            let fps = if fps > 0.0 { fps } else { USUAL_FPS };
            // A quarter of the bytes of its JPEGs.
            self.shared.output.begin(UnitOrigin::Copied, fps, self.unit_bytes / 4);
            reporter.h264(|info| {
                (info.encoder, info.bits_per_second, info.error) = (Some("copied".into()), None, None);
            });
        }
        self.shared.give(given);
    }

    fn close(&self, reporter: &CameraReporter) {
        let was_video = self.shared.given() == GivenPictures::Video;
        self.shared.give(GivenPictures::Nothing);
        if was_video && self.shared.output.end(UnitOrigin::Copied) {
            reporter.h264(|info| info.encoder = None);
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
