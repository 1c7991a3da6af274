//! Files of settings, read and written.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
