//! Changes of the card's first partition, which any PC can read. It is mounted read-only, and writable for a change only.
#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};
use porthole::storage;

use super::files::{read, replace_if_changed};

/// A change of a file on the card.
#[derive(Debug)]
pub(super) enum Change {
    /// The file holds this text.
    Write(PathBuf, String),
    /// The file holds this text, and what it held is overwritten on the card.
    Erase(PathBuf, String),
    /// There is no such file.
    Remove(PathBuf),
}

impl Change {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Write(path, _) | Self::Erase(path, _) | Self::Remove(path) => path,
        }
    }

    /// Whether there is anything to do.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Write(path, text) | Self::Erase(path, text) => {
                !read(path).is_ok_and(|old| old.as_deref() == Some(text.as_bytes()))
            }
            Self::Remove(path) => path.exists(),
        }
    }

    pub(super) fn apply(&self) -> io::Result<()> {
        match self {
            Self::Write(path, text) => replace_if_changed(path, text.as_bytes(), 0o644),
            Self::Erase(path, text) => {
                let mut old = OpenOptions::new().write(true).open(path)?;
                let length = old.metadata()?.len();
                storage::replace(path, 0o644, text.as_bytes())?;
                // The old file has no name any more, and its blocks still hold the secrets until they are overwritten
                // here. A power cut before that leaves them.
                io::copy(&mut io::repeat(0).take(length), &mut old)?;
                old.sync_data()
            }
            Self::Remove(path) => storage::remove(path),
        }
    }
}

/// A file system that is writable until this is dropped.
pub(super) struct Writable<'a> {
    /// Where it is mounted, and the flags to mount it read-only again.
    was_read_only: Option<(&'a Path, MsFlags)>,
}

/// Flags that a mount keeps when it is changed (mount(2)); statvfs(3) has them as the same bits.
const KEPT: FsFlags =
    FsFlags::ST_NOSUID.union(FsFlags::ST_NODEV).union(FsFlags::ST_NOEXEC).union(FsFlags::ST_NOATIME);

/// Makes the file system that is mounted at `folder` writable.
pub(super) fn make_writable(folder: &Path) -> io::Result<Writable<'_>> {
    let flags = statvfs(folder)?.flags();
    if !flags.contains(FsFlags::ST_RDONLY) {
        return Ok(Writable { was_read_only: None });
    }
    let kept = MsFlags::from_bits_truncate((flags & KEPT).bits()) | MsFlags::MS_REMOUNT;
    remount(folder, kept)?;
    Ok(Writable { was_read_only: Some((folder, kept)) })
}

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        if let Some((folder, kept)) = self.was_read_only {
            // All is synchronised. A card that stays writable is no worse at a power cut than one in any camera.
            let _ = remount(folder, kept | MsFlags::MS_RDONLY);
        }
    }
}

fn remount(folder: &Path, flags: MsFlags) -> io::Result<()> {
    Ok(mount(None::<&str>, folder, None::<&str>, flags, None::<&str>)?)
}
