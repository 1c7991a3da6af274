//! Choosing between the places that say something, and saying which one was wrong.
#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;

use crate::led::Role;

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}; check the path given with --config, and that this user may read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML, or has a key or type that means nothing.
    #[error("{}:{line}: `{code}`: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        code: String,
        /// What is wrong with it and what would be right.
        message: String,
    },
    /// Two LEDs on one line.
    #[error("[[led]] {role}: {wire} is the line of {other} already; give one of them another line")]
    Led {
        /// The role that comes too late.
        role: Role,
        /// What both want.
        wire: String,
        /// The role that has it.
        other: Role,
    },
    /// A value that will not do.
    #[error("{origin} = {value}: {message}", origin = .0.origin_and_key(), value = .0.value, message = .0.message)]
    Value(Box<BadValue>),
}

/// A value that will not do.
#[derive(Debug)]
pub struct BadValue {
    key: String,
    value: String,
    origin: Origin,
    message: String,
}

impl BadValue {
    fn origin_and_key(&self) -> String {
        match &self.origin {
            // The flag is the key.
            Origin::Flag(flag) => (*flag).to_owned(),
            origin => format!("{origin}: {}", self.key),
        }
    }
}

impl ConfigError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable { path: path.into(), source }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Flag(&'static str),
    File(PathBuf, usize),
    Board(String),
    Default,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Board(id) => write!(f, "board {id}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value in force, with where it came from.
#[derive(Clone, Debug)]
pub struct Note {
    key: String,
    value: String,
    origin: Origin,
}

impl Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value, self.origin)
    }
}

/// Reads a file into its raw form.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        let code = text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
        ConfigError::Malformed { path: path.into(), line, code, message: in_plain_words(error.message()) }
    })
}

/// The parser's message without Rust in it.
fn in_plain_words(message: &str) -> String {
    [
        ("unknown field", "unknown key"),
        ("expected i64", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("floating point", "number"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected text in quotes"),
    ]
    .into_iter()
    .fold(message.trim().replace('\n', ", "), |text, (from, to)| text.replace(from, to))
}

/// The line that holds the byte at `offset`, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

/// Picks values and keeps note of them.
pub(super) struct Picker<'a> {
    path: &'a Path,
    text: &'a str,
    notes: Vec<Note>,
}

/// A value that has been picked and not yet checked.
pub(super) struct Picked<T> {
    key: String,
    value: T,
    origin: Origin,
}

impl<'a> Picker<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, notes: Vec::new() }
    }

    /// The value of `key`: from its `flag`, else from the file, else the default.
    pub(super) fn value<T: fmt::Debug>(
        &mut self,
        key: &str,
        flag: &'static str,
        given: Option<T>,
        file: Option<Spanned<T>>,
        default: T,
    ) -> Picked<T> {
        let (value, origin) = match (given, file) {
            (Some(value), _) => (value, Origin::Flag(flag)),
            (None, Some(spanned)) => {
                let line = line_of(self.text, spanned.span().start);
                (spanned.into_inner(), Origin::File(self.path.into(), line))
            }
            (None, None) => (default, Origin::Default),
        };
        self.notes.push(Note { key: key.into(), value: format!("{value:?}"), origin: origin.clone() });
        Picked { key: key.into(), value, origin }
    }

    /// Keeps note of a value that the board's profile gives.
    pub(super) fn note(&mut self, key: &str, value: &str, board: &str) {
        let (key, value, origin) = (key.into(), format!("{value:?}"), Origin::Board(board.into()));
        self.notes.push(Note { key, value, origin });
    }

    pub(super) fn into_notes(self) -> Vec<Note> {
        self.notes
    }
}

impl<T: fmt::Debug> Picked<T> {
    /// The value as `check` makes of it.
    pub(super) fn check<U>(self, check: impl FnOnce(&T) -> Result<U, String>) -> Result<U, ConfigError> {
        check(&self.value).map_err(|message| {
            let Self { key, value, origin } = self;
            ConfigError::Value(Box::new(BadValue { key, value: format!("{value:?}"), origin, message }))
        })
    }

    /// The value, of which any will do.
    pub(super) fn take(self) -> T {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!([0, 1, 2, 3, 99].map(|at| line_of("a\nb\n", at)), [1, 1, 2, 2, 3]);
    }
}
