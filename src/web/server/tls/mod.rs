//! TLS: certificates from files or made here, and handshakes. Keys, records and ciphers are the business of rustls.
#![forbid(unsafe_code)]

mod certificate;
mod error;
mod self_signed;
mod tls_server;

pub use error::TlsError;
pub(crate) use tls_server::{FirstBytes, TlsServer};
