//! Where one JPEG ends and the next begins in a stream of bytes that does not say.
//!
//! Walks marker segments by their lengths, so that a thumbnail in a header is not taken for the end. Whether a
//! piece is a sound JPEG is judged later, by [`crate::jpeg::inspect`]; here a damaged one is cut off at the next start.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

use memchr::{memchr, memmem};

const SOI: [u8; 3] = [0xff, 0xd8, 0xff];

/// Collects a stream and gives it back in pieces.
pub struct Splitter {
    /// Allocated once; what lies in `held` is not yet given back.
    buffer: Box<[u8]>,
    held: Range<usize>,
    /// How far the walk has come.
    at: usize,
    part: Part,
}

/// What the walk is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Between pictures.
    Outside,
    /// Between two marker segments.
    Headers,
    /// In entropy-coded data.
    Scan,
}

/// What a stream gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// From one SOI to its EOI, or to where the next picture begins.
    Picture(&'a [u8]),
    /// A picture that does not fit was left out.
    TooLarge,
    /// Nothing whole; read more.
    Incomplete,
}

impl Splitter {
    /// A splitter for pictures of up to `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes].into(), held: 0..0, at: 0, part: Part::Outside }
    }

    /// Reads once. Returns how many bytes came; 0 at the end of the stream.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        // Starting over at the front whenever possible keeps the pages in use few.
        if self.held.is_empty() || self.held.end == self.buffer.len() {
            self.buffer.copy_within(self.held.clone(), 0);
            self.at -= self.held.start;
            self.held = 0..self.held.len();
        }
        let n = read(&mut self.buffer[self.held.end..])?;
        self.held.end += n;
        Ok(n)
    }

    /// The next piece of what has been read. Never leaves the buffer full, so there is always room to read more.
    #[allow(clippy::should_implement_trait, reason = "what it returns is borrowed from itself")]
    pub fn next(&mut self) -> Piece<'_> {
        match self.walk() {
            Some(end) => {
                let piece = self.held.start..end;
                self.held.start = end;
                self.at = end;
                self.part = Part::Outside;
                Piece::Picture(&self.buffer[piece])
            }
            None if self.held.len() == self.buffer.len() => {
                self.forget();
                Piece::TooLarge
            }
            None => Piece::Incomplete,
        }
    }

    /// Drops what has been read, as when a stream starts anew.
    pub fn forget(&mut self) {
        (self.held, self.at, self.part) = (0..0, 0, Part::Outside);
    }

    /// Follows the structure as far as the data goes. The end of the picture, once it is there.
    fn walk(&mut self) -> Option<usize> {
        loop {
            let data = &self.buffer[..self.held.end];
            let rest = &data[self.at..];
            match self.part {
                Part::Outside => {
                    let Some(start) = memmem::find(rest, &SOI) else {
                        // The last two bytes may be the first two of a start.
                        self.at += rest.len().saturating_sub(SOI.len() - 1);
                        self.held.start = self.at;
                        return None;
                    };
                    self.held.start = self.at + start;
                    self.at = self.held.start + 2;
                    self.part = Part::Headers;
                }
                Part::Headers => match *rest {
                    [0xff, 0xff, ..] => self.at += 1,
                    [0xff, 0xd9, ..] => return Some(self.at + 2),
                    // A new picture, or bytes that are no header: what came before is over.
                    [0xff, 0xd8, ..] => return Some(self.at),
                    [0xff, code, high, low, ..] => {
                        self.at += 2 + usize::from(u16::from_be_bytes([high, low]));
                        self.part = if code == 0xda { Part::Scan } else { Part::Headers };
                        if self.at > self.held.end {
                            // Come back when the segment is there; a length of nonsense must not lead astray.
                            self.at -= 2 + usize::from(u16::from_be_bytes([high, low]));
                            self.part = Part::Headers;
                            return None;
                        }
                    }
                    [0xff, ..] | [] => return None,
                    _ => return Some(self.at + 1),
                },
                Part::Scan => {
                    let Some(skip) = memchr(0xff, rest) else {
                        self.at = self.held.end;
                        return None;
                    };
                    self.at += skip;
                    match rest.get(skip + 1) {
                        None => return None,
                        Some(0x00 | 0xd0..=0xd7) => self.at += 2,
                        Some(_) => self.part = Part::Headers,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture in structure: headers, a segment that holds a thumbnail, data with stuffed bytes and restarts.
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
            match splitter.next() {
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
    fn pictures_come_whole_however_the_stream_is_cut() {
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
    fn a_cut_picture_costs_no_other() {
        let (whole, cut) = (picture(1), &picture(2)[..24]);
        let stream = [cut, &whole, &whole].concat();
        for step in [1, 7, 1000] {
            let (pieces, _) = split(&stream, step, 4096);
            assert_eq!(pieces.len(), 3);
            assert_eq!(pieces[1..], [whole.clone(), whole.clone()]);
        }
    }

    #[test]
    fn a_picture_larger_than_the_buffer_is_left_out_and_said_so() {
        let large = [&picture(1)[..20], &[7; 300][..], &[0xff, 0xd9]].concat();
        let stream = [&large[..], &picture(2), &picture(3)].concat();
        let (pieces, too_large) = split(&stream, 50, 128);
        assert!(too_large > 0);
        assert_eq!(pieces.last(), Some(&picture(3)));
    }

    #[test]
    fn any_noise_is_survived() {
        let mut seed = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Mostly bytes that mean something to the walk.
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
