//! The configuration of the service: `porthole.toml` of the card, completed with what an SD-card image needs.
#![forbid(unsafe_code)]

use std::path::Path;

use porthole::config::{self, Config, Flags};
use porthole::document::ToToml;
use porthole::led::LedRole;
use porthole::web::{Encryption, Passwords};
use toml::{Table, Value};

use super::error::SettingsError;

/// Where an SD-card image listens: where browsers look when only its name is typed.
const HTTP: &str = "\"0.0.0.0:80\"";
const HTTPS: &str = "[\"0.0.0.0:443\", \"0.0.0.0:80\"]";

/// A configuration that is right.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) text: String,
    pub(super) config: Config,
}

/// What is known besides the text.
pub(super) struct Given<'a> {
    /// Board profile; the machine's own without one.
    pub(super) board: Option<&'a str>,
    /// Where the service keeps its state.
    pub(super) state_dir: &'a Path,
    /// Passwords that cannot be kept there.
    pub(super) unkept: &'a Passwords,
}

/// Checks `text`, the file at `path`, and completes it.
///
/// # Errors
/// [`SettingsError`] for the first mistake.
pub(super) fn complete(path: &Path, text: &str, given: &Given<'_>) -> Result<Completed, SettingsError> {
    let flags = Flags {
        board: given.board.map(str::to_owned),
        state_dir: Some(given.state_dir.to_owned()),
        ..Flags::default()
    };
    // First as it is written, so that errors name the right line.
    let written = config::resolve(&flags, path, text)?;
    let text = merge(text, &defaults(&written, given.unkept))
        .map_err(|error| SettingsError::Completion(error.message().to_owned()))?;
    let config =
        config::resolve(&flags, path, &text).map_err(|error| SettingsError::Completion(error.to_string()))?;
    Ok(Completed { text, config })
}

/// What counts where the file says nothing: the ports, an LED for each role that the board has a line for, and passwords
/// that are kept nowhere else.
fn defaults(written: &Config, unkept: &Passwords) -> String {
    let listen = if matches!(written.web.encryption, Encryption::None) { HTTP } else { HTTPS };
    let mut text = format!("[server]\nlisten = {listen}\n[auth]\n");
    for (key, hash) in [("viewer_password", &unkept.viewer), ("admin_password", &unkept.admin)] {
        text.extend(hash.iter().map(|hash| format!("{key} = {}\n", hash.phc().to_toml())));
    }
    let with_line = LedRole::ALL.into_iter().filter(|role| !written.board.led(*role).is_empty());
    text.extend(with_line.map(|role| format!("[[led]]\nrole = {}\n", role.name().to_toml())));
    text
}

/// The document `written`, with what only `defaults` says, and without the state directory: an image has its own.
fn merge(written: &str, defaults: &str) -> Result<String, toml::de::Error> {
    let mut merged: Table = written.parse()?;
    for (section, default) in defaults.parse::<Table>()? {
        match (merged.get_mut(&section), default) {
            (Some(Value::Table(given)), Value::Table(keys)) => {
                given.remove("state_dir");
                for (key, value) in keys {
                    given.entry(key).or_insert(value);
                }
            }
            (Some(_), _) => {}
            (None, default) => drop(merged.insert(section, default)),
        }
    }
    Ok(merged.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_take_the_place_of_what_is_not_said() {
        let written = "board = 'a'\n[server]\nstate_dir = '/x'\nmax_viewers = 0x10\n[[camera]]\nname = \"\\u00fc\\n\"\n\
                       [camera.controls]\n'a b' = 1\nc = \"\\\"\"\n[[camera]]\nfps = 1.5\n";
        let defaults = "[server]\nlisten = ['b']\nmax_viewers = 1\n[auth]\n[[led]]\nrole = 'power'\n[[led]]\nrole = 'fault'\n";
        let merged = merge(written, defaults).unwrap();
        let expected = "board = \"a\"\n\n[auth]\n\n[[camera]]\nname = \"\"\"\nü\n\"\"\"\n\n\
            [camera.controls]\n\"a b\" = 1\nc = '\"'\n\n[[camera]]\nfps = 1.5\n\n\
            [[led]]\nrole = \"power\"\n\n[[led]]\nrole = \"fault\"\n\n[server]\nlisten = [\"b\"]\nmax_viewers = 16\n";
        assert_eq!(merged, expected);
        assert_eq!(merge(&merged, "").unwrap(), merged);
    }

    #[test]
    fn leds_that_are_listed_are_all_there_are() {
        let merged = merge("led = []\n", "[[led]]\nrole = 'power'\n").unwrap();
        assert_eq!(merged, "led = []\n");
    }
}
