//! Choosing between the places that say something, and saying which one was wrong.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use super::raw::Several;
use crate::camera::{ControlValue, without_passwords};
use crate::document::{self, Spanned, Value, line_of};
use crate::led::LedRole;
use crate::web::HandedError;

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
    /// The file of passwords cannot be read.
    #[error(
        "{}: {source}; `porthole passwd` keeps passwords there: let the user that porthole runs as read it, or remove it", path.display()
    )]
    UnreadablePasswords {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Two LEDs on one line.
    #[error("[[led]] {role}: {line} is the line of {other} already; give one of them another line")]
    Led {
        /// The role that comes too late.
        role: LedRole,
        /// What both want.
        line: String,
        /// The role that has it.
        other: LedRole,
    },
    /// What the service manager hands over is no socket to serve on.
    #[error(transparent)]
    Handed(#[from] HandedError),
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

    pub(super) fn unreadable_passwords(path: &Path, source: io::Error) -> Self {
        Self::UnreadablePasswords { path: path.into(), source }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag(&'static str),
    /// The configuration file, at this line.
    File(PathBuf, usize),
    /// The profile of the board.
    Board(String),
    /// What started the program.
    ServiceManager,
    /// Nobody said anything.
    Default,
}

impl Display for Origin {
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
pub enum Note {
    /// The head of a table.
    Table(&'static str),
    /// A value, with where it came from.
    Value {
        /// Its key in the table.
        key: String,
        /// As it is written in the file.
        value: String,
        /// Where it came from.
        origin: Origin,
    },
    /// What no file could say in this way, with where it came from.
    Remark(String, Origin),
}

impl Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(head) => write!(f, "\n{head}"),
            Self::Value { key, value, origin } => write!(f, "{} = {value}  # {origin}", written(key)),
            Self::Remark(text, origin) => write!(f, "# {text} ({origin})"),
        }
    }
}

/// A key as it stands in the file: controls may have any name.
fn written(key: &str) -> Cow<'_, str> {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !key.is_empty() && key.bytes().all(bare) { key.into() } else { key.to_owned().toml().into() }
}

/// What can stand behind a key in the file.
pub(super) trait Toml {
    /// As it stands there.
    fn toml(&self) -> String;
}

impl Toml for bool {
    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Toml for i64 {
    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Toml for f64 {
    fn toml(&self) -> String {
        // With a point, by which it is known to be no whole number.
        format!("{self:?}")
    }
}

impl Toml for String {
    /// A basic string, and in it no password that is part of a URL.
    fn toml(&self) -> String {
        let mut text = String::from('"');
        for c in without_passwords(self).chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(c))),
                c => text.push(c),
            }
        }
        text.push('"');
        text
    }
}

impl Toml for Several {
    fn toml(&self) -> String {
        match &self.0[..] {
            [text] => text.toml(),
            texts => format!("[{}]", texts.iter().map(Toml::toml).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Toml for PathBuf {
    fn toml(&self) -> String {
        self.to_string_lossy().into_owned().toml()
    }
}

impl Toml for Vec<String> {
    fn toml(&self) -> String {
        format!("[{}]", self.iter().map(Toml::toml).collect::<Vec<_>>().join(", "))
    }
}

impl Toml for ControlValue {
    fn toml(&self) -> String {
        match self {
            Self::Switch(on) => on.toml(),
            Self::Number(number) => number.toml(),
            Self::Item(item) => item.toml(),
        }
    }
}

/// Reads a file into its raw form.
pub(super) fn parse<T: Value>(path: &Path, text: &str) -> Result<T, ConfigError> {
    document::parse(text).map_err(|mistake| {
        let line = mistake.line(text);
        let code = text.lines().nth(line - 1).unwrap_or_default().trim();
        let message = mistake.message;
        let (code, message) = match code.split_once('=') {
            // Neither is a password to be seen, nor what the parser quotes of it.
            Some((key, _)) if key.contains("passw") && message.starts_with("unknown key") => {
                (format!("{key}= ***"), message)
            }
            Some((key, _)) if key.contains("passw") => (
                format!("{key}= ***"),
                "must be text in quotes: the hash of a password, as `porthole passwd` makes it".to_owned(),
            ),
            _ => (without_passwords(code), message),
        };
        ConfigError::Malformed { path: path.into(), line, code, message }
    })
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
    pub(super) fn value<T: Toml>(
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
        self.notes.push(Note::Value { key: key.into(), value: value.toml(), origin: origin.clone() });
        Picked { key: key.into(), value, origin }
    }

    /// What the file says of `key`, as `check` makes of it, with where it stands. It is shown to nobody.
    pub(super) fn secret<T>(
        &self,
        key: &str,
        file: Option<Spanned<String>>,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<(T, Origin)>, ConfigError> {
        let Some(spanned) = file else { return Ok(None) };
        let origin = Origin::File(self.path.into(), line_of(self.text, spanned.span().start));
        match check(spanned.get_ref()) {
            Ok(value) => Ok(Some((value, origin))),
            Err(message) => {
                let (key, value) = (key.to_owned(), "***".to_owned());
                Err(ConfigError::Value(Box::new(BadValue { key, value, origin, message })))
            }
        }
    }

    /// What follows is in this table.
    pub(super) fn table(&mut self, head: &'static str) {
        self.notes.push(Note::Table(head));
    }

    /// Keeps note of a value that was picked elsewhere.
    pub(super) fn note<T: Toml>(&mut self, key: &str, value: &T, origin: Origin) {
        self.notes.push(Note::Value { key: key.into(), value: value.toml(), origin });
    }

    /// Keeps note of something that is no value.
    pub(super) fn remark(&mut self, text: String, origin: Origin) {
        self.notes.push(Note::Remark(text, origin));
    }

    pub(super) fn into_notes(self) -> Vec<Note> {
        self.notes
    }
}

impl Picked<String> {
    /// Whether it is this.
    pub(super) fn is(&self, text: &str) -> bool {
        self.value == text
    }
}

impl<T: Toml> Picked<T> {
    /// What a flag says that no file can say in this way.
    pub(super) fn of_flag(key: &str, flag: &'static str, value: T) -> Self {
        Self { key: key.into(), value, origin: Origin::Flag(flag) }
    }

    /// The value as `check` makes of it.
    pub(super) fn check<U>(self, check: impl FnOnce(&T) -> Result<U, String>) -> Result<U, ConfigError> {
        check(&self.value).map_err(|message| {
            let Self { key, value, origin } = self;
            ConfigError::Value(Box::new(BadValue { key, value: value.toml(), origin, message }))
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
    fn text_is_written_so_that_it_can_be_read_and_without_passwords() {
        for (text, shown) in [
            ("a \"b\" \\ \n", r#""a \"b\" \\ \u000A""#),
            ("exec:ffmpeg -i rtsp://me:se@cret@cam/x -o -", r#""exec:ffmpeg -i rtsp://me:***@cam/x -o -""#),
            ("exec:curl http://cam/a?b:c@d", r#""exec:curl http://cam/a?b:c@d""#),
            ("http://user@host ftp://a:b@c", r#""http://user@host ftp://a:***@c""#),
        ] {
            assert_eq!(text.to_owned().toml(), shown);
        }
    }

    #[test]
    fn keys_are_written_so_that_they_can_be_read() {
        for (key, shown) in [("gain_1-a", "gain_1-a"), ("a b", "\"a b\""), ("", "\"\""), ("a.b", "\"a.b\"")] {
            let note = Note::Value { key: key.into(), value: "1".into(), origin: Origin::Default };
            assert_eq!(note.to_string(), format!("{shown} = 1  # default"));
        }
    }
}
