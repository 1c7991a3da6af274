//! The form of a key: its name, type, default, and what it accepts. The keys themselves are in [`keys`](super::keys).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::camera::{ControlValue, InputChoice};
use crate::document::{self, DocumentError, FromToml, OneOrMore, Spanned, TableReader};

/// A section of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its head in the file, such as `[server]`; empty for the keys above all sections.
    pub header: &'static str,
    /// What its keys are about, in one sentence.
    pub help: &'static str,
    /// Its keys, in the order in which they are listed.
    pub keys: &'static [Key],
}

/// A key of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in its section.
    pub name: &'static str,
    /// The type of its value.
    pub type_name: &'static str,
    /// Its value where neither the file nor the command line gives one.
    pub default: DefaultValue,
    /// The values that are right, as far as the type does not say.
    pub accepts: Accepts,
    /// The unit of its value; empty where there is none.
    pub unit: &'static str,
    /// The flag that sets it for the first camera or the whole service; empty where there is none.
    pub flag: &'static str,
    /// Its meaning in one line.
    pub help: &'static str,
    /// A value for the example configuration; empty where the default is shown, or nothing can be shown.
    pub example: &'static str,
}

/// The value of a key that is not given.
#[derive(Clone, Copy, Debug)]
pub enum DefaultValue {
    /// This value, as the file has it.
    Value(&'static str),
    /// A value that depends on others, in words.
    Rule(&'static str),
    /// None: the key must be given.
    Required,
}

/// The values that a key accepts.
#[derive(Clone, Copy, Debug)]
pub enum Accepts {
    /// All of its type.
    Any,
    /// From the first to the second, with both.
    Between(f64, f64),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// What these words say.
    Form(&'static str),
}

impl Key {
    /// What an entry of the table need not say.
    pub(super) const BLANK: Self = Self {
        name: "",
        type_name: "",
        default: DefaultValue::Rule("none"),
        accepts: Accepts::Any,
        unit: "",
        flag: "",
        help: "",
        example: "",
    };

    /// Its default, where the table has a value.
    ///
    /// # Panics
    /// Where the table has none, or one of another type. The tests read every default.
    pub(super) fn default_value<T: FromToml>(&self) -> T {
        match self.default {
            DefaultValue::Value(text) => document::parse_value(text).ok(),
            _ => None,
        }
        .unwrap_or_else(|| unreachable!("the tests read the default of every key, also of {}", self.name))
    }

    /// Fails unless `value` is in the range that the table has.
    pub(super) fn check_range(&self, value: f64) -> Result<(), String> {
        match self.accepts {
            Accepts::Between(least, most) if !(least..=most).contains(&value) => {
                Err(format!("must be {least} to {most} {}", self.unit).trim_end().to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The choice of the table that `value` names in any case. Fails if it names none.
    pub(super) fn choice<'a>(&self, value: &'a str) -> Result<&'a str, String> {
        let Accepts::OneOf(choices) = self.accepts else { return Ok(value) };
        let named = choices.iter().find(|choice| choice.eq_ignore_ascii_case(value));
        named.copied().ok_or_else(|| {
            let choices: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
            let (last, others) = choices.split_last().map_or(("", &[][..]), |(l, o)| (l.as_str(), o));
            format!("must be {} or {last}", others.join(", "))
        })
    }
}

/// Types that the value of a key can have.
pub(super) trait KeyType {
    /// What the documentation calls it.
    const NAME: &'static str;
}

macro_rules! key_types {
    ($($kind:ty => $name:literal,)*) => {
        $(impl KeyType for $kind {
            const NAME: &'static str = $name;
        })*
    };
}
key_types! {
    bool => "true or false",
    i64 => "whole number",
    f64 => "number",
    String => "text",
    PathBuf => "path",
    Vec<String> => "list of texts",
    OneOrMore => "text, or list of texts",
    InputChoice => "whole number, or text",
    BTreeMap<String, Spanned<ControlValue>> => "table",
}

/// A key with what the file says of it.
#[derive(Debug)]
pub(super) struct Field<T> {
    pub(super) key: &'static Key,
    pub(super) value: Option<Spanned<T>>,
}

impl<T: FromToml> Field<T> {
    /// Reads the key from its section.
    pub(super) fn read(&mut self, table: &mut TableReader<'_>) -> Result<(), DocumentError> {
        self.value = match self.key.default {
            DefaultValue::Required => Some(table.key(self.key.name)?),
            _ => table.key(self.key.name)?,
        };
        Ok(())
    }
}

/// Makes a section of the table, a struct with a [`Field`] for each of its keys, and how that is read.
macro_rules! section {
    (
        $(#[$about:meta])*
        $section:ident $header:literal, $help:literal {
            $($name:ident: $type:ty { $($attribute:ident: $value:expr),* $(,)? })*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug)]
        pub(super) struct $section {
            $(pub(super) $name: Field<$type>,)*
        }

        impl $section {
            #[allow(clippy::needless_update, reason = "most entries leave something out")]
            const KEYS: &'static [Key] = &[$(Key {
                name: stringify!($name),
                type_name: <$type as KeyType>::NAME,
                $($attribute: $value,)*
                ..Key::BLANK
            },)*];
            pub(super) const SECTION: Section = Section { header: $header, help: $help, keys: Self::KEYS };

            /// Reads the keys of the section; the table may have others.
            fn read(&mut self, table: &mut TableReader<'_>) -> Result<(), DocumentError> {
                $(self.$name.read(table)?;)*
                Ok(())
            }
        }

        impl Default for $section {
            fn default() -> Self {
                #[allow(non_camel_case_types, reason = "each is a key's place in the table")]
                enum Place { $($name,)* }
                Self { $($name: Field { key: &Self::KEYS[Place::$name as usize], value: None },)* }
            }
        }

        impl FromToml for $section {
            fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
                let mut table = TableReader::new(value, span)?;
                let mut section = Self::default();
                section.read(&mut table)?;
                table.finish()?;
                Ok(section)
            }
        }
    };
}
pub(super) use section;
