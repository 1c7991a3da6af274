//! The value in force of each key: from its flag, else from the file, else its default. The resolver keeps a report of
//! the values, which `porthole check` shows; an error says which of the places was wrong.
#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use std::path::Path;
use std::time::Duration;

use super::error::{ConfigError, InvalidValue, ValueOrigin};
use super::key::{Field, Key};
use crate::camera::without_passwords;
use crate::document::{self, FromToml, Spanned, ToToml, key_to_toml, line_of};

/// Reads a file.
pub(super) fn parse<T: FromToml>(path: &Path, text: &str) -> Result<T, ConfigError> {
    document::parse(text).map_err(|error| {
        let line = error.line(text);
        let code = text.lines().nth(line - 1).unwrap_or_default().trim();
        let message = error.message;
        let (code, message) = match code.split_once('=') {
            // Neither a password may be shown, nor what the parser quotes of it.
            Some((key, _)) if is_secret(key) && message.starts_with("unknown key") => {
                (format!("{key}= ***"), message)
            }
            Some((key, _)) if key.contains("token") => {
                (format!("{key}= ***"), "must be text in quotes".to_owned())
            }
            Some((key, _)) if is_secret(key) => (
                format!("{key}= ***"),
                "must be text in quotes: the hash of a password, as `porthole passwd` makes it".to_owned(),
            ),
            _ => (without_passwords(code), message),
        };
        ConfigError::Malformed { path: path.into(), line, code, message }
    })
}

/// Whether the value of a key is not shown.
fn is_secret(key: &str) -> bool {
    (key.contains("passw") || key.contains("token")) && !key.contains("password_file")
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

/// Finds values, and keeps a report of them.
pub(super) struct Resolver<'a> {
    path: &'a Path,
    text: &'a str,
    report: Vec<ReportLine>,
}

/// A value that has not been checked yet.
pub(super) struct Unchecked<T> {
    key: &'static Key,
    value: T,
    origin: ValueOrigin,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, report: Vec::new() }
    }

    /// The value of a key: that of its flag, else that of the file, else the default in the table of keys.
    pub(super) fn value<T: FromToml + ToToml>(&mut self, field: Field<T>, flag: Option<T>) -> Unchecked<T> {
        self.value_or_else(field, flag, Key::default_value)
    }

    /// The value of a key whose default depends on others.
    pub(super) fn value_or<T: ToToml>(
        &mut self,
        field: Field<T>,
        flag: Option<T>,
        default: T,
    ) -> Unchecked<T> {
        self.value_or_else(field, flag, |_| default)
    }

    fn value_or_else<T: ToToml>(
        &mut self,
        field: Field<T>,
        flag: Option<T>,
        default: impl FnOnce(&Key) -> T,
    ) -> Unchecked<T> {
        let Field { key, value: file } = field;
        let (value, origin) = match (flag, file) {
            (Some(value), _) => (value, ValueOrigin::Flag(key.flag)),
            (None, Some(spanned)) => {
                let origin = self.origin(&spanned);
                (spanned.into_inner(), origin)
            }
            (None, None) => (default(key), ValueOrigin::Default),
        };
        self.report_value(key.name, &value, origin.clone());
        Unchecked { key, value, origin }
    }

    /// The value of a key that has no default, if the file has one.
    pub(super) fn given<T: ToToml>(&mut self, field: Field<T>) -> Option<Unchecked<T>> {
        let Field { key, value } = field;
        let value = value?;
        let origin = self.origin(&value);
        self.report_value(key.name, value.get_ref(), origin.clone());
        Some(Unchecked { key, value: value.into_inner(), origin })
    }

    /// A secret as `check` makes of it, with where it stands. It is neither reported nor part of an error.
    pub(super) fn secret<T>(
        &self,
        key: &'static str,
        value: Option<Spanned<String>>,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<(T, ValueOrigin)>, ConfigError> {
        let Some(spanned) = value else { return Ok(None) };
        let origin = self.origin(&spanned);
        match check(spanned.get_ref()) {
            Ok(value) => Ok(Some((value, origin))),
            Err(message) => {
                let value = "***".to_owned();
                Err(ConfigError::Value(Box::new(InvalidValue { key, value, origin, message })))
            }
        }
    }

    /// The place of a value of the file.
    pub(super) fn origin<T>(&self, value: &Spanned<T>) -> ValueOrigin {
        ValueOrigin::File(self.path.into(), line_of(self.text, value.span().start))
    }

    /// Begins a section in the report.
    pub(super) fn report_section(&mut self, header: &'static str) {
        self.report.push(ReportLine::Section(header));
    }

    /// Reports a value that was found elsewhere.
    pub(super) fn report_value<T: ToToml>(&mut self, key: &str, value: &T, origin: ValueOrigin) {
        let value = without_passwords(&value.to_toml());
        self.report.push(ReportLine::Value { key: key.into(), value, origin });
    }

    /// Reports something that is not a value.
    pub(super) fn report_comment(&mut self, text: String, origin: ValueOrigin) {
        self.report.push(ReportLine::Comment(text, origin));
    }

    pub(super) fn into_report(self) -> Vec<ReportLine> {
        self.report
    }
}

impl<T: ToToml> Unchecked<T> {
    /// The value of a flag that stands for no single key.
    pub(super) fn of_flag(flag: &'static str, value: T) -> Self {
        Self { key: &Key::BLANK, value, origin: ValueOrigin::Flag(flag) }
    }

    /// The value as `check` makes of it.
    pub(super) fn check<U>(self, check: impl FnOnce(&T) -> Result<U, String>) -> Result<U, ConfigError> {
        check(&self.value).map_err(|message| {
            let value = without_passwords(&self.value.to_toml());
            ConfigError::Value(Box::new(InvalidValue {
                key: self.key.name,
                value,
                origin: self.origin,
                message,
            }))
        })
    }

    /// The value of a key that accepts every value of its type.
    pub(super) fn accept(self) -> T {
        self.value
    }
}

impl Unchecked<String> {
    /// Whether it is this word, in any case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.value.eq_ignore_ascii_case(word)
    }

    /// One of the words that the table of keys has, in any case, as `of` makes of it.
    pub(super) fn choice<U>(self, of: impl FnOnce(&str) -> Result<U, String>) -> Result<U, ConfigError> {
        let key = self.key;
        self.check(|text| key.choice(text).and_then(of))
    }
}

impl Unchecked<i64> {
    /// A number within the range that the table of keys has.
    pub(super) fn number<N: TryFrom<i64>>(self) -> Result<N, ConfigError> {
        let key = self.key;
        self.check(|&number| {
            key.check_range(number as f64)?;
            N::try_from(number).map_err(|_| "is out of range".to_owned())
        })
    }
}

impl Unchecked<f64> {
    /// A number within the range that the table of keys has.
    pub(super) fn float(self) -> Result<f64, ConfigError> {
        let key = self.key;
        self.check(|&number| key.check_range(number).map(|()| number))
    }

    /// A time in seconds, within the range that the table of keys has.
    pub(super) fn seconds(self) -> Result<Duration, ConfigError> {
        let key = self.key;
        self.check(|&number| {
            key.check_range(number)?;
            Duration::try_from_secs_f64(number).map_err(|_| "is not a time".to_owned())
        })
    }
}
