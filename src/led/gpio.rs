//! LEDs on lines of a GPIO chip, through the kernel's character device (GPIO uAPI v2).
//!
//! A line is held for as long as it is driven; when it is let go, also by the end of the process, the kernel gives it
//! back, and whether it keeps its level then is up to the chip's driver.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use gpiocdev::Request;
use gpiocdev::chip::{Chip, chips};
use gpiocdev::line::Value;
use gpiocdev_embedded_hal::OutputPin;

use super::Role;
use super::line::LedError;

/// How a line is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// By its own name, as `GPIO17`.
    Name(String),
    /// By its chip's label or name, and its number on it.
    Offset(String, u32),
}

impl Address {
    /// `GPIO17`, or `pinctrl-bcm2711:17`. A name may hold colons, but not end in one and a number.
    pub(super) fn parse(text: &str) -> Self {
        match text.rsplit_once(':').map(|(chip, offset)| (chip, offset.parse())) {
            Some((chip, Ok(offset))) if !chip.is_empty() => Self::Offset(chip.into(), offset),
            _ => Self::Name(text.into()),
        }
    }
}

/// Takes hold of a line as an output that is off.
pub(super) fn open(role: Role, line: &str, active_low: bool) -> Result<OutputPin, LedError> {
    let (path, offset) = find(line)?;
    let consumer = format!("porthole {role}");
    let mut request = Request::builder();
    request.on_chip(&path).with_consumer(consumer).with_line(offset);
    if active_low {
        request.as_active_low();
    }
    let request = request.as_output(Value::Inactive).request();
    let request = request.map_err(|error| match io_error(&error).raw_os_error() {
        Some(nix::libc::EBUSY) => LedError::Busy { line: line.into(), holder: holder(&path, offset) },
        Some(nix::libc::EACCES | nix::libc::EPERM) => {
            LedError::Denied { line: line.into(), path: path.clone() }
        }
        _ => LedError::Line { line: line.into(), path: path.clone(), source: io_error(&error) },
    })?;
    OutputPin::try_from(request).map_err(|error| LedError::Line {
        line: line.into(),
        path,
        source: io::Error::other(error.to_string()),
    })
}

/// The chip and number of a line. Chips that may not be looked at are told from lines that are not there.
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
        match Address::parse(line) {
            Address::Name(name) => {
                if let Some(found) = chip.find_line_info(&name) {
                    return Ok((path, found.offset));
                }
            }
            Address::Offset(wanted, offset) if wanted == info.label || wanted == info.name => {
                if offset < info.num_lines {
                    return Ok((path, offset));
                }
                return Err(LedError::NoLine {
                    line: line.into(),
                    chips: format!("{wanted} with {} lines", info.num_lines),
                });
            }
            Address::Offset(..) => {}
        }
        labels.push(info.label);
    }
    match (denied, Address::parse(line)) {
        (Some(path), _) => Err(LedError::Denied { line: line.into(), path }),
        (None, Address::Offset(chip, _)) => Err(LedError::NoChip { chip, chips: listed(&labels) }),
        (None, Address::Name(_)) => Err(LedError::NoLine { line: line.into(), chips: listed(&labels) }),
    }
}

fn listed(labels: &[String]) -> String {
    if labels.is_empty() { "no GPIO chip".into() } else { labels.join(", ") }
}

/// Who holds a line, as they told the kernel.
fn holder(path: &Path, offset: u32) -> String {
    let info = Chip::from_path(path).and_then(|chip| chip.line_info(offset));
    info.ok()
        .map(|info| info.consumer)
        .filter(|consumer| !consumer.is_empty())
        .unwrap_or_else(|| "another program".into())
}

/// The system's error behind one of gpiocdev's.
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
    fn lines_are_named_by_name_or_by_chip_and_number() {
        assert_eq!(Address::parse("GPIO17"), Address::Name("GPIO17".into()));
        assert_eq!(Address::parse("pinctrl-rp1:17"), Address::Offset("pinctrl-rp1".into(), 17));
        assert_eq!(Address::parse("300b000.pinctrl:73"), Address::Offset("300b000.pinctrl".into(), 73));
        assert_eq!(Address::parse("odd:name"), Address::Name("odd:name".into()));
        assert_eq!(Address::parse(":5"), Address::Name(":5".into()));
    }
}
