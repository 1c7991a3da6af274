//! Why there is no connection to another machine.
#![forbid(unsafe_code)]

use std::io;

#[cfg(feature = "tls")]
use super::fingerprint::CertificateFingerprint;

/// Why there is no connection. What to do about it is told by those who connect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the name {host:?} is not known ({source})")]
    UnknownName {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("the name {host:?} was not resolved within {seconds} s")]
    SlowName { host: String, seconds: u64 },
    #[error("{address}: connection refused")]
    Refused { address: String },
    #[error("{address}: {source}")]
    Unreachable {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{address}: no connection within {seconds} s")]
    Timeout { address: String, seconds: u64 },
    #[error("{0}")]
    Socket(#[source] io::Error),
    #[cfg(not(feature = "tls"))]
    #[error("this porthole was built without TLS")]
    NoTls,
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

/// Why there is no TLS.
#[cfg(feature = "tls")]
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFault {
    #[error("no authority that is trusted has signed the certificate {seen}")]
    UnknownIssuer { seen: CertificateFingerprint },
    #[error("the certificate {seen} is {why}")]
    RejectedCertificate { why: String, seen: CertificateFingerprint },
    #[error("the certificate is {seen}")]
    WrongFingerprint { seen: CertificateFingerprint },
    #[error("there are no certificates of authorities{why}")]
    NoAuthorities { why: String },
    /// One of the files with certificates or the key cannot be used.
    #[error("{path}: {why}")]
    File { path: String, why: String },
    #[error("the handshake failed: {0}")]
    Handshake(#[source] io::Error),
}
