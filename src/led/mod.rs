//! Status LEDs that tell the truth: what each shows follows from the [status](crate::status) alone.
//!
//! Here is the pure part: roles, signals, what a signal looks like over time, and a [`LedOutput`] that shows it on any
//! output pin. The lines are in `line`, `gpio` and `sysfs`, the thread that watches the status in `status_leds`. No other
//! stage knows that LEDs exist.
#![forbid(unsafe_code)]

mod gpio;
mod line;
mod status_leds;
mod sysfs;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use embedded_hal::digital::OutputPin;

pub use line::{LedError, LedLine, Settings};
pub use status_leds::{LedInfo, StatusLeds, StatusLedsThread};

use crate::frame::Timestamp;
use crate::status::{CameraState, Phase, Status};

/// What an LED is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The service runs.
    Power,
    /// A camera gives frames.
    Camera,
    /// The privacy led: frames are being captured for somebody.
    OnAir,
    /// Something is wrong; it blinks what.
    Fault,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Power, Self::Camera, Self::OnAir, Self::Fault];

    /// As in the configuration and `/state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Camera => "camera",
            Self::OnAir => "on-air",
            Self::Fault => "fault",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("must be one of {names}"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What an LED shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Dark.
    Off,
    /// Lit.
    On,
    /// On and off, evenly: something is under way.
    Blink,
    /// So many flashes, a pause, and again: a number to look up.
    Count(u8),
}

/// A piece of a signal: lit or dark, for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Lit.
    pub on: bool,
    /// For how long; `None` for as long as the signal is shown.
    pub lasts: Option<Duration>,
}

/// Most flashes that anybody counts.
const MAX_COUNT: usize = 5;

/// A signal over time, repeated for as long as it is shown.
pub type Pattern = heapless::Vec<Step, { MAX_COUNT * 2 }>;

/// Half a period of blinking: clearly not flickering, clearly not counting.
const BLINK: Duration = Duration::from_millis(500);
/// A flash long enough to be seen in daylight...
const FLASH: Duration = Duration::from_millis(200);
/// ...the gap between two that are counted...
const GAP: Duration = Duration::from_millis(250);
/// ...and the pause that ends a count.
const PAUSE: Duration = Duration::from_millis(1500);

impl Signal {
    /// As in `/state`.
    pub fn name(self) -> String {
        match self {
            Self::Off => "off".into(),
            Self::On => "on".into(),
            Self::Blink => "blink".into(),
            Self::Count(n) => format!("count-{n}"),
        }
    }

    /// What it looks like.
    pub fn pattern(self) -> Pattern {
        let step = |on, lasts| Step { on, lasts: Some(lasts) };
        let mut pattern = Pattern::new();
        // Nothing below makes more steps than there is room for; a step too many would be left out.
        let mut add = |step| {
            let _ = pattern.push(step);
        };
        match self {
            Self::Off => add(Step { on: false, lasts: None }),
            Self::On => add(Step { on: true, lasts: None }),
            Self::Blink => {
                add(step(true, BLINK));
                add(step(false, BLINK));
            }
            Self::Count(n) => {
                let n = usize::from(n).clamp(1, MAX_COUNT);
                for flash in 1..=n {
                    add(step(true, FLASH));
                    add(step(false, if flash == n { PAUSE } else { GAP }));
                }
            }
        }
        pattern
    }
}

/// What the LED of a role shows while the service is in this state.
pub fn signal(role: Role, status: &Status) -> Signal {
    let serving = status.phase == Phase::Serving;
    let any = |state| status.cameras.iter().any(|camera| camera.state == state);
    match role {
        Role::Power => match status.phase {
            Phase::Starting => Signal::Blink,
            Phase::Serving => Signal::On,
            Phase::Stopping => Signal::Off,
        },
        Role::Camera if any(CameraState::Live) => Signal::On,
        Role::Camera if any(CameraState::Starting) => Signal::Blink,
        Role::Camera => Signal::Off,
        // Whatever else is going on.
        Role::OnAir if status.cameras.iter().any(|camera| camera.capturing) => Signal::On,
        Role::OnAir => Signal::Off,
        // It may be why nobody can watch, and then no camera has anything to tell.
        Role::Fault if status.warning.is_some() && status.phase != Phase::Stopping => Signal::Blink,
        Role::Fault if serving => status
            .cameras
            .iter()
            .filter_map(|camera| fault_number(camera.state))
            .min()
            .map_or(Signal::Off, Signal::Count),
        Role::Fault => Signal::Off,
    }
}

/// How many flashes stand for a fault; the smaller is shown where there are several. The table is in src/manual/leds.md.
const fn fault_number(state: CameraState) -> Option<u8> {
    match state {
        CameraState::Lost => Some(1),
        CameraState::Stalled => Some(2),
        CameraState::Unsupported => Some(3),
        CameraState::Idle | CameraState::Starting | CameraState::Live => None,
    }
}

/// An LED on an output pin, and where it is in its signal.
#[derive(Debug)]
pub struct LedOutput<P> {
    pin: P,
    signal: Signal,
    pattern: Pattern,
    step: usize,
    /// When the step at hand began.
    since: Timestamp,
}

impl<P: OutputPin> LedOutput<P> {
    /// A dark output.
    ///
    /// # Errors
    /// When the pin cannot be set.
    pub fn new(mut pin: P) -> Result<Self, P::Error> {
        pin.set_low()?;
        Ok(Self {
            pin,
            signal: Signal::Off,
            pattern: Signal::Off.pattern(),
            step: 0,
            since: Timestamp::default(),
        })
    }

    /// Shows `signal` from now on. One that is shown already goes on without a break.
    ///
    /// # Errors
    /// When the pin cannot be set.
    pub fn show(&mut self, signal: Signal, now: Timestamp) -> Result<(), P::Error> {
        if signal == self.signal {
            return Ok(());
        }
        (self.signal, self.pattern, self.step, self.since) = (signal, signal.pattern(), 0, now);
        self.set()
    }

    /// Goes on to the step that is due at `now`. Returns when the next one is, if ever.
    ///
    /// # Errors
    /// When the pin cannot be set.
    pub fn tick(&mut self, now: Timestamp) -> Result<Option<Timestamp>, P::Error> {
        let before = self.step;
        while let Some(due) = self.due().filter(|due| *due <= now) {
            self.since = due;
            self.step = (self.step + 1) % self.pattern.len();
        }
        if self.step != before {
            self.set()?;
        }
        Ok(self.due())
    }

    fn due(&self) -> Option<Timestamp> {
        self.pattern.get(self.step)?.lasts.map(|lasts| self.since.after(lasts))
    }

    fn set(&mut self) -> Result<(), P::Error> {
        match self.pattern.get(self.step) {
            Some(Step { on: true, .. }) => self.pin.set_high(),
            _ => self.pin.set_low(),
        }
    }

    /// Makes it dark for good and gives the pin back.
    pub fn turn_off(mut self) -> P {
        // A pin that cannot be set any more is as dark as can be seen to.
        let _ = self.pin.set_low();
        self.pin
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::rc::Rc;

    use embedded_hal::digital::ErrorType;

    use super::*;
    use crate::status::{Reporter, status};

    fn service() -> (crate::status::PhaseReporter, Vec<Reporter>, crate::status::Watcher) {
        status(["front", "back"].map(|name| (name.into(), "pattern".into(), 30.0)))
    }

    #[test]
    fn what_is_shown_follows_from_the_status() {
        let (phase, cameras, watcher) = service();
        let now = |role| signal(role, &watcher.borrow());
        let all = || Role::ALL.map(|role| now(role).name()).join(" ");
        assert_eq!(all(), "blink off off off");
        phase.phase(Phase::Serving);
        assert_eq!(all(), "on off off off");
        cameras[0].state(CameraState::Starting);
        assert_eq!(all(), "on blink off off");
        cameras[0].capturing(true);
        assert_eq!(all(), "on blink on off");
        cameras[0].state(CameraState::Live);
        assert_eq!(all(), "on on on off");
        cameras[1].fault(CameraState::Unsupported, "raw".into());
        assert_eq!(all(), "on on on count-3");
        cameras[0].fault(CameraState::Stalled, "no frame".into());
        assert_eq!(all(), "on off on count-2", "the device is open, so somebody may be seen");
        phase.warning(Some("the Wi-Fi".into()));
        assert_eq!(all(), "on off on blink");
        phase.warning(None);
        cameras[0].capturing(false);
        cameras[0].fault(CameraState::Lost, "unplugged".into());
        assert_eq!(all(), "on off off count-1");
        cameras[0].capturing(true);
        phase.phase(Phase::Stopping);
        assert_eq!(all(), "off off on off", "capturing to the last");
    }

    /// A pin that remembers.
    #[derive(Clone, Default)]
    struct Pin(Rc<RefCell<Vec<bool>>>);

    impl ErrorType for Pin {
        type Error = Infallible;
    }

    impl OutputPin for Pin {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.0.borrow_mut().push(false);
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            self.0.borrow_mut().push(true);
            Ok(())
        }
    }

    /// The levels of a output that shows `signal`, looked at every `every` milliseconds for `ms`.
    fn watch(signal: Signal, ms: u64, every: u64) -> String {
        let pin = Pin::default();
        let mut output = LedOutput::new(pin.clone()).unwrap();
        let start = 5_000_000;
        output.show(signal, Timestamp(start)).unwrap();
        let mut seen = String::new();
        for at in (0..ms).step_by(every as usize) {
            output.tick(Timestamp(start + at * 1000)).unwrap();
            seen.push(if *pin.0.borrow().last().unwrap() { '#' } else { '.' });
        }
        seen
    }

    #[test]
    fn signals_look_as_described() {
        assert_eq!(watch(Signal::Off, 1000, 100), "..........");
        assert_eq!(watch(Signal::On, 1000, 100), "##########");
        assert_eq!(watch(Signal::Blink, 2000, 100), "#####.....#####.....");
        // 200 ms on, 250 ms off, 200 ms on, 1500 ms off.
        assert_eq!(watch(Signal::Count(2), 2150, 50), "####.....####..............................");
        for n in 1..=5u8 {
            let period = 1500 + u64::from(n) * 200 + u64::from(n - 1) * 250;
            let flashes = watch(Signal::Count(n), period * 3, 10).matches(".#").count() + 1;
            assert_eq!(flashes, usize::from(n) * 3, "count of {n}");
        }
    }

    #[test]
    fn a_lamp_looked_at_late_is_where_it_would_have_been() {
        let pin = Pin::default();
        let mut output = LedOutput::new(pin.clone()).unwrap();
        output.show(Signal::Blink, Timestamp(0)).unwrap();
        assert_eq!(output.tick(Timestamp(10_200_000)).unwrap(), Some(Timestamp(10_500_000)));
        assert_eq!(pin.0.borrow().last(), Some(&true));
        assert!(pin.0.borrow().len() <= 3, "it made up for every step it missed");
    }

    #[test]
    fn the_same_signal_again_does_not_start_over() {
        let pin = Pin::default();
        let mut output = LedOutput::new(pin.clone()).unwrap();
        output.show(Signal::Blink, Timestamp(0)).unwrap();
        output.tick(Timestamp(600_000)).unwrap();
        output.show(Signal::Blink, Timestamp(700_000)).unwrap();
        assert_eq!(pin.0.borrow().last(), Some(&false));
        output.show(Signal::On, Timestamp(700_000)).unwrap();
        assert_eq!(output.tick(Timestamp(700_000)).unwrap(), None);
        output.turn_off();
        assert_eq!(pin.0.borrow().last(), Some(&false));
    }
}
