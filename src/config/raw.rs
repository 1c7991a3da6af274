//! The configuration file as written: every key optional, none checked beyond its type.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use toml::de::DeValue;

use crate::camera::ControlValue;
use crate::document::{Mistake, Spanned, Table, Value, keys, unwanted};

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) board: Option<Spanned<String>>,
    pub(super) server: Server,
    pub(super) tls: Tls,
    pub(super) limits: Limits,
    pub(super) auth: Auth,
    pub(super) camera: Vec<Camera>,
    pub(super) led: Vec<Led>,
}

impl Value for Raw {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        let mut table = Table::of(value, span)?;
        let raw = Self {
            board: table.take("board")?,
            server: table.take("server")?.unwrap_or_default(),
            tls: table.take("tls")?.unwrap_or_default(),
            limits: table.take("limits")?.unwrap_or_default(),
            auth: table.take("auth")?.unwrap_or_default(),
            camera: table.take("camera")?.unwrap_or_default(),
            led: table.take("led")?.unwrap_or_default(),
        };
        table.end()?;
        Ok(raw)
    }
}

/// One text, or a list of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Several(pub(super) Vec<String>);

impl Value for Several {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        match value {
            DeValue::String(text) => Ok(Self(vec![text.into_owned()])),
            DeValue::Array(_) => Vec::read(value, span).map(Self),
            other => Err(unwanted(&other, &span, "text in quotes, or a list of such")),
        }
    }
}

impl Value for ControlValue {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        match value {
            DeValue::Boolean(on) => Ok(Self::Switch(on)),
            DeValue::Integer(_) => i64::read(value, span).map(Self::Number),
            DeValue::String(item) => Ok(Self::Item(item.into_owned())),
            other => Err(unwanted(&other, &span, "true or false, a whole number, or text in quotes")),
        }
    }
}

keys! {
    /// `[server]`
    pub(super) struct Server {
        listen: Several,
        max_viewers: i64,
        progress_timeout_s: f64,
        state_dir: PathBuf,
        hosts: Vec<String>,
        allow_origins: Vec<String>,
    }
}

keys! {
    /// `[tls]`
    pub(super) struct Tls {
        certificate: PathBuf,
        key: PathBuf,
        self_signed: bool,
    }
}

keys! {
    /// `[limits]`
    pub(super) struct Limits {
        connections: i64,
        connections_per_address: i64,
        waiting: i64,
        waiting_per_address: i64,
        viewers_per_address: i64,
        request_timeout_s: f64,
        silence_timeout_s: f64,
    }
}

keys! {
    /// `[auth]`
    pub(super) struct Auth {
        mode: String,
        viewer_password: String,
        admin_password: String,
    }
}

keys! {
    /// What `porthole passwd` writes.
    pub(super) struct Passwords {
        viewer_password: String,
        admin_password: String,
    }
}

keys! {
    /// `[[camera]]`
    pub(super) struct Camera {
        name: String,
        source: String,
        width: i64,
        height: i64,
        fps: f64,
        format: String,
        quality: i64,
        subsampling: String,
        validate: bool,
        rotate: i64,
        linger_s: f64,
        skip_first: i64,
        controls: BTreeMap<String, Spanned<ControlValue>>,
        keep_controls: bool,
    }
}

/// `[[led]]`
#[derive(Debug)]
pub(super) struct Led {
    pub(super) role: Spanned<String>,
    pub(super) line: Option<Spanned<String>>,
    pub(super) active_low: Option<Spanned<bool>>,
    pub(super) required: Option<Spanned<bool>>,
}

impl Value for Led {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        let mut table = Table::of(value, span)?;
        let led = Self {
            role: table.need("role")?,
            line: table.take("line")?,
            active_low: table.take("active_low")?,
            required: table.take("required")?,
        };
        table.end()?;
        Ok(led)
    }
}
