//! Passwords as they are kept: argon2id hashes in the PHC string format, and the file that `porthole passwd` writes.
//! Nothing here knows who asks or how often.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::BASE64_NOPAD;
use subtle::ConstantTimeEq;

use super::token::write_private;
use crate::document;

/// Memory of hashes made here, in KiB, and passes over it. The thriftiest of the settings that OWASP's Password Storage
/// Cheat Sheet holds to be equally strong: a board with 512 MiB spares 7 of them, for one check at a time.
const MEMORY_KIB: u32 = 7 * 1024;
const PASSES: u32 = 5;
/// What hashes made elsewhere may ask for. `m=65536` is the most that usual tools write by themselves.
const MOST_MEMORY_KIB: u32 = 64 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;
/// Bytes of a salt made here (RFC 9106, section 3.1) and of a hash.
const SALT: usize = 16;
const HASH: usize = 32;
/// Fewest characters of a new password. Guesses are slow here, and fewer than a day's are enough for less.
const SHORTEST: usize = 8;
/// Longest password there is, in bytes.
const LONGEST: usize = 1024;
/// The file in the state directory.
const FILE: &str = "passwords.toml";

/// What somebody who came in may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// See.
    Viewer,
    /// See, and change the camera's controls.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Viewer, Self::Admin];

    /// As it is written.
    pub(in crate::web) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// The key in configuration and [`passwords_file`] that holds its hash.
    pub fn key(self) -> &'static str {
        match self {
            Self::Viewer => "viewer_password",
            Self::Admin => "admin_password",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.name() == text);
        role.ok_or_else(|| "must be viewer or admin".to_owned())
    }
}

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// What a check takes: KiB of memory, passes over it, and lanes that could be worked on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    memory: u32,
    passes: u32,
    lanes: u32,
}

/// Of hashes made here.
const COST: Cost = Cost { memory: MEMORY_KIB, passes: PASSES, lanes: 1 };

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
            "must be an argon2id hash and no password itself: run `porthole passwd`, which keeps one where it belongs"
                .to_owned()
        };
        let fields: Vec<&str> = text.split('$').collect();
        let ["", "argon2id", "v=19", params, salt, hash] = fields[..] else { return Err(no_hash()) };
        let base64 = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| no_hash());
        let (salt, hash) = (base64(salt)?, base64(hash)?);
        let number = |part: Option<&str>, name: &str| {
            let value = part.and_then(|part| part.strip_prefix(name));
            value.and_then(|value| value.parse::<u32>().ok()).ok_or_else(no_hash)
        };
        let mut parts = params.split(',');
        let (memory, passes, lanes) =
            (number(parts.next(), "m=")?, number(parts.next(), "t=")?, number(parts.next(), "p=")?);
        if memory > MOST_MEMORY_KIB || passes > MOST_PASSES || lanes > MOST_LANES {
            return Err(format!(
                "takes more to check than a small board has: at most m={MOST_MEMORY_KIB}, t={MOST_PASSES} and \
                 p={MOST_LANES}; `porthole passwd` makes one of m={MEMORY_KIB}, t={PASSES}, p=1"
            ));
        }
        let lengths = (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len());
        let cost = Cost { memory, passes, lanes };
        let is_sound = lengths && parts.next().is_none() && cost.params(hash.len()).is_some();
        if is_sound { Ok(Self { cost, salt, hash }) } else { Err(no_hash()) }
    }
}

impl PasswordHash {
    /// Makes the hash of a new password, with a salt of its own.
    ///
    /// # Errors
    /// What is wrong with the password, or that the system has no random bytes or memory.
    pub fn make(password: &str) -> Result<Self, String> {
        if password.chars().count() < SHORTEST {
            return Err(format!("a password must have at least {SHORTEST} characters"));
        }
        if password.len() > LONGEST || password.chars().any(char::is_control) {
            return Err(format!(
                "a password must be of up to {LONGEST} bytes, none of them a control character"
            ));
        }
        let mut salt = vec![0; SALT];
        getrandom::fill(&mut salt).map_err(|error| format!("no random bytes for a salt: {error}"))?;
        let hash = derive(COST, &salt, password.as_bytes(), HASH, &mut Memory::default())
            .ok_or_else(|| format!("{MEMORY_KIB} KiB of memory cannot be had"))?;
        Ok(Self { cost: COST, salt, hash })
    }

    /// Whether this is the password. Takes its time, and the memory for it.
    fn is_of(&self, password: &[u8], memory: &mut Memory) -> bool {
        password.len() <= LONGEST
            && derive(self.cost, &self.salt, password, self.hash.len(), memory)
                .is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }

    /// In the PHC string format, to be written down.
    pub fn phc(&self) -> String {
        let base64 = |bytes: &[u8]| BASE64_NOPAD.encode(bytes);
        let Cost { memory: m, passes: t, lanes: p } = self.cost;
        format!("$argon2id$v=19$m={m},t={t},p={p}${}${}", base64(&self.salt), base64(&self.hash))
    }
}

impl Cost {
    /// The same for a hash of so many bytes, if there is such a thing.
    fn params(self, length: usize) -> Option<Params> {
        Params::new(self.memory, self.passes, self.lanes, Some(length)).ok()
    }
}

/// What a check works in. Kept for the next: an allocator would keep it too, and for every thread anew.
#[derive(Debug, Default)]
pub(in crate::web) struct Memory(Vec<Block>);

/// Argon2id; `None` if it cannot be.
fn derive(cost: Cost, salt: &[u8], password: &[u8], length: usize, memory: &mut Memory) -> Option<Vec<u8>> {
    let params = cost.params(length)?;
    let Memory(blocks) = memory;
    blocks.clear();
    blocks.try_reserve_exact(params.block_count()).ok()?;
    blocks.resize(params.block_count(), Block::new());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = vec![0; length];
    argon2.hash_password_into_with_memory(password, salt, &mut hash, blocks).ok()?;
    Some(hash)
}

/// The passwords that let somebody in; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passwords {
    /// Of those who see.
    pub viewer: Option<PasswordHash>,
    /// Of those who may change things too.
    pub admin: Option<PasswordHash>,
}

impl Passwords {
    /// Sets that of a role, or takes it away.
    pub fn set(&mut self, role: Role, hash: Option<PasswordHash>) {
        match role {
            Role::Viewer => self.viewer = hash,
            Role::Admin => self.admin = hash,
        }
    }

    /// Whose password this is. Takes its time, once for each password there is.
    pub(in crate::web) fn role(&self, password: &[u8], memory: &mut Memory) -> Option<Role> {
        let mut is =
            |hash: &Option<PasswordHash>| hash.as_ref().is_some_and(|hash| hash.is_of(password, memory));
        if is(&self.admin) {
            return Some(Role::Admin);
        }
        is(&self.viewer).then_some(Role::Viewer)
    }
}

/// Where `porthole passwd` keeps hashes.
pub fn passwords_file(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// The hashes in [`passwords_file`]; none if there is no such file.
///
/// # Errors
/// When the file cannot be read or understood.
pub fn kept_passwords(state_dir: &Path) -> io::Result<Passwords> {
    let text = match fs::read_to_string(passwords_file(state_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Passwords::default()),
        text => text?,
    };
    // Not the parser's own words, which quote what is there.
    let foreign = || io::Error::other("is no file that `porthole passwd` wrote; remove it");
    let kept: BTreeMap<String, String> = document::parse(&text).map_err(|_| foreign())?;
    let hash = |role: Role| kept.get(role.key()).map(|hash| hash.parse()).transpose().map_err(|_| foreign());
    Ok(Passwords { viewer: hash(Role::Viewer)?, admin: hash(Role::Admin)? })
}

/// Keeps these in [`passwords_file`] and no others, readable alone by whoever owns the state directory.
///
/// # Errors
/// When the file cannot be written.
pub fn keep_passwords(state_dir: &Path, passwords: &Passwords) -> io::Result<()> {
    let mut text = String::from(
        "# Written by `porthole passwd`: hashes of passwords. A line that is removed takes its password away.\n",
    );
    let Passwords { viewer, admin } = passwords;
    for (role, hash) in [(Role::Admin, admin), (Role::Viewer, viewer)] {
        let Some(hash) = hash else { continue };
        // A hash is of letters, digits and a few signs that need no care. Writing to a String cannot fail.
        let _ = writeln!(text, "{} = \"{}\"", role.key(), hash.phc());
    }
    write_private(&passwords_file(state_dir), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "correct horse", as the argon2 tool of the reference implementation makes it:
    /// `echo -n 'correct horse' | argon2 saltsaltsalt -id -m 6 -t 2 -p 1 -l 32 -e`.
    const FOREIGN: &str =
        "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$aLaJqQFb5f1CILsf1cTEp4693N1unODGCdcToVVKvPA";

    fn is_of(hash: &PasswordHash, password: &[u8]) -> bool {
        hash.is_of(password, &mut Memory::default())
    }

    #[test]
    fn a_hash_is_of_its_password_and_no_other_and_survives_being_written() {
        let hash = PasswordHash::make("correct horse").unwrap();
        let phc = hash.phc();
        assert!(phc.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{phc}");
        let read: PasswordHash = phc.parse().unwrap();
        assert!(is_of(&read, b"correct horse") && !is_of(&read, b"correct horsf") && !is_of(&read, b""));
        assert_ne!(PasswordHash::make("correct horse").unwrap().phc(), phc, "no salt of its own");
        assert_eq!(
            format!("{:?}", Passwords { viewer: None, admin: Some(hash) }),
            "Passwords { viewer: None, admin: Some(PasswordHash(..)) }"
        );
    }

    #[test]
    fn hashes_of_other_tools_are_taken() {
        let hash: PasswordHash = FOREIGN.parse().unwrap();
        assert!(is_of(&hash, b"correct horse") && !is_of(&hash, b"wrong"));
        assert_eq!(hash.phc(), FOREIGN);
    }

    #[test]
    fn what_is_no_hash_is_refused_with_the_remedy_and_without_repeating_it() {
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
        assert!(greedy.parse::<PasswordHash>().unwrap_err().contains("more to check than a small board has"));
    }

    #[test]
    fn passwords_that_will_not_do_are_refused() {
        assert!(PasswordHash::make("short").unwrap_err().contains("at least 8"));
        assert!(PasswordHash::make("long enough\n").unwrap_err().contains("control character"));
        assert!(PasswordHash::make(&"x".repeat(1025)).unwrap_err().contains("1024 bytes"));
    }

    #[test]
    fn each_password_has_its_role() {
        let hash = |password: &str| Some(PasswordHash::make(password).unwrap());
        let both = Passwords { viewer: hash("only look"), admin: hash("and touch") };
        let role = |password: &[u8]| both.role(password, &mut Memory::default());
        assert_eq!(role(b"only look"), Some(Role::Viewer));
        assert_eq!(role(b"and touch"), Some(Role::Admin));
        assert_eq!(role(b"neither of them"), None);
        assert!(Role::Admin > Role::Viewer);
    }
}
