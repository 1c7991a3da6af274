//! A configured shell command. Passwords in it are not shown.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;

use memchr::memmem;

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

/// Parameters of URLs whose values are secrets. Cameras have many names for them.
const SECRET_PARAMETERS: [&[u8]; 12] = [
    b"token",
    b"access_token",
    b"password",
    b"passwd",
    b"passwort",
    b"pass",
    b"pwd",
    b"pw",
    b"loginpas",
    b"auth",
    b"key",
    b"secret",
];

/// Replaces the secrets of URLs with asterisks: the password in every `scheme://user:password@host`, and parameters such as
/// `?token=`.
pub fn without_passwords(text: &str) -> String {
    let (mut shown, mut at) = (String::new(), 0);
    for secret in secret_ranges(text.as_bytes()) {
        shown.push_str(text.get(at..secret.start).unwrap_or_default());
        shown.push_str("***");
        at = secret.end;
    }
    shown + text.get(at..).unwrap_or_default()
}

/// Where the secrets of URLs stand in a text, in their order. They begin and end at ASCII characters.
pub fn secret_ranges(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for at in memmem::find_iter(text, "://") {
        found.extend(password_range(text, at + 3));
    }
    for (at, _) in text.iter().enumerate().filter(|(_, byte)| matches!(byte, b'?' | b'&')) {
        let Some(name) = length_before(&text[at + 1..], b"=&? ") else { continue };
        let value = at + 1 + name + 1;
        let is_secret = text[value - 1] == b'='
            && SECRET_PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(&text[at + 1..value - 1]));
        let end = value + length_before(&text[value..], b"& #'\"").unwrap_or(text.len() - value);
        if is_secret
            && end > value
            && found.iter().all(|other: &Range<usize>| other.end <= value || end <= other.start)
        {
            found.push(value..end);
        }
    }
    found.sort_by_key(|range| range.start);
    found
}

/// Where the password stands in the URL whose host and user begin at `start`.
fn password_range(text: &[u8], start: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    let url = &rest[..length_before(rest, b" \t\n'\"").unwrap_or(rest.len())];
    let authority = &url[..length_before(url, b"/?#").unwrap_or(url.len())];
    let colon = memchr::memchr(b':', authority)?;
    let at = memchr::memrchr(b'@', authority).or_else(|| {
        // A password with one of these characters, which should be written as %XX. What follows the colon is no port then.
        let is_port = authority[colon + 1..].iter().all(u8::is_ascii_digit);
        if is_port { None } else { memchr::memrchr(b'@', url) }
    })?;
    (colon + 1 < at).then_some(start + colon + 1..start + at)
}

/// Bytes before the first of `ends`.
fn length_before(text: &[u8], ends: &[u8]) -> Option<usize> {
    text.iter().position(|byte| ends.contains(byte))
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

    #[test]
    fn secrets_of_urls_are_found_wherever_they_stand() {
        for (text, shown) in [
            ("http://cam/a?user=me&pwd=secret&size=3", "http://cam/a?user=me&pwd=***&size=3"),
            ("curl 'http://cam/?TOKEN=secret' | x", "curl 'http://cam/?TOKEN=***' | x"),
            ("ftp://a:b@c x://d:e:f@g@h/i", "ftp://a:***@c x://d:***@h/i"),
            ("http://me:se/cr#et@cam/", "http://me:***@cam/"),
            ("http://cam:80/me@home", "http://cam:80/me@home"),
            ("http://me:@cam:80/", "http://me:@cam:80/"),
            ("sleep 1 && key=3 exec x", "sleep 1 && key=3 exec x"),
            ("http://m\u{e9}:s\u{e9}cret@c\u{e9}/?pw=\u{e9}", "http://m\u{e9}:***@c\u{e9}/?pw=***"),
            ("http://a:b?pwd=c@d/", "http://a:***@d/"),
            ("://", "://"),
            ("?", "?"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
    }
}
