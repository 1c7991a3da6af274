//! LEDs with a kernel driver, in /sys/class/leds (kernel documentation, "LED handling under Linux").
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use embedded_hal::digital::PinState;

use super::error::LedError;

/// The kernel's LEDs.
const CLASS: &str = "/sys/class/leds";

/// An LED with a kernel driver. Its previous trigger is restored when this is dropped.
#[derive(Debug)]
pub(super) struct SysfsLed {
    folder: PathBuf,
    max_brightness: String,
    /// The previous trigger; by default `mmc0`, the activity of the SD card, on many boards.
    trigger: String,
    /// The level at which the LED is dark.
    dark: PinState,
}

impl SysfsLed {
    /// Takes the LED over from its trigger and sets it to the level `dark`.
    pub(super) fn open(name: &str, dark: PinState) -> Result<Self, LedError> {
        Self::open_in(Path::new(CLASS), name, dark)
    }

    fn open_in(class: &Path, name: &str, dark: PinState) -> Result<Self, LedError> {
        let folder = class.join(name);
        // A name is that of a folder, not a path.
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
        let max_brightness = fs::read_to_string(folder.join("max_brightness")).map_err(failed)?;
        let max_brightness = max_brightness.trim().to_owned();
        let triggers = fs::read_to_string(folder.join("trigger")).unwrap_or_default();
        let trigger = selected(&triggers).to_owned();
        let led = Self { folder: folder.clone(), max_brightness, trigger, dark };
        led.write("trigger", "none").map_err(failed)?;
        led.set(dark).map_err(failed)?;
        Ok(led)
    }

    pub(super) fn set(&self, level: PinState) -> io::Result<()> {
        match level {
            PinState::High => self.write("brightness", &self.max_brightness),
            PinState::Low => self.write("brightness", "0"),
        }
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::OpenOptions::new()
            .write(true)
            .open(self.folder.join(file))
            .and_then(|mut f| io::Write::write_all(&mut f, value.as_bytes()))
    }
}

/// The trigger in brackets, as in `none [mmc0] timer`.
fn selected(triggers: &str) -> &str {
    let chosen = triggers.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or("none", |(trigger, _)| trigger)
}

impl Drop for SysfsLed {
    fn drop(&mut self) {
        // An error cannot be reported from here.
        let _ = self.set(self.dark);
        let _ = self.write("trigger", &self.trigger);
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
    fn an_led_is_taken_over_and_its_trigger_restored() {
        let class = class("take");
        let read = |file: &str| fs::read_to_string(class.join("ACT").join(file)).unwrap();
        let led = SysfsLed::open_in(&class, "ACT", PinState::Low).unwrap();
        assert!(read("trigger").starts_with("none") && read("brightness") == "0");
        led.set(PinState::High).unwrap();
        assert!(read("brightness").starts_with("255"));
        drop(led);
        assert!(read("brightness").starts_with('0') && read("trigger").starts_with("mmc0"));
        fs::remove_dir_all(class).unwrap();
    }

    #[test]
    fn the_error_for_an_unknown_led_lists_the_existing_ones() {
        let class = class("absent");
        for name in ["PWR", "../ACT", ""] {
            let error = SysfsLed::open_in(&class, name, PinState::Low);
            match error {
                Err(LedError::NoLed { names, .. }) => assert_eq!(names, "ACT", "{name}"),
                // The empty name is that of the class itself, which is not an LED.
                other => assert!(name.is_empty() && other.is_err(), "{name}: {other:?}"),
            }
        }
        fs::remove_dir_all(class).unwrap();
    }
}
