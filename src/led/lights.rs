//! The lights of one machine: opened from the configuration, driven by the status, dark when it ends.
//!
//! One thread of its own, so that the privacy light follows the camera whatever else the service is busy with. It
//! sleeps until the status changes or a signal's next step is due.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use embedded_hal::digital::{self, ErrorKind, ErrorType, OutputPin};
use log::warn;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::sysfs::SysfsLed;
use super::{Lamp, Role, Signal, gpio, signal};
use crate::frame::Timestamp;
use crate::status::Watcher;

/// What an LED is wired to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A GPIO line, by name or by chip and number.
    Gpio(String),
    /// An LED of the board, by its name in /sys/class/leds.
    Board(String),
}

impl FromStr for Wire {
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

impl fmt::Display for Wire {
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
    /// What it is wired to: the first of these that there is.
    pub wires: Vec<Wire>,
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

/// Either kind of wire.
enum Pin {
    Gpio(gpiocdev_embedded_hal::OutputPin),
    Board { led: SysfsLed, active_low: bool },
}

/// A level that could not be set.
#[derive(Debug)]
struct NotSet(String);

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
    /// Opens the first wire that there is; the error is that of the first, which is the one most likely meant.
    fn open(settings: &Settings) -> (Wire, Result<Self, LedError>) {
        let mut first = None;
        for wire in &settings.wires {
            match Self::open_wire(settings, wire) {
                Err(error) if error.is_absence() => first = first.or(Some((wire.clone(), Err(error)))),
                opened => return (wire.clone(), opened),
            }
        }
        first.unwrap_or_else(|| {
            let error = LedError::NoLed { name: "none".into(), names: "none is named".into() };
            (Wire::Board("none".into()), Err(error))
        })
    }

    fn open_wire(settings: &Settings, wire: &Wire) -> Result<Self, LedError> {
        let Settings { role, active_low, .. } = *settings;
        Ok(match wire {
            Wire::Gpio(line) => Self::Gpio(gpio::open(role, line, active_low)?),
            Wire::Board(name) => Self::Board { led: SysfsLed::open(name)?, active_low },
        })
    }

    fn set(&mut self, on: bool) -> Result<(), NotSet> {
        let set = match self {
            // The kernel turns the level round for lines that are lit by a low one.
            Self::Gpio(pin) => pin.set_state(on.into()).map_err(|error| error.to_string()),
            Self::Board { led, active_low } => led
                .set_state((on != *active_low).into())
                .map_err(|_| "its brightness cannot be written".into()),
        };
        set.map_err(NotSet)
    }
}

/// An LED and the lamp that it is.
struct Light {
    role: Role,
    wire: Wire,
    lamp: Lamp<Pin>,
    /// A failure is worth one line, not one for every step.
    has_failed: bool,
}

/// What `/state` tells of an LED.
#[derive(Clone, Debug)]
pub struct LightInfo {
    /// What it is for.
    pub role: Role,
    /// What it is wired to.
    pub wire: Wire,
    /// Why it cannot be had, if so.
    pub error: Option<String>,
}

/// Lights that have been opened and are dark.
pub struct Lights {
    lights: Vec<Light>,
    infos: Vec<LightInfo>,
}

impl fmt::Debug for Lights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.infos).finish()
    }
}

impl Lights {
    /// Opens every LED. Those that cannot be had are left out, and said so, unless they are required.
    ///
    /// # Errors
    /// [`LedError`] of the first required one that cannot be had, with its role.
    pub fn open(all: Vec<Settings>) -> Result<Self, (Role, LedError)> {
        let (mut lights, mut infos) = (Vec::new(), Vec::new());
        for settings in all {
            let role = settings.role;
            let (wire, opened) = Pin::open(&settings);
            let lamp = opened.and_then(|pin| {
                Lamp::new(pin).map_err(|NotSet(why)| LedError::Line {
                    line: wire.to_string(),
                    path: PathBuf::from("set"),
                    source: io::Error::other(why),
                })
            });
            let mut info = LightInfo { role, wire: wire.clone(), error: None };
            match lamp {
                Ok(lamp) => lights.push(Light { role, wire, lamp, has_failed: false }),
                Err(error) if settings.required => return Err((role, error)),
                Err(error) => {
                    warn!("led {role}: {error}; running without it");
                    info.error = Some(error.to_string());
                }
            }
            infos.push(info);
        }
        Ok(Self { lights, infos })
    }

    /// What there is, for `/state`.
    pub fn infos(&self) -> Vec<LightInfo> {
        self.infos.clone()
    }

    /// Starts the thread that drives them. Without any, there is none to start.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(self, status: Watcher) -> io::Result<LightsThread> {
        if self.lights.is_empty() {
            return Ok(LightsThread { running: None });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = Builder::new()
            .name("leds".into())
            .spawn(move || runtime.block_on(drive(self.lights, status, stopped)))?;
        Ok(LightsThread { running: Some((stop, thread)) })
    }

    /// Shows one signal on all of them until `until` is ready; for trying out a wire.
    pub async fn try_out(self, what: Signal, until: impl Future<Output = ()>) {
        let mut lights = self.lights;
        tokio::select! {
            () = async {
                loop {
                    rest(step(&mut lights, |_| what)).await;
                }
            } => {}
            () = until => {}
        }
        lights.into_iter().for_each(|light| drop(light.lamp.extinguish()));
    }
}

/// The running lights. They go dark when this is dropped, in whatever way.
#[derive(Debug)]
pub struct LightsThread {
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Drop for LightsThread {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // It waits for nothing but this. A panic in it has been reported, and made the lights dark.
            let _ = thread.join();
        }
    }
}

async fn drive(mut lights: Vec<Light>, mut status: Watcher, mut stopped: oneshot::Receiver<()>) {
    // Dark on the way out, also when that is a panic.
    struct Dark<'a>(&'a mut Vec<Light>);
    impl Drop for Dark<'_> {
        fn drop(&mut self) {
            self.0.drain(..).for_each(|light| drop(light.lamp.extinguish()));
        }
    }
    let dark = Dark(&mut lights);
    loop {
        let due = {
            let status = status.borrow_and_update();
            step(dark.0, |role| signal(role, &status))
        };
        tokio::select! {
            _ = &mut stopped => return,
            changed = status.changed() => if changed.is_err() { return },
            () = rest(due) => {}
        }
    }
}

/// Brings every light to what it shows now. Returns when the next one has to change.
fn step(lights: &mut [Light], signal: impl Fn(Role) -> Signal) -> Option<Timestamp> {
    let now = Timestamp::now();
    let due = lights.iter_mut().filter_map(|light| {
        let role = light.role;
        match light.lamp.show(signal(role), now).and_then(|()| light.lamp.tick(now)) {
            Ok(due) => {
                light.has_failed = false;
                due
            }
            Err(NotSet(why)) => {
                if !std::mem::replace(&mut light.has_failed, true) {
                    warn!("led {role}: {}: {why}", light.wire);
                }
                None
            }
        }
    });
    // Every light takes its step; the minimum only looks lazy.
    due.min()
}

async fn rest(until: Option<Timestamp>) {
    match until {
        Some(at) => sleep_until(Instant::now() + at.since(Timestamp::now())).await,
        None => sleep_until(Instant::now() + Duration::from_secs(86_400)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_read_back_as_written() {
        for text in ["GPIO17", "pinctrl-bcm2711:17", "led:ACT", "led:green:power"] {
            assert_eq!(text.parse::<Wire>().unwrap().to_string(), text);
        }
        for bad in ["", "  ", "led:"] {
            assert!(bad.parse::<Wire>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_led_that_cannot_be_had_is_left_out_unless_it_is_required() {
        let settings = |required| Settings {
            role: Role::OnAir,
            wires: vec![Wire::Gpio("no-such-chip:3".into()), Wire::Board("no-such-led".into())],
            active_low: false,
            required,
        };
        let lights = Lights::open(vec![settings(false)]).unwrap();
        let infos = lights.infos();
        assert!(infos[0].error.as_deref().unwrap().contains("no GPIO chip no-such-chip"), "{infos:?}");
        let (role, error) = Lights::open(vec![settings(true)]).unwrap_err();
        assert_eq!(role, Role::OnAir);
        assert!(matches!(error, LedError::NoChip { .. } | LedError::Denied { .. }), "{error}");
    }
}
