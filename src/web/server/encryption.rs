//! Whether TCP clients must use TLS, and with which certificate.
#![forbid(unsafe_code)]

use std::path::PathBuf;

/// How TCP connections are encrypted. UNIX sockets are always plain: their peers are programs of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// TLS with a certificate and key from PEM files.
    Files {
        /// The certificate, followed by its chain.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// TLS with a self-signed certificate that the service makes.
    SelfSigned,
}
