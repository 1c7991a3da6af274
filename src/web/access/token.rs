//! The access token: random, made once, and kept where only this user can read it. Also other random secrets.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use crate::storage;

/// Random bytes of a token or session id: 128 bits cannot be guessed.
const TOKEN_BYTES: usize = 16;

/// The token cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "state_dir {}: {source}; the access token is kept there: make it writable, \
     name another with --state-dir, or ask for no credentials with --auth none", path.display()
)]
pub struct TokenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A random secret in hexadecimal digits.
pub(super) fn random() -> io::Result<String> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(HEXLOWER.encode(&random))
}

/// A random key for hashes that only this process uses.
pub(super) fn random_key(state_dir: &Path) -> Result<[u8; 32], TokenError> {
    let mut key = [0; 32];
    let filled = getrandom::fill(&mut key).map_err(io::Error::other);
    filled.map(|()| key).map_err(|source| TokenError { path: state_dir.into(), source })
}

/// The token in `state_dir`, made if there is none, and whether it was made just now.
pub(super) fn read_or_make(state_dir: &Path) -> Result<(String, bool), TokenError> {
    let path = state_dir.join("token");
    let failed = |source| TokenError { path: state_dir.into(), source };
    match fs::read_to_string(&path) {
        Ok(token) if !token.trim().is_empty() => return Ok((token.trim().to_owned(), false)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let token = random().map_err(failed)?;
    storage::replace(&path, 0o600, format!("{token}\n").as_bytes()).map_err(failed)?;
    Ok((token, true))
}

/// The token in `state_dir`, made if there is none, for programs that show it before the service runs.
///
/// # Errors
/// When it cannot be read or kept.
pub fn keep_token(state_dir: &Path) -> Result<String, TokenError> {
    read_or_make(state_dir).map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("porthole-token-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        directory
    }

    #[test]
    fn a_token_is_made_once_and_kept_private() {
        let directory = scratch("once");
        let (token, new) = read_or_make(&directory).unwrap();
        assert_eq!((token.len(), new), (2 * TOKEN_BYTES, true));
        assert_eq!(fs::metadata(directory.join("token")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_make(&directory).unwrap(), (token, false), "made a second time");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn an_unusable_directory_is_named_with_the_remedy() {
        let file = scratch("file");
        fs::write(&file, "in the way").unwrap();
        let error = read_or_make(&file).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()) && error.contains("--state-dir"), "{error}");
        fs::remove_file(file).unwrap();
    }
}
