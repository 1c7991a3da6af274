//! The knobs of a camera: which there are, where they stand, and turning them.
//!
//! A [`Desk`] belongs to one camera. What is set on it, by the configuration or by a viewer, is set again whenever the
//! camera is opened, as cameras forget when they are unplugged. Turning a knob needs no stream: the kernel takes it on
//! a descriptor of its own, beside the one that captures.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use log::{debug, warn};
use serde::{Deserialize, Serialize};

use super::devices::ask;
use super::error::SourceError;
use super::kernel::{Capability, ControlInfo, Device};
use super::locate::{Located, Locator};

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
fn set(device: Device<'_>, name: &str, setting: &Setting) -> Result<(), ControlError> {
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

/// The controls of one camera, and what they have been set to.
#[derive(Debug)]
pub(super) struct Desk {
    camera: String,
    locator: Mutex<Locator>,
    /// What is set whenever the camera is opened.
    wanted: Mutex<BTreeMap<String, Setting>>,
    /// Where what viewers set is kept over a restart, if it is.
    file: Option<PathBuf>,
    /// Held by the one request that talks to the camera.
    turn: Mutex<()>,
}

impl Desk {
    /// A desk for a V4L2 camera. What was kept in `file` counts more than what the configuration says.
    pub(super) fn new(
        camera: &str,
        configured: Option<PathBuf>,
        mut wanted: BTreeMap<String, Setting>,
        file: Option<PathBuf>,
    ) -> Self {
        if let Some(kept) = file.as_deref().and_then(|file| read(camera, file)) {
            wanted.extend(kept);
        }
        Self {
            camera: camera.to_owned(),
            locator: Mutex::new(Locator::new(configured)),
            wanted: Mutex::new(wanted),
            file,
            turn: Mutex::default(),
        }
    }

    pub(super) fn locate(&self, is_usable: impl Fn(&Path) -> bool) -> Result<Located, SourceError> {
        lock(&self.locator).locate(is_usable)
    }

    /// The camera was opened: sets all that shall be set.
    pub(super) fn opened(&self, device: Device<'_>, capability: Capability) {
        lock(&self.locator).found(capability);
        let wanted = lock(&self.wanted).clone();
        let mut failed: Vec<_> = wanted.iter().map(|(name, setting)| (name, setting, None)).collect();
        // Twice, as one may have no effect before another has been switched off.
        for _ in 0..2 {
            failed.retain_mut(|(name, setting, error)| {
                *error = set(device, name, setting).err();
                error.is_some()
            });
        }
        for error in failed.into_iter().filter_map(|(_, _, error)| error) {
            warn!("camera {}: control not set: {error}", self.camera);
        }
    }

    /// All controls of the camera, open or not.
    pub(super) fn list(&self, is_usable: impl Fn(&Path) -> bool) -> Result<Vec<Control>, ControlError> {
        self.with_device(is_usable, |path| {
            ask(path, controls)
                .map_err(|error| ControlError::Unavailable(format!("{}: {error}", path.display())))
        })
    }

    /// Sets one, and sets it again whenever the camera is opened from now on. Returns where it stands.
    pub(super) fn set(
        &self,
        name: &str,
        setting: &Setting,
        is_usable: impl Fn(&Path) -> bool,
    ) -> Result<Control, ControlError> {
        let control = self.with_device(is_usable, |path| {
            let asked = ask(path, |device| {
                Ok(set(device, name, setting).and_then(|()| {
                    let all = controls(device).unwrap_or_default();
                    let control = all.into_iter().find(|control| control.name == name);
                    control.ok_or_else(|| ControlError::Unavailable("the camera is gone".into()))
                }))
            });
            asked.unwrap_or_else(|error| {
                Err(ControlError::Unavailable(format!("{}: {error}", path.display())))
            })
        })?;
        // Pressing a button is nothing to be repeated.
        if control.kind != Kind::Button {
            let mut wanted = lock(&self.wanted);
            wanted.insert(name.to_owned(), control.value.map_or_else(|| setting.clone(), Setting::Number));
            self.keep(&wanted);
        }
        Ok(control)
    }

    fn with_device<T>(
        &self,
        is_usable: impl Fn(&Path) -> bool,
        work: impl FnOnce(&Path) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        // A driver that hangs keeps one request, and the others are told so.
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(ControlError::Busy),
        };
        let located = self.locate(is_usable).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        work(&located.path)
    }

    fn keep(&self, wanted: &BTreeMap<String, Setting>) {
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, wanted) {
            warn!("camera {}: controls not kept: {}: {error}", self.camera, file.display());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(camera: &str, file: &Path) -> Option<BTreeMap<String, Setting>> {
    let text = fs::read_to_string(file).ok()?;
    let kept = serde_json::from_str(&text);
    kept.map_err(|error| warn!("camera {camera}: {} is damaged and passed over: {error}", file.display()))
        .ok()
}

/// Written aside and moved, so that a power cut leaves the old or the new.
fn write(file: &Path, wanted: &BTreeMap<String, Setting>) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let aside = file.with_extension("new");
    fs::write(&aside, serde_json::to_vec_pretty(wanted).map_err(io::Error::other)?)?;
    fs::File::open(&aside)?.sync_all()?;
    fs::rename(&aside, file)?;
    debug!("controls kept in {}", file.display());
    Ok(())
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

    #[test]
    fn what_was_set_is_kept_and_read_again() {
        let file = std::env::temp_dir().join(format!("porthole-controls-{}/x.json", std::process::id()));
        let wanted = BTreeMap::from([
            ("a".to_owned(), Setting::Number(-3)),
            ("b".to_owned(), Setting::Switch(true)),
            ("c".to_owned(), Setting::Item("x".into())),
        ]);
        write(&file, &wanted).unwrap();
        assert_eq!(read("test", &file), Some(wanted));
        fs::write(&file, "{").unwrap();
        assert_eq!(read("test", &file), None);
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
}
