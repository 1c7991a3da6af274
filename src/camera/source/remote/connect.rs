//! Connections to the machine of a URL.
#![forbid(unsafe_code)]

use super::error::RemoteFault;
use super::url::{RemoteUrl, Scheme};
use crate::client::{CertificateFingerprint, ClientTls, Connector, RemoteStream, ServerTrust};

/// Connects to the machine of a URL.
#[derive(Clone, Debug)]
pub(super) struct RemoteConnector {
    scheme: Scheme,
    connector: Connector,
}

impl RemoteConnector {
    /// Prepares connections to `url`. Reads the system's certificates if it is encrypted and no `fingerprint` is given.
    pub(super) fn new(
        url: &RemoteUrl,
        fingerprint: Option<CertificateFingerprint>,
    ) -> Result<Self, RemoteFault> {
        let scheme = url.scheme();
        let trust = fingerprint.map_or(ServerTrust::System, ServerTrust::Fingerprint);
        let tls = scheme.is_encrypted().then(|| ClientTls::new(&trust, None)).transpose();
        let tls = tls.map_err(|error| RemoteFault::of_connect(error, scheme))?;
        Ok(Self { scheme, connector: Connector::new(url.host(), url.port(), tls) })
    }

    /// Connects. Every step has a deadline of its own.
    pub(super) async fn connect(&self) -> Result<RemoteStream, RemoteFault> {
        self.connector.connect().await.map_err(|error| RemoteFault::of_connect(error, self.scheme))
    }
}
