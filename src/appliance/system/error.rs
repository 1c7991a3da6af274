//! Why a system cannot be installed, confirmed or looked at.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemError {
    /// The file is not a system for this card. Nothing that counts was changed.
    #[error("{} is not taken: {reason}", path.display())]
    Refused { path: PathBuf, reason: String },
    /// The card was made before there was room for two systems, or is too small for it.
    #[error(
        "{}: this card has room for one system only; flash it again with a new image, on a card of 512 MB or more",
        path.display()
    )]
    OneSystem { path: PathBuf },
    /// Another command changes the card.
    #[error("another system is being installed: wait until that is done")]
    Busy,
    /// The slot that would be written holds what runs.
    #[error(
        "the system that runs is on trial: wait until it has served a picture, or restart to return to the one before"
    )]
    OnTrial,
    /// What runs was not started from this card.
    #[error("{}: the system that runs is not on this card: name the card that it was started from", path.display())]
    Elsewhere { path: PathBuf },
    /// The table that would make the system permanent is not on the card.
    #[error("{}: what makes this system permanent is damaged: install it again after a restart", path.display())]
    Damaged { path: PathBuf },
    /// The card cannot be read or written.
    #[error("{}: {source}{remedy}", path.display())]
    Card { path: PathBuf, remedy: &'static str, source: io::Error },
    /// There was no picture in time.
    #[error(
        "the system on trial is not confirmed within {within} s: {reason}; restart to return to the system before"
    )]
    Unconfirmed { within: u64, reason: String },
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

impl SystemError {
    /// For `map_err`: a file that is not taken.
    pub(super) fn refused(path: &Path) -> impl Fn(String) -> Self {
        move |reason| Self::Refused { path: path.into(), reason }
    }

    /// For `map_err`: an error of the card, with what to do about it.
    pub(super) fn card(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| {
            let remedy = match source.kind() {
                io::ErrorKind::PermissionDenied => "; this takes root",
                io::ErrorKind::StorageFull => "; there is no room there",
                io::ErrorKind::NotFound => "; name the card with --card",
                _ => "; the card may be worn out: take another one",
            };
            Self::Card { path: path.into(), remedy, source }
        }
    }
}
