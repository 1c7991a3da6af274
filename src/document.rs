//! TOML files, read key by key: what is wrong in one is told with its place, in words for whoever wrote it.
//!
//! The parser is the crate `toml`; what is here is the way from its tree to types. Serde would do the same with code
//! made anew for each struct and key, a tenth of the program. What keys there are belongs to the rooms that have them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

pub(crate) use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a document, and at which byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) at: usize,
    pub(crate) message: String,
}

impl Mistake {
    /// The line it is in, from 1.
    pub(crate) fn line(&self, text: &str) -> usize {
        line_of(text, self.at)
    }

    fn missing(key: &str, at: usize) -> Self {
        Self { at, message: format!("the key `{key}` is missing") }
    }
}

/// The line that holds the byte at `offset`, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

/// The document that `text` is.
pub(crate) fn parse<T: Value>(text: &str) -> Result<T, Mistake> {
    let tree = DeTable::parse(text).map_err(|error| Mistake {
        at: error.span().map_or(0, |span| span.start),
        message: error.message().trim().replace('\n', ", "),
    })?;
    let span = tree.span();
    T::read(DeValue::Table(tree.into_inner()), span)
}

/// What can stand behind a key.
pub(crate) trait Value: Sized {
    /// What is made of `value`, which stands at `span`.
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake>;
}

/// That `value` is not what is `wanted` there.
pub(crate) fn unwanted(value: &DeValue<'_>, span: &Range<usize>, wanted: &str) -> Mistake {
    let is = match value {
        DeValue::String(text) => format!("text {text:?}"),
        DeValue::Integer(number) => format!("number {number}"),
        DeValue::Float(number) => format!("number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    };
    Mistake { at: span.start, message: format!("is {is}, expected {wanted}") }
}

impl Value for bool {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        value.as_bool().ok_or_else(|| unwanted(&value, &span, "true or false"))
    }
}

impl Value for i64 {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        let number = value.as_integer().and_then(|n| Self::from_str_radix(n.as_str(), n.radix()).ok());
        number.ok_or_else(|| unwanted(&value, &span, "a whole number"))
    }
}

impl Value for f64 {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        let number = match &value {
            DeValue::Integer(_) => i64::read(value.clone(), span.clone()).ok().map(|n| n as Self),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| unwanted(&value, &span, "a number"))
    }
}

impl Value for String {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        match value {
            DeValue::String(text) => Ok(text.into_owned()),
            other => Err(unwanted(&other, &span, "text in quotes")),
        }
    }
}

impl Value for PathBuf {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        match value {
            DeValue::String(text) => Ok(text.into_owned().into()),
            other => Err(unwanted(&other, &span, "a path in quotes")),
        }
    }
}

impl<T: Value> Value for Spanned<T> {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        Ok(Self::new(span.clone(), T::read(value, span)?))
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        let DeValue::Array(list) = value else { return Err(unwanted(&value, &span, "a list")) };
        list.into_iter().map(|one| T::read_here(one)).collect()
    }
}

/// Any keys, all with the same kind of value.
impl<T: Value> Value for BTreeMap<String, T> {
    fn read(value: DeValue<'_>, span: Range<usize>) -> Result<Self, Mistake> {
        let DeValue::Table(table) = value else { return Err(unwanted(&value, &span, "a table")) };
        let read = |(key, value): (Spanned<_>, _)| {
            let key: std::borrow::Cow<'_, str> = key.into_inner();
            Ok((key.into_owned(), T::read_here(value)?))
        };
        table.into_iter().map(read).collect()
    }
}

/// With the place that the parser found it at.
trait Here: Value {
    fn read_here(value: Spanned<DeValue<'_>>) -> Result<Self, Mistake> {
        let span = value.span();
        Self::read(value.into_inner(), span)
    }
}

impl<T: Value> Here for T {}

/// A table, from which keys are taken one after the other. What is left in the end is unknown.
pub(crate) struct Table<'t> {
    keys: DeTable<'t>,
    at: usize,
    known: Vec<&'static str>,
}

impl<'t> Table<'t> {
    /// The table that `value` is.
    pub(crate) fn of(value: DeValue<'t>, span: Range<usize>) -> Result<Self, Mistake> {
        match value {
            DeValue::Table(keys) => Ok(Self { keys, at: span.start, known: Vec::new() }),
            other => Err(unwanted(&other, &span, "a table")),
        }
    }

    /// The value of `key`, if it is there.
    pub(crate) fn take<T: Value>(&mut self, key: &'static str) -> Result<Option<T>, Mistake> {
        self.known.push(key);
        self.keys.remove(key).map(T::read_here).transpose()
    }

    /// The value of `key`, which must be there.
    pub(crate) fn need<T: Value>(&mut self, key: &'static str) -> Result<T, Mistake> {
        self.take(key)?.ok_or_else(|| Mistake::missing(key, self.at))
    }

    /// Looks whether all keys were taken.
    pub(crate) fn end(self) -> Result<(), Mistake> {
        let Some(key) = self.keys.keys().min_by_key(|key| key.span().start) else { return Ok(()) };
        let known: Vec<String> = self.known.iter().map(|key| format!("`{key}`")).collect();
        let expected = match &known[..] {
            [only] => only.clone(),
            all => format!("one of {}", all.join(", ")),
        };
        let message = format!("unknown key `{}`, expected {expected}", key.get_ref());
        Err(Mistake { at: key.span().start, message })
    }
}

/// Makes a struct of keys that may each be missing, and how it is read from a table.
macro_rules! keys {
    ($(#[$about:meta])* $visible:vis struct $name:ident { $($key:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        $visible struct $name {
            $($visible $key: Option<$crate::document::Spanned<$kind>>,)*
        }

        impl $crate::document::Value for $name {
            fn read(
                value: toml::de::DeValue<'_>,
                span: std::ops::Range<usize>,
            ) -> Result<Self, $crate::document::Mistake> {
                let mut table = $crate::document::Table::of(value, span)?;
                let read = Self { $($key: table.take(stringify!($key))?,)* };
                table.end()?;
                Ok(read)
            }
        }
    };
}
pub(crate) use keys;

#[cfg(test)]
mod tests {
    use super::*;

    keys! {
        /// Some keys.
        struct Keys { whole: i64, number: f64, text: String, switch: bool, list: Vec<String>, any: BTreeMap<String, i64>, }
    }

    fn mistake(text: &str) -> (usize, String) {
        let mistake = parse::<Keys>(text).unwrap_err();
        (mistake.line(text), mistake.message)
    }

    #[test]
    fn values_are_read_with_their_place() {
        let text = "whole = -0x1F\n\nnumber = 3\ntext = 'a'\nlist = ['b', \"c\"]\n[any]\nd = 4_000\n";
        // A sign before another radix is no TOML.
        assert!(parse::<Keys>(text).is_err());
        let keys: Keys = parse(&text.replace('-', "")).unwrap();
        assert_eq!(*keys.whole.unwrap().get_ref(), 31);
        let number = keys.number.unwrap();
        assert_eq!((*number.get_ref(), line_of(text, number.span().start)), (3.0, 3));
        assert_eq!(keys.text.unwrap().get_ref(), "a");
        assert_eq!(keys.list.unwrap().get_ref()[..], ["b", "c"]);
        assert_eq!(keys.any.unwrap().get_ref()["d"], 4000);
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
            assert_eq!(*keys.whole.unwrap().get_ref(), expected, "{written}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
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
    fn lines_are_counted_from_one() {
        assert_eq!([0, 1, 2, 3, 99].map(|at| line_of("a\nb\n", at)), [1, 1, 2, 2, 3]);
    }
}
