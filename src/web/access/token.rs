//! The token: random, made once, kept where only this user can read it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

/// Random bytes in a token or a session's id: too many to guess.
const TOKEN_BYTES: usize = 16;

/// The token cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "state_dir {}: {source}; the access token is kept there: make it writable, \
     name another with --state-dir, or let everybody in with --auth none", path.display()
)]
pub struct TokenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Something that cannot be guessed, in letters and digits.
pub(in crate::web) fn random() -> io::Result<String> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(HEXLOWER.encode(&random))
}

/// A key for what is hashed in this process alone.
pub(in crate::web) fn key(state_dir: &Path) -> Result<[u8; 32], TokenError> {
    let mut key = [0; 32];
    let filled = getrandom::fill(&mut key).map_err(io::Error::other);
    filled.map(|()| key).map_err(|source| TokenError { path: state_dir.into(), source })
}

/// The token kept in `state_dir`, or a new one that is kept there from now on, and whether it is new.
pub(in crate::web) fn kept(state_dir: &Path) -> Result<(String, bool), TokenError> {
    let path = state_dir.join("token");
    let failed = |source| TokenError { path: state_dir.into(), source };
    match fs::read_to_string(&path) {
        Ok(token) if !token.trim().is_empty() => return Ok((token.trim().to_owned(), false)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let token = random().map_err(failed)?;
    write_private(&path, &format!("{token}\n")).map_err(failed)?;
    Ok((token, true))
}

/// The token kept in `state_dir`, made if there is none, for whoever has to tell it before the service runs.
///
/// # Errors
/// When it cannot be read or kept.
pub fn keep_token(state_dir: &Path) -> Result<String, TokenError> {
    kept(state_dir).map(|(token, _)| token)
}

/// Writes a file that nobody but its owner can read, and the folder it is in. Its owner is the folder's, which is the
/// service where root writes it. Written aside and moved, so that a power cut leaves the whole of it or what was there
/// before.
pub(in crate::web) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let aside = path.with_extension("new");
    // Left by a power cut, or a link that the service made for root to write through.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    let owner = fs::metadata(folder)?;
    if file.metadata()?.uid() != owner.uid() {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.sync_all()?;
    fs::rename(&aside, path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("porthole-token-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_token_is_made_once_and_kept_private() {
        let folder = scratch("once");
        let (token, new) = kept(&folder).unwrap();
        assert_eq!((token.len(), new), (2 * TOKEN_BYTES, true));
        assert_eq!(fs::metadata(folder.join("token")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(kept(&folder).unwrap(), (token, false), "made a second time");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named_with_the_remedy() {
        let file = scratch("file");
        fs::write(&file, "in the way").unwrap();
        let error = kept(&file).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()) && error.contains("--state-dir"), "{error}");
        fs::remove_file(file).unwrap();
    }
}
