//! Signals: what an LED shows over time, and which signal a role shows for a status.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::line::LedRole;
use crate::status::{CameraState, Phase, Status};

/// What an LED shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Dark.
    Off,
    /// Lit.
    On,
    /// On and off in equal parts: something is in progress.
    Blink,
    /// This number of flashes, then a pause: a number to look up.
    Count(u8),
}

/// A step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlinkStep {
    /// Whether the LED is lit.
    pub on: bool,
    /// How long; `None` for as long as the signal is shown.
    pub lasts: Option<Duration>,
}

/// Most flashes of a count: more are hard to count by eye.
const MAX_COUNT: usize = 5;

/// The steps of a signal, repeated while it is shown.
pub type BlinkPattern = heapless::Vec<BlinkStep, { MAX_COUNT * 2 }>;

/// Half a period of blinking: slow enough not to flicker, different from the flashes of a count.
const BLINK: Duration = Duration::from_millis(500);
/// A flash of a count: long enough to be seen in daylight.
const FLASH: Duration = Duration::from_millis(200);
/// The gap between two flashes of a count.
const GAP: Duration = Duration::from_millis(250);
/// The pause after a count: clearly longer than a gap.
const PAUSE: Duration = Duration::from_millis(1500);

impl Signal {
    /// The name in `/state`.
    pub fn name(self) -> String {
        match self {
            Self::Off => "off".into(),
            Self::On => "on".into(),
            Self::Blink => "blink".into(),
            Self::Count(n) => format!("count-{n}"),
        }
    }

    /// The steps of this signal.
    pub fn pattern(self) -> BlinkPattern {
        let step = |on, lasts| BlinkStep { on, lasts: Some(lasts) };
        let mut pattern = BlinkPattern::new();
        // There is room for all steps below; a step too many would be left out.
        let mut add = |step| {
            let _ = pattern.push(step);
        };
        match self {
            Self::Off => add(BlinkStep { on: false, lasts: None }),
            Self::On => add(BlinkStep { on: true, lasts: None }),
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

/// The signal that the LED of `role` shows for `status`.
pub fn signal(role: LedRole, status: &Status) -> Signal {
    let serving = status.phase == Phase::Serving;
    let any = |state| status.cameras.iter().any(|camera| camera.state == state);
    match role {
        LedRole::Power => match status.phase {
            Phase::Starting => Signal::Blink,
            Phase::Serving => Signal::On,
            Phase::Stopping => Signal::Off,
        },
        LedRole::Camera if any(CameraState::Live) => Signal::On,
        LedRole::Camera if any(CameraState::Starting) => Signal::Blink,
        LedRole::Camera => Signal::Off,
        // In every phase of the service.
        LedRole::OnAir if status.cameras.iter().any(|camera| camera.capturing) => Signal::On,
        LedRole::OnAir => Signal::Off,
        // Before the faults of cameras: the warning may be the reason why nobody can connect.
        LedRole::Fault if status.warning.is_some() && status.phase != Phase::Stopping => Signal::Blink,
        LedRole::Fault if serving => status
            .cameras
            .iter()
            .filter_map(|camera| fault_number(camera.state))
            .min()
            .map_or(Signal::Off, Signal::Count),
        LedRole::Fault => Signal::Off,
    }
}

/// The number of flashes for a fault; of several faults the smallest number is shown. The table is in the manual.
const fn fault_number(state: CameraState) -> Option<u8> {
    match state {
        CameraState::Lost => Some(1),
        CameraState::Stalled => Some(2),
        CameraState::Unsupported => Some(3),
        CameraState::Idle | CameraState::Starting | CameraState::Live => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{CameraReporter, status};

    fn service() -> (crate::status::ServiceReporter, Vec<CameraReporter>, crate::status::Watcher) {
        status(["front", "back"].map(|name| (name.into(), "pattern".into(), 30.0)))
    }

    #[test]
    fn signals_follow_from_the_status() {
        let (phase, cameras, watcher) = service();
        let now = |role| signal(role, &watcher.borrow());
        let all = || LedRole::ALL.map(|role| now(role).name()).join(" ");
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
        assert_eq!(all(), "on off on count-2", "the camera is open, so people may be recorded");
        phase.warning(Some("the Wi-Fi".into()));
        assert_eq!(all(), "on off on blink");
        phase.warning(None);
        cameras[0].capturing(false);
        cameras[0].fault(CameraState::Lost, "unplugged".into());
        assert_eq!(all(), "on off off count-1");
        cameras[0].capturing(true);
        phase.phase(Phase::Stopping);
        assert_eq!(all(), "off off on off", "on air until the camera is closed");
    }
}
