//! LEDs on lines of a GPIO chip, through the kernel's character device (GPIO uAPI v2).
//!
//! A line is requested while the LED is in use. When it is released, also by the end of the process, the driver of the chip
//! decides whether it keeps its level.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use embedded_hal::digital::PinState;
use gpiocdev::Request;
use gpiocdev::chip::{Chip, chips};
use gpiocdev::line::Value;

use super::error::LedError;
use super::line::LedRole;

/// How a line is named in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LineName {
    /// By its name, as `GPIO17`.
    Name(String),
    /// By the label or name of its chip, and its offset.
    Offset(String, u32),
}

impl LineName {
    /// `GPIO17`, or `pinctrl-bcm2711:17`. A name may contain colons, but not end with a colon and a number.
    fn parse(text: &str) -> Self {
        match text.rsplit_once(':').map(|(chip, offset)| (chip, offset.parse())) {
            Some((chip, Ok(offset))) if !chip.is_empty() => Self::Offset(chip.into(), offset),
            _ => Self::Name(text.into()),
        }
    }
}

/// A requested line of a GPIO chip.
#[derive(Debug)]
pub(super) struct GpioLine(Request);

impl GpioLine {
    /// Requests a line as an output with this level.
    pub(super) fn open(role: LedRole, line: &str, level: PinState) -> Result<Self, LedError> {
        let (path, offset) = find(line)?;
        let consumer = format!("porthole {role}");
        let mut request = Request::builder();
        request.on_chip(&path).with_consumer(consumer).with_line(offset).as_output(value(level));
        let request = request.request().map_err(|error| match io_error(&error).raw_os_error() {
            Some(nix::libc::EBUSY) => {
                LedError::Busy { line: line.into(), holder: consumer_of(&path, offset) }
            }
            Some(nix::libc::EACCES | nix::libc::EPERM) => {
                LedError::Denied { line: line.into(), path: path.clone() }
            }
            _ => LedError::Line { line: line.into(), path: path.clone(), source: io_error(&error) },
        })?;
        Ok(Self(request))
    }

    pub(super) fn set(&self, level: PinState) -> io::Result<()> {
        self.0.set_lone_value(value(level)).map_err(|error| io_error(&error))
    }
}

/// Lines are requested active high, so an active value is a high level.
fn value(level: PinState) -> Value {
    match level {
        PinState::High => Value::Active,
        PinState::Low => Value::Inactive,
    }
}

/// The chip and offset of a line. A chip that cannot be opened gives another error than a line that does not exist.
fn find(line: &str) -> Result<(PathBuf, u32), LedError> {
    let (mut labels, mut denied) = (Vec::new(), None);
    for path in chips().unwrap_or_default() {
        let chip = match Chip::from_path(&path) {
            Ok(chip) => chip,
            Err(error) => {
                if io_error(&error).kind() == io::ErrorKind::PermissionDenied {
                    denied = Some(path);
                }
                continue;
            }
        };
        let Ok(info) = chip.info() else { continue };
        match LineName::parse(line) {
            LineName::Name(name) => {
                if let Some(found) = chip.find_line_info(&name) {
                    return Ok((path, found.offset));
                }
            }
            LineName::Offset(wanted, offset) if wanted == info.label || wanted == info.name => {
                if offset < info.num_lines {
                    return Ok((path, offset));
                }
                return Err(LedError::NoLine {
                    line: line.into(),
                    chips: format!("{wanted} with {} lines", info.num_lines),
                });
            }
            LineName::Offset(..) => {}
        }
        labels.push(info.label);
    }
    match (denied, LineName::parse(line)) {
        (Some(path), _) => Err(LedError::Denied { line: line.into(), path }),
        (None, LineName::Offset(chip, _)) => Err(LedError::NoChip { chip, chips: join(&labels) }),
        (None, LineName::Name(_)) => Err(LedError::NoLine { line: line.into(), chips: join(&labels) }),
    }
}

fn join(labels: &[String]) -> String {
    if labels.is_empty() { "no GPIO chip".into() } else { labels.join(", ") }
}

/// The consumer of a line, as the kernel names it.
fn consumer_of(path: &Path, offset: u32) -> String {
    let info = Chip::from_path(path).and_then(|chip| chip.line_info(offset));
    info.ok()
        .map(|info| info.consumer)
        .filter(|consumer| !consumer.is_empty())
        .unwrap_or_else(|| "another program".into())
}

/// The system's error inside an error of gpiocdev.
fn io_error(error: &gpiocdev::Error) -> io::Error {
    match error {
        gpiocdev::Error::Os(errno) | gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(errno)) => {
            io::Error::from_raw_os_error(errno.0)
        }
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_by_name_or_by_chip_and_offset() {
        assert_eq!(LineName::parse("GPIO17"), LineName::Name("GPIO17".into()));
        assert_eq!(LineName::parse("pinctrl-rp1:17"), LineName::Offset("pinctrl-rp1".into(), 17));
        assert_eq!(LineName::parse("300b000.pinctrl:73"), LineName::Offset("300b000.pinctrl".into(), 73));
        assert_eq!(LineName::parse("odd:name"), LineName::Name("odd:name".into()));
        assert_eq!(LineName::parse(":5"), LineName::Name(":5".into()));
    }
}
