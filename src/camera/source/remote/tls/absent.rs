//! Takes the place of TLS to other machines in a build without it. A [`RemoteTls`] is never made.
#![forbid(unsafe_code)]

use tokio::net::TcpStream;

use crate::camera::source::remote::error::RemoteFault;
use crate::camera::source::remote::fingerprint::CertificateFingerprint;
use crate::camera::source::remote::stream::RemoteStream;
use crate::camera::source::remote::url::Scheme;

/// The client's side of TLS.
#[derive(Clone, Debug)]
pub(super) struct RemoteTls(std::convert::Infallible);

impl RemoteTls {
    /// Fails.
    pub(super) fn new(scheme: Scheme, _: Option<CertificateFingerprint>) -> Result<Self, RemoteFault> {
        Err(RemoteFault::NoTls { instead: scheme.plain().name() })
    }

    /// Never called.
    pub(super) async fn connect(&self, _: &str, _: TcpStream) -> Result<RemoteStream, RemoteFault> {
        match self.0 {}
    }
}
