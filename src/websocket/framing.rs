//! WebSocket framing (RFC 6455, section 5): headers of outgoing frames, and messages from incoming bytes, for either side.
//! The session decides what messages mean.
//!
//! tungstenite parses and formats the frame headers. Its own connection type is not used, as it copies every payload.
#![forbid(unsafe_code)]

use std::io::Cursor;
use std::ops::Range;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Bytes of the longest header of a server: two and a 64-bit length.
const MAX_SERVER_HEADER: usize = 10;
/// Bytes of the longest header of a client: the same and a mask.
const MAX_CLIENT_HEADER: usize = 14;
/// Bytes of the longest payload of a control frame (section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Close codes (section 7.4.1).
pub mod close_code {
    /// The connection has served its purpose.
    pub const NORMAL: u16 = 1000;
    /// The server stops.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer violated the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// Text that is not UTF-8.
    pub const NOT_TEXT: u16 = 1007;
    /// The peer does not follow the rules of the service.
    pub const POLICY: u16 = 1008;
    /// A message that is too large.
    pub const TOO_BIG: u16 = 1009;
}

/// The header of an outgoing frame, which holds a whole message.
#[derive(Clone, Copy, Debug)]
pub struct ServerFrameHeader {
    bytes: [u8; MAX_SERVER_HEADER],
    len: usize,
}

impl ServerFrameHeader {
    /// Of a binary message of so many bytes.
    pub fn binary(payload: usize) -> Self {
        Self::of(OpCode::Data(Data::Binary), payload)
    }

    /// Of a text message.
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
        let mut bytes = [0; MAX_SERVER_HEADER];
        let mut rest = &mut bytes[..];
        let written = FrameHeader { opcode, ..FrameHeader::default() }.format(payload as u64, &mut rest);
        debug_assert!(written.is_ok(), "a header without a mask fits ten bytes");
        let len = MAX_SERVER_HEADER - rest.len();
        Self { bytes, len }
    }

    /// The header as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Appends a client's text message to `out`. `mask` must be unpredictable for the peer (section 5.3).
pub(crate) fn client_text(text: &str, mask: [u8; 4], out: &mut Vec<u8>) {
    client_frame(OpCode::Data(Data::Text), text.as_bytes(), mask, out);
}

/// Appends a client's pong to `out`.
pub(crate) fn client_pong(payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    client_frame(OpCode::Control(Control::Pong), payload, mask, out);
}

/// Appends a client's close frame to `out`.
pub(crate) fn client_close(code: u16, mask: [u8; 4], out: &mut Vec<u8>) {
    client_frame(OpCode::Control(Control::Close), &code.to_be_bytes(), mask, out);
}

fn client_frame(opcode: OpCode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
    let written = header.format(payload.len() as u64, out);
    debug_assert!(written.is_ok(), "a vector takes every write");
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A message of the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text, which is valid UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// A ping and its payload, which the pong repeats.
    Ping(&'a [u8]),
    /// The answer to a ping.
    Pong,
    /// With its code, if there is one.
    Close(Option<u16>),
}

/// The peer violated the protocol. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A frame that RFC 6455 forbids; which rule it breaks.
    #[error("{0}")]
    Framing(&'static str),
    /// A text message that is not UTF-8.
    #[error("text that is not UTF-8")]
    NotText,
    /// A message longer than the limit, which is given in bytes.
    #[error("a message of more than {0} bytes")]
    TooBig(usize),
}

impl ProtocolError {
    /// Its close code.
    pub fn code(self) -> u16 {
        match self {
            Self::Framing(_) => close_code::PROTOCOL,
            Self::NotText => close_code::NOT_TEXT,
            Self::TooBig(_) => close_code::TOO_BIG,
        }
    }
}

/// The side that the messages come from. A client masks its frames, a server does not (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
}

/// Turns the bytes of a peer into messages. Buffers one message at most.
#[derive(Debug)]
pub struct MessageReader {
    limit: usize,
    sender: Sender,
    /// Holds one frame of the largest size, with its header; two of a server.
    buffer: Box<[u8]>,
    filled: Range<usize>,
    /// The fragments of a message so far.
    fragments: Vec<u8>,
    /// Whether the fragments are text; `None` between messages.
    fragments_are_text: Option<bool>,
}

impl MessageReader {
    /// For messages of a client, of up to `limit` bytes. `read_ahead` is what came behind the handshake.
    ///
    /// # Errors
    /// When that is more than a client may send before the handshake is answered.
    pub fn new(limit: usize, read_ahead: &[u8]) -> Result<Self, ProtocolError> {
        let mut buffer = vec![0; limit.max(MAX_CONTROL_PAYLOAD) + MAX_CLIENT_HEADER].into_boxed_slice();
        let unfilled = buffer.get_mut(..read_ahead.len()).ok_or(ProtocolError::TooBig(limit))?;
        unfilled.copy_from_slice(read_ahead);
        Ok(Self { filled: 0..read_ahead.len(), ..Self::with_buffer(limit, Sender::Client, buffer) })
    }

    /// For messages of a server, of up to `limit` bytes. There is room for a second one behind the first, so that it can be
    /// known whether the first is the newest.
    pub fn of_server(limit: usize) -> Self {
        let frame = limit.max(MAX_CONTROL_PAYLOAD) + MAX_SERVER_HEADER;
        Self::with_buffer(limit, Sender::Server, vec![0; 2 * frame].into_boxed_slice())
    }

    fn with_buffer(limit: usize, sender: Sender, buffer: Box<[u8]>) -> Self {
        Self { limit, sender, buffer, filled: 0..0, fragments: Vec::new(), fragments_are_text: None }
    }

    /// The number of binary messages that have come whole, each in one frame, and were not returned yet.
    pub fn binary_messages(&self) -> usize {
        let (mut rest, mut count) = (&self.buffer[self.filled.clone()], 0);
        loop {
            let mut cursor = Cursor::new(rest);
            let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) else { return count };
            let behind = usize::try_from(length).ok().and_then(|n| n.checked_add(cursor.position() as usize));
            let Some(behind) = behind.and_then(|at| rest.get(at..)) else { return count };
            rest = behind;
            count += usize::from(header.is_final && header.opcode == OpCode::Data(Data::Binary));
        }
    }

    /// The space to read into. It is never empty after [`MessageReader::next_message`] returned `None`.
    pub fn unfilled(&mut self) -> &mut [u8] {
        if self.filled.start > 0 {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        &mut self.buffer[self.filled.end..]
    }

    /// Says that `n` bytes were read into [`MessageReader::unfilled`].
    pub fn advance(&mut self, n: usize) {
        self.filled.end += n;
    }

    /// The next message; `None` if more bytes have to be read first.
    ///
    /// # Errors
    /// [`ProtocolError`]. The connection cannot go on after that.
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, ProtocolError> {
        loop {
            let Some(frame) = self.frame()? else { return Ok(None) };
            let payload = frame.payload;
            match frame.header.opcode {
                OpCode::Control(Control::Ping) => return Ok(Some(Message::Ping(&self.buffer[payload]))),
                OpCode::Control(Control::Pong) => return Ok(Some(Message::Pong)),
                OpCode::Control(_) => {
                    return parse_close(&self.buffer[payload]).map(|c| Some(Message::Close(c)));
                }
                OpCode::Data(kind) => {
                    let first = kind != Data::Continue;
                    if first == self.fragments_are_text.is_some() {
                        return Err(ProtocolError::Framing("a message fragment out of order"));
                    }
                    if first {
                        self.fragments_are_text = Some(kind == Data::Text);
                        self.fragments.clear();
                        if frame.header.is_final {
                            // The usual case: the message is one frame, which is not copied.
                            return Ok(Some(self.message(payload)?));
                        }
                    }
                    if self.fragments.len() + payload.len() > self.limit {
                        return Err(ProtocolError::TooBig(self.limit));
                    }
                    self.fragments.extend_from_slice(&self.buffer[payload]);
                    if frame.header.is_final {
                        return Ok(Some(self.message(0..0)?));
                    }
                }
            }
        }
    }

    /// A complete message: the payload, or the fragments if that is empty.
    fn message(&mut self, payload: Range<usize>) -> Result<Message<'_>, ProtocolError> {
        let bytes = if payload.is_empty() { &self.fragments[..] } else { &self.buffer[payload] };
        if self.fragments_are_text.take() == Some(true) {
            return std::str::from_utf8(bytes).map(Message::Text).map_err(|_| ProtocolError::NotText);
        }
        Ok(Message::Binary(bytes))
    }

    /// Takes the next frame, and unmasks it in place if it is masked.
    fn frame(&mut self) -> Result<Option<ReadFrame>, ProtocolError> {
        let mut cursor = Cursor::new(&self.buffer[self.filled.clone()]);
        let parsed =
            FrameHeader::parse(&mut cursor).map_err(|_| ProtocolError::Framing("an unknown opcode"))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let start = self.filled.start + cursor.position() as usize;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(ProtocolError::Framing("a reserved bit is set"));
        }
        match (self.sender, header.mask) {
            (Sender::Client, None) => return Err(ProtocolError::Framing("a client's frame must be masked")),
            (Sender::Server, Some(_)) => {
                return Err(ProtocolError::Framing("a server's frame must not be masked"));
            }
            _ => {}
        }
        if let OpCode::Control(_) = header.opcode {
            if !header.is_final || length > MAX_CONTROL_PAYLOAD as u64 {
                return Err(ProtocolError::Framing("a control frame in fragments or of more than 125 bytes"));
            }
        } else if length > self.limit as u64 {
            return Err(ProtocolError::TooBig(self.limit));
        }
        // Both limits fit into the buffer, so the length does.
        let end = start + length as usize;
        if end > self.filled.end {
            return Ok(None);
        }
        for (byte, mask) in self.buffer[start..end].iter_mut().zip(header.mask.iter().flatten().cycle()) {
            *byte ^= mask;
        }
        self.filled.start = end;
        Ok(Some(ReadFrame { header, payload: start..end }))
    }
}

/// A frame in the buffer.
struct ReadFrame {
    header: FrameHeader,
    payload: Range<usize>,
}

/// Reads the code of a close frame (sections 5.5.1 and 7.4).
fn parse_close(payload: &[u8]) -> Result<Option<u16>, ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(ProtocolError::Framing("half a close code")) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(ProtocolError::Framing("a close code that must not be sent"));
    }
    std::str::from_utf8(reason).map_err(|_| ProtocolError::NotText)?;
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

    /// The messages read when `bytes` come `step` at a time.
    fn read_all(bytes: &[u8], step: usize) -> Vec<String> {
        let mut reader = MessageReader::new(200, &[]).unwrap();
        let (mut messages, mut rest) = (Vec::new(), bytes);
        loop {
            match reader.next_message() {
                Ok(Some(message)) => messages.push(format!("{message:?}")),
                Ok(None) if rest.is_empty() => return messages,
                Ok(None) => {
                    let room = reader.unfilled();
                    let n = step.min(rest.len()).min(room.len());
                    assert!(n > 0, "no room to read into");
                    room[..n].copy_from_slice(&rest[..n]);
                    reader.advance(n);
                    rest = &rest[n..];
                }
                Err(violation) => {
                    messages.push(format!("{}", violation.code()));
                    return messages;
                }
            }
        }
    }

    #[test]
    fn messages_do_not_depend_on_how_bytes_are_split() {
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
            assert_eq!(read_all(&bytes, step), expected, "{step} bytes at a time");
        }
        assert_eq!(read_all(&bytes, 1000), expected);
    }

    #[test]
    fn protocol_errors_have_their_close_codes() {
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
            assert_eq!(read_all(&bytes, 1000).last().map(String::as_str), Some(code), "{bytes:x?}");
        }
    }

    #[test]
    fn headers_have_the_shortest_form() {
        assert_eq!(ServerFrameHeader::binary(125).as_bytes(), [0x82, 125]);
        assert_eq!(ServerFrameHeader::text(126).as_bytes(), [0x81, 126, 0, 126]);
        assert_eq!(ServerFrameHeader::binary(65536).as_bytes(), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(ServerFrameHeader::close(2).as_bytes(), [0x88, 2]);
    }

    #[test]
    fn a_server_reads_what_a_client_writes() {
        let (mask, mut bytes) = ([9, 8, 7, 6], Vec::new());
        client_text("acknowledged", mask, &mut bytes);
        client_pong(b"still here", mask, &mut bytes);
        client_close(close_code::NORMAL, mask, &mut bytes);
        assert_eq!(read_all(&bytes, 3), ["Text(\"acknowledged\")", "Pong", "Close(Some(1000))"]);
    }

    #[test]
    fn a_client_reads_what_a_server_writes_and_knows_how_much_has_come() {
        let frame = |header: ServerFrameHeader, payload: &[u8]| [header.as_bytes(), payload].concat();
        let bytes = [
            frame(ServerFrameHeader::binary(200), &[1; 200]),
            frame(ServerFrameHeader::ping(1), b"?"),
            frame(ServerFrameHeader::binary(3), &[2; 3]),
            frame(ServerFrameHeader::text(2), b"{}"),
        ]
        .concat();
        let mut reader = MessageReader::of_server(200);
        assert_eq!(reader.binary_messages(), 0);
        reader.unfilled()[..203].copy_from_slice(&bytes[..203]);
        reader.advance(203);
        assert_eq!(reader.binary_messages(), 0, "a byte of its payload is missing");
        reader.unfilled()[..bytes.len() - 203].copy_from_slice(&bytes[203..]);
        reader.advance(bytes.len() - 203);
        assert_eq!(reader.binary_messages(), 2);
        assert_eq!(reader.next_message().unwrap(), Some(Message::Binary(&[1; 200])));
        assert_eq!(reader.next_message().unwrap(), Some(Message::Ping(b"?")));
        assert_eq!(reader.binary_messages(), 1);
        assert_eq!(reader.next_message().unwrap(), Some(Message::Binary(&[2; 3])));
        assert_eq!(reader.next_message().unwrap(), Some(Message::Text("{}")));
        assert_eq!(reader.next_message().unwrap(), None);
        assert_eq!(reader.binary_messages(), 0);
    }

    #[test]
    fn a_client_refuses_masked_and_too_large_frames() {
        for (bytes, code) in [(frame(0x82, b"masked"), 1002), (vec![0x82, 126, 0, 201], 1009)] {
            let mut reader = MessageReader::of_server(200);
            reader.unfilled()[..bytes.len()].copy_from_slice(&bytes);
            reader.advance(bytes.len());
            assert_eq!(reader.next_message().unwrap_err().code(), code, "{bytes:x?}");
        }
        // A length that overflows is no message.
        let mut reader = MessageReader::of_server(200);
        let endless = [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255];
        reader.unfilled()[..endless.len()].copy_from_slice(&endless);
        reader.advance(endless.len());
        assert_eq!(reader.binary_messages(), 0);
        assert_eq!(reader.next_message().unwrap_err(), ProtocolError::TooBig(200));
    }

    #[test]
    fn bytes_behind_the_handshake_are_read() {
        let early = frame(0x81, b"early");
        let mut reader = MessageReader::new(200, &early).unwrap();
        assert_eq!(reader.next_message().unwrap(), Some(Message::Text("early")));
        assert_eq!(MessageReader::new(200, &[0; 300]).unwrap_err(), ProtocolError::TooBig(200));
    }
}
