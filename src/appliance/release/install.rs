//! Installs a release: writes it to the slot that does not serve, after it has been checked.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use log::{info, warn};
use nix::fcntl::FlockArg;
use porthole::storage::{self, Aside};

use super::error::ReleaseError;
use super::slots::{Release, SlotTable, Slots, sum};

/// Larger than any release. The smallest card has room for three of these.
const MOST_BYTES: u64 = 64 << 20;

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
