//! Faults of the settings: each names the place, the value and what would be right, and no secret.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use porthole::config::ConfigError;
use porthole::web::TokenError;

/// A fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A file on the card cannot be read.
    #[error("{}: {source}; write the file anew", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file on the card is no text.
    #[error("{}:{line}: is no UTF-8: save the file as UTF-8", path.display())]
    NoText { path: PathBuf, line: usize },
    /// The file has another name, which an editor gave it.
    #[error("{}: is not read: rename it to {}, without .txt", found.display(), path.display())]
    Misnamed { found: PathBuf, path: PathBuf },
    /// The file is not TOML, or has an unknown key or a value of another type.
    #[error("{}:{line}: `{code}`: {message}", path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        /// The text of the line up to the first `=`, as a secret may follow.
        code: String,
        message: String,
    },
    /// A value that is not right.
    #[error("{}:{line}: {key} = {value}: {message}", path.display())]
    Value { path: PathBuf, line: usize, key: &'static str, value: String, message: String },
    /// The configuration of the service.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The defaults do not fit this machine.
    #[error("the configuration cannot be completed: {0}; this is a bug in porthole, please report it")]
    Completion(String),
    /// A file that was kept cannot be used any more.
    #[error("{}: {why}; it was put aside, and what it held is lost: {remedy}", path.display())]
    Damaged { path: PathBuf, why: String, remedy: &'static str },
    /// Something cannot be kept.
    #[error("{}: {source}; {what} cannot be kept and counts until the next start only", path.display())]
    Keep { path: PathBuf, what: &'static str, source: io::Error },
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The card cannot be written.
    #[error("{}: {source}; the card cannot be written: look at its lock switch, or take another one", path.display())]
    Card { path: PathBuf, source: io::Error },
    /// A file that the rest of the system reads cannot be written.
    #[error("{}: {source}; without it the rest of the system has no settings", path.display())]
    Render { path: PathBuf, source: io::Error },
}

impl SettingsError {
    /// For `map_err`: something that cannot be kept.
    pub(super) fn keep(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Keep { path: path.into(), what, source }
    }

    /// For `map_err`: a file that the rest of the system reads.
    pub(super) fn render(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Render { path: path.into(), source }
    }
}
