//! What an LED is wired to, why it cannot be had, and a [`Pin`] for either kind of line.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use embedded_hal::digital::{self, ErrorKind, ErrorType, OutputPin};

use super::sysfs::SysfsLed;
use super::{Role, gpio};

/// What an LED is wired to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedLine {
    /// A GPIO line, by name or by chip and number.
    Gpio(String),
    /// An LED of the board, by its name in /sys/class/leds.
    Board(String),
}

impl FromStr for LedLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("led:") {
            Some("") => Err("needs the name of an LED in /sys/class/leds after led:".into()),
            Some(name) => Ok(Self::Board(name.into())),
            None if text.trim().is_empty() => {
                Err("must be a line's name (GPIO17), a chip and number (pinctrl-rp1:17), or led:NAME".into())
            }
            None => Ok(Self::Gpio(text.into())),
        }
    }
}

impl fmt::Display for LedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpio(line) => f.write_str(line),
            Self::Board(name) => write!(f, "led:{name}"),
        }
    }
}

/// An LED as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What it is for.
    pub role: Role,
    /// What it is open_line to: the first of these that there is.
    pub lines: Vec<LedLine>,
    /// It is lit by a low level.
    pub active_low: bool,
    /// The service must not run without it.
    pub required: bool,
}

/// Why an LED cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LedError {
    /// Somebody else drives it.
    #[error("{line} is in use by {holder}; stop that, or wire the LED to another line")]
    Busy {
        /// The line.
        line: String,
        /// Who has it, as the kernel knows them.
        holder: String,
    },
    /// This user may not.
    #[error("{line}: {} may not be used by this user; add it to the group that owns it, usually `gpio`", path.display())]
    Denied {
        /// The line.
        line: String,
        /// What may not be opened.
        path: PathBuf,
    },
    /// No chip has such a line.
    #[error("there is no line {line} (on {chips}); `gpioinfo` lists the lines there are")]
    NoLine {
        /// The line.
        line: String,
        /// Where it was looked for.
        chips: String,
    },
    /// There is no such chip.
    #[error("there is no GPIO chip {chip}, only {chips}; `gpiodetect` lists the chips there are")]
    NoChip {
        /// The chip.
        chip: String,
        /// Those there are.
        chips: String,
    },
    /// The board has no such LED.
    #[error("there is no /sys/class/leds/{name}, only {names}; name one of these")]
    NoLed {
        /// The LED.
        name: String,
        /// Those there are.
        names: String,
    },
    /// The kernel refused for another reason.
    #[error("{line}: {}: {source}; see the kernel log", path.display())]
    Line {
        /// The line.
        line: String,
        /// The device or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LedError {
    /// It is just not there, and something else may be.
    fn is_absence(&self) -> bool {
        matches!(self, Self::NoLine { .. } | Self::NoChip { .. } | Self::NoLed { .. })
    }
}

/// An LED that can be lit, which a low level may do.
pub(super) struct Pin {
    open_line: OpenLine,
    active_low: bool,
}

/// Either kind of line.
enum OpenLine {
    Gpio(gpiocdev_embedded_hal::OutputPin),
    Board(SysfsLed),
}

/// A level that could not be set.
#[derive(Debug)]
pub(super) struct NotSet(pub(super) String);

impl digital::Error for NotSet {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for Pin {
    type Error = NotSet;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), NotSet> {
        self.set(false)
    }

    fn set_high(&mut self) -> Result<(), NotSet> {
        self.set(true)
    }
}

impl Pin {
    /// Opens the first line that there is; the error is that of the first, which is the one most likely meant.
    pub(super) fn open(settings: &Settings) -> (LedLine, Result<Self, LedError>) {
        let mut first = None;
        for line in &settings.lines {
            match Self::open_one(settings, line) {
                Err(error) if error.is_absence() => first = first.or(Some((line.clone(), Err(error)))),
                opened => return (line.clone(), opened),
            }
        }
        first.unwrap_or_else(|| {
            let error = LedError::NoLed { name: "none".into(), names: "none is named".into() };
            (LedLine::Board("none".into()), Err(error))
        })
    }

    fn open_one(settings: &Settings, line: &LedLine) -> Result<Self, LedError> {
        let Settings { role, active_low, .. } = *settings;
        let open_line = match line {
            LedLine::Gpio(line) => OpenLine::Gpio(gpio::open(role, line, active_low)?),
            LedLine::Board(name) => OpenLine::Board(SysfsLed::open(name)?),
        };
        Ok(Self { open_line, active_low })
    }

    fn set(&mut self, on: bool) -> Result<(), NotSet> {
        // A level: the pins of embedded-hal do not turn it round, whatever the kernel was told of the line.
        let level = (on != self.active_low).into();
        let set = match &mut self.open_line {
            OpenLine::Gpio(pin) => pin.set_state(level).map_err(|error| error.to_string()),
            OpenLine::Board(led) => {
                led.set_state(level).map_err(|_| "its brightness cannot be written".into())
            }
        };
        set.map_err(NotSet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_read_back_as_written() {
        for text in ["GPIO17", "pinctrl-bcm2711:17", "led:ACT", "led:green:power"] {
            assert_eq!(text.parse::<LedLine>().unwrap().to_string(), text);
        }
        for bad in ["", "  ", "led:"] {
            assert!(bad.parse::<LedLine>().is_err(), "{bad:?}");
        }
    }
}
