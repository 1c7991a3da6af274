//! Decodes the access units of a camera that sends nothing but H.264.
//!
//! What is damaged costs the pictures up to the next key frame, and no more: the library's decoder is opened again there.
#![forbid(unsafe_code)]

use super::super::nal::{NalKind, NalUnits, START_CODE};
use super::super::picture::I420Picture;
use super::super::sps::SequenceParameters;
use super::decoder_library::LibraryDecoder;
use super::error::SoftwareCodecError;
use crate::frame::Resolution;

/// What is decoded at most, in either direction.
const MOST: Resolution = Resolution::new(3840, 2160);
/// Bytes of an access unit. A key frame of 3840x2160 with hardly a loss has 4 MB.
const MOST_UNIT_BYTES: usize = 8 << 20;
/// Bytes of the pictures that the decoder keeps. 16 of 1920x1080 fit, and what a camera refers to takes 10 to 20 MB. A stream that
/// claims more would take the memory of a small board.
const MOST_PICTURE_BYTES: usize = 64 << 20;
/// Pictures that the library keeps beside those that are referred to.
const PICTURES_BESIDE: usize = 2;

/// Decodes access units one after the other.
#[derive(Default)]
pub struct SoftwareDecoder {
    /// `None` before the first key frame, and after an error.
    open: Option<LibraryDecoder>,
    /// The access unit as a byte stream.
    annex_b: Vec<u8>,
    /// The sequence parameters of the stream. With others another decoder is opened: the library's may keep pictures of the old
    /// size.
    sequence: Option<SequenceParameters>,
    /// There are pictures that come before others which are shown before them. Cameras send none.
    is_reordered: bool,
}

impl SoftwareDecoder {
    /// A decoder that waits for the first key frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes an access unit in the stored form. `None` before the first key frame, between an error and the next key frame, and
    /// where a stream sends a picture before others that are shown before it.
    ///
    /// # Errors
    /// If it is damaged, or more than can be decoded here.
    pub fn decode(&mut self, stored: &[u8]) -> Result<Option<I420Picture<'_>>, SoftwareCodecError> {
        let checked = self.prepare(stored);
        let is_key = checked.inspect_err(|_| self.open = None)?;
        if self.open.is_none() && !is_key {
            return Ok(None);
        }
        if self.open.is_none() {
            let failed = |code| SoftwareCodecError::Open { what: "decoder", code };
            self.open = Some(LibraryDecoder::open().map_err(failed)?);
        }
        let decoded =
            self.open.as_mut().map_or(Ok(()), |decoder| decoder.decode(&self.annex_b, !self.is_reordered));
        // With an error it stays closed until the next key frame.
        decoded.map_err(|code| SoftwareCodecError::Decode { code }).inspect_err(|_| self.open = None)?;
        Ok(self.open.as_ref().and_then(LibraryDecoder::picture))
    }

    /// Whether it shows pictures, or waits for a key frame.
    pub fn needs_key_frame(&self) -> bool {
        self.open.is_none()
    }

    /// Writes the access unit as a byte stream; returns whether it is a key frame.
    fn prepare(&mut self, stored: &[u8]) -> Result<bool, SoftwareCodecError> {
        if stored.len() > MOST_UNIT_BYTES {
            return Err(SoftwareCodecError::UnitTooLarge { bytes: stored.len(), most: MOST_UNIT_BYTES });
        }
        self.annex_b.clear();
        let (mut is_key, mut is_told) = (false, false);
        for unit in NalUnits::new(stored) {
            match unit.kind() {
                // The first is that of the picture.
                NalKind::SequenceParameters if !is_told => {
                    self.follow(SequenceParameters::parse(unit)?)?;
                    is_told = true;
                }
                NalKind::IdrSlice => is_key = true,
                _ => self.is_reordered |= unit.slice_start().is_some_and(|slice| slice.is_bidirectional),
            }
            self.annex_b.extend_from_slice(&START_CODE);
            self.annex_b.extend_from_slice(unit.bytes());
        }
        Ok(is_key)
    }

    /// Notes the sequence parameters.
    fn follow(&mut self, sps: SequenceParameters) -> Result<(), SoftwareCodecError> {
        check(&sps)?;
        if self.sequence != Some(sps) {
            (self.open, self.sequence, self.is_reordered) = (None, Some(sps), false);
        }
        Ok(())
    }
}

/// Whether the library decodes such a stream, and with how much memory.
fn check(sps: &SequenceParameters) -> Result<(), SoftwareCodecError> {
    let found = sps.coded;
    // Coded pictures are up to 15 pixels larger than those that are shown.
    let (long, short) = (found.width.max(found.height), found.width.min(found.height));
    if long > MOST.width || short > MOST.height.next_multiple_of(16) {
        return Err(SoftwareCodecError::TooManyPixels { found: sps.resolution, most: MOST });
    }
    let what = match () {
        () if sps.interlaced => "with interlaced pictures",
        () if sps.chroma_format != 1 => "that is not 4:2:0",
        () if sps.luma_bits != 8 || sps.chroma_bits != 8 => "with more than 8 bits",
        () => "",
    };
    if !what.is_empty() {
        return Err(SoftwareCodecError::Unsupported { what });
    }
    let pictures =
        usize::try_from(sps.reference_frames).unwrap_or(usize::MAX).saturating_add(PICTURES_BESIDE);
    if pictures.saturating_mul(found.pixels() * 3 / 2) > MOST_PICTURE_BYTES {
        let (frames, size) = (sps.reference_frames, sps.resolution);
        return Err(SoftwareCodecError::TooManyReferences { frames, size });
    }
    Ok(())
}
