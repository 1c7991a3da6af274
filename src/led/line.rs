//! An LED as it is configured: what it is for, and its line.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// What an LED is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LedRole {
    /// The service runs.
    Power,
    /// A camera delivers frames.
    Camera,
    /// The privacy LED: a camera is open.
    OnAir,
    /// There is a fault; the LED flashes its number.
    Fault,
}

impl LedRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Power, Self::Camera, Self::OnAir, Self::Fault];

    /// The name in the configuration and in `/state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Camera => "camera",
            Self::OnAir => "on-air",
            Self::Fault => "fault",
        }
    }
}

impl FromStr for LedRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|role| role.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("must be one of {names}"))
    }
}

impl fmt::Display for LedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The line that an LED is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedLine {
    /// A GPIO line, by name or by chip and number.
    Gpio(String),
    /// An LED with a kernel driver, by its name in /sys/class/leds.
    Board(String),
}

impl FromStr for LedLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let after_prefix = text.split_at_checked(4).filter(|(prefix, _)| prefix.eq_ignore_ascii_case("led:"));
        match after_prefix.map(|(_, name)| name) {
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
pub struct LedSettings {
    /// What it is for.
    pub role: LedRole,
    /// The lines it may be connected to; the first existing one is used.
    pub lines: Vec<LedLine>,
    /// A low level lights the LED.
    pub active_low: bool,
    /// The service must not run without this LED.
    pub required: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_displayed_as_they_are_parsed() {
        for text in ["GPIO17", "pinctrl-bcm2711:17", "led:ACT", "led:green:power"] {
            assert_eq!(text.parse::<LedLine>().unwrap().to_string(), text);
        }
        for bad in ["", "  ", "led:"] {
            assert!(bad.parse::<LedLine>().is_err(), "{bad:?}");
        }
    }
}
