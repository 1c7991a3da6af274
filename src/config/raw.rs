//! The configuration file as written: every key optional, none checked beyond its type.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use crate::camera::Setting;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) board: Option<Spanned<String>>,
    pub(super) server: Server,
    pub(super) tls: Tls,
    pub(super) limits: Limits,
    pub(super) auth: Auth,
    pub(super) camera: Vec<Camera>,
    pub(super) led: Vec<Led>,
}

/// One text, or a list of them.
#[derive(Debug, PartialEq, Eq)]
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

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    pub(super) listen: Option<Spanned<Several>>,
    pub(super) max_viewers: Option<Spanned<i64>>,
    pub(super) progress_timeout_s: Option<Spanned<f64>>,
    pub(super) state_dir: Option<Spanned<PathBuf>>,
    pub(super) hosts: Option<Spanned<Vec<String>>>,
    pub(super) allow_origins: Option<Spanned<Vec<String>>>,
}

/// `[tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) self_signed: Option<Spanned<bool>>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) connections: Option<Spanned<i64>>,
    pub(super) connections_per_address: Option<Spanned<i64>>,
    pub(super) waiting: Option<Spanned<i64>>,
    pub(super) waiting_per_address: Option<Spanned<i64>>,
    pub(super) viewers_per_address: Option<Spanned<i64>>,
    pub(super) request_timeout_s: Option<Spanned<f64>>,
    pub(super) silence_timeout_s: Option<Spanned<f64>>,
}

/// `[auth]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    pub(super) mode: Option<Spanned<String>>,
    pub(super) viewer_password: Option<Spanned<String>>,
    pub(super) admin_password: Option<Spanned<String>>,
}

/// What `porthole passwd` writes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Passwords {
    pub(super) viewer_password: Option<Spanned<String>>,
    pub(super) admin_password: Option<Spanned<String>>,
}

/// `[[camera]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Camera {
    pub(super) name: Option<Spanned<String>>,
    pub(super) source: Option<Spanned<String>>,
    pub(super) width: Option<Spanned<i64>>,
    pub(super) height: Option<Spanned<i64>>,
    pub(super) fps: Option<Spanned<f64>>,
    pub(super) format: Option<Spanned<String>>,
    pub(super) quality: Option<Spanned<i64>>,
    pub(super) subsampling: Option<Spanned<String>>,
    pub(super) validate: Option<Spanned<bool>>,
    pub(super) rotate: Option<Spanned<i64>>,
    pub(super) linger_s: Option<Spanned<f64>>,
    pub(super) skip_first: Option<Spanned<i64>>,
    pub(super) controls: BTreeMap<String, Spanned<Setting>>,
    pub(super) keep_controls: Option<Spanned<bool>>,
}

/// `[[led]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Led {
    pub(super) role: Spanned<String>,
    pub(super) line: Option<Spanned<String>>,
    pub(super) active_low: Option<Spanned<bool>>,
    pub(super) required: Option<Spanned<bool>>,
}
