//! What is wrong with the settings: the place, the value and what would be right. No secret is ever part of it.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use porthole::config::ConfigError;
use porthole::web::TokenError;

/// One thing that is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A file on the card cannot be read.
    #[error("{}: {source}; write the file anew", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file on the card is no text.
    #[error("{}:{line}: is no UTF-8: save the file as UTF-8", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An editor has given the file another name.
    #[error("{}: is not read: rename it to {}, without .txt", found.display(), path.display())]
    Misnamed {
        /// What is there.
        found: PathBuf,
        /// What it should be called.
        path: PathBuf,
    },
    /// The file is no TOML, or has a key or type that means nothing.
    #[error("{}:{line}: `{code}`: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there, up to the first `=`: behind it may be a secret.
        code: String,
        /// What is wrong with it and what would be right.
        message: String,
    },
    /// A value that will not do.
    #[error("{}:{line}: {key} = {value}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What stands there; *** for a secret.
        value: String,
        /// What is wrong with it and what would be right.
        message: String,
    },
    /// The configuration of the service.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The defaults do not fit this machine.
    #[error("the configuration cannot be completed: {0}; this is a bug in porthole, please report it")]
    Completion(String),
    /// What was kept cannot be read any more.
    #[error("{}: {why}; it was put aside, and what it held is lost: {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Something cannot be kept.
    #[error("{}: {source}; {what} cannot be kept and counts until the next start only", path.display())]
    Keep {
        /// The file or folder.
        path: PathBuf,
        /// What is not kept.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The card cannot be written.
    #[error("{}: {source}; the card cannot be written: look at its lock switch, or take another one", path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the rest of the system needs cannot be written.
    #[error("{}: {source}; without it the rest of the system has no settings", path.display())]
    Render {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SettingsError {
    /// For `map_err`: what cannot be kept.
    pub(super) fn keep(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Keep { path: path.into(), what, source }
    }

    /// For `map_err`: what cannot be written for the rest of the system.
    pub(super) fn render(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Render { path: path.into(), source }
    }
}
