//! What the system around the service has to warn of: the text of a file, for as long as it is there.
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

/// How often the file is looked for. It changes with a start of the system, or when somebody is at work on it.
const EVERY: Duration = Duration::from_secs(1);
/// As much of it as anybody reads on a page, in bytes.
const MOST: u64 = 4096;

/// Tells the status what `file` says, again whenever that changes.
pub(super) async fn watch(file: Option<PathBuf>, status: &ServiceReporter) -> Infallible {
    let Some(file) = file else { return std::future::pending().await };
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let warning = read(&file);
        if status.warning(warning.clone()) {
            match warning {
                Some(warning) => warn!("{warning}"),
                None => info!("{}: is gone, and with it what it warned of", file.display()),
            }
        }
    }
}

/// What is to be told; `None` if there is no such file. That it cannot be read is a warning too.
fn read(file: &Path) -> Option<String> {
    let text = || {
        // Nothing that anybody puts there is waited for.
        let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file)?;
        if !opened.metadata()?.is_file() {
            return Err(io::Error::other("is no file"));
        }
        let mut bytes = Vec::new();
        opened.take(MOST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match text() {
        Ok(text) if text.is_empty() => {
            Some(format!("{} warns of something, and does not say what", file.display()))
        }
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{}: {error}; what it warns of is not known", file.display())),
    }
}
