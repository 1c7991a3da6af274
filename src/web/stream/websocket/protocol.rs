//! What is said over a WebSocket: the opening handshake (RFC 6455, section 4.2), the tutorial's JSON, and the
//! messages of clients. Pure.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tungstenite::handshake::derive_accept_key;

use crate::frame::{Sequence, Timestamp};
use crate::web::stream::viewers::ViewerKind;
use crate::websocket::{H264_SUBPROTOCOL, MP4_SUBPROTOCOL, SUBPROTOCOL};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("this is a WebSocket address; open it with a WebSocket client, or use /stream")]
    NotWebSocket,
    #[error("the WebSocket version must be 13 (RFC 6455)")]
    Version,
    #[error("Sec-WebSocket-Key must be 16 bytes in base64 (RFC 6455, section 4.1)")]
    Key,
}

#[derive(Debug)]
pub(crate) struct Handshake {
    accept: String,
    kind: ViewerKind,
}

/// The formats that have a subprotocol, which is their name.
const SUBPROTOCOLS: [(&str, ViewerKind); 3] = [
    (SUBPROTOCOL, ViewerKind::Porthole),
    (H264_SUBPROTOCOL, ViewerKind::H264),
    (MP4_SUBPROTOCOL, ViewerKind::Mp4WebSocket),
];

impl Handshake {
    /// Reads the headers of a request (section 4.2.1).
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        if !has_token(headers, UPGRADE, "websocket") || !has_token(headers, CONNECTION, "upgrade") {
            return Err(HandshakeError::NotWebSocket);
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(HandshakeError::Version);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| key.as_bytes().trim_ascii()).unwrap_or_default();
        if BASE64_STANDARD.decode(key).is_ok_and(|key| key.len() == 16) {
            // In the client's order of preference (RFC 6455, section 4.1).
            let known = |token: &str| {
                SUBPROTOCOLS.iter().find(|(name, _)| token.eq_ignore_ascii_case(name)).map(|(_, kind)| *kind)
            };
            let kind = tokens(headers, SEC_WEBSOCKET_PROTOCOL).find_map(known).unwrap_or(ViewerKind::Bare);
            return Ok(Self { accept: derive_accept_key(key), kind });
        }
        Err(HandshakeError::Key)
    }

    /// The format in which the viewer receives frames, unless it uses the tutorial's.
    pub(crate) fn kind(&self) -> ViewerKind {
        self.kind
    }

    /// The answer that completes the handshake (section 4.2.2).
    pub(super) fn answer(&self) -> String {
        let chosen = SUBPROTOCOLS.iter().find(|(_, kind)| *kind == self.kind);
        let protocol = chosen.map(|(name, _)| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let protocol = protocol.unwrap_or_default();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            self.accept
        )
    }
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token))
}

/// The elements of a list in a header.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// The reply to a client's text message.
#[derive(Debug)]
pub(super) enum TextReply {
    /// None. The message is not known, perhaps as it is newer than this service.
    None,
    /// None. The client has acknowledged a frame.
    Acknowledged(Sequence),
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

/// Replaces `text` by `{"leftimg":"<base64>"}`, as the tutorial's page expects it.
pub(super) fn tutorial_message(jpeg: &[u8], text: &mut Vec<u8>) {
    const BEFORE: &[u8] = br#"{"leftimg":""#;
    const AFTER: &[u8] = br#""}"#;
    let len = jpeg.len().div_ceil(3) * 4;
    text.clear();
    text.extend_from_slice(BEFORE);
    text.resize(BEFORE.len() + len, 0);
    let written = BASE64_STANDARD.encode_slice(jpeg, &mut text[BEFORE.len()..]);
    debug_assert_eq!(written, Ok(len), "three bytes take four characters, padding included");
    text.extend_from_slice(AFTER);
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_rfc_is_answered_as_in_the_rfc() {
        let handshake = Handshake::read(&headers(&GOOD)).unwrap();
        assert!(handshake.answer().contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_eq!(handshake.kind(), ViewerKind::Bare);
        let with = [&GOOD[..], &[("sec-websocket-protocol", "chat, porthole.v1")]].concat();
        let handshake = Handshake::read(&headers(&with)).unwrap();
        assert_eq!(handshake.kind(), ViewerKind::Porthole);
        assert!(handshake.answer().contains("Sec-WebSocket-Protocol: porthole.v1\r\n"));
        let with = [&GOOD[..], &[("sec-websocket-protocol", "new, porthole.mp4.v1, porthole.v1")]].concat();
        let handshake = Handshake::read(&headers(&with)).unwrap();
        assert_eq!(handshake.kind(), ViewerKind::Mp4WebSocket, "the client's first choice");
        assert!(handshake.answer().contains("Sec-WebSocket-Protocol: porthole.mp4.v1\r\n"));
    }

    #[test]
    fn invalid_handshakes_are_told_what_is_wrong() {
        let with = |name: &'static str, value: &'static str| {
            let mut all = headers(&GOOD);
            all.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            Handshake::read(&all).unwrap_err()
        };
        assert_eq!(with("upgrade", "h2c"), HandshakeError::NotWebSocket);
        assert_eq!(with("connection", "close"), HandshakeError::NotWebSocket);
        assert_eq!(with("sec-websocket-version", "8"), HandshakeError::Version);
        assert_eq!(with("sec-websocket-key", "c2hvcnQ="), HandshakeError::Key);
        assert_eq!(with("sec-websocket-key", "not base64, not at all!!"), HandshakeError::Key);
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
