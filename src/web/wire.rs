//! WebSocket framing, RFC 6455 section 5: headers out, messages in. Bytes only; what messages mean is decided in
//! [`super::ws`].
#![forbid(unsafe_code)]

use std::io::Cursor;
use std::ops::Range;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Longest header a server sends: two bytes and a 64-bit length.
const MAX_HEADER: usize = 10;
/// Longest header a client sends: the same and a mask.
const MAX_CLIENT_HEADER: usize = 14;
/// Longest payload of a control frame (section 5.5).
pub const MAX_CONTROL: usize = 125;

/// Close codes, section 7.4.1.
pub mod close {
    /// All is well, and over.
    pub const NORMAL: u16 = 1000;
    /// The server goes down.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// Text that is no UTF-8.
    pub const NOT_TEXT: u16 = 1007;
    /// The peer does not do its part.
    pub const POLICY: u16 = 1008;
    /// A message larger than any that means something here.
    pub const TOO_BIG: u16 = 1009;
}

/// A frame header, ready to be sent before its payload.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl Header {
    /// Of a binary message in one frame.
    pub fn binary(payload: usize) -> Self {
        Self::of(OpCode::Data(Data::Binary), payload)
    }

    /// Of a text message in one frame.
    pub fn text(payload: usize) -> Self {
        Self::of(OpCode::Data(Data::Text), payload)
    }

    /// Of a ping.
    pub fn ping(payload: usize) -> Self {
        Self::of(OpCode::Control(Control::Ping), payload)
    }

    /// Of a pong.
    pub fn pong(payload: usize) -> Self {
        Self::of(OpCode::Control(Control::Pong), payload)
    }

    /// Of a close frame.
    pub fn close(payload: usize) -> Self {
        Self::of(OpCode::Control(Control::Close), payload)
    }

    fn of(opcode: OpCode, payload: usize) -> Self {
        let mut bytes = [0; MAX_HEADER];
        let mut rest = &mut bytes[..];
        let written = FrameHeader { opcode, ..FrameHeader::default() }.format(payload as u64, &mut rest);
        debug_assert!(written.is_ok(), "a header without mask fits ten bytes");
        let len = MAX_HEADER - rest.len();
        Self { bytes, len }
    }

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What a peer said.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping with its payload, which the pong repeats.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// A close frame, with the code it gave, if any.
    Close(Option<u16>),
}

/// Why a peer cannot be talked to any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Against RFC 6455, and how.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message that is not UTF-8.
    #[error("text that is not UTF-8")]
    NotText,
    /// A message beyond the limit, in bytes.
    #[error("a message of more than {0} bytes")]
    TooBig(usize),
}

impl Violation {
    /// The close code that says so.
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => close::PROTOCOL,
            Self::NotText => close::NOT_TEXT,
            Self::TooBig(_) => close::TOO_BIG,
        }
    }
}

/// Collects what a peer sends and gives it back as messages. Holds one message at most.
#[derive(Debug)]
pub struct Inbound {
    limit: usize,
    /// Room for one frame of the largest size, header included.
    buffer: Box<[u8]>,
    held: Range<usize>,
    /// Fragments of a message so far, and whether it is text.
    partial: Vec<u8>,
    partial_is_text: Option<bool>,
}

impl Inbound {
    /// For messages of up to `limit` bytes; `read_ahead` is what came behind the handshake.
    ///
    /// # Errors
    /// When more came than a client may send before the handshake is answered.
    pub fn new(limit: usize, read_ahead: &[u8]) -> Result<Self, Violation> {
        let mut buffer = vec![0; limit.max(MAX_CONTROL) + MAX_CLIENT_HEADER].into_boxed_slice();
        let room = buffer.get_mut(..read_ahead.len()).ok_or(Violation::TooBig(limit))?;
        room.copy_from_slice(read_ahead);
        Ok(Self { limit, buffer, held: 0..read_ahead.len(), partial: Vec::new(), partial_is_text: None })
    }

    /// Room to read into, never empty after [`Inbound::next`] asked for more. Say what came with [`Inbound::came`].
    pub fn room(&mut self) -> &mut [u8] {
        if self.held.start > 0 {
            self.buffer.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
        }
        &mut self.buffer[self.held.end..]
    }

    /// `n` bytes were read into [`Inbound::room`].
    pub fn came(&mut self, n: usize) {
        self.held.end += n;
    }

    /// The next message; `None` when more has to be read first.
    ///
    /// # Errors
    /// [`Violation`]; nothing sensible can come after that.
    #[allow(clippy::should_implement_trait, reason = "what it returns is borrowed from itself")]
    pub fn next(&mut self) -> Result<Option<Message<'_>>, Violation> {
        loop {
            let Some(frame) = self.frame()? else { return Ok(None) };
            let payload = frame.payload;
            match frame.header.opcode {
                OpCode::Control(Control::Ping) => return Ok(Some(Message::Ping(&self.buffer[payload]))),
                OpCode::Control(Control::Pong) => return Ok(Some(Message::Pong)),
                OpCode::Control(_) => {
                    return close_code(&self.buffer[payload]).map(|c| Some(Message::Close(c)));
                }
                OpCode::Data(kind) => {
                    let first = kind != Data::Continue;
                    if first == self.partial_is_text.is_some() {
                        return Err(Violation::Protocol("a message fragment out of order"));
                    }
                    if first {
                        self.partial_is_text = Some(kind == Data::Text);
                        self.partial.clear();
                        if frame.header.is_final {
                            // The usual case: one frame is the message, and it stays where it is.
                            return Ok(Some(self.message(payload)?));
                        }
                    }
                    if self.partial.len() + payload.len() > self.limit {
                        return Err(Violation::TooBig(self.limit));
                    }
                    self.partial.extend_from_slice(&self.buffer[payload]);
                    if frame.header.is_final {
                        return Ok(Some(self.message(0..0)?));
                    }
                }
            }
        }
    }

    /// A whole message: what is at `payload`, or if that is empty the fragments.
    fn message(&mut self, payload: Range<usize>) -> Result<Message<'_>, Violation> {
        let bytes = if payload.is_empty() { &self.partial[..] } else { &self.buffer[payload] };
        if self.partial_is_text.take() == Some(true) {
            return std::str::from_utf8(bytes).map(Message::Text).map_err(|_| Violation::NotText);
        }
        Ok(Message::Binary(bytes))
    }

    /// Takes one frame out and unmasks it where it lies.
    fn frame(&mut self) -> Result<Option<Frame>, Violation> {
        let mut cursor = Cursor::new(&self.buffer[self.held.clone()]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol("an unknown opcode"))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let start = self.held.start + cursor.position() as usize;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        let Some(mask) = header.mask else {
            return Err(Violation::Protocol("a client's frame must be masked"));
        };
        if let OpCode::Control(_) = header.opcode {
            if !header.is_final || length > MAX_CONTROL as u64 {
                return Err(Violation::Protocol("a control frame in fragments or of more than 125 bytes"));
            }
        } else if length > self.limit as u64 {
            return Err(Violation::TooBig(self.limit));
        }
        // Both limits fit the buffer, so the length does.
        let end = start + length as usize;
        if end > self.held.end {
            return Ok(None);
        }
        for (byte, mask) in self.buffer[start..end].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        self.held.start = end;
        Ok(Some(Frame { header, payload: start..end }))
    }
}

struct Frame {
    header: FrameHeader,
    payload: Range<usize>,
}

/// The code in a close frame (sections 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol("half a close code")) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("a close code that must not be sent"));
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NotText)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame, masked.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut out = vec![first];
        match payload.len() {
            n @ 0..=125 => out.push(0x80 | n as u8),
            n => {
                out.push(0x80 | 126);
                out.extend((n as u16).to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        out
    }

    /// What is heard when `bytes` come `step` at a time.
    fn hear(bytes: &[u8], step: usize) -> Vec<String> {
        let mut inbound = Inbound::new(200, &[]).unwrap();
        let (mut heard, mut rest) = (Vec::new(), bytes);
        loop {
            match inbound.next() {
                Ok(Some(message)) => heard.push(format!("{message:?}")),
                Ok(None) if rest.is_empty() => return heard,
                Ok(None) => {
                    let room = inbound.room();
                    let n = step.min(rest.len()).min(room.len());
                    assert!(n > 0, "no room to read into");
                    room[..n].copy_from_slice(&rest[..n]);
                    inbound.came(n);
                    rest = &rest[n..];
                }
                Err(violation) => {
                    heard.push(format!("{}", violation.code()));
                    return heard;
                }
            }
        }
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let long = "x".repeat(200);
        let bytes = [
            frame(0x81, b"one"),
            frame(0x01, "tw\u{f6} ".as_bytes()),
            frame(0x89, b"still there?"),
            frame(0x00, b"and"),
            frame(0x80, b""),
            frame(0x82, &[1, 2]),
            frame(0x81, b""),
            frame(0x81, long.as_bytes()),
            frame(0x8a, b"late"),
            frame(0x88, &[&1001u16.to_be_bytes()[..], b"bye"].concat()),
        ]
        .concat();
        let expected = [
            "Text(\"one\")".to_owned(),
            "Ping([115, 116, 105, 108, 108, 32, 116, 104, 101, 114, 101, 63])".into(),
            "Text(\"tw\u{f6} and\")".into(),
            "Binary([1, 2])".into(),
            "Text(\"\")".into(),
            format!("Text({long:?})"),
            "Pong".into(),
            "Close(Some(1001))".into(),
        ];
        for step in 1..40 {
            assert_eq!(hear(&bytes, step), expected, "{step} bytes at a time");
        }
        assert_eq!(hear(&bytes, 1000), expected);
    }

    #[test]
    fn violations_have_their_codes() {
        let unmasked = [0x81, 0x01, b'x'];
        for (bytes, code) in [
            (unmasked.to_vec(), "1002"),
            (frame(0xc1, b"reserved bit"), "1002"),
            (frame(0x83, b"reserved opcode"), "1002"),
            (frame(0x80, b"continues nothing"), "1002"),
            ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), "1002"),
            (frame(0x09, b"ping in fragments"), "1002"),
            (frame(0x89, &[0; 126]), "1002"),
            (frame(0x88, &[3]), "1002"),
            (frame(0x88, &1005u16.to_be_bytes()), "1002"),
            (frame(0x81, &[0xc3, 0x28]), "1007"),
            (frame(0x88, &[3, 0xe8, 0xff]), "1007"),
            (frame(0x82, &[0; 201]), "1009"),
            ([frame(0x02, &[0; 150]), frame(0x80, &[0; 51])].concat(), "1009"),
            (vec![0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0], "1009"),
        ] {
            assert_eq!(hear(&bytes, 1000).last().map(String::as_str), Some(code), "{bytes:x?}");
        }
    }

    #[test]
    fn headers_have_the_shortest_form() {
        assert_eq!(Header::binary(125).as_bytes(), [0x82, 125]);
        assert_eq!(Header::text(126).as_bytes(), [0x81, 126, 0, 126]);
        assert_eq!(Header::binary(65536).as_bytes(), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(Header::close(2).as_bytes(), [0x88, 2]);
    }

    #[test]
    fn what_came_behind_the_handshake_is_heard() {
        let early = frame(0x81, b"early");
        let mut inbound = Inbound::new(200, &early).unwrap();
        assert_eq!(inbound.next().unwrap(), Some(Message::Text("early")));
        assert_eq!(Inbound::new(200, &[0; 300]).unwrap_err(), Violation::TooBig(200));
    }
}
