//! TOML files, read key by key. Errors say where the mistake is and what would be right.
//!
//! Every TOML file is read here: the configuration, the board profiles, the passwords, and `network.toml` on an SD card.
//! The crate `toml` parses; this module turns its tree into types. Serde's derive would do the same with code generated
//! for each struct and key: read that way, the configuration and the profiles make the program 5.4 % larger (183 kB of
//! 3.37 MB, x86-64, stripped). Which keys there are belongs to the rooms that have them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

pub use toml::Spanned;
pub use toml::de::DeValue;

use toml::de::DeTable;

pub use crate::toml_table;

/// A mistake in a document, and the byte where it is.
#[derive(Debug, PartialEq, Eq)]
pub struct DocumentError {
    offset: usize,
    /// The mistake, and what would be right.
    pub message: String,
}

impl DocumentError {
    /// The line of the mistake, from 1.
    pub fn line(&self, text: &str) -> usize {
        line_of(text, self.offset)
    }

    /// A `value` that is not what is `expected` at `span`.
    pub fn unexpected(value: &DeValue<'_>, span: &Range<usize>, expected: &str) -> Self {
        let found = match value {
            DeValue::String(text) => format!("text {text:?}"),
            DeValue::Integer(number) => format!("number {number}"),
            DeValue::Float(number) => format!("number {number}"),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date or time".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        };
        Self::new(span, format!("is {found}, expected {expected}"))
    }

    /// A mistake at `span`.
    pub fn new(span: &Range<usize>, message: String) -> Self {
        Self { offset: span.start, message }
    }
}

/// The line that holds the byte at `offset`, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

/// Reads a whole document.
///
/// # Errors
/// [`DocumentError`] for the first mistake.
pub fn parse<T: FromToml>(text: &str) -> Result<T, DocumentError> {
    let tree = DeTable::parse(text).map_err(not_toml)?;
    let span = tree.span();
    T::from_toml(DeValue::Table(tree.into_inner()), span)
}

/// Reads a single value.
///
/// # Errors
/// [`DocumentError`] for another type, or a mistake in it.
pub fn parse_value<T: FromToml>(text: &str) -> Result<T, DocumentError> {
    from_spanned(DeValue::parse(text).map_err(not_toml)?)
}

fn not_toml(error: toml::de::Error) -> DocumentError {
    DocumentError::new(&error.span().unwrap_or_default(), error.message().trim().replace('\n', ", "))
}

/// Types that a value of a document can become.
pub trait FromToml: Sized {
    /// Reads `value`, which stands at `span`.
    ///
    /// # Errors
    /// [`DocumentError`] for a value of another type.
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError>;

    /// The value of a key that is missing; `None` for a key that must be given.
    fn missing() -> Option<Self> {
        None
    }
}

impl<T: FromToml> FromToml for Option<T> {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        T::from_toml(value, span).map(Some)
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

impl FromToml for bool {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        value.as_bool().ok_or_else(|| DocumentError::unexpected(&value, &span, "true or false"))
    }
}

impl FromToml for i64 {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let number = value.as_integer().and_then(|n| Self::from_str_radix(n.as_str(), n.radix()).ok());
        number.ok_or_else(|| DocumentError::unexpected(&value, &span, "a whole number"))
    }
}

impl FromToml for f64 {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let number = match &value {
            DeValue::Integer(_) => i64::from_toml(value.clone(), span.clone()).ok().map(|n| n as Self),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| DocumentError::unexpected(&value, &span, "a number"))
    }
}

impl FromToml for String {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        match value {
            DeValue::String(text) => Ok(text.into_owned()),
            other => Err(DocumentError::unexpected(&other, &span, "text in quotes")),
        }
    }
}

impl FromToml for PathBuf {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        match value {
            DeValue::String(text) => Ok(text.into_owned().into()),
            other => Err(DocumentError::unexpected(&other, &span, "a path in quotes")),
        }
    }
}

impl<T: FromToml> FromToml for Spanned<T> {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        Ok(Self::new(span.clone(), T::from_toml(value, span)?))
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        match value {
            DeValue::Array(list) => list.into_iter().map(from_spanned).collect(),
            other => Err(DocumentError::unexpected(&other, &span, "a list")),
        }
    }
}

/// One text, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMore(pub Vec<String>);

impl FromToml for OneOrMore {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        match value {
            DeValue::String(text) => Ok(Self(vec![text.into_owned()])),
            DeValue::Array(_) => Vec::from_toml(value, span).map(Self),
            other => Err(DocumentError::unexpected(&other, &span, "text in quotes, or a list of such")),
        }
    }
}

/// A table with any keys, whose values are of one type.
impl<T: FromToml> FromToml for BTreeMap<String, T> {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let entries = match value {
            DeValue::Table(entries) => entries,
            other => return Err(DocumentError::unexpected(&other, &span, "a table")),
        };
        let read = |(key, value): (Spanned<_>, _)| {
            let key: std::borrow::Cow<'_, str> = key.into_inner();
            Ok((key.into_owned(), from_spanned(value)?))
        };
        entries.into_iter().map(read).collect()
    }
}

fn from_spanned<T: FromToml>(value: Spanned<DeValue<'_>>) -> Result<T, DocumentError> {
    let span = value.span();
    T::from_toml(value.into_inner(), span)
}

/// A table with fixed keys. Each is read once; a key that is left over is unknown.
pub struct TableReader<'t> {
    entries: DeTable<'t>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'t> TableReader<'t> {
    /// The table that `value` is.
    ///
    /// # Errors
    /// [`DocumentError`] for a value of another type.
    pub fn new(value: DeValue<'t>, span: Range<usize>) -> Result<Self, DocumentError> {
        match value {
            DeValue::Table(entries) => Ok(Self { entries, span, known: Vec::new() }),
            other => Err(DocumentError::unexpected(&other, &span, "a table")),
        }
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`DocumentError`] for a value of another type, or a missing key whose type is no `Option`.
    pub fn key<T: FromToml>(&mut self, key: &'static str) -> Result<T, DocumentError> {
        self.known.push(key);
        match self.entries.remove(key) {
            Some(value) => from_spanned(value),
            None => T::missing()
                .ok_or_else(|| DocumentError::new(&self.span, format!("the key `{key}` is missing"))),
        }
    }

    /// Ends the table.
    ///
    /// # Errors
    /// [`DocumentError`] for the first key that was not read, with those that were.
    pub fn finish(self) -> Result<(), DocumentError> {
        let Some(key) = self.entries.keys().min_by_key(|key| key.span().start) else { return Ok(()) };
        let known: Vec<String> = self.known.iter().map(|key| format!("`{key}`")).collect();
        let expected = match &known[..] {
            [only] => only.clone(),
            all => format!("one of {}", all.join(", ")),
        };
        Err(DocumentError::new(&key.span(), format!("unknown key `{}`, expected {expected}", key.get_ref())))
    }
}

/// Types that can be written as a value of a document.
pub trait ToToml {
    /// The value as it stands in a document.
    fn to_toml(&self) -> String;
}

impl ToToml for bool {
    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl ToToml for i64 {
    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl ToToml for f64 {
    /// With a point, without which it would be a whole number.
    fn to_toml(&self) -> String {
        format!("{self:?}")
    }
}

impl ToToml for str {
    /// A basic string.
    fn to_toml(&self) -> String {
        let mut text = String::from('"');
        for c in self.chars() {
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

impl ToToml for String {
    fn to_toml(&self) -> String {
        self.as_str().to_toml()
    }
}

impl ToToml for PathBuf {
    fn to_toml(&self) -> String {
        self.to_string_lossy().to_toml()
    }
}

impl<T: ToToml> ToToml for Vec<T> {
    fn to_toml(&self) -> String {
        format!("[{}]", self.iter().map(T::to_toml).collect::<Vec<_>>().join(", "))
    }
}

impl ToToml for OneOrMore {
    fn to_toml(&self) -> String {
        match &self.0[..] {
            [one] => one.to_toml(),
            _ => self.0.to_toml(),
        }
    }
}

/// A key as it stands in a document: in quotes where it is more than letters, digits, `-` and `_`.
pub fn key_to_toml(key: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { key.to_toml() }
}

/// Makes a struct of the keys of a table, and reads it. A key whose type is an `Option` may be missing.
#[macro_export]
#[doc(hidden)]
macro_rules! toml_table {
    ($(#[$about:meta])* $visible:vis struct $name:ident { $($(#[$doc:meta])* $key:ident: $kind:ty,)* }) => {
        $(#[$about])*
        $visible struct $name {
            $($(#[$doc])* $visible $key: $kind,)*
        }

        impl $crate::document::FromToml for $name {
            fn from_toml(
                value: $crate::document::DeValue<'_>,
                span: std::ops::Range<usize>,
            ) -> Result<Self, $crate::document::DocumentError> {
                let mut table = $crate::document::TableReader::new(value, span)?;
                let read = Self { $($key: table.key(stringify!($key))?,)* };
                table.finish()?;
                Ok(read)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    toml_table! {
        #[derive(Debug)]
        struct Keys {
            whole: Option<i64>,
            number: Option<Spanned<f64>>,
            text: Option<String>,
            switch: Option<bool>,
            list: Option<Vec<String>>,
            any: Option<BTreeMap<String, i64>>,
        }
    }

    fn mistake(text: &str) -> (usize, String) {
        let mistake = parse::<Keys>(text).unwrap_err();
        (mistake.line(text), mistake.message)
    }

    #[test]
    fn values_are_read_with_their_place() {
        let text = "whole = -0x1F\n\nnumber = 3\ntext = 'a'\nlist = ['b', \"c\"]\n[any]\nd = 4_000\n";
        // TOML has no sign before another radix.
        assert!(parse::<Keys>(text).is_err());
        let keys: Keys = parse(&text.replace('-', "")).unwrap();
        assert_eq!(keys.whole.unwrap(), 31);
        let number = keys.number.unwrap();
        assert_eq!((*number.get_ref(), line_of(text, number.span().start)), (3.0, 3));
        assert_eq!(keys.text.unwrap(), "a");
        assert_eq!(keys.list.unwrap(), ["b", "c"]);
        assert_eq!(keys.any.unwrap()["d"], 4000);
        assert!(keys.switch.is_none());
    }

    #[test]
    fn numbers_are_read_as_toml_writes_them() {
        for (written, expected) in
            [("1e3", 1e3), ("-0.5", -0.5), ("+1_0.0", 10.0), ("-inf", f64::NEG_INFINITY)]
        {
            let keys: Keys = parse(&format!("number = {written}")).unwrap();
            assert_eq!(*keys.number.unwrap().get_ref(), expected, "{written}");
        }
        for (written, expected) in [("+7", 7), ("0b11", 3), ("-9223372036854775808", i64::MIN)] {
            let keys: Keys = parse(&format!("whole = {written}")).unwrap();
            assert_eq!(keys.whole.unwrap(), expected, "{written}");
        }
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        for (text, line, message) in [
            ("whole = 1.5", 1, "is number 1.5, expected a whole number"),
            ("\nwhole = 9223372036854775808", 2, "is number 9223372036854775808, expected a whole number"),
            ("number = 'x'", 1, "is text \"x\", expected a number"),
            ("switch = 1", 1, "is number 1, expected true or false"),
            ("text = 2020-01-01", 1, "is a date or time, expected text in quotes"),
            ("text = []", 1, "is a list, expected text in quotes"),
            ("list = ['a',\n true]", 2, "is true, expected text in quotes"),
            ("any = 1", 1, "is number 1, expected a table"),
            ("[text]\na = 1", 1, "is a table, expected text in quotes"),
            ("zzz = 1\nyyy = 1", 1, "unknown key `zzz`, expected one of `whole`, `number`, `text`"),
            ("whole = 1\nwhole = 2", 2, "duplicate key"),
            ("text = 'a", 1, "invalid literal string, expected `'`"),
        ] {
            let (found, said) = mistake(text);
            assert!(found == line && said.starts_with(message), "{text:?} gave {found}: {said}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in ["a \"b\" \\ \n\t\u{7f}\u{85}", "", "ü 'x' #"] {
            let line = format!("text = {}\nlist = {}", text.to_toml(), vec![text.to_owned(); 2].to_toml());
            let keys: Keys = parse(&line).unwrap();
            assert_eq!((keys.text.unwrap().as_str(), keys.list.unwrap().len()), (text, 2));
        }
        assert_eq!("a \"b\" \\ \n".to_toml(), r#""a \"b\" \\ \u000A""#);
        for (key, written) in [("gain_1-a", "gain_1-a"), ("a b", "\"a b\""), ("", "\"\""), ("a.b", "\"a.b\"")]
        {
            assert_eq!(key_to_toml(key), written);
        }
    }

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!([0, 1, 2, 3, 99].map(|at| line_of("a\nb\n", at)), [1, 1, 2, 2, 3]);
    }
}
