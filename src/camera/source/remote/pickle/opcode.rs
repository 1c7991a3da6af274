//! The opcodes of a pickle, as far as a dictionary of text, bytes and numbers consists of them, and what they push.
#![forbid(unsafe_code)]

use std::ops::Range;

/// The first byte of a pickle of protocol 2 or newer.
pub(in crate::camera::source::remote) const PROTO: u8 = 0x80;
/// The protocols that are read. 0 and 1 are text, without lengths; 5 is the newest.
pub(in crate::camera::source::remote) const PROTOCOLS: std::ops::RangeInclusive<u8> = 2..=5;

/// Why a stream of pickles cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// An opcode that the dictionary does not need.
    #[error(
        "the pickle uses {0}, and only a dictionary of text, bytes and numbers is read, as other opcodes can run code; \
         send pickle.dumps({{\"leftimg\": TEXT}}, protocol=4), with the JPEG in base64 as TEXT"
    )]
    Opcode(String),
    /// Opcodes in an order that makes no dictionary.
    #[error("the pickle is no dictionary ({0}); send pickle.dumps({{\"leftimg\": TEXT}}, protocol=4)")]
    Structure(&'static str),
    /// It is larger than a picture can be.
    #[error("the pickle has more than {0} bytes; set width and height to the size of the pictures")]
    TooLarge(usize),
}

/// A value on the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text or bytes, by their place in the buffer.
    String(Range<usize>),
    /// The dictionary that the pickle makes.
    Dictionary,
    /// The start of several pairs.
    Mark,
    /// A number, a truth value, or none.
    Other,
}

/// What an opcode asks for. Those that do the same are one.
#[derive(Debug)]
pub(super) enum Opcode {
    /// The protocol, or a hint about the amount of data that follows.
    Nothing,
    Push(Value),
    /// Stores the top of the stack under the next number.
    Memoize,
    /// Stores the top of the stack under this number.
    Put(u32),
    /// Pushes what was stored under this number.
    Get(u32),
    /// Puts the top two values into the dictionary below.
    SetItem,
    /// The same with all values above the last mark.
    SetItems,
    Stop,
}

impl Opcode {
    /// The opcode at `at`, and where the next one is; `None` if its argument is not complete. `limit` is the number of bytes
    /// that a string may have.
    pub(super) fn parse(data: &[u8], at: usize, limit: usize) -> Result<Option<(Self, usize)>, PickleError> {
        let Some((&code, argument)) = data.get(at..).and_then(<[u8]>::split_first) else { return Ok(None) };
        let scalar = |bytes: usize| Ok(Self::fixed(at, argument, bytes, Self::Push(Value::Other)));
        let plain = |opcode| Ok(Some((opcode, at + 1)));
        match code {
            PROTO => match argument.first() {
                None => Ok(None),
                Some(version) if PROTOCOLS.contains(version) => Ok(Some((Self::Nothing, at + 2))),
                Some(version) => Err(PickleError::Opcode(format!("protocol {version}"))),
            },
            0x95 => Ok(Self::fixed(at, argument, 8, Self::Nothing)),
            b'}' => plain(Self::Push(Value::Dictionary)),
            b'(' => plain(Self::Push(Value::Mark)),
            b's' => plain(Self::SetItem),
            b'u' => plain(Self::SetItems),
            b'.' => plain(Self::Stop),
            0x94 => plain(Self::Memoize),
            b'q' => Ok(number(argument, 1).map(|n| (Self::Put(n as u32), at + 2))),
            b'r' => Ok(number(argument, 4).map(|n| (Self::Put(n as u32), at + 5))),
            b'h' => Ok(number(argument, 1).map(|n| (Self::Get(n as u32), at + 2))),
            b'j' => Ok(number(argument, 4).map(|n| (Self::Get(n as u32), at + 5))),
            // SHORT_BINUNICODE, SHORT_BINBYTES, and SHORT_BINSTRING of Python 2.
            0x8c | b'C' | b'U' => Self::string(data, at, 1, limit),
            // BINUNICODE, BINBYTES, BINSTRING.
            b'X' | b'B' | b'T' => Self::string(data, at, 4, limit),
            // BINUNICODE8, BINBYTES8, BYTEARRAY8.
            0x8d | 0x8e | 0x96 => Self::string(data, at, 8, limit),
            // NONE, NEWTRUE, NEWFALSE.
            b'N' | 0x88 | 0x89 => scalar(0),
            // BININT1, BININT2, BININT, BINFLOAT.
            b'K' => scalar(1),
            b'M' => scalar(2),
            b'J' => scalar(4),
            b'G' => scalar(8),
            // LONG1: a byte of length, then the number.
            0x8a => argument.first().map_or(Ok(None), |&length| scalar(1 + usize::from(length))),
            _ => Err(PickleError::Opcode(name(code))),
        }
    }

    /// An opcode whose argument has so many bytes and is of no interest.
    fn fixed(at: usize, argument: &[u8], bytes: usize, opcode: Self) -> Option<(Self, usize)> {
        (argument.len() >= bytes).then_some((opcode, at + 1 + bytes))
    }

    /// A string behind a length of `width` bytes, which is little-endian.
    fn string(
        data: &[u8],
        at: usize,
        width: usize,
        limit: usize,
    ) -> Result<Option<(Self, usize)>, PickleError> {
        let start = at + 1 + width;
        let Some(length) = number(&data[at + 1..], width) else { return Ok(None) };
        let length = usize::try_from(length).ok().filter(|length| *length <= limit);
        let end = start + length.ok_or(PickleError::TooLarge(limit))?;
        Ok((end <= data.len()).then_some((Self::Push(Value::String(start..end)), end)))
    }
}

/// A little-endian number of `width` bytes, up to 8.
fn number(bytes: &[u8], width: usize) -> Option<u64> {
    let bytes = bytes.get(..width)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// The name of an opcode that is refused, as `pickletools` has it.
fn name(code: u8) -> String {
    let name = match code {
        b'c' => "GLOBAL",
        b'R' => "REDUCE",
        b'i' => "INST",
        b'o' => "OBJ",
        b'b' => "BUILD",
        b'P' => "PERSID",
        b'Q' => "BINPERSID",
        b']' => "EMPTY_LIST",
        b'l' => "LIST",
        b'a' => "APPEND",
        b'e' => "APPENDS",
        b')' => "EMPTY_TUPLE",
        b't' => "TUPLE",
        b'd' => "DICT",
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'g' => "GET",
        b'p' => "PUT",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        0x81 => "NEWOBJ",
        0x82..=0x84 => "EXT",
        0x85 => "TUPLE1",
        0x86 => "TUPLE2",
        0x87 => "TUPLE3",
        0x8b => "LONG4",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        0x92 => "NEWOBJ_EX",
        0x93 => "STACK_GLOBAL",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return format!("the unknown opcode {code:#04x}"),
    };
    format!("the opcode {name}")
}
