//! Reads the stream of the tutorial's camera script: Python pickles of `{"leftimg": base64}`, back to back, without framing.
//!
//! A pickle is a program for a small stack machine (Python's module `pickletools` documents it), and an unpickler runs
//! whatever it says. Here it is read as data: the few opcodes that a dictionary of text, bytes and numbers consists of are
//! accepted, and every other one is refused by name. Nothing is built or called; strings stay where they are in the buffer.
#![forbid(unsafe_code)]

mod opcode;

use std::io;
use std::ops::Range;

use base64::prelude::{BASE64_STANDARD, Engine as _};

pub use opcode::PickleError;
use opcode::{Opcode, Value};
pub(super) use opcode::{PROTO, PROTOCOLS};

/// The key under which the tutorial sends the picture.
const PICTURE_KEY: &[u8] = b"leftimg";
/// Most values on the stack, and most in the memo. The tutorial's dictionary has three of each; with one more for each key
/// and value there is room for some thirty pairs. It bounds memory and time per opcode.
const MAX_VALUES: usize = 64;
/// Bytes in a pickle beside the picture: keys, numbers, opcodes.
const MAX_REST: usize = 16 * 1024;

/// The next piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum PickledPiece<'a> {
    /// The JPEG of the newest dictionary.
    Picture(&'a [u8]),
    /// The newest dictionary holds no picture, or one that is not base64.
    NoPicture,
    /// No complete dictionary; read more.
    Incomplete,
}

/// Buffers a stream of pickles and returns the pictures in them.
#[derive(Debug)]
pub struct PickleReader {
    /// Allocated once. The bytes in `pending` have not been returned yet.
    buffer: Box<[u8]>,
    pending: Range<usize>,
    /// The position up to which the current pickle was parsed.
    at: usize,
    machine: Machine,
    /// Why the stream cannot be read on, once the dictionaries before that were returned.
    failed: Option<PickleError>,
    /// The decoded picture.
    picture: Vec<u8>,
}

impl PickleReader {
    /// A reader for pictures of at most `max_jpeg_bytes`.
    pub fn new(max_jpeg_bytes: usize) -> Self {
        let bytes = max_jpeg_bytes.div_ceil(3) * 4 + MAX_REST;
        Self {
            buffer: vec![0; bytes].into(),
            pending: 0..0,
            at: 0,
            machine: Machine::default(),
            failed: None,
            picture: Vec::new(),
        }
    }

    /// Reads once. Returns the number of bytes read; 0 at the end of the stream.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let n = read(self.unfilled())?;
        self.pending.end += n;
        Ok(n)
    }

    /// The space to read into. It is never empty after [`PickledPiece::Incomplete`].
    pub fn unfilled(&mut self) -> &mut [u8] {
        if self.pending.is_empty() || self.pending.end == self.buffer.len() {
            let moved = self.pending.start;
            self.buffer.copy_within(self.pending.clone(), 0);
            self.at -= moved;
            self.machine.moved_by(moved);
            self.pending = 0..self.pending.len();
        }
        &mut self.buffer[self.pending.end..]
    }

    /// The newest piece of the data read so far, and the number of dictionaries before it, which are left out.
    ///
    /// # Errors
    /// [`PickleError`]. The stream cannot be read on after that.
    pub fn newest_piece(&mut self) -> Result<(PickledPiece<'_>, u32), PickleError> {
        let (mut newest, mut skipped) = (None, 0);
        while self.failed.is_none() {
            match self.next_value() {
                Ok(Some(value)) => skipped += u32::from(newest.replace(value).is_some()),
                Ok(None) => break,
                Err(error) => self.failed = Some(error),
            }
        }
        let piece = match newest {
            None => match &self.failed {
                Some(error) => return Err(error.clone()),
                None if self.pending.len() == self.buffer.len() => {
                    return Err(PickleError::TooLarge(self.buffer.len()));
                }
                None => PickledPiece::Incomplete,
            },
            Some(None) => PickledPiece::NoPicture,
            Some(Some(value)) => match jpeg(&self.buffer[value], &mut self.picture) {
                Some(jpeg) => PickledPiece::Picture(jpeg),
                None => PickledPiece::NoPicture,
            },
        };
        Ok((piece, skipped))
    }

    /// Parses the next dictionary. `None` if it is not complete; otherwise the value in it that is the picture, if there is
    /// one.
    fn next_value(&mut self) -> Result<Option<Option<Range<usize>>>, PickleError> {
        let data = &self.buffer[..self.pending.end];
        while let Some((opcode, next)) = Opcode::parse(data, self.at, self.buffer.len())? {
            self.at = next;
            if let Opcode::Stop = opcode {
                let value = std::mem::take(&mut self.machine).stop()?;
                self.pending.start = next;
                return Ok(Some(value));
            }
            self.machine.step(opcode, data)?;
        }
        Ok(None)
    }
}

/// What a picture looks like at the start: SOI and a marker, or these in base64.
fn is_picture(value: &[u8]) -> bool {
    let value = without_media_type(value);
    value.starts_with(&[0xff, 0xd8, 0xff]) || value.starts_with(b"/9j/")
}

/// Without the start of a `data:` URL (RFC 2397), which some scripts send along.
fn without_media_type(value: &[u8]) -> &[u8] {
    const BASE64_MARK: &[u8] = b";base64,";
    let start = &value[..value.len().min(64)];
    let mark = start.windows(BASE64_MARK.len()).position(|window| window == BASE64_MARK);
    mark.filter(|_| value.starts_with(b"data:")).map_or(value, |at| &value[at + BASE64_MARK.len()..])
}

/// The JPEG in a value, decoded into `decoded` unless it is there as it is.
fn jpeg<'a>(value: &'a [u8], decoded: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if value.starts_with(&[0xff, 0xd8]) {
        return Some(value);
    }
    let text = without_media_type(value).trim_ascii();
    decoded.resize(base64::decoded_len_estimate(text.len()), 0);
    let len = BASE64_STANDARD.decode_slice(text, decoded).or_else(|_| {
        // Python's `encodebytes` writes lines.
        let joined: Vec<u8> = text.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
        BASE64_STANDARD.decode_slice(joined, decoded)
    });
    Some(&decoded[..len.ok()?])
}

/// The stack machine, as far as it is followed.
#[derive(Debug, Default)]
struct Machine {
    has_dictionary: bool,
    stack: Vec<Value>,
    /// Values that the pickle refers to later, by number.
    memo: Vec<(u32, Value)>,
    /// The value under [`PICTURE_KEY`].
    named: Option<Range<usize>>,
    /// The first other value that looks like a picture.
    other: Option<Range<usize>>,
}

impl Machine {
    fn step(&mut self, opcode: Opcode, data: &[u8]) -> Result<(), PickleError> {
        match opcode {
            Opcode::Nothing => {}
            Opcode::Push(value) => {
                if value == Value::Dictionary && std::mem::replace(&mut self.has_dictionary, true) {
                    return Err(PickleError::Structure("it holds a second dictionary"));
                }
                self.push(value)?;
            }
            Opcode::Memoize => {
                // Its number is the count of those before it, by the definition of the opcode.
                let number = self.memo.len() as u32;
                self.store(number)?;
            }
            Opcode::Put(number) => self.store(number)?,
            Opcode::Get(number) => {
                let found = self.memo.iter().rev().find(|(n, _)| *n == number);
                let (_, value) =
                    found.ok_or(PickleError::Structure("it refers to a value that is not there"))?;
                let value = value.clone();
                self.push(value)?;
            }
            Opcode::SetItem => self.set_items(self.stack.len().checked_sub(2), data)?,
            Opcode::SetItems => {
                let mark = self.stack.iter().rposition(|value| *value == Value::Mark);
                if let Some(mark) = mark {
                    self.stack.remove(mark);
                }
                self.set_items(mark, data)?;
            }
            Opcode::Stop => {}
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        if self.stack.len() == MAX_VALUES {
            return Err(PickleError::Structure("it holds too many values"));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Stores the value on the top of the stack under this number.
    fn store(&mut self, number: u32) -> Result<(), PickleError> {
        if self.memo.len() == MAX_VALUES {
            return Err(PickleError::Structure("it refers to too many values"));
        }
        let value = self.stack.last().ok_or(PickleError::Structure("it stores a value that is not there"))?;
        self.memo.push((number, value.clone()));
        Ok(())
    }

    /// Takes the pairs from `first` on, which stand above the dictionary.
    fn set_items(&mut self, first: Option<usize>, data: &[u8]) -> Result<(), PickleError> {
        const NO_PAIR: PickleError = PickleError::Structure("a pair without a dictionary");
        let first = first.ok_or(NO_PAIR)?;
        let below = first.checked_sub(1).and_then(|at| self.stack.get(at));
        if below != Some(&Value::Dictionary) {
            return Err(NO_PAIR);
        }
        for pair in self.stack[first..].chunks(2) {
            match pair {
                [Value::String(key), Value::String(value)] => {
                    let slot = if data[key.clone()] == *PICTURE_KEY {
                        &mut self.named
                    } else if is_picture(&data[value.clone()]) && self.other.is_none() {
                        &mut self.other
                    } else {
                        continue;
                    };
                    *slot = Some(value.clone());
                }
                [Value::String(_), Value::Other] => {}
                _ => return Err(PickleError::Structure("a key that is not text, or a value that is none")),
            }
        }
        self.stack.truncate(first);
        Ok(())
    }

    /// The value that is the picture, once the dictionary is complete.
    fn stop(self) -> Result<Option<Range<usize>>, PickleError> {
        if self.stack != [Value::Dictionary] {
            return Err(PickleError::Structure("it ends with something else"));
        }
        Ok(self.named.or(self.other))
    }

    /// The buffer's content was moved towards its front by `bytes`.
    fn moved_by(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let values = self.stack.iter_mut().chain(self.memo.iter_mut().map(|(_, value)| value));
        let in_values = values.filter_map(|value| match value {
            Value::String(range) => Some(range),
            Value::Dictionary | Value::Mark | Value::Other => None,
        });
        for range in in_values.chain(&mut self.named).chain(&mut self.other) {
            *range = range.start - bytes..range.end - bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = b"\xff\xd8\xff\xdbpicture\xff\xd9";

    fn short_text(text: &[u8]) -> Vec<u8> {
        [&[0x8c, text.len() as u8][..], text, &[0x94]].concat()
    }

    /// `pickle.dumps({"leftimg": text}, protocol=4)`, as CPython writes it for short texts.
    fn pickled(text: &[u8]) -> Vec<u8> {
        let body = [&b"}\x94"[..], &short_text(b"leftimg"), &short_text(text), b"s."].concat();
        [&b"\x80\x04\x95"[..], &(body.len() as u64).to_le_bytes(), &body].concat()
    }

    fn tutorial(tag: u8) -> Vec<u8> {
        pickled(BASE64_STANDARD.encode(picture(tag)).as_bytes())
    }

    fn picture(tag: u8) -> Vec<u8> {
        [JPEG, &[tag]].concat()
    }

    /// Every picture in `stream`, read `step` bytes at a time; `None` for a dictionary without one.
    fn read(stream: &[u8], step: usize, capacity: usize) -> Result<Vec<Option<Vec<u8>>>, PickleError> {
        let (mut reader, mut source) = (PickleReader::new(capacity), stream);
        // A smaller buffer than the program's, so that its end is reached.
        reader.buffer = vec![0; capacity].into();
        let mut pieces = Vec::new();
        loop {
            match reader.newest_piece()? {
                (PickledPiece::Picture(piece), skipped) => {
                    pieces.extend((0..skipped).map(|_| None));
                    pieces.push(Some(piece.to_vec()));
                }
                (PickledPiece::NoPicture, skipped) => pieces.extend((0..=skipped).map(|_| None)),
                (PickledPiece::Incomplete, _) => {
                    let read = |room: &mut [u8]| {
                        assert!(!room.is_empty(), "no room left to read into");
                        let n = step.min(room.len());
                        io::Read::read(&mut source, &mut room[..n])
                    };
                    if reader.fill(read).unwrap() == 0 {
                        return Ok(pieces);
                    }
                }
            }
        }
    }

    fn one(pickle: &[u8]) -> Result<Option<Vec<u8>>, PickleError> {
        let mut pieces = read(pickle, usize::MAX, 4096)?;
        assert_eq!(pieces.len(), 1, "{pieces:?}");
        Ok(pieces.remove(0))
    }

    #[test]
    fn pictures_come_out_however_the_stream_is_cut() {
        let stream = [tutorial(1), tutorial(2), tutorial(3)].concat();
        let expected: Vec<_> = [1, 2, 3].map(|tag| Some(picture(tag))).into();
        for step in 1..tutorial(1).len() {
            for capacity in [70, 100, 4096] {
                let pieces = read(&stream, step, capacity).unwrap();
                assert_eq!(pieces, expected, "step {step}, capacity {capacity}");
            }
        }
    }

    #[test]
    fn only_the_newest_of_several_is_decoded() {
        let stream = [tutorial(1), tutorial(2), tutorial(3), tutorial(4)[..30].to_vec()].concat();
        let mut reader = PickleReader::new(4096);
        reader.fill(|room| io::Read::read(&mut &stream[..], room)).unwrap();
        assert_eq!(reader.newest_piece(), Ok((PickledPiece::Picture(&picture(3)), 2)));
        assert_eq!(reader.newest_piece(), Ok((PickledPiece::Incomplete, 0)));
    }

    #[test]
    fn pythons_of_all_ages_are_read() {
        let text = BASE64_STANDARD.encode(JPEG);
        let sized = |code: u8, length: &[u8], data: &[u8]| [&[code][..], length, data].concat();
        let key = sized(b'X', &7u32.to_le_bytes(), b"leftimg");
        let n = text.len();
        let values = [
            // Protocol 2 of Python 3 and of Python 2, 3, and 4 with long text and with bytes.
            (2, sized(b'X', &(n as u32).to_le_bytes(), text.as_bytes())),
            (2, sized(b'T', &(n as u32).to_le_bytes(), text.as_bytes())),
            (2, sized(b'U', &[n as u8], text.as_bytes())),
            (3, sized(b'C', &[n as u8], text.as_bytes())),
            (3, sized(b'B', &(JPEG.len() as u32).to_le_bytes(), JPEG)),
            (4, sized(0x8d, &(n as u64).to_le_bytes(), text.as_bytes())),
            (4, sized(0x8e, &(n as u64).to_le_bytes(), text.as_bytes())),
            (5, sized(0x96, &(JPEG.len() as u64).to_le_bytes(), JPEG)),
        ];
        for (protocol, value) in values {
            let pickle = [&[PROTO, protocol][..], b"}q\x00", &key, b"q\x01", &value, b"q\x02s."].concat();
            assert_eq!(one(&pickle), Ok(Some(JPEG.to_vec())), "{pickle:x?}");
        }
    }

    #[test]
    fn the_picture_is_found_among_other_values() {
        let text = BASE64_STANDARD.encode(JPEG);
        let pair = |key: &str, value: &[u8]| [short_text(key.as_bytes()), value.to_vec()].concat();
        let image = short_text(text.as_bytes());
        let of = |pairs: &[Vec<u8>]| one(&[&b"\x80\x04}\x94("[..], &pairs.concat(), b"u."].concat());
        let other = short_text(b"no picture");
        // The same text under two keys: the second time it is only referred to.
        assert_eq!(of(&[pair("rightimg", &image), pair("leftimg", b"h\x02")]), Ok(Some(JPEG.to_vec())));
        assert_eq!(of(&[pair("camera", &other), pair("image", &image)]), Ok(Some(JPEG.to_vec())));
        let numbers = [b"N".to_vec(), b"K\x01".to_vec(), b"G12345678".to_vec(), b"\x8a\x02ab".to_vec()];
        let mut pairs: Vec<_> = numbers.iter().map(|number| pair("number", number)).collect();
        assert_eq!(of(&pairs), Ok(None));
        pairs.push(pair("leftimg", &image));
        assert_eq!(of(&pairs), Ok(Some(JPEG.to_vec())));
        assert_eq!(of(&[pair("leftimg", &other)]), Ok(None));
    }

    #[test]
    fn base64_is_read_as_scripts_write_it() {
        let text = BASE64_STANDARD.encode(JPEG);
        for text in [
            text.clone(),
            format!("data:image/jpeg;base64,{text}"),
            format!("{}\n{}\r\n", &text[..8], &text[8..]),
        ] {
            assert_eq!(one(&pickled(text.as_bytes())), Ok(Some(JPEG.to_vec())), "{text:?}");
        }
        assert_eq!(one(&pickled(JPEG)), Ok(Some(JPEG.to_vec())));
        assert_eq!(one(&pickled(b"not base64 at all")), Ok(None));
    }

    #[test]
    fn a_pickle_that_could_run_code_is_refused_by_the_name_of_its_opcode() {
        for (pickle, name) in [
            (&b"\x80\x04cos\nsystem\n\x8c\x04trueR."[..], "GLOBAL"),
            (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94", "STACK_GLOBAL"),
            (b"\x80\x04}R.", "REDUCE"),
            (b"\x80\x04}]", "EMPTY_LIST"),
            (b"\x80\x06}.", "protocol 6"),
            (b"\x7f", "the unknown opcode 0x7f"),
        ] {
            let error = one(pickle);
            assert!(matches!(&error, Err(PickleError::Opcode(text)) if text.contains(name)), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_dictionary_is_refused() {
        let many = [&b"\x80\x04}"[..], &b"K\x01".repeat(MAX_VALUES)].concat();
        let stored = [&b"\x80\x04}"[..], &b"\x94".repeat(MAX_VALUES + 1)].concat();
        for pickle in [
            &b"\x80\x04."[..],
            b"\x80\x04}K\x01.",
            b"\x80\x04}}s.",
            b"\x80\x04}K\x01K\x02s.",
            b"\x80\x04}s.",
            b"\x80\x04s.",
            b"\x80\x04u.",
            b"\x80\x04}K\x01u.",
            b"\x80\x04}(\x8c\x01au.",
            b"\x80\x04}h\x07",
            b"\x80\x04\x94",
            &many,
            &stored,
        ] {
            assert!(matches!(one(pickle), Err(PickleError::Structure(_))), "{pickle:x?}");
        }
    }

    #[test]
    fn a_pickle_larger_than_the_buffer_is_refused() {
        let large = pickled(&[b'A'; 200]);
        assert_eq!(read(&large, 50, 128), Err(PickleError::TooLarge(128)));
        let endless = [&b"\x80\x04}\x8d"[..], &[0xff; 8]].concat();
        assert_eq!(read(&endless, 50, 128), Err(PickleError::TooLarge(128)));
    }

    #[test]
    fn what_comes_before_a_fault_is_returned_first() {
        let mut reader = PickleReader::new(4096);
        let stream = [&tutorial(1)[..], b"\x80\x04cos\nsystem\n"].concat();
        reader.fill(|room| io::Read::read(&mut &stream[..], room)).unwrap();
        assert_eq!(reader.newest_piece(), Ok((PickledPiece::Picture(&picture(1)), 0)));
        assert!(reader.newest_piece().is_err());
        assert!(reader.newest_piece().is_err(), "there is no way behind it");
    }
}
