//! Chooses the program that serves, and links it for the service manager.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clap::Args;
use log::{info, warn};
use nix::fcntl::FlockArg;
use porthole::storage;

use super::error::ReleaseError;
use super::slots::{Release, SlotTable, Slots};

/// Where everything is.
#[derive(Args)]
pub(super) struct Places {
    /// Directory that lasts from boot to boot
    #[arg(long, value_name = "DIR", default_value = "/state", global = true)]
    pub(super) state: PathBuf,

    /// Directory that lasts until the next boot
    #[arg(long, value_name = "DIR", default_value = "/run", global = true)]
    pub(super) run: PathBuf,

    /// Program of the image
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/porthole", global = true)]
    pub(super) factory: PathBuf,

    /// What the system says of itself: releases serve under the system that they were installed under, and no other
    #[arg(long, value_name = "FILE", default_value = "/etc/os-release", global = true)]
    pub(super) os_release: PathBuf,
}

impl Places {
    /// The configuration that the service runs with.
    pub(super) fn configuration(&self) -> PathBuf {
        self.own("porthole.toml")
    }

    /// The link that the service manager starts.
    pub(super) fn link(&self) -> PathBuf {
        self.own("porthole")
    }

    /// The file that names the release whose trial began in this boot.
    fn trial(&self) -> PathBuf {
        self.own("trial")
    }

    fn own(&self, name: &str) -> PathBuf {
        self.run.join("porthole-appliance").join(name)
    }
}

/// Links the program that is to serve, whatever is wrong with the slots.
pub(super) fn choose(slots: &Slots, places: &Places) -> Result<(), ReleaseError> {
    let chosen = chosen(slots, &places.trial()).unwrap_or_else(|error| {
        warn!("{error}");
        None
    });
    let program = chosen.unwrap_or_else(|| places.factory.clone());
    info!("{} serves", program.display());
    let link = places.link();
    relink(&link, &program).map_err(|cause| ReleaseError::disk(&link, cause))
}

/// Replaces the link. It lies in memory, so nothing need be synchronised.
fn relink(link: &Path, program: &Path) -> io::Result<()> {
    link.parent().map_or(Ok(()), fs::create_dir_all)?;
    let aside = link.with_extension("new");
    storage::remove(&aside)?;
    symlink(program, &aside)?;
    fs::rename(&aside, link)
}

/// The program that is to serve; `None` for the factory's.
fn chosen(slots: &Slots, trial_file: &Path) -> Result<Option<PathBuf>, ReleaseError> {
    let Some(_lock) = slots.lock(FlockArg::LockExclusive)? else { return Ok(None) };
    let mut table = slots.read()?;
    if let Some(trial) = table.trial.clone()
        && may_be_tried(slots, &mut table, &trial, trial_file)
    {
        return Ok(Some(slots.program(trial.slot)));
    }
    while let Some(good) = table.good.clone() {
        if slots.is_whole(&good) {
            return Ok(Some(slots.program(good.slot)));
        }
        warn!("slot {} does not hold what was installed there and serves no more", good.slot);
        table.good = table.fallback.take();
        commit_or_warn(slots, &table);
    }
    Ok(None)
}

/// Whether the release on trial serves in this boot. The trial lasts for one boot, which `trial_file` tells from others.
fn may_be_tried(slots: &Slots, table: &mut SlotTable, trial: &Release, trial_file: &Path) -> bool {
    let Release { slot, sum, version } = trial;
    if table.begun && fs::read_to_string(trial_file).is_ok_and(|begun| begun == *sum) {
        return true;
    }
    let failure = match (table.begun, slots.is_whole(trial)) {
        (true, _) => "was tried and served no picture",
        (false, false) => "is not what was installed there",
        (false, true) => return begin_trial(slots, table, trial, trial_file),
    };
    warn!("slot {slot}, version {version}, {failure}: back to what served before");
    table.discard();
    commit_or_warn(slots, table);
    false
}

fn begin_trial(slots: &Slots, table: &mut SlotTable, trial: &Release, trial_file: &Path) -> bool {
    let Release { slot, sum, version } = trial;
    table.begun = true;
    // A trial that cannot be recorded could happen twice, so there is none.
    if let Err(error) = slots.commit(table) {
        warn!("slot {slot}, version {version}, cannot be tried: {error}");
        table.begun = false;
        return false;
    }
    let folder = trial_file.parent().map_or(Ok(()), fs::create_dir_all);
    if let Err(cause) = folder.and_then(|()| fs::write(trial_file, sum)) {
        warn!("{}: {cause}; the trial ends with the next choice", trial_file.display());
    }
    info!("slot {slot}, version {version}, is on trial");
    true
}

/// Commits a table that the next choice would arrive at again.
fn commit_or_warn(slots: &Slots, table: &SlotTable) {
    if let Err(error) = slots.commit(table) {
        warn!("{error}");
    }
}
