//! What the configuration says of a broker, and what a session needs beside it.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::url::BrokerUrl;
use crate::client::{ClientIdentity, ServerTrust};

/// How a broker is reached and what it is shown, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAccess {
    /// Its URL.
    pub url: BrokerUrl,
    /// The user; `None` leaves it to the URL.
    pub user: Option<String>,
    /// A file whose first line is the password; `None` leaves it to the URL.
    pub password_file: Option<PathBuf>,
    /// Whose certificates are accepted.
    pub trust: ServerTrust,
    /// The certificate that the broker is shown.
    pub identity: Option<ClientIdentity>,
}

/// What a session needs.
#[derive(Clone, Debug)]
pub(crate) struct BrokerOptions {
    pub(crate) access: BrokerAccess,
    /// Published by the broker when this connection is lost.
    pub(crate) last_will: Option<LastWill>,
    /// The keys that messages name.
    pub(crate) keys: &'static BrokerKeys,
    /// Largest packet that is taken from the broker. Larger ones are skipped.
    pub(crate) most_incoming: usize,
}

/// The last will of a connection (MQTT 3.1.1, section 3.1.2.5), retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastWill {
    pub(crate) topic: String,
    pub(crate) payload: &'static str,
}

/// What to do about a refusal, in words that name the keys which the user has for it.
#[derive(Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS has certificates"))]
pub(crate) struct BrokerKeys {
    /// "check" these: user and password.
    pub(crate) credentials: &'static str,
    /// About an authority that is not known.
    pub(crate) trust: &'static str,
    /// "check" these: the client's certificate and key.
    pub(crate) identity: &'static str,
    /// About messages that are too large for the broker.
    pub(crate) size: &'static str,
}
