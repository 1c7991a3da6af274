//! The knobs of a camera: which there are, where they stand, and turning them.
//!
//! One device at a time, as it stands now. What shall be set again when it is opened next is in [`desk`](super::desk).
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::kernel::{ControlInfo, Device};

/// What a control is to be set to, as people and programs write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// A switch.
    Switch(bool),
    /// A number, or the number of a menu item.
    Number(i64),
    /// A menu item by its name.
    Item(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Item(item) => write!(f, "{item:?}"),
        }
    }
}

/// What kind of value a control takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number from `minimum` to `maximum` in steps.
    Integer,
    /// The same in 64 bits.
    Integer64,
    /// 0 or 1.
    Boolean,
    /// One of several things by number.
    Menu,
    /// One of several numbers by number.
    IntegerMenu,
    /// Does something when set to anything.
    Button,
    /// A set of bits, all of them in `maximum`.
    Bitmask,
    /// Something that is shown and cannot be set here, such as text.
    Other,
}

/// An item of a menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its number.
    pub value: i64,
    /// Its name, or the number it stands for.
    pub label: String,
}

/// One control of a camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Control {
    /// The kernel's number for it.
    pub id: u32,
    /// Its name in lower case with underscores, as v4l2-ctl writes it: `white_balance_automatic`.
    pub name: String,
    /// Its name as the driver writes it: `White Balance, Automatic`.
    pub label: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Smallest value.
    pub minimum: i64,
    /// Largest value.
    pub maximum: i64,
    /// Distance from one value to the next.
    pub step: u64,
    /// Value after power-up.
    pub default: i64,
    /// Value now; `None` where it cannot be read.
    pub value: Option<i64>,
    /// What a menu holds. Numbers may be missing.
    pub menu: Vec<Item>,
    /// It can be looked at but not set.
    pub read_only: bool,
    /// It has no effect while another control is as it is.
    pub inactive: bool,
}

/// Why a control was not set.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The camera cannot be asked now.
    #[error("{0}")]
    Unavailable(String),
    /// Somebody else is at it, or the driver has not answered yet.
    #[error("another request for this camera's controls is under way; try again")]
    Busy,
    /// The camera has no such control.
    #[error("there is no control {name:?}; there is {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// It can only be looked at.
    #[error("{name} is read only")]
    ReadOnly {
        /// The control.
        name: String,
    },
    /// It has no effect now.
    #[error("{name} has no effect while the camera sets it by itself; switch its automatic off first")]
    Inactive {
        /// The control.
        name: String,
    },
    /// The value will not do.
    #[error("{name} = {value}: must be {right}")]
    Value {
        /// The control.
        name: String,
        /// What was asked for.
        value: String,
        /// What would be right.
        right: String,
    },
    /// The driver refused.
    #[error("{name} = {value}: the camera refused: {source}")]
    Refused {
        /// The control.
        name: String,
        /// What was asked for.
        value: i64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// All controls of a device, in the driver's order.
pub(super) fn controls(device: Device<'_>) -> io::Result<Vec<Control>> {
    let mut all = Vec::new();
    let mut last = 0;
    while let Some(info) = device.control_after(last)? {
        last = info.id;
        if !info.is_hidden() {
            all.push(control(device, info));
        }
    }
    Ok(all)
}

fn control(device: Device<'_>, info: ControlInfo) -> Control {
    let kind = match info.kind {
        ControlInfo::INTEGER => Kind::Integer,
        ControlInfo::INTEGER64 => Kind::Integer64,
        ControlInfo::BOOLEAN => Kind::Boolean,
        ControlInfo::MENU => Kind::Menu,
        ControlInfo::INTEGER_MENU => Kind::IntegerMenu,
        ControlInfo::BUTTON => Kind::Button,
        ControlInfo::BITMASK => Kind::Bitmask,
        _ => Kind::Other,
    };
    let value = match kind {
        Kind::Button | Kind::Other => None,
        _ => device.control_value(&info).ok(),
    };
    let menu = match kind {
        Kind::Menu | Kind::IntegerMenu => menu(device, &info),
        _ => Vec::new(),
    };
    Control {
        id: info.id,
        name: slug(&info.name),
        kind,
        minimum: info.minimum,
        // A mask is 32 bits, which the kernel hands out as a negative number when the highest is in it.
        maximum: if kind == Kind::Bitmask { info.maximum & 0xffff_ffff } else { info.maximum },
        step: info.step,
        default: info.default,
        value: value.map(|value| if kind == Kind::Bitmask { value & 0xffff_ffff } else { value }),
        menu,
        read_only: info.is_read_only(),
        inactive: info.is_inactive(),
        label: info.name,
    }
}

fn menu(device: Device<'_>, info: &ControlInfo) -> Vec<Item> {
    // A driver that claims more items than anybody could read is not asked for all of them.
    let items = info.minimum.max(0)..=info.maximum.min(info.minimum.saturating_add(255));
    let item = |value| Some(Item { value, label: device.menu_item(info, value as u32)? });
    items.filter_map(item).collect()
}

/// Letters and digits in lower case, everything between them one underscore.
fn slug(label: &str) -> String {
    let words = label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

impl Control {
    /// The number to set it to for `setting`.
    fn number(&self, setting: &Setting) -> Result<i64, ControlError> {
        if self.read_only || self.kind == Kind::Other {
            return Err(ControlError::ReadOnly { name: self.name.clone() });
        }
        let item =
            |found: &dyn Fn(&Item) -> bool| self.menu.iter().find(|item| found(item)).map(|item| item.value);
        let number = match (self.kind, setting) {
            (Kind::Button, _) => Some(1),
            (Kind::Boolean, Setting::Switch(on)) => Some((*on).into()),
            (Kind::Boolean, Setting::Number(n)) => Some(*n).filter(|n| matches!(n, 0 | 1)),
            (Kind::Menu | Kind::IntegerMenu, Setting::Number(n)) => item(&|item| item.value == *n),
            (Kind::Menu | Kind::IntegerMenu, Setting::Item(label)) => item(&|item| item.label == *label),
            (Kind::Bitmask, Setting::Number(n)) => Some(*n).filter(|n| *n >= 0 && n & !self.maximum == 0),
            (Kind::Integer | Kind::Integer64, Setting::Number(n)) => {
                Some(*n).filter(|n| (self.minimum..=self.maximum).contains(n))
            }
            _ => None,
        };
        number.ok_or_else(|| {
            let right = match self.kind {
                Kind::Boolean => "true or false".into(),
                Kind::Menu | Kind::IntegerMenu => format!("one of {}", self.items_in_words()),
                Kind::Bitmask => format!("bits of {:#x}", self.maximum),
                _ => format!("a number from {} to {}", self.minimum, self.maximum),
            };
            ControlError::Value { name: self.name.clone(), value: setting.to_string(), right }
        })
    }

    fn items_in_words(&self) -> String {
        let items: Vec<String> =
            self.menu.iter().map(|item| format!("{} {}", item.value, item.label)).collect();
        items.join(", ")
    }
}

/// Sets one control of a device.
pub(super) fn set(device: Device<'_>, name: &str, setting: &Setting) -> Result<(), ControlError> {
    let unavailable =
        |error: io::Error| ControlError::Unavailable(format!("the camera does not answer: {error}"));
    let all = controls(device).map_err(unavailable)?;
    let control = all.iter().find(|control| control.name == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|control| control.name.as_str()).collect();
        ControlError::Unknown { name: name.into(), known: names.join(", ") }
    })?;
    let value = control.number(setting)?;
    if control.inactive {
        return Err(ControlError::Inactive { name: name.into() });
    }
    let refused = |source| ControlError::Refused { name: name.into(), value, source };
    device.set_control(control.id, value).map_err(refused)
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, minimum, maximum, step, default, .. } = self;
        let value = self.value.map_or_else(|| "?".into(), |value| value.to_string());
        match self.kind {
            Kind::Integer | Kind::Integer64 => {
                write!(f, "{name} = {value} ({minimum} to {maximum} by {step}, default {default})")?;
            }
            Kind::Boolean => write!(f, "{name} = {value} (0 or 1, default {default})")?,
            Kind::Menu | Kind::IntegerMenu => {
                write!(f, "{name} = {value} ({}, default {default})", self.items_in_words())?;
            }
            Kind::Button => write!(f, "{name} (button)")?,
            Kind::Bitmask => write!(f, "{name} = {value} (bits of {maximum:#x}, default {default})")?,
            Kind::Other => write!(f, "{name} (cannot be set here)")?,
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

    fn control(kind: Kind) -> Control {
        let item = |value, label: &str| Item { value, label: label.into() };
        Control {
            id: 1,
            name: "knob".into(),
            label: "Knob".into(),
            kind,
            minimum: -5,
            maximum: 6,
            step: 1,
            default: 0,
            value: Some(0),
            menu: vec![item(1, "Manual Mode"), item(3, "Aperture Priority Mode")],
            read_only: false,
            inactive: false,
        }
    }

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        assert_eq!(slug("White Balance, Automatic"), "white_balance_automatic");
        assert_eq!(slug("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(slug("  Led1 -- Mode "), "led1_mode");
    }

    #[test]
    fn settings_become_numbers_or_are_told_what_would_be_right() {
        use Setting::{Item, Number, Switch};
        for (kind, setting, number) in [
            (Kind::Integer, Number(-5), -5),
            (Kind::Integer64, Number(6), 6),
            (Kind::Boolean, Switch(true), 1),
            (Kind::Boolean, Number(0), 0),
            (Kind::Menu, Number(3), 3),
            (Kind::Menu, Item("Manual Mode".into()), 1),
            (Kind::Bitmask, Number(6), 6),
            (Kind::Button, Switch(false), 1),
        ] {
            assert_eq!(control(kind).number(&setting).unwrap(), number, "{kind:?} {setting}");
        }
        for (kind, setting, right) in [
            (Kind::Integer, Number(7), "must be a number from -5 to 6"),
            (Kind::Integer, Switch(true), "must be a number from -5 to 6"),
            (Kind::Boolean, Number(2), "must be true or false"),
            (Kind::Menu, Number(2), "must be one of 1 Manual Mode, 3 Aperture Priority Mode"),
            (Kind::Menu, Item("Auto".into()), "must be one of 1 Manual Mode"),
            (Kind::Bitmask, Number(1), "must be bits of 0x6"),
            (Kind::Bitmask, Number(-2), "must be bits of 0x6"),
            (Kind::Other, Number(1), "read only"),
        ] {
            let error = control(kind).number(&setting).unwrap_err().to_string();
            assert!(error.contains("knob") && error.contains(right), "{kind:?} {setting}: {error}");
        }
    }
}
