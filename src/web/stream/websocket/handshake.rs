//! The opening handshake of a WebSocket (RFC 6455, section 4.2): reads the request, writes the answer.
#![forbid(unsafe_code)]

use data_encoding::BASE64;
use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tungstenite::handshake::derive_accept_key;

use crate::web::stream::viewer_stats::ViewerKind;

/// The subprotocol with frame headers and acknowledgements.
const SUBPROTOCOL: &str = "porthole.v1";

/// The request is not a valid handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("this is a WebSocket address; open it with a WebSocket client, or use /stream")]
    NotWebSocket,
    #[error("the WebSocket version must be 13 (RFC 6455)")]
    Version,
    #[error("Sec-WebSocket-Key must be 16 bytes in base64 (RFC 6455, section 4.1)")]
    Key,
}

/// A valid handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    accept: String,
    has_headers: bool,
}

impl Handshake {
    /// Reads the headers of a request (section 4.2.1).
    ///
    /// # Errors
    /// [`HandshakeError`] says what is missing or wrong.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        if !has_token(headers, UPGRADE, "websocket") || !has_token(headers, CONNECTION, "upgrade") {
            return Err(HandshakeError::NotWebSocket);
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(HandshakeError::Version);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| key.as_bytes().trim_ascii()).unwrap_or_default();
        if BASE64.decode(key).is_ok_and(|key| key.len() == 16) {
            let has_headers = has_token(headers, SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
            return Ok(Self { accept: derive_accept_key(key), has_headers });
        }
        Err(HandshakeError::Key)
    }

    /// The format in which the viewer receives frames, unless it uses the tutorial's.
    pub(crate) fn kind(&self) -> ViewerKind {
        if self.has_headers { ViewerKind::Porthole } else { ViewerKind::Bare }
    }

    /// The answer that completes the handshake (section 4.2.2).
    pub(super) fn answer(&self) -> String {
        let protocol = if self.has_headers {
            format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n")
        } else {
            String::new()
        };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            self.accept
        )
    }
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut tokens = values.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    tokens.any(|t| t.trim().eq_ignore_ascii_case(token))
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
}
