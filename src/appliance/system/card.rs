//! The card as a device of sectors, and which of its systems runs.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::{major, minor};

use super::error::SystemError;
use super::table::{BACK, KEPT, PartitionTable, SECTOR, Sector, TABLE};

/// How the system that runs stands to the card's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the one that is started.
    Permanent,
    /// It is, until the next start, which is a trial of the other one.
    BeforeTrial,
    /// It is on trial itself.
    OnTrial,
}

/// Where the system that runs was started from.
pub(super) struct Place {
    pub(super) card: PathBuf,
    /// The first sector of its boot partition, as the kernel found it when it started. The table may say something else
    /// by now.
    pub(super) booted: u32,
}

impl Place {
    /// The card that the file system at `boot` is on.
    pub(super) fn of(boot: &Path) -> Result<Self, SystemError> {
        let find = || -> io::Result<Self> {
            let device = fs::metadata(boot)?.dev();
            let node = format!("/sys/dev/block/{}:{}", major(device), minor(device));
            let partition = fs::canonicalize(node)?;
            let start = fs::read_to_string(partition.join("start"))?;
            let card = partition.parent().and_then(Path::file_name).map(|name| Path::new("/dev").join(name));
            card.zip(start.trim().parse().ok())
                .map(|(card, booted)| Self { card, booted })
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        find().map_err(SystemError::card(boot))
    }
}

/// The card, locked: nobody else changes it meanwhile.
pub(super) struct Card {
    path: PathBuf,
    file: Flock<File>,
}

impl Card {
    /// To look at it; not while a system is being installed.
    pub(super) fn open(path: &Path) -> Result<Self, SystemError> {
        Self::lock(path, FlockArg::LockSharedNonblock)
    }

    /// To change it, once nobody else does.
    pub(super) fn open_to_change(path: &Path) -> Result<Self, SystemError> {
        Self::lock(path, FlockArg::LockExclusive)
    }

    /// To install a system, unless another one is being installed.
    pub(super) fn open_to_install(path: &Path) -> Result<Self, SystemError> {
        Self::lock(path, FlockArg::LockExclusiveNonblock)
    }

    fn lock(path: &Path, arg: FlockArg) -> Result<Self, SystemError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(SystemError::card(path))?;
        match Flock::lock(file, arg) {
            Ok(file) => Ok(Self { path: path.into(), file }),
            Err((_, Errno::EWOULDBLOCK)) => Err(SystemError::Busy),
            Err((_, errno)) => Err(SystemError::card(path)(errno.into())),
        }
    }

    /// The table in force.
    pub(super) fn table(&mut self) -> Result<PartitionTable, SystemError> {
        self.stored(TABLE)?.ok_or_else(|| SystemError::OneSystem { path: self.path.clone() })
    }

    /// The table in a sector, if there is one.
    fn stored(&mut self, at: u64) -> Result<Option<PartitionTable>, SystemError> {
        let mut sector: Sector = [0; SECTOR];
        self.read(at, &mut sector).map_err(SystemError::card(&self.path))?;
        Ok(PartitionTable::of(&sector))
    }

    /// Writes one of the tables; it is on the card when this returns.
    fn store(&mut self, at: u64, table: &PartitionTable) -> Result<(), SystemError> {
        let stored = self.write(at, table.sector()).and_then(|()| self.file.sync_all());
        stored.map_err(SystemError::card(&self.path))
    }

    pub(super) fn standing(&mut self, booted: u32) -> Result<Standing, SystemError> {
        let table = self.table()?;
        match (booted == table.active(), booted == table.spare(), table.is_trial()) {
            (true, _, false) => Ok(Standing::Permanent),
            (_, true, true) => Ok(Standing::BeforeTrial),
            // The second, if its initramfs could not write the table.
            (_, true, false) | (true, _, true) => Ok(Standing::OnTrial),
            (false, false, _) => Err(SystemError::Elsewhere { path: self.path.clone() }),
        }
    }

    /// Puts the spare slot on trial, from the next start on: the last of these three writes does.
    pub(super) fn begin_trial(&mut self, boot_sectors: u32) -> Result<(), SystemError> {
        let table = self.table()?;
        let kept = table.switched(boot_sectors);
        self.store(BACK, &table)?;
        self.store(KEPT, &kept)?;
        self.store(TABLE, &kept.on_trial())
    }

    /// Takes a trial back that has not begun.
    pub(super) fn take_back(&mut self, booted: u32) -> Result<(), SystemError> {
        self.restore(BACK, booted)
    }

    /// Makes the system on trial, which runs, permanent.
    pub(super) fn make_permanent(&mut self, booted: u32) -> Result<(), SystemError> {
        self.restore(KEPT, booted)
    }

    /// Puts a table in force that starts what runs.
    fn restore(&mut self, at: u64, booted: u32) -> Result<(), SystemError> {
        match self.stored(at)?.filter(|table| table.active() == booted && !table.is_trial()) {
            Some(table) => self.store(TABLE, &table),
            None => Err(SystemError::Damaged { path: self.path.clone() }),
        }
    }

    pub(super) fn read(&mut self, sector: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(sector * SECTOR as u64))?;
        self.file.read_exact(into)
    }

    pub(super) fn write(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(sector * SECTOR as u64))?;
        self.file.write_all(bytes)
    }

    /// Waits until all that was written is on the card, and forgets it here, so that it is read from there.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        Ok(posix_fadvise(&*self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
