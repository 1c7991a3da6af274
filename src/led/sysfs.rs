//! LEDs the kernel has a driver for: /sys/class/leds (kernel documentation, "LED handling under Linux").
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use embedded_hal::digital::{Error, ErrorKind, ErrorType, OutputPin};

use super::line::LedError;

/// Where the kernel shows its LEDs.
const CLASS: &str = "/sys/class/leds";

/// An LED of the board. What lit it before leds it again when this is dropped.
#[derive(Debug)]
pub(super) struct SysfsLed {
    folder: PathBuf,
    brightest: String,
    /// What lit it before: `mmc0` for the activity of the card, as boards come.
    trigger: String,
}

/// The LED cannot be set any more.
#[derive(Debug)]
pub(super) struct NotSet;

impl Error for NotSet {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl SysfsLed {
    /// Takes the LED over from whatever leds it.
    pub(super) fn open(name: &str) -> Result<Self, LedError> {
        Self::open_in(Path::new(CLASS), name)
    }

    fn open_in(class: &Path, name: &str) -> Result<Self, LedError> {
        let folder = class.join(name);
        // A name is one folder's, and never leads elsewhere.
        if name.contains('/') || !folder.is_dir() {
            let names = fs::read_dir(class).into_iter().flatten().flatten();
            let mut names: Vec<_> = names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            let names = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(LedError::NoLed { name: name.into(), names });
        }
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                LedError::Denied { line: format!("led:{name}"), path: folder.join("brightness") }
            }
            _ => LedError::Line { line: format!("led:{name}"), path: folder.clone(), source },
        };
        let brightest = fs::read_to_string(folder.join("max_brightness")).map_err(failed)?.trim().to_owned();
        let triggers = fs::read_to_string(folder.join("trigger")).unwrap_or_default();
        let led = Self { trigger: in_force(&triggers).to_owned(), brightest, folder: folder.clone() };
        led.write("trigger", "none").map_err(failed)?;
        led.write("brightness", "0").map_err(failed)?;
        Ok(led)
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::OpenOptions::new()
            .write(true)
            .open(self.folder.join(file))
            .and_then(|mut f| io::Write::write_all(&mut f, value.as_bytes()))
    }
}

/// The one in brackets, as in `none [mmc0] timer`.
fn in_force(triggers: &str) -> &str {
    let chosen = triggers.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or("none", |(trigger, _)| trigger)
}

impl Drop for SysfsLed {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.write("brightness", "0");
        let _ = self.write("trigger", &self.trigger);
    }
}

impl ErrorType for SysfsLed {
    type Error = NotSet;
}

impl OutputPin for SysfsLed {
    fn set_low(&mut self) -> Result<(), NotSet> {
        self.write("brightness", "0").map_err(|_| NotSet)
    }

    fn set_high(&mut self) -> Result<(), NotSet> {
        self.write("brightness", &self.brightest).map_err(|_| NotSet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> PathBuf {
        let class = std::env::temp_dir().join(format!("porthole-leds-{name}-{}", std::process::id()));
        let led = class.join("ACT");
        fs::create_dir_all(&led).unwrap();
        for (file, text) in
            [("max_brightness", "255\n"), ("brightness", "7"), ("trigger", "none timer [mmc0] gpio\n")]
        {
            fs::write(led.join(file), text).unwrap();
        }
        class
    }

    #[test]
    fn an_led_is_taken_over_and_given_back() {
        let class = class("take");
        let read = |file: &str| fs::read_to_string(class.join("ACT").join(file)).unwrap();
        let mut led = SysfsLed::open_in(&class, "ACT").unwrap();
        assert!(read("trigger").starts_with("none") && read("brightness") == "0");
        led.set_high().unwrap();
        assert!(read("brightness").starts_with("255"));
        drop(led);
        assert!(read("brightness").starts_with('0') && read("trigger").starts_with("mmc0"));
        fs::remove_dir_all(class).unwrap();
    }

    #[test]
    fn an_led_that_is_not_there_is_answered_with_those_that_are() {
        let class = class("absent");
        for name in ["PWR", "../ACT", ""] {
            let error = SysfsLed::open_in(&class, name);
            match error {
                Err(LedError::NoLed { names, .. }) => assert_eq!(names, "ACT", "{name}"),
                // The class itself is no LED.
                other => assert!(name.is_empty() && other.is_err(), "{name}: {other:?}"),
            }
        }
        fs::remove_dir_all(class).unwrap();
    }
}
