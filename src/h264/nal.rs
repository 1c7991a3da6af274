//! NAL units: their kinds (ITU-T H.264, table 7-1), and the two ways in which they follow each other: behind their lengths, or
//! behind start codes.
#![forbid(unsafe_code)]

use memchr::memmem;

use super::bits::BitReader;

/// Bytes of the length before each NAL unit of the stored form.
pub const LENGTH_BYTES: usize = 4;

/// What stands in a byte stream in the place of a length.
pub const START_CODE: [u8; LENGTH_BYTES] = [0, 0, 0, 1];

/// The start code without the zero that may stand before it (Annex B, B.1.2).
const SHORT_START_CODE: [u8; 3] = [0, 0, 1];

/// Types of slices (table 7-6). Those above say that all slices of the picture are of the type five less.
const SLICE_TYPES: u32 = 5;
const B_SLICE: u32 = 1;

/// What a NAL unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalKind {
    /// A slice of a picture that refers to others, or may.
    Slice,
    /// A part of such a slice, from an encoder that sends it in three (data partitioning).
    SlicePartition,
    /// A slice of a key frame.
    IdrSlice,
    /// Supplemental enhancement information: messages about the picture.
    Sei,
    /// Sequence parameter set.
    SequenceParameters,
    /// Picture parameter set.
    PictureParameters,
    /// Access unit delimiter.
    Delimiter,
    /// End of sequence, or of the stream.
    End,
    /// Bytes that keep a bit rate constant.
    Filler,
    /// Its forbidden bit is set: it was damaged on the way.
    Damaged,
    /// Another type. Decoders ignore those that they do not know.
    Other(u8),
}

/// A NAL unit without start code or length. It has at least its header byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NalUnit<'a> {
    header: u8,
    bytes: &'a [u8],
}

/// How a slice begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SliceStart {
    /// The first macroblock; 0 in the first slice of a picture.
    pub(super) first_macroblock: u32,
    /// Whether it may refer to pictures that are shown later (B).
    pub(super) is_bidirectional: bool,
    /// The number of the picture parameter set.
    pub(super) picture_parameters: u32,
}

impl<'a> NalUnit<'a> {
    /// The NAL unit in these bytes; `None` if there are none.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { header: *bytes.first()?, bytes })
    }

    /// All its bytes, the header first.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// What it is.
    pub fn kind(self) -> NalKind {
        if self.header & 0x80 != 0 {
            return NalKind::Damaged;
        }
        match self.header & 0x1f {
            1 => NalKind::Slice,
            2..=4 => NalKind::SlicePartition,
            5 => NalKind::IdrSlice,
            6 => NalKind::Sei,
            7 => NalKind::SequenceParameters,
            8 => NalKind::PictureParameters,
            9 => NalKind::Delimiter,
            10 | 11 => NalKind::End,
            12 => NalKind::Filler,
            other => NalKind::Other(other),
        }
    }

    /// How it begins, if it begins a slice.
    pub(super) fn slice_start(self) -> Option<SliceStart> {
        // The parts B and C of a slice begin differently.
        if !matches!(self.header & 0x9f, 1 | 2 | 5) {
            return None;
        }
        let mut bits = self.content();
        let first_macroblock = bits.unsigned()?;
        let is_bidirectional = bits.unsigned()? % SLICE_TYPES == B_SLICE;
        Some(SliceStart { first_macroblock, is_bidirectional, picture_parameters: bits.unsigned()? })
    }

    /// What follows the header.
    pub(super) fn content(self) -> BitReader<'a> {
        BitReader::new(self.bytes.get(1..).unwrap_or_default())
    }
}

/// The NAL units of an access unit in the stored form. It ends at the first length that is not true.
#[derive(Clone, Debug)]
pub struct NalUnits<'a> {
    rest: &'a [u8],
}

impl<'a> NalUnits<'a> {
    /// The NAL units of an access unit in the stored form.
    pub fn new(stored: &'a [u8]) -> Self {
        Self { rest: stored }
    }
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = NalUnit<'a>;

    fn next(&mut self) -> Option<NalUnit<'a>> {
        let (length, rest) = std::mem::take(&mut self.rest).split_first_chunk::<LENGTH_BYTES>()?;
        let (unit, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let unit = NalUnit::new(unit)?;
        self.rest = rest;
        Some(unit)
    }
}

/// The NAL units of a byte stream that is here as a whole (Annex B). What stands before the first start code is left out.
#[derive(Clone, Debug)]
pub struct AnnexB<'a> {
    /// From behind a start code on; empty at the end.
    rest: &'a [u8],
}

impl<'a> AnnexB<'a> {
    /// The NAL units of this byte stream.
    pub fn new(stream: &'a [u8]) -> Self {
        Self { rest: after_start_code(stream).1 }
    }
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = NalUnit<'a>;

    fn next(&mut self) -> Option<NalUnit<'a>> {
        while !self.rest.is_empty() {
            let (unit, rest) = after_start_code(self.rest);
            self.rest = rest;
            // Nothing follows a start code, or zeros only: no NAL unit.
            if let Some(unit) = NalUnit::new(without_trailing_zeros(unit)) {
                return Some(unit);
            }
        }
        None
    }
}

/// Whether a stream that begins with these bytes is H.264. `None` if they are too few to tell.
///
/// It begins with zeros and a start code, then with what may come first in an access unit. A JPEG begins with `ff d8`.
pub fn begins_byte_stream(bytes: &[u8]) -> Option<bool> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let Some([one, header]) = bytes.get(zeros..zeros + 2) else {
        return if bytes.get(zeros).is_some_and(|byte| *byte != 1) { Some(false) } else { None };
    };
    let kind = NalUnit { header: *header, bytes: &[] }.kind();
    let may_be_first = matches!(
        kind,
        NalKind::Delimiter
            | NalKind::SequenceParameters
            | NalKind::PictureParameters
            | NalKind::Sei
            | NalKind::IdrSlice
            | NalKind::Slice
    );
    Some(zeros >= 2 && *one == 1 && may_be_first)
}

/// What stands before the first start code, and what behind it.
fn after_start_code(stream: &[u8]) -> (&[u8], &[u8]) {
    match memmem::find(stream, &SHORT_START_CODE) {
        Some(at) => (&stream[..at], &stream[at + SHORT_START_CODE.len()..]),
        None => (stream, &[]),
    }
}

/// A NAL unit does not end with zeros (7.4.1): they belong to the next start code, or fill up the stream.
fn without_trailing_zeros(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &unit[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(stream: &[u8]) -> Vec<&[u8]> {
        AnnexB::new(stream).map(NalUnit::bytes).collect()
    }

    fn stored(units: &[&[u8]]) -> Vec<u8> {
        let length = |unit: &[u8]| (unit.len() as u32).to_be_bytes();
        units.iter().flat_map(|unit| [&length(unit), *unit].concat()).collect()
    }

    #[test]
    fn a_byte_stream_is_split_at_start_codes_of_three_and_four_bytes() {
        assert_eq!(units(&[0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2]), [[0x67, 1], [0x68, 2]]);
        assert_eq!(units(&[0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2]), [[0x67, 1], [0x68, 2]]);
    }

    #[test]
    fn zeros_around_nal_units_are_no_part_of_them() {
        assert_eq!(
            units(&[0, 0, 0, 0, 0, 1, 0x65, 7, 0, 0, 0, 0, 0, 1, 0x41, 0, 0, 3, 0, 0]),
            [&[0x65, 7][..], &[0x41, 0, 0, 3]]
        );
    }

    #[test]
    fn what_comes_before_the_first_start_code_is_left_out() {
        assert_eq!(units(&[9, 9, 0, 0, 1, 0x65, 7]), [[0x65, 7]]);
        let nothing: [&[u8]; 0] = [];
        for stream in [&[][..], &[0], &[0, 0, 0], &[0, 0, 1], &[0x65, 1, 2], &[0, 0, 1, 0, 0, 1, 0, 0, 0]] {
            assert_eq!(units(stream), nothing, "{stream:?}");
        }
    }

    #[test]
    fn the_stored_form_ends_where_a_length_is_not_true() {
        let whole = stored(&[&[0x67, 1, 2], &[0x65]]);
        let read = |bytes: &[u8]| NalUnits::new(bytes).map(|unit| unit.bytes().len()).collect::<Vec<_>>();
        assert_eq!(read(&whole), [3, 1]);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).len() <= 1, "cut at {cut}");
        }
        assert_eq!(read(&[&whole[..], &[0, 0, 0, 0, 0, 0, 0, 1, 0x65]].concat()), [3, 1], "an empty unit");
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x65]), [0; 0]);
    }

    #[test]
    fn kinds_are_those_of_table_7_1() {
        let kind = |byte| NalUnit::new(&[byte]).unwrap().kind();
        assert_eq!(
            [0x67, 0x68, 0x65, 0x41].map(kind),
            [NalKind::SequenceParameters, NalKind::PictureParameters, NalKind::IdrSlice, NalKind::Slice]
        );
        assert_eq!(
            [9, 10, 11, 12].map(kind),
            [NalKind::Delimiter, NalKind::End, NalKind::End, NalKind::Filler]
        );
        assert_eq!(
            [6, 2, 3, 20, 0xe7].map(kind),
            [
                NalKind::Sei,
                NalKind::SlicePartition,
                NalKind::SlicePartition,
                NalKind::Other(20),
                NalKind::Damaged
            ]
        );
    }

    #[test]
    fn byte_streams_are_told_from_jpegs() {
        for start in [&[0, 0, 0, 1, 0x67][..], &[0, 0, 1, 9, 0x10], &[0, 0, 0, 0, 1, 0x27]] {
            assert_eq!(begins_byte_stream(start), Some(true), "{start:?}");
        }
        for start in
            [&b"\xff\xd8\xff"[..], b"--boundary", b"\xff", &[0, 0, 2], &[0, 1, 0x67], &[0, 0, 1, 0xe7]]
        {
            assert_eq!(begins_byte_stream(start), Some(false), "{start:?}");
        }
        for start in [&[][..], &[0, 0], &[0, 0, 0, 1]] {
            assert_eq!(begins_byte_stream(start), None, "{start:?}");
        }
    }

    #[test]
    fn slices_tell_how_they_begin() {
        let starts = |stream| AnnexB::new(stream).filter_map(NalUnit::slice_start).collect::<Vec<_>>();
        // A first slice has macroblock 0; the picture has 6 by 4 macroblocks in three slices.
        let slices = starts(include_bytes!("samples/slices.h264"));
        let first: Vec<u32> = slices.iter().map(|slice| slice.first_macroblock).collect();
        assert_eq!(first[..6], [0, 6, 18, 0, 6, 18]);
        assert!(slices.iter().all(|slice| slice.picture_parameters == 0));
        assert_eq!(NalUnit::new(&[0x65]).unwrap().slice_start(), None, "cut short");
    }
}
