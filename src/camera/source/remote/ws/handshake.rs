//! Opens a WebSocket as a client (RFC 6455, section 4.1).
#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, Connection};
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tungstenite::handshake::derive_accept_key;

use crate::camera::source::remote::authentication::Authentication;
use crate::camera::source::remote::error::{RemoteFault, printable};
use crate::camera::source::remote::url::RemoteUrl;
use crate::client::RemoteStream;
use crate::websocket::SUBPROTOCOL;

/// Most bytes of the answer's header, and of what may come right behind it.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// What asks.
const AGENT: &str = concat!("porthole/", env!("CARGO_PKG_VERSION"));
/// The path where a URL names none.
const DEFAULT_PATH: &str = "/ws";

/// An open WebSocket.
pub(super) struct OpenedWebSocket {
    pub(super) stream: RemoteStream,
    /// What came behind the handshake.
    pub(super) read_ahead: Bytes,
    /// The server sends frames of `porthole.v1`, not bare JPEGs.
    pub(super) has_headers: bool,
}

/// Asks the server of `url` for a WebSocket. `None` if it asks for credentials, which `authentication` has then: it is to be
/// asked again over another connection.
pub(super) async fn open(
    stream: RemoteStream,
    url: &RemoteUrl,
    authentication: &mut Authentication,
) -> Result<Option<OpenedWebSocket>, RemoteFault> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| RemoteFault::Runtime { source: error.into() })?;
    let key = BASE64_STANDARD.encode(nonce);
    let request = request(url, authentication, &key)?;
    let handshake = Builder::new()
        .max_buf_size(MAX_ANSWER_BYTES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await;
    let (mut sender, mut connection) = handshake.map_err(not_http)?;
    let answer = beside(&mut connection, sender.send_request(request)).await.map_err(not_http)?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => {}
        StatusCode::UNAUTHORIZED => {
            authentication.refused(answer.headers())?;
            return Ok(None);
        }
        _ => return Err(refused(&answer)),
    }
    let has_headers = read_answer(answer.headers(), &key)?;
    // It ends at once, as what follows is not HTTP.
    poll_fn(|context| connection.poll_without_shutdown(context)).await.map_err(not_http)?;
    let parts = connection.into_parts();
    Ok(Some(OpenedWebSocket { stream: parts.io.into_inner(), read_ahead: parts.read_buf, has_headers }))
}

fn request(
    url: &RemoteUrl,
    authentication: &mut Authentication,
    key: &str,
) -> Result<Request<Empty<Bytes>>, RemoteFault> {
    let mut request = Request::new(Empty::new());
    let path = path(url.path_and_query());
    *request.uri_mut() = path.parse().map_err(|_| RemoteFault::BadRequest)?;
    let headers = request.headers_mut();
    let mut insert = |name: HeaderName, value: &str| -> Result<(), RemoteFault> {
        headers.insert(name, HeaderValue::from_str(value).map_err(|_| RemoteFault::BadRequest)?);
        Ok(())
    };
    insert(HOST, &url.authority())?;
    insert(USER_AGENT, AGENT)?;
    insert(UPGRADE, "websocket")?;
    insert(CONNECTION, "Upgrade")?;
    insert(SEC_WEBSOCKET_KEY, key)?;
    insert(SEC_WEBSOCKET_VERSION, "13")?;
    insert(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)?;
    if let Some(authorization) = authentication.header("GET", &path) {
        insert(AUTHORIZATION, &authorization)?;
    }
    Ok(request)
}

/// The path to ask for: [`DEFAULT_PATH`] where the URL names none.
fn path(path_and_query: &str) -> String {
    match path_and_query.strip_prefix('/') {
        Some(query) if query.is_empty() || query.starts_with('?') => format!("{DEFAULT_PATH}{query}"),
        _ => path_and_query.to_owned(),
    }
}

/// Reads the headers of the answer that opens the WebSocket. Returns whether the server chose `porthole.v1`.
fn read_answer(headers: &HeaderMap, key: &str) -> Result<bool, RemoteFault> {
    let no_websocket = |why: &str| RemoteFault::NoWebSocket { why: why.to_owned() };
    if headers.get(UPGRADE).is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err(no_websocket("it switches to another protocol"));
    }
    if headers.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|value| value != &*derive_accept_key(key.as_bytes())) {
        return Err(no_websocket("its Sec-WebSocket-Accept is wrong"));
    }
    match headers.get(SEC_WEBSOCKET_PROTOCOL) {
        None => Ok(false),
        Some(protocol) if protocol == SUBPROTOCOL => Ok(true),
        Some(_) => Err(no_websocket("it chose a subprotocol that was not offered")),
    }
}

/// Why the server opened no WebSocket.
fn refused(answer: &Response<Incoming>) -> RemoteFault {
    let (status, headers) = (answer.status(), answer.headers());
    let code = status.as_u16();
    match status {
        StatusCode::FORBIDDEN => RemoteFault::Forbidden,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            RemoteFault::unavailable(code, headers)
        }
        _ if status.is_redirection() => {
            let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let to = crate::camera::without_passwords(location.unwrap_or_default());
            RemoteFault::WebSocketElsewhere { to: printable(&to) }
        }
        _ => RemoteFault::NoWebSocket { why: format!("status {code}") },
    }
}

/// Polls `future`, and `connection` beside it, up to the end of `future`.
async fn beside<T>(
    connection: &mut Connection<TokioIo<RemoteStream>, Empty<Bytes>>,
    future: impl Future<Output = T>,
) -> T {
    let (mut future, mut has_ended) = (pin!(future), false);
    poll_fn(|context| {
        // Its error reaches the future too.
        has_ended = has_ended || connection.poll_without_shutdown(context).is_ready();
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn not_http(error: hyper::Error) -> RemoteFault {
    if error.is_parse() {
        return RemoteFault::NotHttp { why: error.to_string() };
    }
    if error.is_incomplete_message() {
        return RemoteFault::Closed { after: " during the handshake" };
    }
    RemoteFault::Broken { source: std::io::Error::other(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::source::remote::credentials::SourceCredentials;
    use crate::client::RemoteSecret;

    fn headers_of(url: &str, credentials: SourceCredentials) -> Request<Empty<Bytes>> {
        request(&url.parse().unwrap(), &mut Authentication::new(credentials), "a2V5").unwrap()
    }

    #[test]
    fn a_url_without_a_path_means_the_first_camera() {
        for (url, asked) in [
            ("ws://cam", "/ws"),
            ("ws://cam/?token=x", "/ws?token=x"),
            ("ws://cam/cameras/garden/ws", "/cameras/garden/ws"),
        ] {
            let request = headers_of(url, SourceCredentials::Absent);
            assert_eq!(request.uri(), asked);
            assert!(!request.headers().contains_key(AUTHORIZATION));
        }
    }

    #[test]
    fn a_token_is_sent_at_once_and_a_password_only_when_it_is_asked_for() {
        let secret = RemoteSecret::new("pass word");
        let token = headers_of("ws://cam:81", SourceCredentials::Token(secret.clone()));
        assert_eq!(token.headers()[AUTHORIZATION], "Bearer pass word");
        assert_eq!(token.headers()[HOST], "cam:81");
        let password = SourceCredentials::Password { user: "me".into(), password: secret };
        assert!(!headers_of("ws://cam", password).headers().contains_key(AUTHORIZATION));
    }

    #[test]
    fn the_answer_of_the_rfc_is_read_and_others_are_not() {
        const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|&(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
        };
        let good = [("upgrade", "WebSocket"), ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
        assert!(!read_answer(&headers(&good), KEY).unwrap());
        let with = |protocol| [&good[..], &[("sec-websocket-protocol", protocol)]].concat();
        assert!(read_answer(&headers(&with("porthole.v1")), KEY).unwrap());
        assert!(read_answer(&headers(&with("chat")), KEY).is_err());
        assert!(read_answer(&headers(&good[..1]), KEY).is_err());
        assert!(read_answer(&headers(&good[1..]), KEY).is_err());
        assert!(read_answer(&headers(&good), "another").is_err());
    }
}
