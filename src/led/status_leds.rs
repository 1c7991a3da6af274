//! The leds of one machine: opened from the configuration, driven by the status, dark when it ends.
//!
//! One thread of its own, so that the privacy led follows the camera whatever else the service is busy with. It
//! sleeps until the status changes or a signal's next step is due.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use embedded_hal::digital::OutputPin;
use log::warn;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::line::{LedError, LedLine, NotSet, Pin, Settings};
use super::{LedOutput, Role, Signal, signal};
use crate::failpoint;
use crate::frame::Timestamp;
use crate::status::Watcher;

/// An LED and the output that it is.
struct StatusLed<P> {
    role: Role,
    line: LedLine,
    output: LedOutput<P>,
    /// A failure is worth one line, not one for every step.
    has_failed: bool,
}

/// What `/state` tells of an LED.
#[derive(Clone, Debug)]
pub struct LedInfo {
    /// What it is for.
    pub role: Role,
    /// What it is open_line to.
    pub line: LedLine,
    /// Why it cannot be had, if so.
    pub error: Option<String>,
}

/// StatusLeds that have been opened and are dark.
pub struct StatusLeds {
    leds: Vec<StatusLed<Pin>>,
    infos: Vec<LedInfo>,
}

impl fmt::Debug for StatusLeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.infos).finish()
    }
}

impl StatusLeds {
    /// Opens every LED. Those that cannot be had are left out, and said so, unless they are required.
    ///
    /// # Errors
    /// [`LedError`] of the first required one that cannot be had, with its role.
    pub fn open(all: Vec<Settings>) -> Result<Self, (Role, LedError)> {
        let (mut leds, mut infos) = (Vec::new(), Vec::new());
        for settings in all {
            let role = settings.role;
            let (line, opened) = Pin::open(&settings);
            let output = opened.and_then(|pin| {
                LedOutput::new(pin).map_err(|NotSet(why)| LedError::Line {
                    line: line.to_string(),
                    path: PathBuf::from("set"),
                    source: io::Error::other(why),
                })
            });
            let mut info = LedInfo { role, line: line.clone(), error: None };
            match output {
                Ok(output) => leds.push(StatusLed { role, line, output, has_failed: false }),
                Err(error) if settings.required => return Err((role, error)),
                Err(error) => {
                    warn!("led {role}: {error}; running without it");
                    info.error = Some(error.to_string());
                }
            }
            infos.push(info);
        }
        Ok(Self { leds, infos })
    }

    /// What there is, for `/state`.
    pub fn infos(&self) -> Vec<LedInfo> {
        self.infos.clone()
    }

    /// Starts the thread that drives them. Without any, there is none to start.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(self, status: Watcher) -> io::Result<StatusLedsThread> {
        if self.leds.is_empty() {
            return Ok(StatusLedsThread { running: None });
        }
        Ok(StatusLedsThread { running: Some(spawn(self.leds, status)?) })
    }

    /// Shows one signal on all of them until `until` is ready; for trying out a line.
    pub async fn try_out(self, what: Signal, until: impl Future<Output = ()>) {
        let mut leds = self.leds;
        tokio::select! {
            () = async {
                loop {
                    rest(step(&mut leds, |_| what)).await;
                }
            } => {}
            () = until => {}
        }
        leds.into_iter().for_each(|led| drop(led.output.turn_off()));
    }
}

/// The running leds. They go dark when this is dropped, in whatever way.
#[derive(Debug)]
pub struct StatusLedsThread {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl StatusLedsThread {
    /// Waits until they have gone dark without having been told to, which only a panic makes them do. Loses nothing
    /// when cancelled; never ready if there are none.
    pub async fn ended(&mut self) {
        match &mut self.running {
            // Nothing is ever sent: the sender goes with the thread.
            Some(running) => drop((&mut running.ended).await),
            None => std::future::pending().await,
        }
    }
}

impl Drop for StatusLedsThread {
    fn drop(&mut self) {
        if let Some(Running { stop, thread, .. }) = self.running.take() {
            drop(stop);
            // It waits for nothing but this. A panic in it has been reported, and made the leds dark.
            let _ = thread.join();
        }
    }
}

fn spawn<P>(mut leds: Vec<StatusLed<P>>, status: Watcher) -> io::Result<Running>
where
    P: OutputPin<Error = NotSet> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let ((stop, stopped), (alive, ended)) = (oneshot::channel(), oneshot::channel());
    let thread = Builder::new().name("leds".into()).spawn(move || {
        // Dropped last, also by a panic: whoever waits for it finds the leds dark.
        let _alive: oneshot::Sender<()> = alive;
        let dark = Dark(&mut leds);
        runtime.block_on(drive(dark, status, stopped));
    })?;
    Ok(Running { stop, ended, thread })
}

/// StatusLeds that go dark when this is dropped.
struct Dark<'a, P: OutputPin>(&'a mut Vec<StatusLed<P>>);

impl<P: OutputPin> Drop for Dark<'_, P> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|led| drop(led.output.turn_off()));
    }
}

async fn drive<P>(leds: Dark<'_, P>, mut status: Watcher, mut stopped: oneshot::Receiver<()>)
where
    P: OutputPin<Error = NotSet>,
{
    loop {
        let due = {
            let status = status.borrow_and_update();
            step(leds.0, |role| signal(role, &status))
        };
        tokio::select! {
            _ = &mut stopped => return,
            changed = status.changed() => if changed.is_err() { return },
            () = rest(due) => {}
        }
    }
}

/// Brings every led to what it shows now. Returns when the next one has to change.
fn step<P>(leds: &mut [StatusLed<P>], signal: impl Fn(Role) -> Signal) -> Option<Timestamp>
where
    P: OutputPin<Error = NotSet>,
{
    failpoint::pass("leds");
    let now = Timestamp::now();
    let due = leds.iter_mut().filter_map(|led| {
        let role = led.role;
        match led.output.show(signal(role), now).and_then(|()| led.output.tick(now)) {
            Ok(due) => {
                led.has_failed = false;
                due
            }
            Err(NotSet(why)) => {
                if !std::mem::replace(&mut led.has_failed, true) {
                    warn!(
                        "led {role}: {}: {why}; it is tried again with its next change. If that goes on, see that its \
                         driver is loaded",
                        led.line
                    );
                }
                None
            }
        }
    });
    // Every led takes its step; the minimum only looks lazy.
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use embedded_hal::digital::ErrorType;

    use super::*;
    use crate::status::{Phase, status};

    #[test]
    fn an_led_that_cannot_be_had_is_left_out_unless_it_is_required() {
        let settings = |required| Settings {
            role: Role::OnAir,
            lines: vec![LedLine::Gpio("no-such-chip:3".into()), LedLine::Board("no-such-led".into())],
            active_low: false,
            required,
        };
        let leds = StatusLeds::open(vec![settings(false)]).unwrap();
        let infos = leds.infos();
        assert!(infos[0].error.as_deref().unwrap().contains("no GPIO chip no-such-chip"), "{infos:?}");
        let (role, error) = StatusLeds::open(vec![settings(true)]).unwrap_err();
        assert_eq!(role, Role::OnAir);
        assert!(matches!(error, LedError::NoChip { .. } | LedError::Denied { .. }), "{error}");
    }

    /// A pin that can be lit, and breaks when it is to go dark while `breaks`.
    #[derive(Clone, Default)]
    struct Fragile {
        is_lit: Arc<AtomicBool>,
        breaks: Arc<AtomicBool>,
    }

    impl ErrorType for Fragile {
        type Error = NotSet;
    }

    impl OutputPin for Fragile {
        fn set_high(&mut self) -> Result<(), NotSet> {
            self.is_lit.store(true, SeqCst);
            Ok(())
        }

        fn set_low(&mut self) -> Result<(), NotSet> {
            assert!(!self.breaks.swap(false, SeqCst), "as it was told to");
            self.is_lit.store(false, SeqCst);
            Ok(())
        }
    }

    #[test]
    fn a_panic_makes_the_lights_dark_and_is_told() {
        let pins = [Fragile::default(), Fragile::default()];
        let leds = [Role::Power, Role::OnAir].into_iter().zip(&pins).map(|(role, pin)| StatusLed {
            role,
            line: LedLine::Board(role.to_string()),
            output: LedOutput::new(pin.clone()).unwrap(),
            has_failed: false,
        });
        let (phase, cameras, watcher) = status([("front".into(), "pattern".into(), 30.0)]);
        phase.phase(Phase::Serving);
        cameras[0].capturing(true);
        let mut thread = StatusLedsThread { running: Some(spawn(leds.collect(), watcher).unwrap()) };
        let are_lit = || pins.each_ref().map(|pin| pin.is_lit.load(SeqCst));
        while are_lit() != [true, true] {
            std::thread::yield_now();
        }
        pins[0].breaks.store(true, SeqCst);
        phase.phase(Phase::Stopping);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(thread.ended());
        assert_eq!(are_lit(), [false, false]);
    }
}
