//! The content of messages: frame headers of `porthole.v1`, the tutorial's JSON, and what clients say. Pure.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame::{Frame, Sequence, Timestamp};

/// The reply to a client's text message.
#[derive(Debug)]
pub(super) enum TextReply {
    /// None. The message is not known, perhaps as it is newer than this service.
    None,
    /// None. The client has acknowledged a frame.
    Acknowledged(Sequence),
    /// This text.
    Text(String),
}

/// The fields of all messages that clients send.
#[derive(Deserialize)]
struct ClientMessage<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    sequence: Option<u32>,
    #[serde(borrow)]
    t: Option<&'a RawValue>,
}

/// The reply to `text`.
pub(super) fn reply(text: &str) -> TextReply {
    match serde_json::from_str(text) {
        Ok(ClientMessage { kind, sequence: Some(sequence), .. }) if kind == "ack" => {
            TextReply::Acknowledged(Sequence(sequence))
        }
        Ok(ClientMessage { kind, t, .. }) if kind == "ping" => {
            let t = t.map_or("null", RawValue::get);
            TextReply::Text(format!(r#"{{"type":"pong","t":{t},"now":{}}}"#, Timestamp::now().0))
        }
        // go2rtc's player sends this and waits for the same.
        Ok(ClientMessage { kind, .. }) if kind == "mjpeg" => TextReply::Text(r#"{"type":"mjpeg"}"#.into()),
        _ => TextReply::None,
    }
}

/// The header of a `porthole.v1` message: magic, sequence, captured at, sent at, width, height, skipped. Big-endian, with
/// times in microseconds of CLOCK_MONOTONIC.
pub(super) fn frame_header(frame: Frame, skipped: u32) -> [u8; 32] {
    let mut head = [0; 32];
    head[..4].copy_from_slice(b"PHF1");
    head[4..8].copy_from_slice(&frame.sequence.0.to_be_bytes());
    head[8..16].copy_from_slice(&frame.captured_at.0.to_be_bytes());
    head[16..24].copy_from_slice(&Timestamp::now().0.to_be_bytes());
    head[24..26].copy_from_slice(&frame.resolution.width.to_be_bytes());
    head[26..28].copy_from_slice(&frame.resolution.height.to_be_bytes());
    head[28..].copy_from_slice(&skipped.to_be_bytes());
    head
}

/// Replaces `text` by `{"leftimg":"<base64>"}`, as the tutorial's page expects it.
pub(super) fn tutorial_message(jpeg: &[u8], text: &mut Vec<u8>) {
    const BEFORE: &[u8] = br#"{"leftimg":""#;
    const AFTER: &[u8] = br#""}"#;
    let len = BASE64.encode_len(jpeg.len());
    text.clear();
    text.extend_from_slice(BEFORE);
    text.resize(BEFORE.len() + len, 0);
    BASE64.encode_mut(jpeg, &mut text[BEFORE.len()..]);
    text.extend_from_slice(AFTER);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Resolution;

    #[test]
    fn the_frame_header_is_laid_out_as_documented() {
        let frame = Frame {
            sequence: Sequence(0x0102_0304),
            captured_at: Timestamp(0x1112_1314_1516_1718),
            resolution: Resolution::new(0x2122, 0x3132),
        };
        let head = frame_header(frame, 0x4142_4344);
        assert_eq!(&head[..8], b"PHF1\x01\x02\x03\x04");
        assert_eq!(head[8..16], 0x1112_1314_1516_1718u64.to_be_bytes());
        assert_eq!(&head[24..], b"\x21\x22\x31\x32\x41\x42\x43\x44");
    }

    #[test]
    fn the_tutorials_message_is_its_json() {
        let mut text = b"what was there before".to_vec();
        tutorial_message(b"\xff\xd8jpeg", &mut text);
        assert_eq!(text, br#"{"leftimg":"/9hqcGVn"}"#);
    }

    #[test]
    fn messages_get_their_replies() {
        let text = |message| match reply(message) {
            TextReply::Text(text) => text,
            other => panic!("{message} got {other:?}"),
        };
        assert!(matches!(reply(r#"{"type":"ack","sequence":7}"#), TextReply::Acknowledged(Sequence(7))));
        assert!(
            text(r#"{"type":"ping","t":{"a":[1.50]}}"#)
                .starts_with(r#"{"type":"pong","t":{"a":[1.50]},"now":"#)
        );
        assert!(text(r#"{"type":"ping"}"#).contains(r#""t":null"#));
        assert_eq!(text(r#"{"type":"mjpeg"}"#), r#"{"type":"mjpeg"}"#);
        for other in ["", "[]", "{}", "{\"type\":\"ack\"}", "{\"type\":3}", "nonsense", "{\"type\":\"new\"}"]
        {
            assert!(matches!(reply(other), TextReply::None), "{other:?}");
        }
    }
}
