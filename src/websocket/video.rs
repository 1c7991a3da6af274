//! The binary messages of the subprotocols `porthole.h264.v1` and `porthole.mp4.v1`: the header of `porthole.v1` with another
//! magic, then what it says.
//!
//! The manual's chapter on HTTP documents the layout. It is fixed: other programs rely on it.
#![forbid(unsafe_code)]

use super::porthole_v1::{FrameMessage, HEADER_BYTES};

/// The name of the subprotocol that sends access units.
pub const H264_SUBPROTOCOL: &str = "porthole.h264.v1";
/// The name of the subprotocol that sends fragmented MP4.
pub const MP4_SUBPROTOCOL: &str = "porthole.mp4.v1";

/// In the field `skipped`: a decoder can start here.
const KEY_FRAME: u32 = 1 << 31;

/// What stands behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoContent {
    /// An access unit as a byte stream (ITU-T H.264, Annex B).
    AccessUnit,
    /// The initialization segment for the fragments that follow.
    InitSegment,
    /// A fragment with one access unit.
    Fragment,
}

impl VideoContent {
    const fn magic(self) -> [u8; 4] {
        match self {
            Self::AccessUnit => *b"PHV1",
            Self::InitSegment => *b"PHI1",
            Self::Fragment => *b"PHM1",
        }
    }
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoMessage {
    /// What stands behind it.
    pub content: VideoContent,
    /// The facts of the picture, and what this viewer missed.
    pub message: FrameMessage,
    /// Whether a decoder can start here.
    pub is_key: bool,
}

impl VideoMessage {
    /// The header as it is sent. Numbers are big-endian.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut message = self.message;
        message.skipped = message.skipped.min(KEY_FRAME - 1) | if self.is_key { KEY_FRAME } else { 0 };
        message.encode_with(self.content.magic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Resolution, Sequence, Timestamp};

    #[test]
    fn the_header_is_that_of_porthole_v1_with_another_magic_and_the_mark_of_key_frames() {
        let frame =
            Frame { sequence: Sequence(7), captured_at: Timestamp(8), resolution: Resolution::new(9, 10) };
        let message = FrameMessage { frame, sent_at: Timestamp(11), skipped: 3 };
        let plain = message.encode();
        let magics = [
            (VideoContent::AccessUnit, b"PHV1"),
            (VideoContent::InitSegment, b"PHI1"),
            (VideoContent::Fragment, b"PHM1"),
        ];
        for (content, magic) in magics {
            let key = VideoMessage { content, message, is_key: true }.encode();
            assert_eq!((&key[..4], &key[4..28]), (&magic[..], &plain[4..28]));
            assert_eq!(key[28..], [0x80, 0, 0, 3]);
            let other = VideoMessage { content, message, is_key: false }.encode();
            assert_eq!(other[28..], [0, 0, 0, 3]);
        }
    }
}
