//! The warning file: the system around the service writes a warning to it, and removes it when the warning is over.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};
use nix::fcntl::OFlag;
use tokio::time::{MissedTickBehavior, interval};

use crate::status::ServiceReporter;

/// How often the file is checked. It changes when the system starts, or when somebody edits the settings.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of the file that are used at most: more than fits on the page.
const MAX_BYTES: u64 = 4096;

/// Copies the text of `file` to the status whenever it changes.
pub(super) async fn watch(file: Option<PathBuf>, status: &ServiceReporter) -> Infallible {
    let Some(file) = file else { return std::future::pending().await };
    let mut due = interval(CHECK_INTERVAL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let warning = read(&file);
        if status.warning(warning.clone()) {
            match warning {
                Some(warning) => warn!("{warning}"),
                None => info!("{} was removed; its warning is over", file.display()),
            }
        }
    }
}

/// The warning; `None` if there is no file. A file that cannot be read is a warning too.
fn read(file: &Path) -> Option<String> {
    let text = || {
        // Opening a pipe without a writer must not block.
        let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file)?;
        if !opened.metadata()?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let mut bytes = Vec::new();
        opened.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match text() {
        Ok(text) if text.is_empty() => {
            Some(format!("{} is empty; it should hold the text of a warning", file.display()))
        }
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{}: {error}; its warning cannot be shown", file.display())),
    }
}
