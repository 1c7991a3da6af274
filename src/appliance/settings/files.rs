//! Files that survive a power cut: the whole of what is new, or what was there before. And the card, which can be written
//! for that moment only.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

/// More than anybody writes by hand.
const MOST: u64 = 64 * 1024;

/// What is in a file; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other(format!("is larger than {} KiB", MOST / 1024)));
    }
    Ok(Some(bytes))
}

/// Makes a folder and those it is in, for nobody else to look into where `mode` says so.
pub(super) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Writes a file, unless it holds just that already.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // One that cannot be read is one to replace.
    if read(path).is_ok_and(|old| old.as_deref() == Some(content)) {
        return Ok(());
    }
    let aside = aside(path);
    let written = write_new(&aside, content, mode).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // Half a file is of no use, and the space is short, perhaps.
        let _ = fs::remove_file(&aside);
    }
    written.and_then(|()| sync_folder(path))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    remove(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn aside(path: &Path) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(".new");
    name.into()
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_folder(path)),
    }
}

/// Whether a file system is mounted there: it is not the one of the folder above (stat(2), `st_dev`).
pub(super) fn is_mounted(folder: &Path) -> io::Result<bool> {
    Ok(fs::metadata(folder)?.dev() != fs::metadata(folder.join(".."))?.dev())
}

/// Moves a file that is of no use out of the way, for whoever wants to look at it.
pub(super) fn put_aside(path: &Path) -> io::Result<()> {
    fs::rename(path, path.with_extension("damaged"))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A change of a file on the card.
#[derive(Debug)]
pub(super) enum Change {
    /// It is to hold this.
    Write(PathBuf, String),
    /// It is to hold this, and what it held is to be found nowhere.
    Erase(PathBuf, String),
    /// It is not to be there.
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

    pub(super) fn make(&self) -> io::Result<()> {
        match self {
            Self::Write(path, text) => write(path, text.as_bytes(), 0o644),
            Self::Erase(path, text) => {
                let mut old = OpenOptions::new().write(true).open(path)?;
                let length = old.metadata()?.len();
                write(path, text.as_bytes(), 0o644)?;
                // It has no name any more, but its place on the card still holds what it held. A power cut before this
                // is done leaves that there.
                io::copy(&mut io::repeat(0).take(length), &mut old)?;
                old.sync_data()
            }
            Self::Remove(path) => remove(path),
        }
    }
}

/// A file system that can be written until this is dropped.
pub(super) struct Writable<'a> {
    /// To be made read-only again.
    was_read_only: Option<(&'a Path, MsFlags)>,
}

/// What a mount keeps over a change (mount(2)): the same bits that statvfs(3) tells of it.
const KEPT: FsFlags =
    FsFlags::ST_NOSUID.union(FsFlags::ST_NODEV).union(FsFlags::ST_NOEXEC).union(FsFlags::ST_NOATIME);

/// Makes the file system that is mounted at `folder` one that can be written.
pub(super) fn writable(folder: &Path) -> io::Result<Writable<'_>> {
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
            // All is synced; what stays writable now is at the next power cut no worse than a card in any camera.
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
    fn what_is_mounted_is_told_from_a_folder() {
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert!(!is_mounted(Path::new("/proc/self")).unwrap());
        assert!(is_mounted(Path::new("/no/such/folder")).is_err());
    }
}
