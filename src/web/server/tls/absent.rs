//! Takes the place of TLS in a build without it. A [`TlsServer`] is never made.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use crate::status::Counter;
use crate::web::server::address::{Encryption, ListenAddress};
use crate::web::server::transport::{Connection, Transport};

/// This build has no TLS.
#[derive(Debug, thiserror::Error)]
#[error("this porthole was built without TLS (its feature tls)")]
pub struct TlsError;

/// The server's side of TLS.
#[derive(Debug)]
pub(crate) struct TlsServer {
    pub(crate) reloads: Counter,
    pub(crate) rejected: Counter,
    never: std::convert::Infallible,
}

impl TlsServer {
    /// Fails if TLS is wanted.
    pub(crate) fn prepare(
        encryption: &Encryption,
        _: &Path,
        _: &[ListenAddress],
    ) -> Result<Option<Self>, TlsError> {
        if *encryption == Encryption::None { Ok(None) } else { Err(TlsError) }
    }

    /// Never called.
    pub(crate) async fn accept(&self, _: Connection) -> io::Result<Transport> {
        match self.never {}
    }
}
