//! Status LEDs: what each one shows follows only from the [status](crate::status).
//!
//! `signal` maps a role and the status to a signal, [`LedOutput`] plays a signal on any output pin, [`StatusLeds`] opens
//! the configured LEDs and drives them from one thread. Nothing else sets an LED. The web room imports [`LedInfo`] and
//! [`signal()`] to show in `/state` what each LED shows.
//!
//! From the top down: `status_leds` | `pin`, `output`, `signal` | `gpio`, `sysfs` | `error`, `line`.
#![forbid(unsafe_code)]

mod error;
mod gpio;
mod line;
mod output;
mod pin;
mod signal;
mod status_leds;
mod sysfs;

pub use error::LedError;
pub use line::{LedLine, LedRole, LedSettings};
pub use output::LedOutput;
pub use signal::{BlinkPattern, BlinkStep, Signal, signal};
pub use status_leds::{LedInfo, StatusLeds, StatusLedsThread};
