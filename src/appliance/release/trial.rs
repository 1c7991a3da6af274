//! Ends a trial: the release becomes permanent once the service gives a picture, or it is discarded.
#![forbid(unsafe_code)]

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use log::info;
use nix::fcntl::FlockArg;

use super::error::ReleaseError;
use super::probe;
use super::slots::{Release, SlotTable, Slots};

/// Time between two requests for a picture.
const RETRY: Duration = Duration::from_secs(1);

/// Asks the service at `socket` for a picture until it gives one, then makes the release permanent.
pub(super) fn confirm(slots: &Slots, socket: &Path, within: Option<u64>) -> Result<(), ReleaseError> {
    let started = Instant::now();
    loop {
        let Some(trial) = begun(&slots.read()?) else {
            info!("nothing is on trial");
            return Ok(());
        };
        match probe::picture(socket, &slots.program(trial.slot)) {
            Ok(()) => return make_permanent(slots, &trial),
            Err(reason) => match within.filter(|&within| started.elapsed().as_secs() >= within) {
                Some(within) => {
                    return Err(ReleaseError::Unconfirmed { slot: trial.slot.to_string(), within, reason });
                }
                None => info!("slot {} is still on trial: {reason}", trial.slot),
            },
        }
        sleep(RETRY);
    }
}

/// The release whose trial has begun.
pub(super) fn begun(table: &SlotTable) -> Option<Release> {
    table.trial.clone().filter(|_| table.begun)
}

/// Ends the trial of a release that has served a picture.
pub(super) fn make_permanent(slots: &Slots, trial: &Release) -> Result<(), ReleaseError> {
    let _lock = slots.lock(FlockArg::LockExclusive)?;
    let mut table = slots.read()?;
    // Otherwise another command has confirmed or discarded it.
    if begun(&table).as_ref() == Some(trial) {
        table.confirm();
        slots.commit(&table)?;
        info!("slot {}, version {}, has served a picture and is permanent", trial.slot, trial.version);
    }
    Ok(())
}

/// Ends the trial, or the wait for it, of a release that is not wanted.
pub(super) fn discard(slots: &Slots) -> Result<(), ReleaseError> {
    let Some(_lock) = slots.lock(FlockArg::LockExclusive)? else { return Ok(()) };
    let mut table = slots.read()?;
    if let Some(trial) = table.trial.clone() {
        table.discard();
        slots.commit(&table)?;
        info!("slot {}, version {}, is discarded", trial.slot, trial.version);
    }
    Ok(())
}
