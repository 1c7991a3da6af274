//! Who may come in: the mode, and the passwords of the configuration file and of the one that `porthole passwd` writes.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::flags::Flags;
use super::pick::{self, ConfigError, Origin, Picker};
use super::raw;
use crate::web::{AuthMode, PasswordHash, Passwords, passwords_file};

/// Settles who may come in; `is_local` if nobody outside this machine can.
pub(super) fn resolve(
    pick: &mut Picker<'_>,
    flags: &Flags,
    auth: raw::Auth,
    (is_local, state_dir): (bool, &Path),
) -> Result<AuthMode, ConfigError> {
    let raw::Auth { mode, viewer_password, admin_password } = auth;
    let path = passwords_file(state_dir);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            String::new()
        }
        // There are passwords, perhaps: to go on without them could be to let everybody in.
        Err(source) => return Err(ConfigError::unreadable_passwords(&path, source)),
    };
    let kept: raw::Passwords = pick::parse(&path, &text)?;
    let other = Picker::new(&path, &text);
    let hash = |text: &str| text.parse::<PasswordHash>();
    let secret = |key, here, there| match pick.secret(key, here, hash)? {
        Some(found) => Ok(Some(found)),
        None => other.secret(key, there, hash),
    };
    let viewer = secret("viewer_password", viewer_password, kept.viewer_password)?;
    let admin = secret("admin_password", admin_password, kept.admin_password)?;

    pick.table("[auth]");
    // Whoever has set a password wants it to be asked for. Without one: nobody outside this machine reaches it.
    let default = match (viewer.is_some() || admin.is_some(), is_local) {
        (true, _) => "password",
        (false, true) => "none",
        (false, false) => "token",
    };
    let mode = pick.value("mode", "--auth", flags.auth.clone(), mode, default.to_owned());
    let origins = [("viewer_password", &viewer), ("admin_password", &admin)]
        .map(|(key, found)| found.as_ref().map(|(_, origin)| (key, origin.clone())));
    let passwords = Passwords { viewer: viewer.map(|(hash, _)| hash), admin: admin.map(|(hash, _)| hash) };
    let mode = mode.check(|mode| match mode.as_str() {
        "token" => Ok(AuthMode::Token),
        "none" => Ok(AuthMode::None),
        "password" if passwords == Passwords::default() => {
            Err(format!("needs a password: run `porthole passwd`, which keeps one in {}", path.display()))
        }
        "password" => Ok(AuthMode::Password(passwords)),
        _ => Err("must be \"password\", \"token\" or \"none\"".into()),
    })?;
    let used = matches!(mode, AuthMode::Password(_));
    for (key, origin) in origins.into_iter().flatten() {
        pick.remark(format!("{key} is {}, and not shown", if used { "set" } else { "not used" }), origin);
    }
    if mode == AuthMode::Token {
        pick.remark(format!("the token is kept in {}", state_dir.join("token").display()), Origin::Default);
    }
    Ok(mode)
}
