//! `network.toml` as written: every key optional, none checked beyond its type. What is secret is not to be seen, in no
//! error either.
#![forbid(unsafe_code)]

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) hostname: Option<Spanned<String>>,
    pub(super) password: Option<Spanned<Secret>>,
    pub(super) admin_password: Option<Spanned<Secret>>,
    pub(super) ssh_key: Option<Spanned<Several>>,
    pub(super) wifi: Option<Spanned<Wifi>>,
    pub(super) ethernet: Addresses,
}

/// `[wifi]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wifi {
    pub(super) country: Option<Spanned<String>>,
    pub(super) ssid: Option<Spanned<String>>,
    pub(super) passphrase: Option<Spanned<Secret>>,
    pub(super) open: Option<Spanned<bool>>,
    pub(super) hidden: Option<bool>,
    // Not flattened: behind that, no key has a line any more.
    pub(super) address: Option<Spanned<Several>>,
    pub(super) gateway: Option<Spanned<Several>>,
    pub(super) dns: Option<Spanned<Several>>,
}

/// `[ethernet]`, and the same of Wi-Fi.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Addresses {
    pub(super) address: Option<Spanned<Several>>,
    pub(super) gateway: Option<Spanned<Several>>,
    pub(super) dns: Option<Spanned<Several>>,
}

/// One text, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Several(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = Several;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in quotes, or a list of such")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Several, E> {
                Ok(Several(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Several, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Several(texts))
            }
        }

        deserializer.deserialize_any(Texts)
    }
}

/// Text that nobody is to see.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        /// Instead of serde's own words, which show the value.
        fn wrong<T, E: de::Error>() -> Result<T, E> {
            Err(E::custom("must be text in quotes"))
        }

        impl<'de> Visitor<'de> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                wrong()
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                wrong()
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
                wrong()
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                wrong()
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
                wrong()
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                wrong()
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                wrong()
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                wrong()
            }
        }

        deserializer.deserialize_any(Text)
    }
}
