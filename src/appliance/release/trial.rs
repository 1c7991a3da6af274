//! Trials: a release is installed in the slot that does not serve, after it has been checked. It becomes permanent once
//! the service gives a picture, or it is discarded.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use log::{info, warn};
use nix::fcntl::FlockArg;
use porthole::storage::{self, Aside};

use super::error::ReleaseError;
use super::slots::{Release, SlotTable, Slots, sum};
use crate::probe;

/// Larger than any release. The smallest card has room for three of these.
const MOST_BYTES: u64 = 64 << 20;
/// Time between two requests for a picture.
const RETRY: Duration = Duration::from_secs(1);

/// Puts the program in `file` on trial. `check` returns its version, or why it is refused; `promised` is the checksum
/// that it must have.
pub(super) fn install(
    slots: &Slots,
    file: &Path,
    promised: Option<&str>,
    check: impl FnOnce(&Path) -> Result<String, String>,
) -> Result<(), ReleaseError> {
    slots.create()?;
    let _lock = slots.lock(FlockArg::LockExclusiveNonblock)?;
    // A table that cannot be read names no slot that must be spared.
    let mut table = slots.read().unwrap_or_else(|error| {
        warn!("{error}");
        SlotTable::default()
    });
    let slot = table.spare();
    let program = slots.program(slot);
    let written = write(&program, file)?;
    let sum = sum(written.path()).map_err(|cause| ReleaseError::disk(written.path(), cause))?;
    let refused = |reason| ReleaseError::Refused { path: file.into(), reason };
    if promised.is_some_and(|promised| promised != sum) {
        let bytes = written.bytes();
        return Err(refused(format!("the {bytes} bytes that arrived are not those that were sent")));
    }
    let version = check(written.path()).map_err(refused)?;
    // The table stops naming what the slot holds before that is replaced.
    if table.forget(slot) {
        slots.commit(&table)?;
    }
    written.commit().map_err(|cause| ReleaseError::disk(&program, cause))?;
    info!("slot {slot} has version {version}, on trial from the next choice on");
    table.trial = Some(Release { slot, sum, version });
    table.begun = false;
    slots.commit(&table)
}

/// Writes the program beside the one in the slot.
fn write(program: &Path, file: &Path) -> Result<Aside, ReleaseError> {
    let refused = |reason| ReleaseError::Refused { path: file.into(), reason };
    let mut from: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file).map_err(|cause| refused(cause.to_string()))?),
    };
    storage::write_aside(program, 0o755, &mut from, MOST_BYTES).map_err(|cause| match cause.kind() {
        io::ErrorKind::FileTooLarge => refused(format!("it is larger than {MOST_BYTES} bytes")),
        _ => ReleaseError::disk(program, cause),
    })
}

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
