//! A password in a file.
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::path::Path;

use super::secret::RemoteSecret;

/// Most bytes of a file with a password: far more than any password has.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Why a file gives no password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordFileError {
    #[error("{path}: {source}")]
    Unreadable {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path}: its first line is empty")]
    Empty { path: String },
}

/// The first line of the file, without white space at its end.
pub(crate) fn first_line(path: &Path) -> Result<RemoteSecret, PasswordFileError> {
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(MAX_PASSWORD_BYTES).read_to_string(&mut text));
    let path = path.display().to_string();
    match (read, text.lines().next().map(str::trim_end)) {
        (Err(source), _) => Err(PasswordFileError::Unreadable { path, source }),
        (Ok(_), None | Some("")) => Err(PasswordFileError::Empty { path }),
        (Ok(_), Some(line)) => Ok(RemoteSecret::new(line)),
    }
}
