//! Why a release cannot be installed, chosen or confirmed.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// The file is not a release that could serve here.
    #[error("{} is not taken: {reason}", path.display())]
    Refused { path: PathBuf, reason: String },
    /// Another command holds the slots.
    #[error("another release is being installed: wait until that is done")]
    Busy,
    /// A file cannot be read or written.
    #[error("{}: {source}{remedy}", path.display())]
    Disk { path: PathBuf, remedy: &'static str, source: io::Error },
    /// The file that names the good release cannot be understood.
    #[error("{}: {reason}; the factory's program serves until another is installed", path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// There was no picture in time.
    #[error("slot {slot} is not confirmed within {within} s: {reason}")]
    Unconfirmed { slot: String, within: u64, reason: String },
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

impl ReleaseError {
    /// An error of the file system, with what to do about it.
    pub(super) fn disk(path: &Path, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::StorageFull => "; there is no room on the state partition",
            io::ErrorKind::ReadOnlyFilesystem => "; the state partition could not be opened for writing",
            io::ErrorKind::PermissionDenied => "; this takes root",
            _ => "",
        };
        Self::Disk { path: path.into(), remedy, source }
    }
}
