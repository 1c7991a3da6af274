//! Why a camera on another machine delivers no pictures. Every message ends with what to do.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};

use super::pickle::PickleError;
use super::url::Scheme;
#[cfg(feature = "tls")]
use crate::client::{CertificateFingerprint, TlsFault};
use crate::client::{ConnectError, PasswordFileError};
#[cfg(feature = "mqtt")]
use crate::mqtt::MqttError;
use crate::status::CameraState;

/// Longest delay that a server may ask for. A viewer waits meanwhile.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
/// Longest delay before a connection that broke or was refused is tried again.
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// A fault of a camera on another machine.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {fault}")]
pub(in crate::camera) struct RemoteError {
    /// As it is displayed: without secrets.
    url: String,
    #[source]
    fault: RemoteFault,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub(in crate::camera) enum RemoteFault {
    #[error(
        "the name {host:?} is not known ({source}); check the name and this machine's DNS, or write an address"
    )]
    UnknownName {
        host: String,
        #[source]
        source: io::Error,
    },

    #[error(
        "the name {host:?} was not resolved within {seconds} s; check this machine's DNS, or write an address"
    )]
    SlowName { host: String, seconds: u64 },

    #[error("{address}: connection refused; check that the camera's program runs there, and the port")]
    Refused { address: String },

    #[error("{address}: {source}; check the address, the network, and that the machine is on")]
    Unreachable {
        address: String,
        #[source]
        source: io::Error,
    },

    #[error(
        "{address}: no connection within {seconds} s; check the address, the firewall, and that the machine is on"
    )]
    ConnectTimeout { address: String, seconds: u64 },

    #[error("cannot wait for the network: {source}; see the limits on descriptors and memory")]
    Runtime {
        #[source]
        source: io::Error,
    },

    #[error("source_password_file {path}: {source}; check the path, and that this user may read it")]
    PasswordFile {
        path: String,
        #[source]
        source: io::Error,
    },

    #[error("source_password_file {path}: its first line is empty; write the password there")]
    NoPassword { path: String },

    #[cfg(not(feature = "tls"))]
    #[error("this porthole was built without TLS (its feature tls); use {instead}://, or another build")]
    NoTls { instead: &'static str },

    #[cfg(feature = "tls")]
    #[error(
        "no authority that this system trusts has signed the certificate; if it is the right one, \
         set source_fingerprint = \"{seen}\""
    )]
    UnknownIssuer { seen: CertificateFingerprint },

    #[cfg(feature = "tls")]
    #[error(
        "the certificate is {why}; use the name that it is for, check this machine's clock, or, if it is the right \
         one, set source_fingerprint = \"{seen}\""
    )]
    RejectedCertificate { why: String, seen: CertificateFingerprint },

    #[cfg(feature = "tls")]
    #[error(
        "the certificate is not the one of source_fingerprint: the server has {seen}; if it was replaced on purpose, \
         set source_fingerprint to that, else find out who answers there"
    )]
    WrongFingerprint { seen: CertificateFingerprint },

    #[cfg(feature = "tls")]
    #[error(
        "this system has no certificates of authorities{why}; install ca-certificates, or set source_fingerprint"
    )]
    NoAuthorities { why: String },

    #[cfg(feature = "tls")]
    #[error("TLS failed: {source}; check the port, and whether {plain}:// is right")]
    Tls {
        plain: &'static str,
        #[source]
        source: io::Error,
    },

    #[error("no answer within {seconds} s; check the URL, and that the camera's program is not busy")]
    Silent { seconds: u64 },

    #[error(
        "the server asks for a user and a password ({asks_for}); write them into the URL as http://USER:PASSWORD@HOST/, or set source_password_file or source_token"
    )]
    NeedsCredentials { asks_for: String },

    #[error(
        "the server refuses the user or the password ({asks_for}); check both, and that special characters in the URL are written as %XX"
    )]
    PasswordRefused { asks_for: String },

    #[error(
        "the token was refused, the server asks for {asks_for}; check source_token, or use a user and a password"
    )]
    TokenRefused { asks_for: String },

    #[error("the server asks for credentials in a way that is not known ({why}); set it to Basic or Digest")]
    UnknownChallenge { why: String },

    #[error("the server forbids it (status 403); allow this user or this machine there")]
    Forbidden,

    #[error("the server has nothing there (status {code}); check the path of the URL")]
    NotFound { code: u16 },

    #[error("the server is not ready (status {code}){}; see its log, or wait", retry_words(.retry_after))]
    Unavailable { code: u16, retry_after: Option<Duration> },

    #[error("the server answers with status {code} ({reason}); check the URL, and see the server's log")]
    Status { code: u16, reason: &'static str },

    #[error(
        "the server sends us to {to:?}, which is another host or no URL; use that address as source if it is right"
    )]
    RedirectedAway { to: String },

    #[error("the server answers {most} requests with redirects or challenges; check the URL")]
    TooManyRedirects { most: u32 },

    #[error("the answer is not HTTP ({why}); check the port, and whether https:// or tcp:// is right")]
    NotHttp { why: String },

    #[error("the URL or its credentials cannot be sent in a request; write special characters as %XX")]
    BadRequest,

    #[error(
        "the server sent {what} instead of JPEGs; check the path of the URL: it must be a stream of MJPEG or a JPEG"
    )]
    NoPictures { what: String },

    #[error(
        "what comes is neither JPEGs nor pickles of protocol 2 to 5; it begins with {begin:?}; check host and port"
    )]
    NotPictures { begin: String },

    #[error("sends no picture: {0}")]
    Pickle(#[from] PickleError),

    #[error(
        "the server does not open a WebSocket ({why}); check the path of the URL: another porthole has /ws and /cameras/NAME/ws"
    )]
    NoWebSocket { why: String },

    #[error(
        "the server sends us to {to:?}; use that as source, with ws:// in place of http:// or wss:// in place of https://"
    )]
    WebSocketElsewhere { to: String },

    #[error(
        "the server sent {why}, which WebSocket does not allow; check that it is a porthole, and set width and height to \
         the size of its pictures"
    )]
    WebSocketBroken { why: String },

    #[error("the connection broke: {source}; it is opened again by itself")]
    Broken {
        #[source]
        source: io::Error,
    },

    #[cfg(feature = "mqtt")]
    #[error("{0}")]
    Broker(#[source] MqttError),

    #[cfg(feature = "mqtt")]
    #[error(
        "the broker refuses the subscription to {topic}; let this user read it there, and check the topic of the URL"
    )]
    TopicRefused { topic: String },

    #[cfg(feature = "mqtt")]
    #[error(
        "its pictures take {bytes} bytes, which is more than expected; set width and height to their size"
    )]
    MessageTooLarge { bytes: usize },

    #[error("the service stops")]
    Stopped,

    #[error("the server closed the connection{after}; it is opened again by itself")]
    Closed { after: &'static str },
}

fn retry_words(after: &Option<Duration>) -> String {
    after.map(|delay| format!(" and asks for {} s", delay.as_secs())).unwrap_or_default()
}

impl From<PasswordFileError> for RemoteFault {
    fn from(error: PasswordFileError) -> Self {
        match error {
            PasswordFileError::Unreadable { path, source } => Self::PasswordFile { path, source },
            PasswordFileError::Empty { path } => Self::NoPassword { path },
        }
    }
}

impl RemoteFault {
    /// The fault of a machine that cannot be connected to by `scheme`.
    pub(super) fn of_connect(error: ConnectError, scheme: Scheme) -> Self {
        let plain = scheme.plain().name();
        match error {
            ConnectError::UnknownName { host, source } => Self::UnknownName { host, source },
            ConnectError::SlowName { host, seconds } => Self::SlowName { host, seconds },
            ConnectError::Refused { address } => Self::Refused { address },
            ConnectError::Unreachable { address, source } => Self::Unreachable { address, source },
            ConnectError::Timeout { address, seconds } => Self::ConnectTimeout { address, seconds },
            ConnectError::Socket(source) => Self::Broken { source },
            #[cfg(not(feature = "tls"))]
            ConnectError::NoTls => Self::NoTls { instead: plain },
            #[cfg(feature = "tls")]
            ConnectError::Tls(fault) => match fault {
                TlsFault::UnknownIssuer { seen } => Self::UnknownIssuer { seen },
                TlsFault::RejectedCertificate { why, seen } => Self::RejectedCertificate { why, seen },
                TlsFault::WrongFingerprint { seen } => Self::WrongFingerprint { seen },
                TlsFault::NoAuthorities { why } => Self::NoAuthorities { why },
                TlsFault::File { path, why } => {
                    Self::Tls { plain, source: io::Error::other(format!("{path}: {why}")) }
                }
                TlsFault::Handshake(source) => Self::Tls { plain, source },
            },
        }
    }

    /// This fault at `url`.
    pub(super) fn at(self, url: &impl fmt::Display) -> RemoteError {
        RemoteError { url: url.to_string(), fault: self }
    }

    /// The fault of a server that answers 429 or 503, with these headers.
    pub(super) fn unavailable(code: u16, headers: &HeaderMap) -> Self {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_DELAY));
        Self::Unavailable { code, retry_after }
    }
}

/// The first words of a server, for a message.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl RemoteError {
    /// The state of a camera after this error.
    pub(in crate::camera) fn state(&self) -> CameraState {
        match self.fault {
            RemoteFault::NoPictures { .. } | RemoteFault::NotPictures { .. } | RemoteFault::Pickle(_) => {
                CameraState::Unsupported
            }
            _ => CameraState::Lost,
        }
    }

    /// The delay before the next attempt, if `growing` is what other sources have then.
    pub(in crate::camera) fn retry_after(&self, growing: Duration) -> Duration {
        match self.fault {
            RemoteFault::Unavailable { retry_after: Some(delay), .. } => delay.max(growing),
            // Nothing is called on the other side. A camera that is back is shown within two seconds, through others too.
            RemoteFault::Refused { .. } | RemoteFault::Closed { .. } | RemoteFault::Broken { .. } => {
                growing.min(MAX_RECONNECT_DELAY)
            }
            #[cfg(feature = "mqtt")]
            RemoteFault::Broker(ref error) if !error.is_refusal() => growing.min(MAX_RECONNECT_DELAY),
            _ => growing,
        }
    }
}
