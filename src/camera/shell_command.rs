//! A configured shell command. Passwords in it are not shown.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;

/// A command for the shell. It is displayed without the passwords of URLs, because viewers see it in `/state` and in the
/// log.
#[derive(Clone, PartialEq, Eq)]
pub struct ShellCommand(String);

impl ShellCommand {
    pub(super) fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The first word: usually the program.
    pub(super) fn program(&self) -> String {
        without_passwords(self.0.split_whitespace().next().unwrap_or_default())
    }

    /// The complete text, with passwords. Only for the shell.
    pub(super) fn with_passwords(&self) -> &OsStr {
        self.0.as_ref()
    }
}

impl fmt::Display for ShellCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_passwords(&self.0))
    }
}

impl fmt::Debug for ShellCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Replaces the password in every `scheme://user:password@host` with asterisks.
pub fn without_passwords(text: &str) -> String {
    let mut shown = String::new();
    for (index, part) in text.split("://").enumerate() {
        if index == 0 {
            shown.push_str(part);
            continue;
        }
        shown.push_str("://");
        let authority = part.split(['/', ' ', '?', '#', '\'', '"']).next().unwrap_or_default();
        match authority.rsplit_once('@').and_then(|(user, _)| Some((user, user.split_once(':')?.0))) {
            Some((userinfo, user)) => {
                shown.push_str(&format!("{user}:***{}", &part[userinfo.len()..]));
            }
            None => shown.push_str(part),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_for_the_shell_only() {
        let command = ShellCommand::new(" ffmpeg -i rtsp://me:secret@cam/1 - ");
        assert_eq!(command.to_string(), "ffmpeg -i rtsp://me:***@cam/1 -");
        assert_eq!(format!("{command:?}"), "`ffmpeg -i rtsp://me:***@cam/1 -`");
        assert_eq!(command.with_passwords(), "ffmpeg -i rtsp://me:secret@cam/1 -");
        assert_eq!(command.program(), "ffmpeg");
    }
}
