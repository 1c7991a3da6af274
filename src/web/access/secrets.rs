//! Random secrets that the service makes: the access token, kept where only this user can read it, and sessions of browsers
//! that have logged in. Session ids are kept as keyed hashes, so that the time of a lookup reveals no secret.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use super::password::UserRole;
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

fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map(|()| bytes).map_err(io::Error::other)
}

/// A random secret in hexadecimal digits.
pub(super) fn random() -> io::Result<String> {
    random_bytes::<TOKEN_BYTES>().map(hex::encode)
}

/// A random key for hashes that only this process uses.
pub(super) fn random_key(state_dir: &Path) -> Result<[u8; 32], TokenError> {
    random_bytes().map_err(|source| TokenError { path: state_dir.into(), source })
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

/// The token in `state_dir`, for programs that ask the running service.
///
/// # Errors
/// When it cannot be read, or there is none.
pub fn kept_token(state_dir: &Path) -> io::Result<String> {
    fs::read_to_string(state_dir.join("token")).map(|token| token.trim().to_owned())
}

/// A secret hashed with a key of this process.
pub(super) type SecretDigest = [u8; 32];

/// Most sessions. A further one replaces the least recently used.
const MAX_SESSIONS: usize = 256;
/// A session ends when it was not used for this long.
const MAX_IDLE: Duration = Duration::from_secs(7 * 86_400);
/// A session ends at this age, however much it is used.
pub(super) const MAX_AGE: Duration = Duration::from_secs(30 * 86_400);

#[derive(Debug)]
struct LoginSession {
    role: UserRole,
    began: Duration,
    used: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<SecretDigest, LoginSession>);

impl Sessions {
    pub(super) fn begin(&mut self, id: SecretDigest, role: UserRole, now: Duration) {
        self.0.retain(|_, session| session.is_alive(now));
        if self.0.len() >= MAX_SESSIONS {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            oldest.and_then(|id| self.0.remove(&id));
        }
        self.0.insert(id, LoginSession { role, began: now, used: now });
    }

    /// The role of a session. Counts as a use.
    pub(super) fn role(&mut self, id: &SecretDigest, now: Duration) -> Option<UserRole> {
        let session = self.0.get_mut(id).filter(|session| session.is_alive(now))?;
        session.used = now;
        Some(session.role)
    }

    pub(super) fn end(&mut self, id: &SecretDigest) -> bool {
        self.0.remove(id).is_some()
    }

    pub(super) fn count(&self, now: Duration) -> usize {
        self.0.values().filter(|session| session.is_alive(now)).count()
    }
}

impl LoginSession {
    fn is_alive(&self, now: Duration) -> bool {
        now.saturating_sub(self.used) < MAX_IDLE && now.saturating_sub(self.began) < MAX_AGE
    }
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

    fn id(number: usize) -> SecretDigest {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        id
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_lasts_while_it_is_used_up_to_its_age() {
        let mut all = Sessions::default();
        all.begin(id(1), UserRole::Viewer, SECOND);
        assert_eq!(all.role(&id(1), MAX_IDLE), Some(UserRole::Viewer));
        assert_eq!(all.role(&id(2), MAX_IDLE), None);
        assert_eq!(all.role(&id(1), MAX_IDLE * 2), None, "unused for too long");
        all.begin(id(1), UserRole::Admin, Duration::ZERO);
        let mut now = Duration::ZERO;
        while now + MAX_IDLE / 2 < MAX_AGE {
            now += MAX_IDLE / 2;
            assert_eq!(all.role(&id(1), now), Some(UserRole::Admin), "{now:?}");
        }
        assert_eq!(all.role(&id(1), MAX_AGE), None);
        assert_eq!(all.count(MAX_AGE), 0);
    }

    #[test]
    fn a_session_ends_at_logout() {
        let mut all = Sessions::default();
        all.begin(id(1), UserRole::Viewer, SECOND);
        assert!(all.end(&id(1)) && !all.end(&id(1)));
        assert_eq!(all.role(&id(1), SECOND), None);
    }

    #[test]
    fn the_table_stays_small_and_keeps_sessions_in_use() {
        let mut all = Sessions::default();
        all.begin(id(0), UserRole::Viewer, Duration::ZERO);
        for number in 1..10 * MAX_SESSIONS {
            let now = SECOND * number as u32;
            assert_eq!(all.role(&id(0), now), Some(UserRole::Viewer));
            all.begin(id(number), UserRole::Viewer, now);
            assert!(all.0.len() <= MAX_SESSIONS);
        }
        assert_eq!(all.role(&id(1), SECOND * 10 * MAX_SESSIONS as u32), None);
    }
}
