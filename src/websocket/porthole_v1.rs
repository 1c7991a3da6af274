//! The frame messages of the subprotocol `porthole.v1`: a header of 32 bytes, then the JPEG. Both directions.
//!
//! The manual's chapter on HTTP documents the layout. It is fixed: other programs rely on it.
#![forbid(unsafe_code)]

use crate::frame::{Frame, Resolution, Sequence, Timestamp};

/// The name of the subprotocol with frame headers and acknowledgements.
pub const SUBPROTOCOL: &str = "porthole.v1";

/// Bytes of the header.
pub const HEADER_BYTES: usize = 32;

/// The first bytes of each message.
const MAGIC: [u8; 4] = *b"PHF1";

/// The header of a frame message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMessage {
    /// The facts of the frame. Its time is in the clock of the server.
    pub frame: Frame,
    /// When it was sent, in the same clock.
    pub sent_at: Timestamp,
    /// Frames that this viewer was too slow for, since its last one.
    pub skipped: u32,
}

impl FrameMessage {
    /// The header as it is sent. Numbers are big-endian.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        self.encode_with(MAGIC)
    }

    /// The same for another kind of message.
    pub(super) fn encode_with(&self, magic: [u8; 4]) -> [u8; HEADER_BYTES] {
        let Self { frame, sent_at, skipped } = self;
        let mut head = [0; HEADER_BYTES];
        head[..4].copy_from_slice(&magic);
        head[4..8].copy_from_slice(&frame.sequence.0.to_be_bytes());
        head[8..16].copy_from_slice(&frame.captured_at.0.to_be_bytes());
        head[16..24].copy_from_slice(&sent_at.0.to_be_bytes());
        head[24..26].copy_from_slice(&frame.resolution.width.to_be_bytes());
        head[26..28].copy_from_slice(&frame.resolution.height.to_be_bytes());
        head[28..].copy_from_slice(&skipped.to_be_bytes());
        head
    }

    /// The header of a message, and the JPEG behind it; `None` if the message does not begin with such a header.
    pub fn decode(message: &[u8]) -> Option<(Self, &[u8])> {
        let (head, jpeg) = message.split_first_chunk::<HEADER_BYTES>()?;
        let (magic, head) = head.split_first_chunk()?;
        if *magic != MAGIC {
            return None;
        }
        let (sequence, head) = head.split_first_chunk()?;
        let (captured_at, head) = head.split_first_chunk()?;
        let (sent_at, head) = head.split_first_chunk()?;
        let (width, head) = head.split_first_chunk()?;
        let (height, skipped) = head.split_first_chunk()?;
        let (skipped, _) = skipped.split_first_chunk()?;
        let resolution = Resolution::new(u16::from_be_bytes(*width), u16::from_be_bytes(*height));
        let frame = Frame {
            sequence: Sequence(u32::from_be_bytes(*sequence)),
            captured_at: Timestamp(u64::from_be_bytes(*captured_at)),
            resolution,
        };
        let sent_at = Timestamp(u64::from_be_bytes(*sent_at));
        Some((Self { frame, sent_at, skipped: u32::from_be_bytes(*skipped) }, jpeg))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: FrameMessage = FrameMessage {
        frame: Frame {
            sequence: Sequence(0x0102_0304),
            captured_at: Timestamp(0x1112_1314_1516_1718),
            resolution: Resolution::new(0x2122, 0x3132),
        },
        sent_at: Timestamp(0x5152_5354_5556_5758),
        skipped: 0x4142_4344,
    };

    #[test]
    fn the_frame_header_is_laid_out_as_documented() {
        let head = MESSAGE.encode();
        assert_eq!(&head[..8], b"PHF1\x01\x02\x03\x04");
        assert_eq!(head[8..16], 0x1112_1314_1516_1718u64.to_be_bytes());
        assert_eq!(head[16..24], 0x5152_5354_5556_5758u64.to_be_bytes());
        assert_eq!(&head[24..], b"\x21\x22\x31\x32\x41\x42\x43\x44");
    }

    #[test]
    fn a_decoded_header_is_the_encoded_one() {
        let message = [&MESSAGE.encode()[..], b"jpeg"].concat();
        assert_eq!(FrameMessage::decode(&message), Some((MESSAGE, &b"jpeg"[..])));
        assert_eq!(FrameMessage::decode(&message[..HEADER_BYTES]), Some((MESSAGE, &b""[..])));
    }

    #[test]
    fn what_is_no_frame_message_is_not_decoded() {
        let message = MESSAGE.encode();
        assert_eq!(FrameMessage::decode(&message[..HEADER_BYTES - 1]), None);
        assert_eq!(FrameMessage::decode(b""), None);
        assert_eq!(FrameMessage::decode(&[&b"PHV1"[..], &message[4..]].concat()), None);
    }
}
