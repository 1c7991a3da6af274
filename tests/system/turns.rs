//! Which tests of this executable run at the same time. Tests that measure time keep the machine to themselves; this is
//! the one place that names them. `.config/nextest.toml` says the same to cargo-nextest, which gives each test a process.

use std::sync::{Condvar, Mutex, PoisonError};

/// A group of tests. Tests of different groups never run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Measures with encoders, decoders or browsers at work: one test at a time.
    Alone,
    /// Measures what a viewer notices of an attack: one test at a time.
    Attacks,
    /// Waits for conditions, so several run at the same time.
    Faults,
    /// Measures delays over links that carry little: several run at the same time, but nothing else does.
    Links,
}

impl Group {
    /// Tests of this group that may run at the same time.
    const fn at_once(self) -> usize {
        match self {
            Self::Alone | Self::Attacks => 1,
            Self::Faults | Self::Links => usize::MAX,
        }
    }
}

/// The group that runs now, and how many of its tests.
static RUNNING: Mutex<(Group, usize)> = Mutex::new((Group::Attacks, 0));
static ENDED: Condvar = Condvar::new();

/// A test runs for as long as it holds this.
pub struct Turn(());

/// Waits until a test of this group may run.
pub fn turn(group: Group) -> Turn {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let must_wait = |running: &mut (Group, usize)| match *running {
        (_, 0) => false,
        (other, tests) => other != group || tests >= group.at_once(),
    };
    let mut running = ENDED.wait_while(running, must_wait).unwrap_or_else(PoisonError::into_inner);
    *running = (group, running.1 + 1);
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
        ENDED.notify_all();
    }
}
