//! What can be wrong between this machine and a broker. Every message ends with what to do.
#![forbid(unsafe_code)]

use std::io;

use super::options::BrokerKeys;
#[cfg(feature = "tls")]
use crate::client::TlsFault;
use crate::client::{ConnectError, PasswordFileError};

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MqttError {
    #[error("{0}; check the name and this machine's DNS, or write an address")]
    Name(#[source] ConnectError),

    #[error("{0}; check that a broker runs there, and the port")]
    Refused(#[source] ConnectError),

    #[error("{0}; check the address, the network, the firewall, and that the broker's machine is on")]
    Unreachable(#[source] ConnectError),

    #[error("{0}; use mqtt://, or a porthole that was built with its feature tls")]
    #[cfg(not(feature = "tls"))]
    NoTls(#[source] ConnectError),

    #[cfg(feature = "tls")]
    #[error("{0}; {trust}", trust = .1.trust)]
    UnknownIssuer(#[source] TlsFault, &'static BrokerKeys),

    #[cfg(feature = "tls")]
    #[error("{0}; use the name that it is for, check this machine's clock, or give the broker a new one")]
    RejectedCertificate(#[source] TlsFault),

    #[cfg(feature = "tls")]
    #[error("{0}; check that the file is there, that this user may read it, and that it is PEM")]
    TlsFile(#[source] TlsFault),

    #[cfg(feature = "tls")]
    #[error("{0}; check the port, and whether mqtt:// is right")]
    Tls(#[source] TlsFault),

    #[cfg(feature = "tls")]
    #[error("the broker refuses the certificate that it was shown ({why}); check {keys}", keys = .keys.identity)]
    IdentityRefused { why: String, keys: &'static BrokerKeys },

    #[error(
        "the password in {0}; check the path, that this user may read it, and that the password is its first line"
    )]
    PasswordFile(#[from] PasswordFileError),

    #[error(
        "the broker refuses {whom} (code {code}); check {keys}", whom = whom(.user), keys = .keys.credentials
    )]
    NotAuthorized { user: Option<String>, code: u8, keys: &'static BrokerKeys },

    #[error("the broker refuses this client ({why}); see its log")]
    ClientRefused { why: &'static str },

    #[error("the broker is not ready (code 3); see its log, or wait")]
    Unavailable,

    #[error("what answers is no MQTT broker ({why}); check the port, and whether mqtts:// is right")]
    NotMqtt { why: String },

    #[error(
        "the broker has not answered within {seconds} s; see its log and its load. It is called again by itself"
    )]
    Silent { seconds: u64 },

    #[error(
        "the broker takes no data since {seconds} s; see its log and the network. It is called again by itself"
    )]
    Stalled { seconds: u64 },

    #[error("nothing reaches the broker since {ms} ms; see the network. It is called again by itself")]
    Stuck { ms: u64 },

    #[error(
        "the broker closed the connection; it is called again by itself. If this goes on, see the broker's log"
    )]
    Closed,

    #[error("the connection broke: {0}; the broker is called again by itself")]
    Broken(#[source] io::Error),

    #[error(
        "the broker closes the connection when it is sent a message of {bytes} bytes: that is larger than it takes; {size}",
        size = .keys.size
    )]
    TooLarge { bytes: usize, keys: &'static BrokerKeys },

    #[error("cannot prepare a connection: {0}; see the limits on threads and memory")]
    Prepare(#[source] io::Error),
}

fn whom(user: &Option<String>) -> String {
    match user {
        Some(user) => format!("the user {user:?} or its password"),
        None => "clients without a user and a password".to_owned(),
    }
}

impl MqttError {
    /// The error of a broker that cannot be connected to.
    pub(super) fn of_connect(error: ConnectError, keys: &'static BrokerKeys) -> Self {
        match error {
            ConnectError::UnknownName { .. } | ConnectError::SlowName { .. } => Self::Name(error),
            ConnectError::Refused { .. } => Self::Refused(error),
            ConnectError::Unreachable { .. } | ConnectError::Timeout { .. } => Self::Unreachable(error),
            ConnectError::Socket(source) => Self::Broken(source),
            #[cfg(not(feature = "tls"))]
            ConnectError::NoTls => {
                let _ = keys;
                Self::NoTls(error)
            }
            #[cfg(feature = "tls")]
            ConnectError::Tls(fault) => match fault {
                TlsFault::UnknownIssuer { .. }
                | TlsFault::NoAuthorities { .. }
                | TlsFault::WrongFingerprint { .. } => Self::UnknownIssuer(fault, keys),
                TlsFault::RejectedCertificate { .. } => Self::RejectedCertificate(fault),
                TlsFault::File { .. } => Self::TlsFile(fault),
                TlsFault::Handshake(source) => {
                    Self::of_alert(&source, keys).unwrap_or(Self::Tls(TlsFault::Handshake(source)))
                }
            },
        }
    }

    /// The error of a connection that failed with `source`.
    pub(super) fn of_io(source: io::Error, keys: &'static BrokerKeys) -> Self {
        #[cfg(feature = "tls")]
        if let Some(refused) = Self::of_alert(&source, keys) {
            return refused;
        }
        let _ = keys;
        match source.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::Closed,
            _ => Self::Broken(source),
        }
    }

    /// The error of a broker that wants another certificate of its client. With TLS 1.3 it says so after the handshake.
    #[cfg(feature = "tls")]
    fn of_alert(source: &io::Error, keys: &'static BrokerKeys) -> Option<Self> {
        use rustls::AlertDescription as Alert;
        let inner = source.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::AlertReceived(alert) = inner else { return None };
        let is_about_identity = matches!(
            alert,
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::NoCertificate
        );
        is_about_identity.then(|| Self::IdentityRefused { why: format!("{alert:?}"), keys })
    }

    /// Whether the broker is there and refuses: trying again helps only once a person has changed something.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Name(_)
            | Self::Refused(_)
            | Self::Unreachable(_)
            | Self::Unavailable
            | Self::Silent { .. }
            | Self::Stalled { .. }
            | Self::Stuck { .. }
            | Self::Closed
            | Self::Broken(_)
            | Self::TooLarge { .. } => false,
            #[cfg(feature = "tls")]
            Self::Tls(_) => false,
            _ => true,
        }
    }
}
