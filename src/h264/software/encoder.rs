//! Encodes the pictures of a camera as they come: no picture waits for another, and one that would be late or too large is skipped.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::super::picture::I420Picture;
use super::complexity::{ComplexityControl, EncodingComplexity};
use super::encoder_library::{EncoderParameters, LibraryEncoder, PictureFate};
use super::error::SoftwareCodecError;
use crate::frame::{Resolution, Timestamp};

/// The longest group of pictures. A viewer that cannot ask for a key frame, like a recorder, waits for this long.
const LONGEST_GROUP: Duration = Duration::from_secs(2);
/// What the library encodes at most, in either direction (level 5.2).
const MOST: Resolution = Resolution::new(3840, 2160);
const LEAST_SIDE: u16 = 16;
/// Slices, each with a thread of its own. More cost bits and gain little.
const MOST_SLICES: usize = 4;
/// Pixels for each slice: the work of a smaller one is done before another thread has woken up.
const PIXELS_PER_SLICE: usize = 160_000;
/// Pictures a second that the library's control of the bit rate takes.
const FRAME_RATES: std::ops::RangeInclusive<f32> = 1.0..=60.0;
/// Bits a second at which the smallest pictures can be told apart.
const LEAST_BITS_PER_SECOND: u32 = 16_000;

/// Quantizers that the library takes.
const LEAST_QUANTIZER: u8 = 12;
const MOST_QUANTIZER: u8 = 51;
/// Added to the finest quantizer after a picture with more detail than the library has room for, and how often.
const COARSER_BY: u8 = 10;
const COARSER_AT_MOST: u8 = 20;
/// Time for which it stays so.
const COARSER_FOR: Duration = Duration::from_secs(10);

/// What is encoded, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftwareEncoderSettings {
    /// Pictures a second that are expected.
    pub frame_rate: f32,
    /// Bits a second at most, in the mean over a second or two. A scene that needs less gets less.
    pub bits_per_second: u32,
    /// The finest quantizer, 12 to 51: pictures that are this good get no more bits. 24 is hard to tell from the original.
    pub finest_quantizer: u8,
    /// The coarsest quantizer. Where it takes more bits than there are, pictures are skipped.
    pub coarsest_quantizer: u8,
}

impl Default for SoftwareEncoderSettings {
    fn default() -> Self {
        Self { frame_rate: 30.0, bits_per_second: 2_000_000, finest_quantizer: 22, coarsest_quantizer: 44 }
    }
}

/// A picture that was encoded.
#[derive(Clone, Copy, Debug)]
pub struct EncodedUnit<'a> {
    /// The access unit as a byte stream. A key frame has its parameter sets.
    pub annex_b: &'a [u8],
    /// Whether a decoder can start here.
    pub is_key: bool,
}

/// Encodes pictures of any size; opened with the first of them.
pub struct SoftwareEncoder {
    settings: SoftwareEncoderSettings,
    /// For pictures of this size.
    open: Option<(Resolution, LibraryEncoder)>,
    control: ComplexityControl,
    /// When the newest key frame was captured.
    key_at: Option<Timestamp>,
    key_wanted: bool,
    /// The byte stream of the newest picture.
    unit: Vec<u8>,
    skipped: u64,
    /// Added to the finest quantizer, and since when.
    coarser: (u8, Timestamp),
}

impl SoftwareEncoder {
    /// An encoder that opens the library's with the first picture.
    pub fn new(settings: SoftwareEncoderSettings) -> Self {
        Self {
            settings: within_limits(settings),
            open: None,
            control: ComplexityControl::default(),
            key_at: None,
            key_wanted: true,
            unit: Vec::new(),
            skipped: 0,
            coarser: (0, Timestamp::default()),
        }
    }

    /// Encodes a picture. An odd column or row at the end is left out. `None` if the picture was skipped to keep the bit rate.
    ///
    /// # Errors
    /// If it is too large or too small, or the library fails. The next picture is then encoded as a key frame by a new encoder.
    pub fn encode(
        &mut self,
        picture: &I420Picture<'_>,
        captured_at: Timestamp,
    ) -> Result<Option<EncodedUnit<'_>>, SoftwareCodecError> {
        let began = Instant::now();
        let size = encodable(picture.resolution())?;
        let is_due = self.key_at.is_none_or(|at| captured_at.since(at) >= LONGEST_GROUP || captured_at < at);
        self.key_wanted |= is_due;
        if self.key_wanted && self.coarser.0 > 0 && captured_at.since(self.coarser.1) >= COARSER_FOR {
            (self.open, self.coarser) = (None, (self.coarser.0 - COARSER_BY, captured_at));
        }
        let fate = loop {
            self.unit.clear();
            match self.encode_with_library(picture, size, captured_at) {
                Ok(fate) => break fate,
                Err(error) => {
                    // An encoder that failed is in an unknown state.
                    (self.open, self.key_wanted) = (None, true);
                    if self.coarser.0 >= COARSER_AT_MOST
                        || !matches!(error, SoftwareCodecError::Encode { .. })
                    {
                        return Err(error);
                    }
                    self.coarser = (self.coarser.0 + COARSER_BY, captured_at);
                }
            }
        };
        self.adapt(began.elapsed());
        match fate {
            PictureFate::Skipped => {
                self.skipped += 1;
                return Ok(None);
            }
            PictureFate::Key => (self.key_at, self.key_wanted) = (Some(captured_at), false),
            PictureFate::Other => {}
        }
        Ok(Some(EncodedUnit { annex_b: &self.unit, is_key: fate == PictureFate::Key }))
    }

    fn encode_with_library(
        &mut self,
        picture: &I420Picture<'_>,
        size: Resolution,
        captured_at: Timestamp,
    ) -> Result<PictureFate, SoftwareCodecError> {
        if self.open.as_ref().is_none_or(|(opened, _)| *opened != size) {
            self.open = None;
            self.open = Some((size, self.open_library(size)?));
            self.key_wanted = true;
        }
        let failed = |code| SoftwareCodecError::Encode { code: i64::from(code) };
        let Some((_, library)) = &mut self.open else { return Err(failed(0)) };
        if self.key_wanted {
            library.force_key_frame().map_err(failed)?;
        }
        let milliseconds = i64::try_from(captured_at.0 / 1000).unwrap_or(i64::MAX);
        library.encode(picture, size, milliseconds, &mut self.unit).map_err(failed)
    }

    fn open_library(&self, resolution: Resolution) -> Result<LibraryEncoder, SoftwareCodecError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let slices = processors.min(MOST_SLICES).min(resolution.pixels() / PIXELS_PER_SLICE).max(1);
        let SoftwareEncoderSettings { frame_rate, bits_per_second, finest_quantizer, coarsest_quantizer } =
            self.settings;
        let parameters = EncoderParameters {
            resolution,
            frame_rate,
            bits_per_second,
            finest_quantizer: (finest_quantizer + self.coarser.0).min(MOST_QUANTIZER),
            coarsest_quantizer: coarsest_quantizer.max(finest_quantizer + self.coarser.0).min(MOST_QUANTIZER),
            slices: slices as u16,
            complexity: self.control.level(),
        };
        LibraryEncoder::open(&parameters)
            .map_err(|code| SoftwareCodecError::Open { what: "encoder", code: i64::from(code) })
    }

    /// Changes the complexity if pictures take too much of their time, or little.
    fn adapt(&mut self, took: Duration) {
        let time = Duration::from_secs_f32(1.0 / self.settings.frame_rate);
        if let (Some(complexity), Some((_, library))) = (self.control.note(took, time), &mut self.open) {
            // It refuses no level; if it did, the level before would go on.
            let _ = library.set_complexity(complexity);
        }
    }

    /// The next picture that is not skipped becomes a key frame.
    pub fn request_key_frame(&mut self) {
        self.key_wanted = true;
    }

    /// Changes the bit rate from the next picture on, without a key frame.
    pub fn set_bits_per_second(&mut self, bits_per_second: u32) {
        self.settings = within_limits(SoftwareEncoderSettings { bits_per_second, ..self.settings });
        if let Some((_, library)) = &mut self.open
            && library.set_bits_per_second(self.settings.bits_per_second).is_err()
        {
            // Another encoder takes it.
            self.open = None;
        }
    }

    /// Tells how many pictures a second come, if it has changed.
    pub fn set_frame_rate(&mut self, frame_rate: f32) {
        self.settings = within_limits(SoftwareEncoderSettings { frame_rate, ..self.settings });
        if let Some((_, library)) = &mut self.open
            && library.set_frame_rate(self.settings.frame_rate).is_err()
        {
            self.open = None;
        }
    }

    /// Begins again from this complexity; time taken decides from there on.
    pub fn set_complexity(&mut self, complexity: EncodingComplexity) {
        self.control = ComplexityControl::from(complexity);
        if let Some((_, library)) = &mut self.open {
            let _ = library.set_complexity(complexity);
        }
    }

    /// What it is set to.
    pub fn settings(&self) -> SoftwareEncoderSettings {
        self.settings
    }

    /// How much work goes into a picture now.
    pub fn complexity(&self) -> EncodingComplexity {
        self.control.level()
    }

    /// Pictures skipped to keep the bit rate.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// The size that is encoded of a picture: both sides even, as 4:2:0 needs.
fn encodable(found: Resolution) -> Result<Resolution, SoftwareCodecError> {
    let (long, short) = (found.width.max(found.height), found.width.min(found.height));
    if long > MOST.width || short > MOST.height {
        return Err(SoftwareCodecError::TooManyPixels { found, most: MOST });
    }
    if short < LEAST_SIDE {
        return Err(SoftwareCodecError::TooFewPixels { found });
    }
    Ok(Resolution::new(found.width & !1, found.height & !1))
}

fn within_limits(settings: SoftwareEncoderSettings) -> SoftwareEncoderSettings {
    let (slowest, fastest) = FRAME_RATES.into_inner();
    let finest_quantizer = settings.finest_quantizer.clamp(LEAST_QUANTIZER, MOST_QUANTIZER);
    SoftwareEncoderSettings {
        // A rate that is no number becomes the slowest.
        frame_rate: settings.frame_rate.max(slowest).min(fastest),
        bits_per_second: settings.bits_per_second.max(LEAST_BITS_PER_SECOND),
        finest_quantizer,
        coarsest_quantizer: settings.coarsest_quantizer.clamp(finest_quantizer, MOST_QUANTIZER),
    }
}
