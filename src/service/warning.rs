//! The warning of the system around the service: the text of a file, for as long as that file exists.
//!
//! The kernel tells when the file changes (inotify(7)), so that an idle service does not wake up. What the text means,
//! and who shows it, is not known here.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::future::pending;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};
use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::net::unix::pipe::Receiver;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::status::ServiceReporter;

/// Pause between a change and the look at the file, so that a writer at work causes ten looks a second at most.
const SETTLE: Duration = Duration::from_millis(100);
/// How often the file is looked at where the kernel has no watch to give: `fs.inotify.max_user_instances` is used up.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of the file that are shown; nobody reads more on a page.
const MAX_BYTES: u64 = 4096;

/// Puts the text of `file` into the status, again whenever it changes. Never ends; loses nothing when cancelled.
pub(super) async fn watch(file: Option<PathBuf>, status: &ServiceReporter) -> Infallible {
    let Some(file) = file else { return pending().await };
    let mut folder = FolderWatch::new();
    loop {
        // Before the file is read: a change after this is an event.
        folder.watch(&file);
        let path = file.clone();
        // The file may lie on a disk that is slow; other tasks go on meanwhile.
        let warning = match spawn_blocking(move || read(&path)).await {
            Ok(warning) => warning,
            Err(error) => Some(format!("{}: {error}; restart the service", file.display())),
        };
        if status.warning(warning.clone()) {
            match warning {
                Some(warning) => warn!("{warning}"),
                None => info!("{} was removed; its warning is over", file.display()),
            }
        }
        folder.changed(file.file_name()).await;
        sleep(SETTLE).await;
    }
}

/// The text of `file`; `None` if there is no such file. A file that cannot be read is a warning too.
fn read(file: &Path) -> Option<String> {
    let text = || {
        // Opening a FIFO without a writer must not wait for one.
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

/// Waits for changes of one file, in whatever folder of its path exists.
struct FolderWatch {
    /// `None` where the kernel gives no watch.
    events: Option<Events>,
    /// The watch of the folder at present, and whether that is the file's own folder.
    current: Option<(WatchDescriptor, bool)>,
}

/// An instance of inotify, and tokio's wait for it on a descriptor of the same. A pipe's end waits for any descriptor that
/// can be read.
struct Events {
    inotify: Inotify,
    readable: Receiver,
}

impl Events {
    fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let readable = Receiver::from_owned_fd_unchecked(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self { inotify, readable })
    }

    /// The next events.
    async fn next(&self) -> io::Result<Vec<InotifyEvent>> {
        loop {
            self.readable.readable().await?;
            match self.readable.try_io(|| Ok(self.inotify.read_events()?)) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                read => return read,
            }
        }
    }
}

impl FolderWatch {
    fn new() -> Self {
        let events = Events::new().map_err(|error| {
            warn!("the warning file is looked at every 10 s, not at once: inotify: {error}")
        });
        Self { events: events.ok(), current: None }
    }

    /// Watches the folder of `file`, or while there is none the nearest folder above it.
    fn watch(&mut self, file: &Path) {
        let Some(inotify) = self.events.as_ref().map(|events| &events.inotify) else { return };
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        // A relative path ends with the empty one, which stands for the working directory.
        let folders = file.ancestors().skip(1).enumerate();
        let found = folders.into_iter().find_map(|(above, folder)| {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            Some((inotify.add_watch(folder, changes).ok()?, above == 0))
        });
        let before = std::mem::replace(&mut self.current, found);
        if let Some((before, _)) = before.filter(|(before, _)| found.is_none_or(|(now, _)| now != *before)) {
            // Fails where the folder is gone, and the watch with it.
            let _ = inotify.rm_watch(before);
        }
    }

    /// Ready after a change of the file called `name`, or of the folders above it; after [`POLL_INTERVAL`] where there
    /// is no watch.
    async fn changed(&mut self, name: Option<&OsStr>) {
        let (Some(events), Some((watch, is_own))) = (&self.events, self.current) else {
            return sleep(POLL_INTERVAL).await;
        };
        // Other files of its folder may change as they like. An event without a name is the folder's own.
        let concerns = |event: &InotifyEvent| {
            event.wd == watch && (!is_own || event.name.is_none() || event.name.as_deref() == name)
        };
        loop {
            match events.next().await {
                Ok(events) if events.iter().any(concerns) => return,
                Ok(_) => {}
                Err(_) => return sleep(POLL_INTERVAL).await,
            }
        }
    }
}
