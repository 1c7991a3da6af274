//! The configuration of the service: what the card says, completed by what an appliance needs where it says nothing.
#![forbid(unsafe_code)]

use std::path::Path;

use porthole::config::{self, Config, Flags};
use porthole::led::LedRole;
use porthole::web::{Encryption, Passwords};
use toml::{Table, Value};

use super::error::SettingsError;

/// Where an appliance listens: where browsers look when nothing but its name is typed.
const HTTP: &str = "0.0.0.0:80";
const HTTPS: &str = "0.0.0.0:443";

/// A configuration that is right, and what it comes to.
#[derive(Debug)]
pub(super) struct Effective {
    pub(super) text: String,
    pub(super) config: Config,
}

/// What is known besides the text.
pub(super) struct Given<'a> {
    /// Board profile; by itself without one.
    pub(super) board: Option<&'a str>,
    /// Where the service keeps its state, as this program sees it.
    pub(super) state_dir: &'a Path,
    /// Passwords that could not be kept there.
    pub(super) unkept: &'a Passwords,
}

/// Checks `text`, which stands at `path`, and completes it.
///
/// # Errors
/// [`SettingsError`] for the first thing that is not right.
pub(super) fn complete(path: &Path, text: &str, given: &Given<'_>) -> Result<Effective, SettingsError> {
    let flags = Flags {
        board: given.board.map(str::to_owned),
        state_dir: Some(given.state_dir.to_owned()),
        ..Flags::default()
    };
    // As it is written, so that what is wrong is told with its line.
    let written = config::resolve(&flags, path, text)?;
    let broken = |why: &dyn std::fmt::Display| SettingsError::Completion(why.to_string());
    let mut table: Table = text.parse().map_err(|why: toml::de::Error| broken(&why.message().to_owned()))?;

    let server = table.entry("server").or_insert_with(|| Table::new().into());
    if let Some(server) = server.as_table_mut() {
        // It keeps its state where the image has a place for that, whatever was written for another machine.
        server.remove("state_dir");
        let listen = || match written.web.encryption {
            Encryption::None => Value::from(HTTP),
            _ => Value::from(vec![HTTPS, HTTP]),
        };
        server.entry("listen").or_insert_with(listen);
    }
    table.entry("led").or_insert_with(|| {
        let wired = LedRole::ALL.into_iter().filter(|role| !written.board.led(*role).is_empty());
        let led =
            |role: LedRole| Value::from(Table::from_iter([("role".to_owned(), Value::from(role.name()))]));
        Value::Array(wired.map(led).collect())
    });
    for (key, hash) in [("viewer_password", &given.unkept.viewer), ("admin_password", &given.unkept.admin)] {
        let auth = table.entry("auth").or_insert_with(|| Table::new().into());
        if let (Some(auth), Some(hash)) = (auth.as_table_mut(), hash) {
            auth.entry(key).or_insert_with(|| hash.phc().into());
        }
    }
    let text = toml::to_string(&table).map_err(|why| broken(&why))?;
    let config = config::resolve(&flags, path, &text).map_err(|why| broken(&why))?;
    Ok(Effective { text, config })
}
