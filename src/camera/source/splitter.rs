//! Splits a byte stream into JPEGs.
//!
//! The splitter follows marker segments by their lengths, so a thumbnail in a header is not taken for the end of a picture.
//! [`crate::jpeg::inspect`] checks later whether a piece is a valid JPEG; here a damaged one ends where the next begins.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

use memchr::{memchr, memmem};

/// What every JPEG begins with: SOI and the first byte of the next marker.
pub(super) const SOI: [u8; 3] = [0xff, 0xd8, 0xff];

/// Buffers a stream and returns its JPEGs.
pub struct Splitter {
    /// Allocated once. The bytes in `pending` have not been returned yet.
    buffer: Box<[u8]>,
    pending: Range<usize>,
    /// The position up to which the stream was searched for a picture.
    at: usize,
    /// The search for the end of the picture that begins with the pending bytes; `None` between pictures.
    end: Option<EndSearch>,
}

/// The next piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A JPEG: from SOI to EOI, or to where the next picture begins.
    Picture(&'a [u8]),
    /// A picture that does not fit into the buffer was dropped.
    TooLarge,
    /// No complete picture; read more.
    Incomplete,
}

impl Splitter {
    /// A splitter for pictures of at most `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes].into(), pending: 0..0, at: 0, end: None }
    }

    /// Reads once. Returns the number of bytes read; 0 at the end of the stream.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        // Starting at the front whenever possible keeps the number of touched pages small.
        if self.pending.is_empty() || self.pending.end == self.buffer.len() {
            self.buffer.copy_within(self.pending.clone(), 0);
            self.at -= self.pending.start;
            self.pending = 0..self.pending.len();
        }
        let n = read(&mut self.buffer[self.pending.end..])?;
        self.pending.end += n;
        Ok(n)
    }

    /// The next piece of the data read so far. After [`Piece::Incomplete`] there is room to read more.
    pub fn next_piece(&mut self) -> Piece<'_> {
        match self.next_range() {
            Some(picture) => Piece::Picture(&self.buffer[picture]),
            None if self.pending.len() == self.buffer.len() => {
                self.reset();
                Piece::TooLarge
            }
            None => Piece::Incomplete,
        }
    }

    /// The newest piece of the data read so far, and the number of pictures before it, which are left out.
    pub fn newest_piece(&mut self) -> (Piece<'_>, u32) {
        let Some(mut newest) = self.next_range() else { return (self.next_piece(), 0) };
        let mut skipped = 0;
        while let Some(newer) = self.next_range() {
            (newest, skipped) = (newer, skipped + 1);
        }
        (Piece::Picture(&self.buffer[newest]), skipped)
    }

    /// Whether a picture has begun that has not been returned.
    pub(super) fn is_in_picture(&self) -> bool {
        self.end.is_some()
    }

    /// Takes the next picture of the data read so far.
    fn next_range(&mut self) -> Option<Range<usize>> {
        let end = self.parse()?;
        let picture = self.pending.start..end;
        (self.pending.start, self.at) = (end, end);
        Some(picture)
    }

    /// Drops the data read so far, for a stream that starts again.
    pub fn reset(&mut self) {
        (self.pending, self.at, self.end) = (0..0, 0, None);
    }

    /// Parses the data read so far. Returns the end of the picture once it is found.
    fn parse(&mut self) -> Option<usize> {
        loop {
            if let Some(search) = &mut self.end {
                let end = search.find(&self.buffer[self.pending.clone()])?;
                self.end = None;
                return Some(self.pending.start + end);
            }
            let rest = &self.buffer[self.at..self.pending.end];
            let Some(start) = memmem::find(rest, &SOI) else {
                // The last two bytes may be the first two of an SOI.
                self.at += rest.len().saturating_sub(SOI.len() - 1);
                self.pending.start = self.at;
                return None;
            };
            self.at += start;
            self.pending.start = self.at;
            self.end = Some(EndSearch::default());
        }
    }
}

/// The search for the end of a JPEG, which goes on where it stopped when there is more data.
#[derive(Debug)]
pub(super) struct EndSearch {
    /// The position up to which the JPEG was parsed.
    at: usize,
    /// It is in entropy-coded data, not between two marker segments.
    in_scan: bool,
}

impl Default for EndSearch {
    fn default() -> Self {
        // Behind the SOI.
        Self { at: 2, in_scan: false }
    }
}

impl EndSearch {
    /// The end of the JPEG that `data` begins with, once it is found. `data` is that of the call before, with more behind it.
    pub(super) fn find(&mut self, data: &[u8]) -> Option<usize> {
        loop {
            let rest = data.get(self.at..)?;
            if self.in_scan {
                let Some(skip) = memchr(0xff, rest) else {
                    self.at = data.len();
                    return None;
                };
                self.at += skip;
                match rest.get(skip + 1)? {
                    0x00 | 0xd0..=0xd7 => self.at += 2,
                    _ => self.in_scan = false,
                }
                continue;
            }
            match *rest {
                [0xff, 0xff, ..] => self.at += 1,
                [0xff, 0xd9, ..] => return Some(self.at + 2),
                // A new picture: the one before ends here.
                [0xff, 0xd8, ..] => return Some(self.at),
                [0xff, code, high, low, ..] => {
                    let next = self.at + 2 + usize::from(u16::from_be_bytes([high, low]));
                    if next > data.len() {
                        // The segment is not complete. Parse it again when it is, as its length may be wrong.
                        return None;
                    }
                    (self.at, self.in_scan) = (next, code == 0xda);
                }
                [0xff, ..] | [] => return None,
                _ => return Some(self.at + 1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The structure of a picture: headers, a segment with a thumbnail, data with stuffed bytes and restart markers.
    fn picture(tag: u8) -> Vec<u8> {
        let thumbnail = [0xff, 0xd8, 0xff, 0xdb, 0xff, 0xd9];
        let app1 = [&[0xff, 0xe1, 0, 2 + thumbnail.len() as u8][..], &thumbnail].concat();
        let scan =
            [&[0xff, 0xda, 0, 3, tag][..], &[1, 2, 0xff, 0, 3, 0xff, 0xd0, tag, 0xff, 0xff, 0xd9]].concat();
        [&[0xff, 0xd8][..], &app1, &scan].concat()
    }

    /// Everything in `stream`, read `step` bytes at a time.
    fn split(stream: &[u8], step: usize, capacity: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut splitter, mut source) = (Splitter::new(capacity), stream);
        let (mut pieces, mut too_large) = (Vec::new(), 0);
        loop {
            match splitter.next_piece() {
                Piece::Picture(piece) => pieces.push(piece.to_vec()),
                Piece::TooLarge => too_large += 1,
                Piece::Incomplete => {
                    let read = |room: &mut [u8]| {
                        assert!(!room.is_empty(), "no room left to read into");
                        let n = step.min(room.len());
                        io::Read::read(&mut source, &mut room[..n])
                    };
                    if splitter.fill(read).unwrap() == 0 {
                        return (pieces, too_large);
                    }
                }
            }
        }
    }

    #[test]
    fn pictures_are_complete_however_the_stream_is_read() {
        let all = [picture(1), picture(2), picture(3)];
        let stream =
            [&b"--boundary\r\n\r\n"[..], &all[0], b"\r\nnoise\xff\xff\xd9", &all[1], &all[2]].concat();
        for step in 1..=stream.len() {
            for capacity in [64, 100, 4096] {
                assert_eq!(
                    split(&stream, step, capacity),
                    (all.to_vec(), 0),
                    "step {step}, capacity {capacity}"
                );
            }
        }
    }

    #[test]
    fn the_newest_picture_leaves_out_those_before_it() {
        let stream = [&picture(1)[..], &picture(2), &picture(3), &picture(4)[..9]].concat();
        let mut splitter = Splitter::new(4096);
        assert_eq!(splitter.newest_piece(), (Piece::Incomplete, 0));
        splitter.fill(|room| io::Read::read(&mut &stream[..], room)).unwrap();
        assert_eq!(splitter.newest_piece(), (Piece::Picture(&picture(3)), 2));
        assert_eq!(splitter.newest_piece(), (Piece::Incomplete, 0));
        splitter.fill(|room| io::Read::read(&mut &picture(4)[9..], room)).unwrap();
        assert_eq!(splitter.newest_piece(), (Piece::Picture(&picture(4)), 0));
        let mut small = Splitter::new(8);
        small.fill(|room| io::Read::read(&mut &stream[..], room)).unwrap();
        assert_eq!(small.newest_piece(), (Piece::TooLarge, 0));
    }

    #[test]
    fn a_truncated_picture_does_not_affect_the_next() {
        let (whole, cut) = (picture(1), &picture(2)[..24]);
        let stream = [cut, &whole, &whole].concat();
        for step in [1, 7, 1000] {
            let (pieces, _) = split(&stream, step, 4096);
            assert_eq!(pieces.len(), 3);
            assert_eq!(pieces[1..], [whole.clone(), whole.clone()]);
        }
    }

    #[test]
    fn a_picture_larger_than_the_buffer_is_dropped_and_reported() {
        let large = [&picture(1)[..20], &[7; 300][..], &[0xff, 0xd9]].concat();
        let stream = [&large[..], &picture(2), &picture(3)].concat();
        let (pieces, too_large) = split(&stream, 50, 128);
        assert!(too_large > 0);
        assert_eq!(pieces.last(), Some(&picture(3)));
    }

    #[test]
    fn noise_is_skipped() {
        let mut seed = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Mostly bytes that are part of markers.
            [0xff, 0xd8, 0xff, 0xd9, 0xda, 0x00, 0xe1, (seed >> 16) as u8][(seed >> 29) as usize]
        })
        .take(200_000)
        .collect();
        for step in [1, 13, 4096] {
            let (mut pieces, _) =
                split(&[&noise[..], &[0; 70_000], &picture(9), &picture(9)].concat(), step, 70_000);
            assert_eq!(pieces.pop(), Some(picture(9)), "step {step}");
        }
    }
}
