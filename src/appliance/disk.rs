//! Changes to files that last, each of them whole after a power cut at any point: written aside, on the disk before it
//! takes its name, and its name on the disk before anybody is told.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use log::trace;
use porthole::failpoint;

/// How much is written at a time.
const CHUNK: usize = 1 << 20;

/// What has just been done to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Did {
    /// Content was written to the file.
    Write,
    /// That is on the disk.
    Sync,
    /// The file has its name, which was written aside.
    Rename,
    /// What was done in the folder is on the disk.
    SyncFolder,
}

/// Where a test can end the program, or learn what was done.
fn did(what: Did, path: &Path) {
    trace!("{}: {what:?}", path.display());
    #[cfg(test)]
    recorder::note(what, path);
    failpoint::pass("disk");
}

/// Makes a folder and those above it.
///
/// # Errors
/// As the kernel gives them.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().unwrap_or(Path::new("/"));
    make_folder(above)?;
    fs::create_dir(path)?;
    sync_folder(above)
}

/// Writes all that `from` gives to a file which may be there already, and to the disk; how many bytes that were.
///
/// # Errors
/// As the kernel gives them, and [`io::ErrorKind::FileTooLarge`] for more than `most` bytes.
pub(crate) fn write(path: &Path, mode: u32, from: &mut dyn Read, most: u64) -> io::Result<u64> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    // Whatever the mask says, and whatever was there.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    let (mut written, mut chunk) = (0, Vec::with_capacity(CHUNK));
    loop {
        chunk.clear();
        let read = from.take(CHUNK as u64).read_to_end(&mut chunk)?;
        if read == 0 {
            break;
        }
        written += read as u64;
        if written > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        file.write_all(&chunk)?;
        did(Did::Write, path);
    }
    file.sync_all()?;
    did(Did::Sync, path);
    Ok(written)
}

/// Gives a file that was written [aside] its name; what had that name is gone.
///
/// # Errors
/// As the kernel gives them.
pub(crate) fn rename(path: &Path) -> io::Result<()> {
    fs::rename(aside(path), path)?;
    did(Did::Rename, path);
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Replaces a file, or makes it.
///
/// # Errors
/// As the kernel gives them; what was there is there still.
pub(crate) fn replace(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    write(&aside(path), mode, &mut text.as_bytes(), u64::MAX)?;
    rename(path)
}

/// Where a file is written before it takes its name.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".new");
    name.into()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    did(Did::SyncFolder, path);
    Ok(())
}

/// What was done, for tests that cut the power at each point.
#[cfg(test)]
pub(crate) mod recorder {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    use super::Did;

    /// With the content of the file, where it was written.
    pub(crate) type Done = (Did, PathBuf, Vec<u8>);

    thread_local! {
        static DONE: RefCell<Vec<Done>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(what: Did, path: &Path) {
        let content = if what == Did::Write { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
        DONE.with_borrow_mut(|all| all.push((what, path.into(), content)));
    }

    /// All since this was asked last, by this thread.
    pub(crate) fn take() -> Vec<Done> {
        DONE.take()
    }
}
