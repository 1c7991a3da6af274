//! Files that survive a power cut: a reader finds the old content or the new content, each of them whole.
//!
//! New content is written to a file beside the old one, `NAME.new`, and synchronised before it takes the name; then the
//! folder is synchronised. A caller that gets `Ok` can rely on the new content from then on. The new file belongs to the
//! owner of the folder, so that the service can read what root writes for it. What a power cut leaves of `NAME.new` is
//! removed by the next write; writers take turns by a lock on the folder.
//!
//! What a file contains, and what to do when it cannot be written, belongs to the callers. Each step is logged at the
//! level `trace`; the tests that cut the power at every step read them there (`src/appliance/power_cut.rs`).
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use log::trace;
use nix::fcntl::{Flock, FlockArg};

/// Folders made for a file that is to be replaced are for their owner only: what is kept there may be secret.
const PRIVATE_FOLDER: u32 = 0o700;

/// Replaces a file, or creates it, and its folder for the owner alone where that is missing. The file has `mode`
/// whatever the process's mask is.
///
/// # Errors
/// As the kernel gives them. The old file is still there unless only the last step failed, the folder's `fsync`.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    create_folder(folder_of(path), PRIVATE_FOLDER)?;
    let _lock = lock(folder_of(path))?;
    write_aside(path, mode, &mut &*content, u64::MAX)?.commit()
}

/// Writes all of `from` beside `path`, where it can be looked at before it takes the name. Callers see to it that nobody
/// else writes the same file meanwhile.
///
/// # Errors
/// As the kernel gives them, and [`io::ErrorKind::FileTooLarge`] for more than `limit` bytes.
pub fn write_aside(path: &Path, mode: u32, from: &mut dyn Read, limit: u64) -> io::Result<Aside> {
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    // Left by a power cut, or a link that somebody put there for root to write through.
    unlink(Path::new(&new))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    let mut aside = Aside { name: path.into(), path: new.into(), bytes: 0, is_renamed: false };
    aside.bytes = io::copy(&mut from.take(limit.saturating_add(1)), &mut file)?;
    if aside.bytes > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    log_step("Write", &aside.path);
    let owner = fs::metadata(folder_of(path))?;
    let own = file.metadata()?;
    if own.uid() != owner.uid() {
        match fchown(&file, Some(owner.uid()), Some(owner.gid())) {
            // An ordinary user's file in a folder that is shared stays that user's.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    if own.mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    file.sync_all()?;
    log_step("Sync", &aside.path);
    Ok(aside)
}

/// A file that is written and synchronised, and has not taken its name. It is removed when this is dropped.
#[derive(Debug)]
pub struct Aside {
    name: PathBuf,
    path: PathBuf,
    bytes: u64,
    is_renamed: bool,
}

impl Aside {
    /// Where it is until it takes its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives it its name. The file that had the name is gone.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn commit(mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.name)?;
        self.is_renamed = true;
        log_step("Rename", &self.name);
        sync_folder(folder_of(&self.name))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.is_renamed {
            // It may fill the disk. Where it cannot be removed, the next write tries again.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a folder with `mode`, and those above it that are missing.
///
/// # Errors
/// As the kernel gives them.
pub fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    create_folder(folder_of(path), mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        // Somebody else was faster.
        Err(_) if path.is_dir() => Ok(()),
        created => created.and_then(|()| sync_folder(folder_of(path))),
    }
}

/// Removes a file, if there is one.
///
/// # Errors
/// As the kernel gives them.
pub fn remove(path: &Path) -> io::Result<()> {
    if unlink(path)? { sync_folder(folder_of(path)) } else { Ok(()) }
}

/// Waits until nobody else replaces a file in `folder`. `None` on file systems without locks, as some network ones are:
/// writers do not take turns there.
fn lock(folder: &Path) -> io::Result<Option<Flock<File>>> {
    Ok(Flock::lock(File::open(folder)?, FlockArg::LockExclusive).ok())
}

/// Removes a file. Returns whether there was one.
fn unlink(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    log_step("SyncFolder", path);
    Ok(())
}

/// Logs that a file's content was written, the content is on the disk, the file has taken its name, or the names in the
/// folder are on the disk.
fn log_step(step: &str, path: &Path) {
    trace!("{step} {}", path.display());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    /// A folder that is gone when the test is over.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("porthole-storage-{}-{count}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_its_folder_is_private() {
        let folder = Folder::new();
        let path = folder.0.join("state/deep/file");
        replace(&path, 0o600, b"old").unwrap();
        assert_eq!((mode(&path), mode(&folder.0.join("state/deep"))), (0o600, 0o700));
        replace(&path, 0o666, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (&b"new"[..], 0o666));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_are_removed_and_links_are_not_followed() {
        let folder = Folder::new();
        let (path, leftover) = (folder.0.join("file"), folder.0.join("file.new"));
        fs::write(&leftover, "half of a much longer text").unwrap();
        replace(&path, 0o600, b"one").unwrap();
        let elsewhere = folder.0.join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        symlink(&elsewhere, &leftover).unwrap();
        replace(&path, 0o600, b"two").unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(folder.names(), ["elsewhere", "file"]);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let folder = Folder::new();
        let path = folder.0.join("file");
        replace(&path, 0o600, b"old").unwrap();
        let broken = write_aside(&path, 0o600, &mut (&b"new"[..]).chain(Broken), 100).unwrap_err();
        assert_eq!(broken.to_string(), "broken");
        let too_large = write_aside(&path, 0o600, &mut &[0; 101][..], 100).unwrap_err();
        assert_eq!(too_large.kind(), io::ErrorKind::FileTooLarge);
        let aside = write_aside(&path, 0o755, &mut &[0; 100][..], 100).unwrap();
        assert_eq!((aside.bytes(), mode(aside.path())), (100, 0o755));
        drop(aside);
        assert_eq!(
            (fs::read(&path).unwrap().as_slice(), folder.names()),
            (&b"old"[..], vec!["file".to_owned()])
        );
    }

    #[test]
    fn writers_at_the_same_time_each_write_a_whole_file() {
        let folder = Folder::new();
        let path = folder.0.join("file");
        thread::scope(|scope| {
            for letter in b'a'..=b'd' {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        replace(path, 0o600, &[letter; 3000]).unwrap();
                        let read = fs::read(path).unwrap();
                        assert!(read.len() == 3000 && read.iter().all(|byte| *byte == read[0]));
                    }
                });
            }
        });
        assert_eq!(folder.names(), ["file"]);
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let folder = Folder::new();
        let path = folder.0.join("file");
        replace(&path, 0o600, b"").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(folder.names().is_empty());
        assert!(create_folder(Path::new("/proc/none/at/all"), 0o700).is_err());
    }
}
