//! How values of the cameras' types stand in the file.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::camera::{ControlValue, InputChoice};
use crate::document::{DeValue, DocumentError, FromToml, ToToml};

impl FromToml for ControlValue {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        match value {
            DeValue::Boolean(on) => Ok(Self::Switch(on)),
            DeValue::Integer(_) => i64::from_toml(value, span).map(Self::Number),
            DeValue::String(item) => Ok(Self::Item(item.into_owned())),
            other => Err(DocumentError::unexpected(
                &other,
                &span,
                "true or false, a whole number, or text in quotes",
            )),
        }
    }
}

impl FromToml for InputChoice {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let expected = "a number from 0, or a name in quotes";
        match value {
            DeValue::String(name) => Ok(Self::Name(name.into_owned())),
            DeValue::Integer(_) => {
                let number = u32::try_from(i64::from_toml(value, span.clone())?);
                number.map(Self::Number).map_err(|_| DocumentError::new(&span, format!("must be {expected}")))
            }
            other => Err(DocumentError::unexpected(&other, &span, expected)),
        }
    }
}

impl ToToml for InputChoice {
    fn to_toml(&self) -> String {
        match self {
            Self::Number(number) => i64::from(*number).to_toml(),
            Self::Name(name) => name.to_toml(),
        }
    }
}

impl ToToml for ControlValue {
    fn to_toml(&self) -> String {
        match self {
            Self::Switch(on) => on.to_toml(),
            Self::Number(number) => number.to_toml(),
            Self::Item(item) => item.to_toml(),
        }
    }
}
