//! The roles of users, and their passwords: argon2id hashes in the PHC string format, and the file in which
//! `porthole passwd` keeps them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use subtle::ConstantTimeEq;

use crate::{document, storage};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserRole {
    /// Watch.
    Viewer,
    /// Watch, and change the camera's controls.
    Admin,
}

impl UserRole {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Viewer, Self::Admin];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// The key of its password hash in the configuration and in the passwords file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Viewer => "viewer_password",
            Self::Admin => "admin_password",
        }
    }
}

impl fmt::Display for UserRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for UserRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(text));
        role.ok_or_else(|| "must be viewer or admin".to_owned())
    }
}

/// Memory of new hashes, in KiB. With [`PASSES`] it takes the least memory among the settings that OWASP's Password Storage
/// Cheat Sheet holds to be equally strong. One hash is computed at a time, so a board with 512 MiB can spare it.
const MEMORY_KIB: u32 = 7 * 1024;
/// Passes of new hashes over their memory.
const PASSES: u32 = 5;
/// Most memory that a hash of another tool may ask for, in KiB. `m=65536` is the most that usual tools write by default.
const MAX_MEMORY_KIB: u32 = 64 * 1024;
/// Most passes and lanes that a hash of another tool may ask for.
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;
/// Bytes of new hashes and their salts (RFC 9106, section 3.1).
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Fewest characters of a new password. The login throttle allows about a hundred guesses a day.
const MIN_PASSWORD_CHARS: usize = 8;
/// Most bytes of a password.
const MAX_PASSWORD_BYTES: usize = 1024;
/// The file in the state directory.
const FILE: &str = "passwords.toml";

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    /// Boxed, as they are much larger than the rest.
    params: Box<Params>,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl FromStr for PasswordHash {
    type Err = String;

    /// Reads `$argon2id$v=19$m=MEMORY,t=PASSES,p=LANES$SALT$HASH`, the PHC string format.
    fn from_str(text: &str) -> Result<Self, String> {
        let no_hash = || {
            "must be an argon2id hash, not the password itself: run `porthole passwd`, which keeps one where it belongs"
                .to_owned()
        };
        let fields: Vec<&str> = text.split('$').collect();
        let ["", "argon2id", "v=19", params, salt, hash] = fields[..] else { return Err(no_hash()) };
        let base64 = |text: &str| BASE64_STANDARD_NO_PAD.decode(text).map_err(|_| no_hash());
        let (salt, hash) = (base64(salt)?, base64(hash)?);
        let number = |part: Option<&str>, name: &str| {
            let value = part.and_then(|part| part.strip_prefix(name));
            value.and_then(|value| value.parse::<u32>().ok()).ok_or_else(no_hash)
        };
        let mut parts = params.split(',');
        let (memory, passes, lanes) =
            (number(parts.next(), "m=")?, number(parts.next(), "t=")?, number(parts.next(), "p=")?);
        if memory > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
            return Err(format!(
                "takes more memory or time to check than a small board has: at most m={MAX_MEMORY_KIB}, t={MAX_PASSES} and \
                 p={MAX_LANES}; `porthole passwd` makes one with m={MEMORY_KIB}, t={PASSES}, p=1"
            ));
        }
        let lengths = (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len());
        let params = Params::new(memory, passes, lanes, Some(hash.len())).map_err(|_| no_hash())?;
        if lengths && parts.next().is_none() {
            Ok(Self { params: Box::new(params), salt, hash })
        } else {
            Err(no_hash())
        }
    }
}

impl PasswordHash {
    /// Makes the hash of a new password, with a random salt.
    ///
    /// # Errors
    /// When the password is too short or too long, or the system has no random bytes or memory.
    pub fn make(password: &str) -> Result<Self, String> {
        if password.chars().count() < MIN_PASSWORD_CHARS {
            return Err(format!("a password must have at least {MIN_PASSWORD_CHARS} characters"));
        }
        if password.len() > MAX_PASSWORD_BYTES || password.chars().any(char::is_control) {
            return Err(format!(
                "a password must have at most {MAX_PASSWORD_BYTES} bytes, and no control characters"
            ));
        }
        let mut salt = vec![0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| format!("no random bytes for a salt: {error}"))?;
        let params =
            Params::new(MEMORY_KIB, PASSES, 1, Some(HASH_BYTES)).map_err(|error| error.to_string())?;
        let hash = derive(&params, &salt, password.as_bytes(), &mut HashMemory::default())
            .ok_or_else(|| format!("{MEMORY_KIB} KiB of memory are not available"))?;
        Ok(Self { params: Box::new(params), salt, hash })
    }

    /// Whether this is the hash of `password`. Takes as long as the cost says.
    fn matches(&self, password: &[u8], memory: &mut HashMemory) -> bool {
        password.len() <= MAX_PASSWORD_BYTES
            && derive(&self.params, &self.salt, password, memory)
                .is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }

    /// The PHC string.
    pub fn phc(&self) -> String {
        let base64 = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
        let (m, t, p) = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        format!("$argon2id$v=19$m={m},t={t},p={p}${}${}", base64(&self.salt), base64(&self.hash))
    }
}

/// The memory that a hash is computed in. It is kept and used again, as the allocator would otherwise keep one for every
/// thread.
#[derive(Debug, Default)]
pub(super) struct HashMemory(Vec<Block>);

/// Computes Argon2id; `None` if the memory is not available.
fn derive(
    params: &Params,
    salt: &[u8],
    password: &[u8],
    HashMemory(blocks): &mut HashMemory,
) -> Option<Vec<u8>> {
    let mut hash = vec![0; params.output_len()?];
    blocks.clear();
    blocks.try_reserve_exact(params.block_count()).ok()?;
    blocks.resize(params.block_count(), Block::new());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into_with_memory(password, salt, &mut hash, blocks).ok()?;
    Some(hash)
}

/// The hash of each role's password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passwords {
    /// Of the role that may watch.
    pub viewer: Option<PasswordHash>,
    /// Of the role that may also change controls.
    pub admin: Option<PasswordHash>,
}

impl Passwords {
    /// Sets or removes the password of a role.
    pub fn set(&mut self, role: UserRole, hash: Option<PasswordHash>) {
        match role {
            UserRole::Viewer => self.viewer = hash,
            UserRole::Admin => self.admin = hash,
        }
    }

    /// The role of a password. Computes one hash for each role that has a password.
    pub(super) fn role(&self, password: &[u8], memory: &mut HashMemory) -> Option<UserRole> {
        let mut is =
            |hash: &Option<PasswordHash>| hash.as_ref().is_some_and(|hash| hash.matches(password, memory));
        if is(&self.admin) {
            return Some(UserRole::Admin);
        }
        is(&self.viewer).then_some(UserRole::Viewer)
    }
}

/// The file in which `porthole passwd` keeps hashes.
pub fn passwords_file(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// Reads [`passwords_file`]. A missing file holds no hashes.
///
/// # Errors
/// When the file cannot be read, or `porthole passwd` did not write it.
pub fn kept_passwords(state_dir: &Path) -> io::Result<Passwords> {
    let text = match fs::read_to_string(passwords_file(state_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Passwords::default()),
        text => text?,
    };
    // The parser's message would quote the hash.
    let foreign = || io::Error::other("is not a file that `porthole passwd` wrote; remove it");
    let kept: BTreeMap<String, String> = document::parse(&text).map_err(|_| foreign())?;
    let hash =
        |role: UserRole| kept.get(role.key()).map(|hash| hash.parse()).transpose().map_err(|_| foreign());
    Ok(Passwords { viewer: hash(UserRole::Viewer)?, admin: hash(UserRole::Admin)? })
}

/// Replaces [`passwords_file`]. Only the owner of the state directory can read it.
///
/// # Errors
/// When the file cannot be written.
pub fn keep_passwords(state_dir: &Path, passwords: &Passwords) -> io::Result<()> {
    let mut text = String::from(
        "# Written by `porthole passwd`: hashes of passwords. Remove a line to remove its password.\n",
    );
    let Passwords { viewer, admin } = passwords;
    for (role, hash) in [(UserRole::Admin, admin), (UserRole::Viewer, viewer)] {
        let Some(hash) = hash else { continue };
        // A hash needs no escaping in TOML. Writing to a String cannot fail.
        let _ = writeln!(text, "{} = \"{}\"", role.key(), hash.phc());
    }
    storage::replace(&passwords_file(state_dir), 0o600, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of "correct horse" by the argon2 tool of the reference implementation:
    /// `echo -n 'correct horse' | argon2 saltsaltsalt -id -m 6 -t 2 -p 1 -l 32 -e`.
    const FOREIGN: &str =
        "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$aLaJqQFb5f1CILsf1cTEp4693N1unODGCdcToVVKvPA";

    fn matches(hash: &PasswordHash, password: &[u8]) -> bool {
        hash.matches(password, &mut HashMemory::default())
    }

    #[test]
    fn a_hash_matches_its_password_alone_and_survives_being_written() {
        let hash = PasswordHash::make("correct horse").unwrap();
        let phc = hash.phc();
        assert!(phc.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{phc}");
        let read: PasswordHash = phc.parse().unwrap();
        assert!(
            matches(&read, b"correct horse") && !matches(&read, b"correct horsf") && !matches(&read, b"")
        );
        assert_ne!(PasswordHash::make("correct horse").unwrap().phc(), phc, "the salt is not random");
        assert_eq!(
            format!("{:?}", Passwords { viewer: None, admin: Some(hash) }),
            "Passwords { viewer: None, admin: Some(PasswordHash(..)) }"
        );
    }

    #[test]
    fn hashes_of_other_tools_are_accepted() {
        let hash: PasswordHash = FOREIGN.parse().unwrap();
        assert!(matches(&hash, b"correct horse") && !matches(&hash, b"wrong"));
        assert_eq!(hash.phc(), FOREIGN);
    }

    #[test]
    fn invalid_hashes_are_refused_with_the_remedy_and_not_repeated() {
        for text in [
            "hunter22",
            "",
            "$argon2i$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdA",
            "$argon2id$v=16$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdA",
            "$argon2id$v=19$m=64,t=2$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdA",
            "$argon2id$v=19$m=64,t=2,p=1,x=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdA",
            "$argon2id$v=19$m=1,t=2,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdA",
            "$argon2id$v=19$m=64,t=2,p=1$c2FsdA$c2FsdHNhbHRzYWx0c2FsdA",
            "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$c2FsdA",
            "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$!",
        ] {
            let error = text.parse::<PasswordHash>().unwrap_err();
            assert!(error.contains("run `porthole passwd`"), "{text}: {error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        let greedy = "$argon2id$v=19$m=4000000,t=2,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdA";
        assert!(greedy.parse::<PasswordHash>().unwrap_err().contains("than a small board has"));
    }

    #[test]
    fn unusable_passwords_are_refused() {
        assert!(PasswordHash::make("short").unwrap_err().contains("at least 8"));
        assert!(PasswordHash::make("long enough\n").unwrap_err().contains("control character"));
        assert!(PasswordHash::make(&"x".repeat(1025)).unwrap_err().contains("1024 bytes"));
    }

    #[test]
    fn each_password_has_its_role() {
        let hash = |password: &str| Some(PasswordHash::make(password).unwrap());
        let both = Passwords { viewer: hash("only look"), admin: hash("and touch") };
        let role = |password: &[u8]| both.role(password, &mut HashMemory::default());
        assert_eq!(role(b"only look"), Some(UserRole::Viewer));
        assert_eq!(role(b"and touch"), Some(UserRole::Admin));
        assert_eq!(role(b"neither of them"), None);
        assert!(UserRole::Admin > UserRole::Viewer);
    }
}
