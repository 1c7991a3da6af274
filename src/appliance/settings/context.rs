//! One application of the settings: its folders, what it reads from them and keeps there, and the faults so far.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use log::warn;

use super::error::SettingsError;
use super::files;
use super::text;

/// Where a file that is not right leaves what it said when it was right last.
pub(super) const LAST: &str = "what this file said when it was right last";
/// Where a file was never right.
pub(super) const DEFAULTS: &str = "the defaults";

/// A fault, and what is in force because of it; empty where that is clear.
struct Fault {
    error: SettingsError,
    in_force: &'static str,
}

/// Folders, and faults.
pub(super) struct Context {
    pub(super) boot: PathBuf,
    pub(super) state: PathBuf,
    pub(super) run: PathBuf,
    faults: Vec<Fault>,
}

impl Context {
    pub(super) fn new(boot: PathBuf, state: PathBuf, run: PathBuf) -> Self {
        Self { boot, state, run, faults: Vec::new() }
    }

    /// Logs a fault, and keeps it for the report.
    pub(super) fn fault(&mut self, error: SettingsError, in_force: &'static str) {
        match in_force {
            "" => warn!("{error}"),
            in_force => warn!("{error}; in force: {in_force}"),
        }
        self.faults.push(Fault { error, in_force });
    }

    /// The faults so far.
    pub(super) fn faults(&self) -> impl ExactSizeIterator<Item = &SettingsError> {
        self.faults.iter().map(|fault| &fault.error)
    }

    /// The faults for a person who has the card in a PC; `None` if there are none.
    pub(super) fn report(&self) -> Option<String> {
        let mut lines = vec!["Porthole runs, but not everything here is right:".to_owned()];
        for Fault { error, in_force } in &self.faults {
            lines.extend([String::new(), error.to_string()]);
            lines.extend((!in_force.is_empty()).then(|| format!("In force instead: {in_force}.")));
        }
        let end = "When all is well, this file goes away by itself at the next start.".to_owned();
        lines.extend([String::new(), end]);
        (!self.faults.is_empty()).then(|| lines.iter().map(|line| format!("{line}\r\n")).collect())
    }

    /// Where the service keeps its state: systemd's private folder for it, which `/var/lib/private` is.
    pub(super) fn service_state(&self) -> PathBuf {
        self.state.join("private/porthole")
    }

    fn kept_file(&self, name: &str) -> PathBuf {
        self.state.join("settings").join(name)
    }

    /// Whether what is kept is still there at the next boot.
    pub(super) fn lasts(&mut self) -> bool {
        let cause = match files::is_mounted(&self.state) {
            Ok(true) => return true,
            Ok(false) => io::Error::other("no file system is mounted there"),
            Err(error) => error,
        };
        let error = SettingsError::Keep { path: self.state.clone(), what: "what is set", source: cause };
        self.fault(error, "");
        false
    }

    /// The text of a file on the card, if there is one.
    pub(super) fn text(&self, name: &str) -> Result<Option<(PathBuf, String)>, SettingsError> {
        let path = self.boot.join(name);
        match files::read(&path) {
            Ok(Some(bytes)) => text::decode(&path, &bytes).map(|text| Some((path, text))),
            Ok(None) => {
                // Windows hides this ending.
                let found = self.boot.join(format!("{name}.txt"));
                if found.exists() { Err(SettingsError::Misnamed { found, path }) } else { Ok(None) }
            }
            Err(source) => Err(SettingsError::Unreadable { path, source }),
        }
    }

    /// The text of a file that was kept when it was right last.
    pub(super) fn last(&mut self, name: &'static str) -> Option<(PathBuf, String)> {
        let path = self.kept_file(name);
        let why = match files::read(&path).map(|bytes| bytes.map(String::from_utf8)) {
            Ok(None) => return None,
            Ok(Some(Ok(text))) => return Some((path, text)),
            Ok(Some(Err(_))) => "is no text".to_owned(),
            Err(error) => error.to_string(),
        };
        self.put_aside(&path, why, "write it into the files on the card again");
        None
    }

    /// Keeps a file that is right.
    pub(super) fn keep(&mut self, name: &'static str, text: &str) -> bool {
        let path = self.kept_file(name);
        let kept = files::replace_if_changed(&path, text.as_bytes(), 0o600);
        let kept = kept.map_err(SettingsError::keep(&path, "what this file says"));
        kept.map_err(|error| self.fault(error, "")).is_ok()
    }

    /// Moves a file that cannot be used out of the way, where it can be looked at.
    pub(super) fn put_aside(&mut self, path: &Path, why: String, remedy: &'static str) {
        // Where it cannot be moved, it stands in the way of the next one too, and that is a fault then.
        let _ = std::fs::rename(path, path.with_extension("damaged"));
        self.fault(SettingsError::Damaged { path: path.into(), why, remedy }, "");
    }
}
