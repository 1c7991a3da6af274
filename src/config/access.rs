//! Validation of `[auth]`, with the passwords of the configuration file and of the file that `porthole passwd` writes.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::error::{ConfigError, ValueOrigin};
use super::flags::Flags;
use super::keys::AuthSection;
use super::resolver::{Resolver, parse};
use crate::document::{Spanned, toml_table};
use crate::web::{AuthMode, PasswordHash, Passwords, passwords_file};

toml_table! {
    /// The file that `porthole passwd` writes.
    struct PasswordsFile {
        viewer_password: Option<Spanned<String>>,
        admin_password: Option<Spanned<String>>,
    }
}

/// Resolves who may watch; `is_local` if only this machine can connect.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    flags: &Flags,
    section: AuthSection,
    (is_local, state_dir): (bool, &Path),
) -> Result<AuthMode, ConfigError> {
    let AuthSection { mode, viewer_password, admin_password } = section;
    let path = passwords_file(state_dir);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            String::new()
        }
        // It may hold passwords: to go on without them could let everybody in.
        Err(source) => return Err(ConfigError::UnreadablePasswords { path, source }),
    };
    let kept: PasswordsFile = parse(&path, &text)?;
    let kept_resolver = Resolver::new(&path, &text);
    let hash = |text: &str| text.parse::<PasswordHash>();
    let secret = |key, configured, kept| match resolver.secret(key, configured, hash)? {
        Some(found) => Ok(Some(found)),
        None => kept_resolver.secret(key, kept, hash),
    };
    let viewer = secret("viewer_password", viewer_password.value, kept.viewer_password)?;
    let admin = secret("admin_password", admin_password.value, kept.admin_password)?;

    resolver.report_section("[auth]");
    let default = match (viewer.is_some() || admin.is_some(), is_local) {
        (true, _) => "password",
        (false, true) => "none",
        (false, false) => "token",
    };
    let origins = [("viewer_password", &viewer), ("admin_password", &admin)]
        .map(|(key, found)| found.as_ref().map(|(_, origin)| (key, origin.clone())));
    let passwords = Passwords { viewer: viewer.map(|(hash, _)| hash), admin: admin.map(|(hash, _)| hash) };
    let mode = resolver.value_or(mode, flags.auth.clone(), default.to_owned());
    let mode = mode.choice(|mode| match mode {
        "token" => Ok(AuthMode::Token),
        "none" => Ok(AuthMode::None),
        _ if passwords == Passwords::default() => {
            Err(format!("needs a password: run `porthole passwd`, which keeps one in {}", path.display()))
        }
        _ => Ok(AuthMode::Password(passwords)),
    })?;
    let used = if matches!(mode, AuthMode::Password(_)) { "set" } else { "not used" };
    for (key, origin) in origins.into_iter().flatten() {
        resolver.report_comment(format!("{key} is {used}, and not shown"), origin);
    }
    if mode == AuthMode::Token {
        let text = format!("the token is kept in {}", state_dir.join("token").display());
        resolver.report_comment(text, ValueOrigin::Default);
    }
    Ok(mode)
}
