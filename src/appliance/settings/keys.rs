//! The keys of `network.toml`, none checked beyond its type. No error shows a secret.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

use porthole::document::{DeValue, DocumentError, FromToml, OneOrMore, Spanned, ToToml, toml_table};

toml_table! {
    /// The whole file.
    #[derive(Debug, Default)]
    pub(super) struct NetworkFile {
        hostname: Option<Spanned<String>>,
        password: Option<Spanned<Secret>>,
        admin_password: Option<Spanned<Secret>>,
        ssh_key: Option<Spanned<OneOrMore>>,
        wifi: Option<Spanned<WifiSection>>,
        ethernet: Option<Spanned<AddressKeys>>,
    }
}

toml_table! {
    /// `[wifi]`
    #[derive(Debug, Default)]
    pub(super) struct WifiSection {
        country: Option<Spanned<String>>,
        ssid: Option<Spanned<String>>,
        passphrase: Option<Spanned<Secret>>,
        open: Option<Spanned<bool>>,
        hidden: Option<Spanned<bool>>,
        address: Option<Spanned<OneOrMore>>,
        gateway: Option<Spanned<OneOrMore>>,
        dns: Option<Spanned<OneOrMore>>,
    }
}

toml_table! {
    /// `[ethernet]`, and the same keys of `[wifi]`.
    #[derive(Debug, Default)]
    pub(super) struct AddressKeys {
        address: Option<Spanned<OneOrMore>>,
        gateway: Option<Spanned<OneOrMore>>,
        dns: Option<Spanned<OneOrMore>>,
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
