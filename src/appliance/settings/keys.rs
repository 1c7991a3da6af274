//! The keys of `network.toml`, none checked beyond its type. No error shows a secret.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

use porthole::document::{DeValue, DocumentError, FromToml, OneOrMore, ToToml};
use porthole::optional_keys;

optional_keys! {
    /// The whole file.
    pub(super) struct NetworkFile {
        hostname: String,
        password: Secret,
        admin_password: Secret,
        ssh_key: OneOrMore,
        wifi: WifiSection,
        ethernet: AddressKeys,
    }
}

optional_keys! {
    /// `[wifi]`
    pub(super) struct WifiSection {
        country: String,
        ssid: String,
        passphrase: Secret,
        open: bool,
        hidden: bool,
        address: OneOrMore,
        gateway: OneOrMore,
        dns: OneOrMore,
    }
}

optional_keys! {
    /// `[ethernet]`, and the same keys of `[wifi]`.
    pub(super) struct AddressKeys {
        address: OneOrMore,
        gateway: OneOrMore,
        dns: OneOrMore,
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromToml for Secret {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let text = String::from_toml(value, span.clone());
        // Its own message has the value.
        text.map(Self).map_err(|_| DocumentError::new(&span, "must be text in quotes".into()))
    }
}

impl ToToml for Secret {
    fn to_toml(&self) -> String {
        "***".into()
    }
}
