//! `porthole passwd`: asks for a password, and keeps its hash or shows it.
#![forbid(unsafe_code)]

use std::io::{self, BufRead};
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use porthole::web::{PasswordHash, UserRole, keep_passwords, kept_passwords, passwords_file};

/// Sets the password of a role; what to tell whoever did.
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
    kept.map_err(|cause| format!("{path}: {cause}; name another folder with --state-dir, or use --print"))?;
    Ok(format!("The {role} password is kept in {path}; restart porthole."))
}

/// A new password: asked for twice on a terminal that shows nothing of it, else one line of standard input.
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
    // No terminal has no settings.
    let Ok(shown) = tcgetattr(&input) else { return line() };
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    let ask = |what: &str| {
        eprint!("{what}: ");
        let line = line();
        eprintln!();
        line
    };
    tcsetattr(&input, SetArg::TCSAFLUSH, &hidden).map_err(|cause| format!("the terminal: {cause}"))?;
    let asked = ask(&format!("New {} password", role)).and_then(|first| Ok((first, ask("The same again")?)));
    // Fails only where there is no terminal any more.
    let _ = tcsetattr(&input, SetArg::TCSANOW, &shown);
    match asked? {
        (first, again) if first == again => Ok(first),
        _ => Err("the two are not the same; nothing is changed".into()),
    }
}
