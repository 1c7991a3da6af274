//! An LED as an output pin that is high when the LED is lit.
//!
//! The polarity of the LED is applied here and nowhere else: `gpio` and `sysfs` set levels.
#![forbid(unsafe_code)]

use embedded_hal::digital::{ErrorType, OutputPin, PinState};

use super::error::{LedError, SetError};
use super::gpio::GpioLine;
use super::line::{LedLine, LedSettings};
use super::sysfs::SysfsLed;

/// An opened LED.
#[derive(Debug)]
pub(super) struct LedPin {
    driver: Driver,
    active_low: bool,
}

/// What sets the level of the LED.
#[derive(Debug)]
enum Driver {
    Gpio(GpioLine),
    Sysfs(SysfsLed),
}

impl LedPin {
    /// Opens the first line of `settings` that exists. If none does, the error is that of the first line, which is the most
    /// likely one.
    pub(super) fn open(settings: &LedSettings) -> (LedLine, Result<Self, LedError>) {
        let mut first = None;
        for line in &settings.lines {
            match Self::open_line(settings, line) {
                Err(error) if error.is_absence() => first = first.or(Some((line.clone(), Err(error)))),
                opened => return (line.clone(), opened),
            }
        }
        first.unwrap_or_else(|| {
            let error = LedError::NoLed { name: "none".into(), names: "none is configured".into() };
            (LedLine::Board("none".into()), Err(error))
        })
    }

    fn open_line(settings: &LedSettings, line: &LedLine) -> Result<Self, LedError> {
        let LedSettings { role, active_low, .. } = *settings;
        let dark = level(false, active_low);
        let driver = match line {
            LedLine::Gpio(line) => Driver::Gpio(GpioLine::open(role, line, dark)?),
            LedLine::Board(name) => Driver::Sysfs(SysfsLed::open(name, dark)?),
        };
        Ok(Self { driver, active_low })
    }

    fn set(&mut self, lit: bool) -> Result<(), SetError> {
        let level = level(lit, self.active_low);
        match &mut self.driver {
            Driver::Gpio(line) => Ok(line.set(level)?),
            Driver::Sysfs(led) => Ok(led.set(level)?),
        }
    }
}

/// The level at which the LED is lit, or dark.
fn level(lit: bool, active_low: bool) -> PinState {
    (lit != active_low).into()
}

impl ErrorType for LedPin {
    type Error = SetError;
}

impl OutputPin for LedPin {
    fn set_low(&mut self) -> Result<(), SetError> {
        self.set(false)
    }

    fn set_high(&mut self) -> Result<(), SetError> {
        self.set(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polarity_is_applied_once() {
        assert_eq!([level(true, false), level(false, false)], [PinState::High, PinState::Low]);
        assert_eq!([level(true, true), level(false, true)], [PinState::Low, PinState::High]);
    }
}
