//! The controls of a camera as plain data: kinds, ranges, values, and which value may be set.
//!
//! Nothing here calls a driver.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// The value that a control is set to, as it is configured or requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ControlValue {
    /// On or off.
    Switch(bool),
    /// A number, or the number of a menu item.
    Number(i64),
    /// A menu item by its name.
    Item(String),
}

impl fmt::Display for ControlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Item(item) => write!(f, "{item:?}"),
        }
    }
}

/// The type of a control's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// A 32-bit number from `minimum` to `maximum` in steps.
    Integer,
    /// The same in 64 bits.
    Integer64,
    /// 0 or 1.
    Boolean,
    /// An item of a menu, by its number.
    Menu,
    /// An item of a menu of numbers, by its position.
    IntegerMenu,
    /// An action; any value triggers it.
    Button,
    /// A set of bits; `maximum` has all that are allowed.
    Bitmask,
    /// Another type, such as text, which cannot be set here.
    Other,
}

/// An item of a menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MenuItem {
    /// Its number.
    pub value: i64,
    /// Its name, or its number in a menu of numbers.
    pub label: String,
}

/// One control of a camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Control {
    /// The kernel's number for the control.
    pub id: u32,
    /// The name as v4l2-ctl writes it: `white_balance_automatic`.
    pub name: String,
    /// The name as the driver writes it: `White Balance, Automatic`.
    pub label: String,
    /// The type of its value.
    #[serde(rename = "type")]
    pub kind: ControlKind,
    /// Smallest value.
    pub minimum: i64,
    /// Largest value.
    pub maximum: i64,
    /// Difference between two adjacent values.
    pub step: u64,
    /// Value after power-up.
    pub default: i64,
    /// The current value; `None` if it cannot be read.
    pub value: Option<i64>,
    /// The items of a menu. Numbers may be missing.
    pub menu: Vec<MenuItem>,
    /// The control cannot be set.
    pub read_only: bool,
    /// The control has no effect at the current value of another one.
    pub inactive: bool,
    /// Setting the control may change others.
    #[serde(skip)]
    pub affects_others: bool,
}

/// Why a control was not set.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The camera does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// Earlier requests took all the time.
    #[error(
        "another request for this camera's controls has not been answered; try again, and if that goes on, unplug the \
         camera and plug it in again"
    )]
    Busy,
    /// The camera has no such control.
    #[error("there is no control {name:?}; there is {known}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The existing names.
        known: String,
    },
    /// The control cannot be set.
    #[error("{name} is read only")]
    ReadOnly {
        /// The control.
        name: String,
    },
    /// The control has no effect now.
    #[error("{name} has no effect while the camera sets it by itself; switch its automatic off first")]
    Inactive {
        /// The control.
        name: String,
    },
    /// The value is not allowed.
    #[error("{name} = {value}: must be {allowed}")]
    Value {
        /// The control.
        name: String,
        /// The requested value.
        value: String,
        /// The allowed values.
        allowed: String,
    },
    /// The driver refused the value.
    #[error("{name} = {value}: the camera refused: {source}")]
    Refused {
        /// The control.
        name: String,
        /// The requested value.
        value: i64,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// The controls of one camera, whatever carries them out.
pub(super) trait CameraControls: fmt::Debug + Send + Sync {
    /// All controls with their values, whether or not the camera is open. May block for a while.
    fn list(&self) -> Result<Vec<Control>, ControlError>;

    /// Sets a control now, and whenever the camera is opened. Returns it with its new value. May block for a while.
    fn set(&self, name: &str, value: &ControlValue) -> Result<Control, ControlError>;
}

impl Control {
    /// The number that stands for `value`.
    pub(super) fn number_for(&self, value: &ControlValue) -> Result<i64, ControlError> {
        if self.read_only || self.kind == ControlKind::Other {
            return Err(ControlError::ReadOnly { name: self.name.clone() });
        }
        let item = |found: &dyn Fn(&MenuItem) -> bool| {
            self.menu.iter().find(|item| found(item)).map(|item| item.value)
        };
        let number = match (self.kind, value) {
            (ControlKind::Button, _) => Some(1),
            (ControlKind::Boolean, ControlValue::Switch(on)) => Some((*on).into()),
            (ControlKind::Boolean, ControlValue::Number(n)) => Some(*n).filter(|n| matches!(n, 0 | 1)),
            (ControlKind::Menu | ControlKind::IntegerMenu, ControlValue::Number(n)) => {
                item(&|item| item.value == *n)
            }
            (ControlKind::Menu | ControlKind::IntegerMenu, ControlValue::Item(label)) => {
                item(&|item| item.label.eq_ignore_ascii_case(label))
            }
            (ControlKind::Bitmask, ControlValue::Number(n)) => {
                Some(*n).filter(|n| *n >= 0 && n & !self.maximum == 0)
            }
            (ControlKind::Integer | ControlKind::Integer64, ControlValue::Number(n)) => {
                Some(*n).filter(|n| (self.minimum..=self.maximum).contains(n))
            }
            _ => None,
        };
        number.ok_or_else(|| {
            let allowed = match self.kind {
                ControlKind::Boolean => "true or false".into(),
                ControlKind::Menu | ControlKind::IntegerMenu => format!("one of {}", self.menu_text()),
                ControlKind::Bitmask => format!("bits of {:#x}", self.maximum),
                _ => format!("a number from {} to {}", self.minimum, self.maximum),
            };
            ControlError::Value { name: self.name.clone(), value: value.to_string(), allowed }
        })
    }

    fn menu_text(&self) -> String {
        let items: Vec<String> =
            self.menu.iter().map(|item| format!("{} {}", item.value, item.label)).collect();
        items.join(", ")
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, minimum, maximum, step, default, .. } = self;
        let value = self.value.map_or_else(|| "?".into(), |value| value.to_string());
        match self.kind {
            ControlKind::Integer | ControlKind::Integer64 => {
                write!(f, "{name} = {value} ({minimum} to {maximum} by {step}, default {default})")?;
            }
            ControlKind::Boolean => write!(f, "{name} = {value} (0 or 1, default {default})")?,
            ControlKind::Menu | ControlKind::IntegerMenu => {
                write!(f, "{name} = {value} ({}, default {default})", self.menu_text())?;
            }
            ControlKind::Button => write!(f, "{name} (button)")?,
            ControlKind::Bitmask => write!(f, "{name} = {value} (bits of {maximum:#x}, default {default})")?,
            ControlKind::Other => write!(f, "{name} (cannot be set here)")?,
        }
        match (self.read_only, self.inactive) {
            (true, _) => f.write_str(", read only"),
            (false, true) => f.write_str(", inactive"),
            (false, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(kind: ControlKind) -> Control {
        let item = |value, label: &str| MenuItem { value, label: label.into() };
        Control {
            id: 1,
            name: "test".into(),
            label: "Test".into(),
            kind,
            minimum: -5,
            maximum: 6,
            step: 1,
            default: 0,
            value: Some(0),
            menu: vec![item(1, "Manual Mode"), item(3, "Aperture Priority Mode")],
            read_only: false,
            inactive: false,
            affects_others: false,
        }
    }

    #[test]
    fn values_become_numbers_and_errors_state_the_allowed_values() {
        use ControlValue::{Item, Number, Switch};
        for (kind, value, number) in [
            (ControlKind::Integer, Number(-5), -5),
            (ControlKind::Integer64, Number(6), 6),
            (ControlKind::Boolean, Switch(true), 1),
            (ControlKind::Boolean, Number(0), 0),
            (ControlKind::Menu, Number(3), 3),
            (ControlKind::Menu, Item("Manual Mode".into()), 1),
            (ControlKind::Menu, Item("APERTURE priority mode".into()), 3),
            (ControlKind::Bitmask, Number(6), 6),
            (ControlKind::Button, Switch(false), 1),
        ] {
            assert_eq!(control(kind).number_for(&value).unwrap(), number, "{kind:?} {value}");
        }
        for (kind, value, allowed) in [
            (ControlKind::Integer, Number(7), "must be a number from -5 to 6"),
            (ControlKind::Integer, Switch(true), "must be a number from -5 to 6"),
            (ControlKind::Boolean, Number(2), "must be true or false"),
            (ControlKind::Menu, Number(2), "must be one of 1 Manual Mode, 3 Aperture Priority Mode"),
            (ControlKind::Menu, Item("Auto".into()), "must be one of 1 Manual Mode"),
            (ControlKind::Bitmask, Number(1), "must be bits of 0x6"),
            (ControlKind::Bitmask, Number(-2), "must be bits of 0x6"),
            (ControlKind::Other, Number(1), "read only"),
        ] {
            let error = control(kind).number_for(&value).unwrap_err().to_string();
            assert!(error.contains("test") && error.contains(allowed), "{kind:?} {value}: {error}");
        }
    }
}
