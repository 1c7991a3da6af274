//! Plays a signal on an output pin.
#![forbid(unsafe_code)]

use embedded_hal::digital::OutputPin;

use super::signal::{BlinkPattern, BlinkStep, Signal};
use crate::frame::Timestamp;

/// An LED on an output pin, and its position in the pattern of its signal.
#[derive(Debug)]
pub struct LedOutput<P> {
    pin: P,
    signal: Signal,
    pattern: BlinkPattern,
    step: usize,
    /// When the current step began.
    since: Timestamp,
}

impl<P: OutputPin> LedOutput<P> {
    /// Makes the LED dark.
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

    /// Shows `signal` from now on. If it is shown already, its pattern continues.
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

    /// Continues with the step that is due at `now`. Returns when the next step is due; `None` if there is none.
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
            Some(BlinkStep { on: true, .. }) => self.pin.set_high(),
            _ => self.pin.set_low(),
        }
    }

    /// Makes the LED dark and returns the pin.
    pub fn turn_off(mut self) -> P {
        // A pin that cannot be set cannot be made dark either.
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

    /// A pin that records its levels.
    #[derive(Clone, Default)]
    struct RecordingPin(Rc<RefCell<Vec<bool>>>);

    impl ErrorType for RecordingPin {
        type Error = Infallible;
    }

    impl OutputPin for RecordingPin {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.0.borrow_mut().push(false);
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            self.0.borrow_mut().push(true);
            Ok(())
        }
    }

    /// The levels of an output that shows `signal`, sampled every `every` milliseconds for `ms`.
    fn watch(signal: Signal, ms: u64, every: u64) -> String {
        let pin = RecordingPin::default();
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
    fn patterns_are_as_documented() {
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
    fn a_late_tick_skips_the_steps_it_missed() {
        let pin = RecordingPin::default();
        let mut output = LedOutput::new(pin.clone()).unwrap();
        output.show(Signal::Blink, Timestamp(0)).unwrap();
        assert_eq!(output.tick(Timestamp(10_200_000)).unwrap(), Some(Timestamp(10_500_000)));
        assert_eq!(pin.0.borrow().last(), Some(&true));
        assert!(pin.0.borrow().len() <= 3, "it played the steps it missed");
    }

    #[test]
    fn the_same_signal_again_does_not_restart_the_pattern() {
        let pin = RecordingPin::default();
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
