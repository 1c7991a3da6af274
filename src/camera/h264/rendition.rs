//! The thread that encodes H.264 while somebody takes it, or copies that of a second node of the camera. For a camera that gives
//! nothing but H.264 it decodes that instead, while somebody takes JPEG.
//!
//! It takes the newest picture, and leaves out those that come while it is busy. It rests while nobody takes what it makes.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::{info, warn};

use super::choice::OpenedEncoder;
use super::copy::{CopyError, NodeCopy};
use super::encoder::VideoEncoder;
use super::given::{GivenPictures, H264Shared};
use super::output::UnitOrigin;
use super::pictures::PictureSource;
use super::settings::{H264Mode, H264Settings};
use crate::camera::error::SourceError;
use crate::camera::source::Source;
use crate::camera::wake::Waker;
use crate::frame::{Resolution, Timestamp};
use crate::h264::{H264Error, I420Picture};
use crate::ring::{FrameRing, Publisher};
use crate::status::CameraReporter;

/// The longest group of pictures. A viewer that cannot ask for a key frame, like a recorder, waits for this long.
const LONGEST_GROUP: Duration = Duration::from_secs(2);
/// The newest frame of a camera whose H.264 was copied until now may be so much older than the last access unit, at five frames a
/// second.
const OLDER_THAN_COPIED: Duration = Duration::from_millis(200);
/// Time until an encoder or decoder that failed is opened again.
const RETRY: Duration = Duration::from_secs(5);

/// What the thread works on.
pub(in crate::camera) struct Rendition {
    pub(super) name: String,
    pub(super) settings: H264Settings,
    /// May give H.264 beside the camera's source.
    pub(super) node: Option<Box<dyn Source>>,
    /// What was tried last and did not work, while something else did.
    pub(super) passed_over: Option<String>,
    #[cfg(feature = "h264")]
    pub(super) jpeg: crate::jpeg::JpegSettings,
    /// Pictures a second as configured, for sources that do not state their rate.
    pub(super) fps: f32,
    pub(super) shared: Arc<H264Shared>,
    pub(super) frames: FrameRing,
    #[cfg(feature = "h264")]
    pub(super) units: crate::ring::units::UnitRing,
    pub(super) publisher: Arc<Mutex<Publisher>>,
    pub(super) reporter: CameraReporter,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Nothing,
    /// H.264, beside or from these pictures.
    Make(GivenPictures),
    Decode,
}

/// An encoder that is open.
struct RunningEncoder {
    encoder: Box<dyn VideoEncoder>,
    resolution: Resolution,
    key_at: Option<Timestamp>,
    is_hardware: bool,
}

impl Rendition {
    /// Runs until the waker is stopped.
    pub(in crate::camera) fn run(mut self) {
        self.reporter.h264(|info| info.encoder = None);
        while !self.waker().is_stopped() {
            match self.work() {
                Work::Make(given) => self.make(given),
                Work::Decode => self.decode(),
                Work::Nothing => {
                    if self.shared.output.viewers() == 0 {
                        // The next viewer may find it mended.
                        self.reporter.h264(|info| info.error = None);
                    }
                    self.waker().wait(&[], None);
                }
            }
        }
    }

    fn waker(&self) -> &Waker {
        &self.shared.waker
    }

    fn work(&self) -> Work {
        if self.waker().is_stopped() {
            return Work::Nothing;
        }
        match self.shared.given() {
            GivenPictures::Nothing => Work::Nothing,
            GivenPictures::Video if self.takers() > 0 => Work::Decode,
            GivenPictures::Video => Work::Nothing,
            given if self.shared.output.viewers() > 0 => Work::Make(given),
            _ => Work::Nothing,
        }
    }

    /// Viewers of JPEG.
    pub(super) fn takers(&self) -> usize {
        crate::sync::lock(&self.publisher).subscribers().takers
    }

    /// Reports a failure, once for the same one.
    pub(super) fn failed(&self, why: String) {
        let mut is_new = false;
        self.reporter.h264(|info| {
            is_new = info.error.as_deref() != Some(&why);
            (info.encoder, info.error) = (None, Some(why.clone()));
        });
        if is_new {
            self.reporter.counters().h264_failures.add(1);
            warn!("camera {}: H.264: {why}", self.name);
        }
    }

    /// Reports what did not work, once for the same. Something else is tried, so viewers are not told.
    fn pass_over(&mut self, why: String) {
        self.reporter.counters().h264_failures.add(1);
        if self.passed_over.as_ref() != Some(&why) {
            warn!("camera {}: H.264: {why}", self.name);
            self.passed_over = Some(why);
        }
    }

    /// Waits before another attempt, for as long as there is the same to do.
    fn wait_after_failure(&self, is_wanted: impl Fn(&Self) -> bool) {
        let until = Timestamp::now().after(RETRY);
        while is_wanted(self) && Timestamp::now() < until {
            self.waker().wait(&[], Some(until));
        }
    }

    /// Copies the H.264 of a second node, or encodes the pictures of the source, until nobody takes H.264, or the source changes.
    fn make(&mut self, given: GivenPictures) {
        let mode = self.settings.mode;
        if !matches!(mode, H264Mode::Auto | H264Mode::Copy) {
            return self.encode(given);
        }
        match self.copy(given) {
            Ok(()) => {}
            Err(CopyError::Source(SourceError::NoH264)) if mode == H264Mode::Auto => self.encode(given),
            Err(error) if mode == H264Mode::Auto => {
                self.pass_over(error.to_string());
                self.encode(given);
            }
            Err(error) => {
                self.failed(error.to_string());
                self.wait_after_failure(|rendition| rendition.work() == Work::Make(given));
            }
        }
    }

    fn copy(&mut self, given: GivenPictures) -> Result<(), CopyError> {
        let Some(mut node) = self.node.take() else { return Err(SourceError::NoH264.into()) };
        let Self { name, shared, reporter, .. } = &*self;
        let copy = NodeCopy { name, output: &shared.output, reporter, waker: &shared.waker };
        let copied = copy.run(node.as_mut(), || self.work() == Work::Make(given));
        self.node = Some(node);
        copied
    }

    /// Encodes the pictures of a source until nobody takes H.264, or the source changes.
    fn encode(&mut self, given: GivenPictures) {
        let fps = match given {
            GivenPictures::Frames { fps } | GivenPictures::Unpacked { fps } if fps > 0.0 => fps,
            _ => self.fps,
        };
        let Some(mut pictures) = PictureSource::open(given, &self.frames, &self.shared.feed) else { return };
        let (mut open, mut hardware_failed) = (None, false);
        let is_wanted = |rendition: &Self| rendition.work() == Work::Make(given);
        let copied_at = self.shared.output.last_at();
        while is_wanted(self) {
            let Some(taken) = pictures.next(&self.reporter) else {
                self.waker().wait(&[], None);
                continue;
            };
            // Viewers are not shown an earlier moment again.
            if taken.captured_at <= copied_at && copied_at.since(taken.captured_at) < OLDER_THAN_COPIED {
                continue;
            }
            let result = match self.encoder_for(&mut open, taken.picture.resolution(), fps, hardware_failed) {
                Ok(encoder) => self.encode_picture(encoder, &taken.picture, taken.captured_at),
                Err(error) => Err(error.to_string()),
            };
            let Err(why) = result else { continue };
            let was_hardware = open.take().is_some_and(|open: RunningEncoder| open.is_hardware);
            self.shared.output.encoder_failed();
            if was_hardware && self.settings.mode == H264Mode::Auto {
                hardware_failed = true;
                self.pass_over(why);
            } else {
                self.failed(why);
                self.wait_after_failure(is_wanted);
            }
        }
        drop(open);
        // What the source gives meanwhile goes on.
        if self.shared.output.end(UnitOrigin::Encoded) {
            self.reporter.h264(|info| (info.encoder, info.bits_per_second) = (None, None));
        }
    }

    /// The encoder for pictures of this size, opened if there is none.
    fn encoder_for<'a>(
        &mut self,
        open: &'a mut Option<RunningEncoder>,
        resolution: Resolution,
        fps: f32,
        hardware_failed: bool,
    ) -> Result<&'a mut RunningEncoder, super::encoder::EncoderError> {
        if open.as_ref().is_none_or(|open| open.resolution != resolution) {
            // Before another is opened: some drivers have one instance.
            *open = None;
            let bits = self.settings.bit_rate(resolution, fps);
            let mode = match self.settings.mode {
                H264Mode::Auto if hardware_failed => H264Mode::Software,
                mode => mode,
            };
            let opened = super::choice::open_encoder(mode, resolution, fps, bits, &self.shared.waker)?;
            let OpenedEncoder { encoder, is_hardware, passed_over } = opened;
            if let Some(why) = passed_over {
                self.pass_over(why);
            }
            // Less than a byte for each pixel: a key frame of noise at the finest quantizer has half of that.
            if self.shared.output.begin(UnitOrigin::Encoded, fps, resolution.pixels() * 3 / 4 + 4096) {
                let (name, kbps) = (encoder.name(), bits / 1000);
                info!("camera {}: encodes H.264 of {resolution} with {name}, {kbps} kbit/s", self.name);
                self.reporter.h264(|info| {
                    (info.encoder, info.bits_per_second, info.error) = (Some(name), Some(bits), None);
                });
            }
            *open = Some(RunningEncoder { encoder, resolution, key_at: None, is_hardware });
        }
        Ok(open.as_mut().expect("it was opened above unless it was open"))
    }

    fn encode_picture(
        &self,
        open: &mut RunningEncoder,
        picture: &I420Picture<'_>,
        at: Timestamp,
    ) -> Result<(), String> {
        let output = &self.shared.output;
        let is_key = output.wants_key_frame(UnitOrigin::Encoded)
            || open.key_at.is_none_or(|key| at.since(key) >= LONGEST_GROUP);
        if is_key {
            output.key_frame_comes(UnitOrigin::Encoded);
            open.key_at = Some(at);
        }
        let started = Instant::now();
        let mut failed = None;
        let encoded = open.encoder.encode(picture, at, is_key, &mut |annex_b, at, _| {
            if annex_b.is_empty() {
                return output.lost(UnitOrigin::Encoded, 1);
            }
            match output.publish(UnitOrigin::Encoded, annex_b, at) {
                Ok(_) | Err(H264Error::NoPicture) => {}
                Err(error) => failed = Some(error.to_string()),
            }
        });
        self.reporter.counters().h264_encode.record(started.elapsed());
        encoded.map_err(|error| error.to_string())?;
        failed.map_or(Ok(()), Err)
    }

    #[cfg(not(feature = "h264"))]
    fn decode(&mut self) {
        self.failed(
            "the camera gives H.264 alone, and this build has no decoder for viewers of JPEG; use one with the feature h264"
                .into(),
        );
        self.wait_after_failure(|rendition| rendition.work() == Work::Decode);
    }

    /// Decodes access units until nobody takes JPEG, or the source changes.
    #[cfg(feature = "h264")]
    fn decode(&mut self) {
        let Ok(mut units) = self.units.subscribe() else { return };
        let mut decoder = super::decode::FrameDecoder::new(self.jpeg, Arc::clone(&self.publisher));
        self.shared.feed.want(true);
        self.reporter.h264(|info| info.is_decoded = true);
        let mut shows = false;
        while self.work() == Work::Decode {
            let Some(lease) = units.lease() else {
                self.waker().wait(&[], None);
                continue;
            };
            let is_current = || self.shared.given() == GivenPictures::Video;
            match decoder.decode(&lease, lease.unit().captured_at, self.reporter.counters(), is_current) {
                Ok(is_shown) => {
                    shows |= is_shown;
                    self.reporter.h264(|info| info.error = None);
                }
                Err(why) => {
                    self.failed(why);
                    // Once: what cannot be decoded at all is not asked for again and again.
                    if std::mem::take(&mut shows) {
                        self.shared.output.lost(UnitOrigin::Copied, 1);
                    }
                }
            }
        }
        self.shared.feed.want(false);
        self.reporter.h264(|info| info.is_decoded = false);
    }
}
