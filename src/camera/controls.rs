//! The knobs of a camera: which there are, where they stand, and turning them.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use super::kernel::{ControlInfo, Device};

/// What kind of value a control takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number from `minimum` to `maximum` in steps.
    Integer,
    /// 0 or 1.
    Boolean,
    /// One of several things by number; the numbers there are, with their names.
    Menu(Vec<(i64, String)>),
    /// Does something when set to anything.
    Button,
    /// A set of bits, all of them in `maximum`.
    Bitmask,
    /// Something that is shown and cannot be set here, such as text.
    Other,
}

/// One control of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// The kernel's number for it.
    pub(super) id: u32,
    /// Its name in lower case with underscores, as v4l2-ctl writes it: `white_balance_automatic`.
    pub(super) name: String,
    /// Its name as the driver writes it: `White Balance, Automatic`.
    pub(super) label: String,
    /// What it takes.
    pub(super) kind: Kind,
    /// Smallest value.
    pub(super) minimum: i64,
    /// Largest value.
    pub(super) maximum: i64,
    /// Distance from one value to the next.
    pub(super) step: u64,
    /// Value after power-up.
    pub(super) default: i64,
    /// Value now; `None` where it cannot be read.
    pub(super) value: Option<i64>,
    /// It can be looked at but not set.
    pub(super) read_only: bool,
    /// It has no effect while another control is as it is.
    pub(super) inactive: bool,
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
        ControlInfo::INTEGER | ControlInfo::INTEGER64 => Kind::Integer,
        ControlInfo::BOOLEAN => Kind::Boolean,
        ControlInfo::MENU | ControlInfo::INTEGER_MENU => Kind::Menu(menu(device, &info)),
        ControlInfo::BUTTON => Kind::Button,
        ControlInfo::BITMASK => Kind::Bitmask,
        _ => Kind::Other,
    };
    let value = match kind {
        Kind::Button | Kind::Other => None,
        _ => device.control_value(&info).ok(),
    };
    Control {
        id: info.id,
        name: slug(&info.name),
        kind,
        minimum: info.minimum,
        maximum: info.maximum,
        step: info.step,
        default: info.default,
        value,
        read_only: info.is_read_only(),
        inactive: info.is_inactive(),
        label: info.name,
    }
}

fn menu(device: Device<'_>, info: &ControlInfo) -> Vec<(i64, String)> {
    // A driver that claims more items than anybody could read is not asked for all of them.
    let items = info.minimum.max(0)..=info.maximum.min(info.minimum.saturating_add(255));
    items.filter_map(|index| Some((index, device.menu_item(info, index as u32)?))).collect()
}

/// Letters and digits in lower case, everything between them one underscore.
fn slug(label: &str) -> String {
    let words = label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, minimum, maximum, step, default, .. } = self;
        let value = self.value.map_or_else(|| "?".into(), |value| value.to_string());
        match &self.kind {
            Kind::Integer => {
                write!(f, "{name} = {value} ({minimum} to {maximum} by {step}, default {default})")?
            }
            Kind::Boolean => write!(f, "{name} = {value} (0 or 1, default {default})")?,
            Kind::Menu(items) => {
                let items: Vec<String> = items.iter().map(|(n, item)| format!("{n} {item}")).collect();
                write!(f, "{name} = {value} ({}, default {default})", items.join(", "))?;
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

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        assert_eq!(slug("White Balance, Automatic"), "white_balance_automatic");
        assert_eq!(slug("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(slug("  Led1 -- Mode "), "led1_mode");
    }
}
