//! Takes the place of TLS to other machines in a build without it. A [`ClientTls`] is never made.
#![forbid(unsafe_code)]

use tokio::net::TcpStream;

use crate::client::error::ConnectError;
use crate::client::stream::RemoteStream;
use crate::client::trust::{ClientIdentity, ServerTrust};

/// The client's side of TLS.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls(std::convert::Infallible);

impl ClientTls {
    /// Fails.
    pub(crate) fn new(_: &ServerTrust, _: Option<&ClientIdentity>) -> Result<Self, ConnectError> {
        Err(ConnectError::NoTls)
    }

    /// Never called.
    pub(super) async fn connect(&self, _: &str, _: TcpStream) -> Result<RemoteStream, ConnectError> {
        match self.0 {}
    }
}
