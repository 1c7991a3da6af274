//! Stands for TLS in a program that is built without. There is never one of these.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use crate::status::Counter;
use crate::web::Encryption;
use crate::web::server::listener::Address;
use crate::web::server::transport::{Line, Transport};

/// There is no TLS to serve with.
#[derive(Debug, thiserror::Error)]
#[error("this porthole was built without TLS (its feature tls)")]
pub struct TlsError;

/// The server's side of TLS, which there is not.
#[derive(Debug)]
pub(in crate::web) struct Tls {
    pub(in crate::web) reloads: Counter,
    pub(in crate::web) rejected: Counter,
    never: std::convert::Infallible,
}

/// What a peer turned out to speak.
#[allow(dead_code, reason = "the same with and without")]
pub(in crate::web) enum Spoken {
    Tls(Transport),
    Plain(Line),
}

impl Tls {
    /// Fails if anything is wanted.
    pub(in crate::web) fn prepare(
        wanted: &Encryption,
        _: &Path,
        _: &[Address],
    ) -> Result<Option<Self>, TlsError> {
        if *wanted == Encryption::None { Ok(None) } else { Err(TlsError) }
    }

    /// Never called.
    pub(in crate::web) async fn enter(&self, _: Line) -> io::Result<Spoken> {
        match self.never {}
    }
}
