//! Where values come from, and mistakes in them: each names the place, the value and what would be right.
#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use std::io;
use std::path::PathBuf;

use crate::led::LedRole;
use crate::web::SocketActivationError;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// This flag of the command line.
    Flag(&'static str),
    /// The file, at this line.
    File(PathBuf, usize),
    /// The profile of this board.
    Board(String),
    /// Socket activation.
    ServiceManager,
    /// Nothing else gave a value.
    Default,
}

impl Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Board(id) => write!(f, "board {id}"),
            Self::ServiceManager => f.write_str("service manager"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A mistake in the configuration.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}; check the path given with --config, and that this user may read it", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is not TOML, or has an unknown key or a value of another type.
    #[error("{}:{line}: `{code}`: {message}", path.display())]
    Malformed { path: PathBuf, line: usize, code: String, message: String },
    /// The file of passwords cannot be read.
    #[error(
        "{}: {source}; `porthole passwd` keeps passwords there: let the user that porthole runs as read it, or remove it", path.display()
    )]
    UnreadablePasswords { path: PathBuf, source: io::Error },
    /// Two LEDs on one line.
    #[error("[[led]] {role}: {line} is the line of {other} already; give one of them another line")]
    Led { role: LedRole, line: String, other: LedRole },
    /// The service manager passes something that is not a socket to serve.
    #[error(transparent)]
    SocketActivation(#[from] SocketActivationError),
    /// A value that is not right.
    #[error("{origin} = {value}: {message}", origin = .0.origin_and_key(), value = .0.value, message = .0.message)]
    Value(Box<InvalidValue>),
}

/// A value that is not right.
#[derive(Debug)]
pub struct InvalidValue {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) origin: ValueOrigin,
    pub(super) message: String,
}

impl InvalidValue {
    fn origin_and_key(&self) -> String {
        match &self.origin {
            // The flag stands for the key.
            ValueOrigin::Flag(flag) => (*flag).to_owned(),
            origin => format!("{origin}: {}", self.key),
        }
    }
}
