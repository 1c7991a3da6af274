//! Files of settings, read and written. The card's first partition, which any PC can read, is mounted read-only, and
//! writable for a change only.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};
use porthole::storage;

/// More bytes than anybody writes by hand.
const MOST_BYTES: u64 = 64 * 1024;

/// The content of a file; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("is larger than {} KiB", MOST_BYTES / 1024)));
    }
    Ok(Some(bytes))
}

/// Replaces a file, unless it has that content: a card wears out with each write.
pub(super) fn replace_if_changed(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A file that cannot be read is replaced.
    match read(path) {
        Ok(Some(old)) if old == content => Ok(()),
        _ => storage::replace(path, mode, content),
    }
}

/// Whether a file system is mounted there: it is another one than that of the folder above (stat(2), `st_dev`).
pub(super) fn is_mounted(folder: &Path) -> io::Result<bool> {
    Ok(fs::metadata(folder)?.dev() != fs::metadata(folder.join(".."))?.dev())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_not_a_mere_folder() {
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert!(!is_mounted(Path::new("/proc/self")).unwrap());
        assert!(is_mounted(Path::new("/no/such/folder")).is_err());
    }
}
