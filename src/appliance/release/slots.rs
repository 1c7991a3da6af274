//! The two slots for releases on the state partition, and the table that says which of them is good or on trial.
//!
//! The table alone decides, and its file is replaced in one step. A slot that it does not name counts as empty; a slot
//! that it names counts only if its checksum is right.
#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use blake2::{Blake2b512, Digest};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use porthole::storage::{self, Aside};
use serde::{Deserialize, Serialize};

use super::error::ReleaseError;

/// One of two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Slot {
    A,
    B,
}

impl Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::A { "a" } else { "b" })
    }
}

/// A program in its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Release {
    pub(super) slot: Slot,
    /// As [`sum`] gives it.
    pub(super) sum: String,
    /// As the program said itself; letters, digits, and `.+-~` only.
    pub(super) version: String,
}

/// The releases in the slots. No slot is named twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SlotTable {
    /// The one that serves; without it the factory's does.
    pub(super) good: Option<Release>,
    /// The one that served before.
    pub(super) fallback: Option<Release>,
    /// The one that has to serve a picture before it is good.
    pub(super) trial: Option<Release>,
    /// Whether the trial has begun. It lasts for the boot in which it did.
    pub(super) begun: bool,
}

impl SlotTable {
    /// The slot for a new release: never that of the good one.
    pub(super) fn spare(&self) -> Slot {
        match &self.good {
            Some(Release { slot: Slot::A, .. }) => Slot::B,
            _ => Slot::A,
        }
    }

    /// Forgets what is in `slot`. Returns whether it was named.
    pub(super) fn forget(&mut self, slot: Slot) -> bool {
        let before = self.clone();
        let elsewhere = |release: &Release| release.slot != slot;
        self.fallback = self.fallback.take().filter(elsewhere);
        self.good = self.good.take().filter(elsewhere);
        self.trial = self.trial.take().filter(elsewhere);
        self.begun &= self.trial.is_some();
        *self != before
    }

    /// Ends the trial: the release is good.
    pub(super) fn confirm(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.fallback = self.good.replace(trial);
        }
        self.begun = false;
    }

    /// Ends the trial: the release does not serve.
    pub(super) fn discard(&mut self) {
        self.trial = None;
        self.begun = false;
    }
}

/// The table as it is kept. Under another system it counts as empty: that one brings a program of its own, which may be
/// newer than all that were installed before it. Where the system before returns, so do its releases.
#[derive(Serialize, Deserialize)]
struct KeptTable {
    #[serde(default)]
    system: String,
    #[serde(flatten)]
    table: SlotTable,
}

/// The slots of a state partition.
pub(super) struct Slots {
    folder: PathBuf,
    system: String,
}

impl Slots {
    /// The slots under a system of this version.
    pub(super) fn of(state: &Path, system: &str) -> Self {
        Self { folder: state.join("release"), system: system.into() }
    }

    /// The program in a slot.
    pub(super) fn program(&self, slot: Slot) -> PathBuf {
        self.folder.join(slot.to_string()).join("porthole")
    }

    fn file(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// Creates the folders that are missing.
    pub(super) fn create(&self) -> Result<(), ReleaseError> {
        [Slot::A, Slot::B].into_iter().try_for_each(|slot| {
            let folder = self.folder.join(slot.to_string());
            storage::create_folder(&folder, 0o755).map_err(|cause| ReleaseError::disk(&folder, cause))
        })
    }

    /// Locks the slots until the lock is dropped; `None` if there are no slots.
    pub(super) fn lock(&self, arg: FlockArg) -> Result<Option<Flock<File>>, ReleaseError> {
        let folder = match File::open(&self.folder) {
            Ok(folder) => folder,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(ReleaseError::disk(&self.folder, cause)),
        };
        match Flock::lock(folder, arg) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Err(ReleaseError::Busy),
            Err((_, errno)) => Err(ReleaseError::disk(&self.folder, errno.into())),
        }
    }

    /// The table; an empty one if there is no file, or it is another system's.
    pub(super) fn read(&self) -> Result<SlotTable, ReleaseError> {
        let path = self.file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(SlotTable::default()),
            Err(cause) => return Err(ReleaseError::disk(&path, cause)),
        };
        let kept: KeptTable = serde_json::from_str(&text)
            .map_err(|cause| ReleaseError::Unreadable { path, reason: cause.to_string() })?;
        Ok(if kept.system == self.system { kept.table } else { SlotTable::default() })
    }

    /// Replaces the table.
    pub(super) fn commit(&self, table: &SlotTable) -> Result<(), ReleaseError> {
        let path = self.file();
        let kept = KeptTable { system: self.system.clone(), table: table.clone() };
        let text = serde_json::to_string(&kept).map_err(io::Error::from);
        // The slots are locked: nobody else writes it.
        text.and_then(|text| storage::write_aside(&path, 0o644, &mut text.as_bytes(), u64::MAX))
            .and_then(Aside::commit)
            .map_err(|cause| ReleaseError::disk(&path, cause))
    }

    /// Whether the slot holds what was installed there.
    pub(super) fn is_whole(&self, release: &Release) -> bool {
        sum(&self.program(release.slot)).is_ok_and(|sum| sum == release.sum)
    }
}

/// The checksum of a file, as `b2sum` writes it.
pub(super) fn sum(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut chunk) = (File::open(path)?, Blake2b512::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&chunk[..read]),
        }
    }
}
