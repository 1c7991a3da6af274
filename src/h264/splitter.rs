//! Splits a byte stream (Annex B) that comes in pieces of any size into access units.
//!
//! The first NAL unit of the next one tells where a unit ends (ITU-T H.264, 7.4.1.2.3). So a unit is complete one picture late,
//! unless its source pauses ([`AccessUnitSplitter::finish`]). What a unit holds is checked where it is written.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

use memchr::memmem;

use super::nal::{NalKind, NalUnit};

/// The shorter of the two start codes; the other one is a zero and this.
const START: [u8; 3] = [0, 0, 1];
/// Bytes that tell whether a NAL unit begins an access unit: its start code, its header, the first byte of a slice header.
const HEAD_BYTES: usize = START.len() + 2;
/// Bytes of the buffer at least: any unit is longer than the head of one.
const MIN_BYTES: usize = 64;

/// Buffers a byte stream and returns its access units.
#[derive(Debug)]
pub struct AccessUnitSplitter {
    /// Allocated once. The bytes in `pending` have not been returned yet.
    buffer: Box<[u8]>,
    pending: Range<usize>,
    /// The position up to which the stream was searched for start codes.
    at: usize,
    /// The pending bytes begin with an access unit. Otherwise its start is searched for.
    in_unit: bool,
    /// There is a slice in this access unit, so the next of certain NAL units begins another.
    has_slice: bool,
}

/// The next piece of a byte stream.
#[derive(Debug, PartialEq, Eq)]
pub enum UnitPiece<'a> {
    /// An access unit, from its first start code on.
    Unit(&'a [u8]),
    /// An access unit that does not fit into the buffer was dropped. Until the next key frame pictures lack what they refer to.
    TooLarge,
    /// No complete access unit; read more.
    Incomplete,
}

impl AccessUnitSplitter {
    /// A splitter for access units of at most `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self {
            buffer: vec![0; bytes.max(MIN_BYTES)].into(),
            pending: 0..0,
            at: 0,
            in_unit: false,
            has_slice: false,
        }
    }

    /// Reads once. Returns the number of bytes read; 0 at the end of the stream.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        // Starting at the front whenever possible keeps the number of touched pages small.
        if self.pending.is_empty() || self.pending.end == self.buffer.len() {
            self.buffer.copy_within(self.pending.clone(), 0);
            self.at -= self.pending.start;
            self.pending = 0..self.pending.len();
        }
        let free = &mut self.buffer[self.pending.end..];
        let n = read(free)?.min(free.len());
        self.pending.end += n;
        Ok(n)
    }

    /// The next piece of the data read so far. After [`UnitPiece::Incomplete`] there is room to read more.
    pub fn next_piece(&mut self) -> UnitPiece<'_> {
        match self.next_range() {
            Some(unit) => UnitPiece::Unit(&self.buffer[unit]),
            None if self.pending.len() == self.buffer.len() => {
                // The last bytes may be the start of the next unit.
                (self.pending.start, self.in_unit, self.has_slice) = (self.at, false, false);
                UnitPiece::TooLarge
            }
            None => UnitPiece::Incomplete,
        }
    }

    /// The access unit that has begun, if it has a slice: at the end of the stream, or when a source that sends whole pictures at
    /// once pauses. If more of it comes after all, that is left out.
    pub fn finish(&mut self) -> Option<&[u8]> {
        if !self.in_unit || !self.has_slice {
            return None;
        }
        // Zeros at the end may be the start of a start code.
        let bytes = &self.buffer[self.pending.clone()];
        let unit = self.pending.start..self.pending.start + bytes.iter().rposition(|byte| *byte != 0)? + 1;
        (self.pending.start, self.at) = (unit.end, unit.end);
        (self.in_unit, self.has_slice) = (false, false);
        Some(&self.buffer[unit])
    }

    /// Drops the data read so far, for a stream that starts again.
    pub fn reset(&mut self) {
        (self.pending, self.at, self.in_unit, self.has_slice) = (0..0, 0, false, false);
    }

    /// Takes the next access unit of the data read so far.
    fn next_range(&mut self) -> Option<Range<usize>> {
        loop {
            let rest = &self.buffer[self.at..self.pending.end];
            let found = memmem::find(rest, &START);
            // The last two bytes may be the first two of a start code.
            let start = self.at + found.unwrap_or_else(|| rest.len().saturating_sub(START.len() - 1));
            let head = found.and_then(|_| self.buffer[..self.pending.end].get(start..start + HEAD_BYTES));
            let Some(head) = head else {
                self.at = start;
                if !self.in_unit {
                    self.pending.start = start;
                }
                return None;
            };
            let head = NalUnit::new(&head[START.len()..])?;
            let (begins, is_slice) = role(head);
            self.at = start + START.len();
            if self.in_unit && !(begins && self.has_slice) {
                self.has_slice |= is_slice;
                continue;
            }
            if begins {
                let unit = self.pending.start..start;
                let is_whole = std::mem::replace(&mut self.in_unit, true);
                (self.pending.start, self.has_slice) = (start, is_slice);
                if is_whole {
                    return Some(unit);
                }
            }
        }
    }
}

/// Whether a NAL unit begins an access unit if there is a slice before it, and whether it is a slice. Of a slice the first byte
/// behind the header is enough: its first bit is 1 where first_mb_in_slice is 0 (9.1).
fn role(head: NalUnit<'_>) -> (bool, bool) {
    let is_first_slice = head.bytes().get(1).is_some_and(|byte| byte & 0x80 != 0);
    match head.kind() {
        NalKind::Slice | NalKind::IdrSlice => (is_first_slice, true),
        // Only the first of a slice's three parts tells its macroblock.
        NalKind::SlicePartition => (is_first_slice && head.bytes()[0] & 0x1f == 2, true),
        NalKind::SequenceParameters | NalKind::PictureParameters | NalKind::Delimiter | NalKind::Sei => {
            (true, false)
        }
        NalKind::Other(14..=18) => (true, false),
        NalKind::Other(_) | NalKind::End | NalKind::Filler | NalKind::Damaged => (false, false),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::access_unit::{ParameterSets, write_access_unit};
    use super::*;

    const BASELINE: &[u8] = include_bytes!("samples/baseline.h264");
    const DELIMITED: &[u8] = include_bytes!("samples/high-delimited.h264");
    const SLICES: &[u8] = include_bytes!("samples/slices.h264");

    /// The access units of a stream that comes in chunks of this size; the last one by `finish`.
    fn split(stream: &[u8], chunk: usize, most: usize) -> (Vec<Vec<u8>>, usize) {
        let mut splitter = AccessUnitSplitter::new(most);
        let (mut units, mut dropped, mut rest) = (Vec::new(), 0, stream);
        while !rest.is_empty() {
            splitter
                .fill(|free| {
                    let n = chunk.min(rest.len()).min(free.len());
                    assert!(n > 0, "no room after Incomplete");
                    free[..n].copy_from_slice(&rest[..n]);
                    rest = &rest[n..];
                    Ok(n)
                })
                .unwrap();
            loop {
                match splitter.next_piece() {
                    UnitPiece::Unit(unit) => units.push(unit.to_vec()),
                    UnitPiece::TooLarge => dropped += 1,
                    UnitPiece::Incomplete => break,
                }
            }
        }
        units.extend(splitter.finish().map(<[u8]>::to_vec));
        (units, dropped)
    }

    #[test]
    fn chunks_of_any_size_give_the_same_access_units() {
        for (stream, count) in [(BASELINE, 8), (DELIMITED, 6), (SLICES, 5)] {
            let (whole, _) = split(stream, stream.len(), 10_000);
            assert_eq!(whole.len(), count);
            // All but the first zero, which is no part of a start code of three bytes.
            assert!(whole.concat() == stream[1..]);
            let mut sets = ParameterSets::default();
            for unit in &whole {
                let written = write_access_unit(unit, &mut vec![0; 10_000], &mut sets).unwrap();
                assert_eq!(written.is_key, unit.windows(4).any(|four| four == [0, 0, 1, 0x65]));
            }
            for chunk in 1..100 {
                let (units, dropped) = split(stream, chunk, 10_000);
                assert!(units == whole && dropped == 0, "chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_stream_that_is_joined_in_the_middle_begins_with_the_next_access_unit() {
        let (whole, _) = split(SLICES, SLICES.len(), 10_000);
        for cut in 1..whole[0].len() {
            let (units, _) = split(&SLICES[cut..], 50, 10_000);
            assert!(units.ends_with(&whole[1..]), "cut at {cut}");
            // What is left of the first one begins at a parameter set or message, not in the middle of its slices.
            assert!(units.len() <= whole.len());
        }
    }

    #[test]
    fn an_access_unit_that_is_too_large_is_left_out_and_no_other() {
        let (whole, _) = split(SLICES, SLICES.len(), 10_000);
        // The key frame has 2.8 kB, the others less than 700 bytes.
        for chunk in [1, 7, 100, 5000] {
            let (units, dropped) = split(SLICES, chunk, 800);
            assert!(units == whole[1..], "chunks of {chunk}");
            assert!(dropped > 0);
        }
    }

    #[test]
    fn a_pause_ends_an_access_unit_and_the_rest_of_the_stream_follows() {
        let (whole, _) = split(BASELINE, BASELINE.len(), 10_000);
        let mut splitter = AccessUnitSplitter::new(10_000);
        assert_eq!(splitter.finish(), None);
        for unit in &whole {
            let push = |free: &mut [u8]| {
                free[..unit.len()].copy_from_slice(unit);
                Ok(unit.len())
            };
            splitter.fill(push).unwrap();
            assert_eq!(splitter.next_piece(), UnitPiece::Incomplete);
            let finished = splitter.finish().unwrap();
            // The zero of the start code that follows.
            assert_eq!(finished, unit.strip_suffix(&[0]).unwrap_or(unit));
            assert_eq!(splitter.finish(), None);
        }
    }

    #[test]
    fn other_bytes_give_nothing_and_take_no_more_than_the_buffer() {
        let noise: Vec<u8> =
            (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 1).collect();
        assert_eq!(split(&noise, 1000, 2000), (Vec::new(), 0));
        assert_eq!(split(&[0; 100_000], 1000, 2000), (Vec::new(), 0));
    }

    #[test]
    fn a_stream_that_starts_again_has_nothing_of_the_one_before() {
        let mut splitter = AccessUnitSplitter::new(10_000);
        splitter.fill(|free| (&BASELINE[..300]).read(free)).unwrap();
        splitter.reset();
        assert_eq!(splitter.next_piece(), UnitPiece::Incomplete);
        assert_eq!(splitter.finish(), None);
    }
}
