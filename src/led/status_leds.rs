//! The configured LEDs: opened at the start, driven by the status, dark at the end.
//!
//! They have a thread of their own, so that the privacy LED follows the camera even while the service is busy. The thread
//! sleeps until the status changes or the next step of a pattern is due.
#![forbid(unsafe_code)]

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use embedded_hal::digital::OutputPin;
use log::warn;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::error::{LedError, SetError};
use super::line::{LedLine, LedRole, LedSettings};
use super::output::LedOutput;
use super::pin::LedPin;
use super::signal::{Signal, signal};
use crate::failpoint;
use crate::frame::Timestamp;
use crate::status::Watcher;

/// An opened LED.
#[derive(Debug)]
struct StatusLed<P> {
    role: LedRole,
    line: LedLine,
    output: LedOutput<P>,
    /// The last step failed. A failure is logged once, not for every step.
    has_failed: bool,
}

/// What `/state` shows of an LED.
#[derive(Clone, Debug)]
pub struct LedInfo {
    /// Its role.
    pub role: LedRole,
    /// Its line.
    pub line: LedLine,
    /// Why it cannot be used; `None` if it can.
    pub error: Option<String>,
}

/// The opened LEDs. All are dark.
#[derive(Debug)]
pub struct StatusLeds {
    leds: Vec<StatusLed<LedPin>>,
    infos: Vec<LedInfo>,
}

impl StatusLeds {
    /// Opens every LED. One that cannot be used is left out with a warning, unless it is required.
    ///
    /// # Errors
    /// The role and the [`LedError`] of the first required LED that cannot be used.
    pub fn open(all: Vec<LedSettings>) -> Result<Self, (LedRole, LedError)> {
        let (mut leds, mut infos) = (Vec::new(), Vec::new());
        for settings in all {
            let role = settings.role;
            let (line, opened) = LedPin::open(&settings);
            let output = opened.and_then(|pin| {
                LedOutput::new(pin).map_err(|source| LedError::Set { line: line.to_string(), source })
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

    /// All configured LEDs, for `/state`.
    pub fn infos(&self) -> Vec<LedInfo> {
        self.infos.clone()
    }

    /// Starts the thread that drives the LEDs. Without LEDs there is no thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(self, status: Watcher) -> io::Result<StatusLedsThread> {
        if self.leds.is_empty() {
            return Ok(StatusLedsThread { running: None });
        }
        Ok(StatusLedsThread { running: Some(spawn(self.leds, status)?) })
    }

    /// Shows `shown` on all LEDs until `until` is ready, to test their wiring.
    pub async fn try_out(self, shown: Signal, until: impl Future<Output = ()>) {
        let mut leds = self.leds;
        tokio::select! {
            () = async {
                loop {
                    rest(step(&mut leds, |_| shown)).await;
                }
            } => {}
            () = until => {}
        }
        leds.into_iter().for_each(|led| drop(led.output.turn_off()));
    }
}

/// The thread that drives the LEDs. Dropping this stops it and makes the LEDs dark.
#[derive(Debug)]
pub struct StatusLedsThread {
    running: Option<RunningThread>,
}

#[derive(Debug)]
struct RunningThread {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl StatusLedsThread {
    /// Waits until the thread ends without having been stopped, which only a panic causes. The LEDs are dark then. Cancel
    /// safe; never ready if there are no LEDs.
    pub async fn ended(&mut self) {
        match &mut self.running {
            // Nothing is sent; the sender is dropped when the thread ends.
            Some(running) => drop((&mut running.ended).await),
            None => std::future::pending().await,
        }
    }
}

impl Drop for StatusLedsThread {
    fn drop(&mut self) {
        if let Some(RunningThread { stop, thread, .. }) = self.running.take() {
            drop(stop);
            // It ends at once. If it panicked, the panic was reported and the LEDs are dark.
            let _ = thread.join();
        }
    }
}

fn spawn<P>(mut leds: Vec<StatusLed<P>>, status: Watcher) -> io::Result<RunningThread>
where
    P: OutputPin<Error = SetError> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let ((stop, stopped), (alive, ended)) = (oneshot::channel(), oneshot::channel());
    let thread = Builder::new().name("leds".into()).spawn(move || {
        // Dropped last, also by a panic: when `ended` is ready, the LEDs are dark.
        let _alive: oneshot::Sender<()> = alive;
        let leds = DarkOnDrop(&mut leds);
        runtime.block_on(drive(leds, status, stopped));
    })?;
    Ok(RunningThread { stop, ended, thread })
}

/// LEDs that are made dark when this is dropped.
struct DarkOnDrop<'a, P: OutputPin>(&'a mut Vec<StatusLed<P>>);

impl<P: OutputPin> Drop for DarkOnDrop<'_, P> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|led| drop(led.output.turn_off()));
    }
}

async fn drive<P>(leds: DarkOnDrop<'_, P>, mut status: Watcher, mut stopped: oneshot::Receiver<()>)
where
    P: OutputPin<Error = SetError>,
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

/// Updates every LED. Returns when the next one changes.
fn step<P>(leds: &mut [StatusLed<P>], signal: impl Fn(LedRole) -> Signal) -> Option<Timestamp>
where
    P: OutputPin<Error = SetError>,
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
            Err(error) => {
                if !std::mem::replace(&mut led.has_failed, true) {
                    warn!(
                        "led {role}: {}: {error}; it is set again at its next change. If this continues, check that its \
                         driver is loaded",
                        led.line
                    );
                }
                None
            }
        }
    });
    // `min` consumes the whole iterator, so every LED is updated.
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
    fn an_led_that_cannot_be_used_is_left_out_unless_it_is_required() {
        let settings = |required| LedSettings {
            role: LedRole::OnAir,
            lines: vec![LedLine::Gpio("no-such-chip:3".into()), LedLine::Board("no-such-led".into())],
            active_low: false,
            required,
        };
        let leds = StatusLeds::open(vec![settings(false)]).unwrap();
        let infos = leds.infos();
        assert!(infos[0].error.as_deref().unwrap().contains("no GPIO chip no-such-chip"), "{infos:?}");
        let (role, error) = StatusLeds::open(vec![settings(true)]).unwrap_err();
        assert_eq!(role, LedRole::OnAir);
        assert!(matches!(error, LedError::NoChip { .. } | LedError::Denied { .. }), "{error}");
    }

    /// A pin that panics when it is set low while `breaks`.
    #[derive(Clone, Default)]
    struct PanickingPin {
        is_lit: Arc<AtomicBool>,
        breaks: Arc<AtomicBool>,
    }

    impl ErrorType for PanickingPin {
        type Error = SetError;
    }

    impl OutputPin for PanickingPin {
        fn set_high(&mut self) -> Result<(), SetError> {
            self.is_lit.store(true, SeqCst);
            Ok(())
        }

        fn set_low(&mut self) -> Result<(), SetError> {
            assert!(!self.breaks.swap(false, SeqCst), "the test asked for this");
            self.is_lit.store(false, SeqCst);
            Ok(())
        }
    }

    #[test]
    fn a_panic_makes_the_leds_dark_and_is_reported() {
        let pins = [PanickingPin::default(), PanickingPin::default()];
        let leds = [LedRole::Power, LedRole::OnAir].into_iter().zip(&pins).map(|(role, pin)| StatusLed {
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
