//! The configuration in force, line by line, each with where it came from: what `porthole check` shows.
#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use std::path::PathBuf;

use crate::document::key_to_toml;

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

/// A line of the configuration in force. All of them in a row are a file that says the same.
#[derive(Clone, Debug)]
pub enum ReportLine {
    /// The head of a section.
    Section(&'static str),
    /// A value.
    Value {
        /// Its key in the section.
        key: String,
        /// As it stands in the file, without passwords that are part of URLs.
        value: String,
        /// Where it came from.
        origin: ValueOrigin,
    },
    /// Something that a file cannot say in this way.
    Comment(String, ValueOrigin),
}

impl Display for ReportLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(header) => write!(f, "\n{header}"),
            Self::Value { key, value, origin } => write!(f, "{} = {value}  # {origin}", key_to_toml(key)),
            Self::Comment(text, origin) => write!(f, "# {text} ({origin})"),
        }
    }
}
