//! Why an LED cannot be used.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

use embedded_hal::digital;

/// Why an LED cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum LedError {
    /// Another program uses the line.
    #[error("{line} is in use by {holder}; stop that, or wire the LED to another line")]
    Busy { line: String, holder: String },
    /// The user lacks permission.
    #[error("{line}: {} may not be used by this user; add it to the group that owns it, usually `gpio`", path.display())]
    Denied { line: String, path: PathBuf },
    /// No chip has this line.
    #[error("there is no line {line} (on {chips}); `gpioinfo` lists the lines there are")]
    NoLine { line: String, chips: String },
    /// The chip does not exist.
    #[error("there is no GPIO chip {chip}, only {chips}; `gpiodetect` lists the chips there are")]
    NoChip { chip: String, chips: String },
    /// The board does not have this LED.
    #[error("there is no /sys/class/leds/{name}, only {names}; name one of these")]
    NoLed { name: String, names: String },
    /// The kernel refused the line for another reason.
    #[error("{line}: {}: {source}; see the kernel log", path.display())]
    Line { line: String, path: PathBuf, source: io::Error },
    /// The line was opened, but not switched.
    #[error("{line}: {source}; see the kernel log")]
    Set { line: String, source: SetError },
}

impl LedError {
    /// Whether the line does not exist, so that the next one may be tried.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NoLine { .. } | Self::NoChip { .. } | Self::NoLed { .. })
    }
}

/// Why an LED was not switched.
#[derive(Debug, thiserror::Error)]
#[error("cannot be switched: {0}")]
pub struct SetError(#[from] pub(super) io::Error);

impl digital::Error for SetError {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}
