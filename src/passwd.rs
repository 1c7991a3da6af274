//! `porthole passwd`: reads a new password, and keeps or prints its hash.
#![forbid(unsafe_code)]

use std::io::{self, BufRead};
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use porthole::web::{PasswordHash, UserRole, keep_passwords, kept_passwords, passwords_file};

/// Sets the password of a role. Returns a message for the user.
pub(crate) fn set(state_dir: &Path, role: UserRole, only_print: bool) -> Result<String, String> {
    let hash = PasswordHash::make(&new_password(role)?)?;
    if only_print {
        return Ok(format!("{} = \"{}\"", role.key(), hash.phc()));
    }
    let path = passwords_file(state_dir);
    let path = path.display();
    let kept = kept_passwords(state_dir).and_then(|mut kept| {
        kept.set(role, Some(hash));
        keep_passwords(state_dir, &kept)
    });
    kept.map_err(|cause| {
        format!("{path}: {cause}; name another directory with --state-dir, or use --print")
    })?;
    Ok(format!("The {role} password is kept in {path}; restart porthole."))
}

/// Reads a new password: twice from a terminal, without echo, otherwise one line of standard input.
fn new_password(role: UserRole) -> Result<String, String> {
    let input = io::stdin();
    let line = || {
        let mut line = String::new();
        let read = input.lock().read_line(&mut line).map_err(|cause| format!("standard input: {cause}"))?;
        match read {
            0 => Err("no password came on standard input".to_owned()),
            _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
        }
    };
    // Only a terminal has such settings.
    let Ok(with_echo) = tcgetattr(&input) else { return line() };
    let mut without_echo = with_echo.clone();
    without_echo.local_flags.remove(LocalFlags::ECHO);
    let ask = |what: &str| {
        eprint!("{what}: ");
        let line = line();
        eprintln!();
        line
    };
    tcsetattr(&input, SetArg::TCSAFLUSH, &without_echo).map_err(|cause| format!("the terminal: {cause}"))?;
    let asked = ask(&format!("New {} password", role)).and_then(|first| Ok((first, ask("The same again")?)));
    // Fails only if the terminal is gone.
    let _ = tcsetattr(&input, SetArg::TCSANOW, &with_echo);
    match asked? {
        (first, again) if first == again => Ok(first),
        _ => Err("the two passwords differ; nothing is changed".into()),
    }
}
