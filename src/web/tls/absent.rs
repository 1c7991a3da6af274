//! Stands for TLS in a program that is built without. There is never one of these.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::transport::{Line, Transport};
use super::{Address, Encryption};
use crate::status::Counter;

/// There is no TLS to serve with.
#[derive(Debug, thiserror::Error)]
#[error("this porthole was built without TLS (its feature tls)")]
pub struct TlsError;

/// The server's side of TLS, which there is not.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) reloads: Counter,
    pub(super) rejected: Counter,
    never: std::convert::Infallible,
}

/// What a peer turned out to speak.
#[allow(dead_code, reason = "the same with and without")]
pub(super) enum Spoken {
    Tls(Transport),
    Plain(Line),
}

impl Tls {
    /// Fails if anything is wanted.
    pub(super) fn prepare(wanted: &Encryption, _: &Path, _: &[Address]) -> Result<Option<Self>, TlsError> {
        if *wanted == Encryption::None { Ok(None) } else { Err(TlsError) }
    }

    /// Never called.
    pub(super) async fn enter(&self, _: Line) -> io::Result<Spoken> {
        match self.never {}
    }
}
