//! Connections to other machines: names, addresses, TCP, TLS, and what identifies either side.
//!
//! From the top down, each imports only what is below:
//!
//! | file or folder | what belongs there |
//! |---|---|
//! | `connect` | [`Connector`]: names, addresses, TCP, and TLS where it is asked for |
//! | `look_up` | the addresses of a name |
//! | `tls/` | the client's side of TLS |
//! | `password` | the first line of a file with a password |
//! | `error` | why there is no connection. What to do about it is told by those who connect, as it depends on their keys |
//! | `stream`, `fingerprint`, `secret` | plain types of the above |
//!
//! What is said over a connection does not belong here.
#![forbid(unsafe_code)]

mod connect;
mod error;
mod fingerprint;
mod look_up;
mod password;
mod secret;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
mod tls;

pub(crate) use connect::Connector;
pub(crate) use error::ConnectError;
#[cfg(feature = "tls")]
pub(crate) use error::TlsFault;
pub use fingerprint::CertificateFingerprint;
pub(crate) use password::{PasswordFileError, first_line};
pub use secret::RemoteSecret;
pub(crate) use stream::{Arrival, RemoteStream, poll_arrival};
pub(crate) use tls::ClientTls;
pub use trust::{ClientIdentity, ServerTrust};

mod trust;
