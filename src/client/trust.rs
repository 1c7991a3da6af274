//! Whom a connection with TLS trusts, and how this side proves who it is.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::fingerprint::CertificateFingerprint;

/// Which certificates of servers are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerTrust {
    /// Those that the system's authorities vouch for.
    #[default]
    System,
    /// Those that an authority of this PEM file vouches for.
    File(PathBuf),
    /// This one alone.
    Fingerprint(CertificateFingerprint),
}

/// The certificate that this side shows, and its key. PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}
