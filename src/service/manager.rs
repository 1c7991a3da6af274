//! The service manager: told when the service is ready, how it is, and, for its watchdog, that all is well.
//!
//! The protocol is that of sd_notify(3). Nothing waits for the manager: if it does not listen, it misses something.
#![forbid(unsafe_code)]

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use log::{debug, warn};
use tokio::time::{MissedTickBehavior, interval};

use crate::failpoint;
use crate::frame::Timestamp;
use crate::status::{Status, Watcher};

/// How long a capture thread may be overdue before it counts as wedged.
const GRACE: Duration = Duration::from_secs(3);

/// Says that the service is ready, then how its cameras are, and keeps the watchdog quiet for as long as every capture
/// thread keeps its word. Runs where the web runs, so its signs of life are the web's too.
pub(super) async fn inform(mut status: Watcher) {
    let watchdog = sd_notify::watchdog_enabled();
    // Twice as often as must be, as systemd advises. Without a watchdog the interval is never waited for.
    let mut tick = interval(watchdog.unwrap_or(Duration::from_secs(1)) / 2);
    // What was due while the machine or the process stood still is not made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut wedged, mut looked) = (None, Timestamp::now());
    tell("READY=1");
    loop {
        failpoint::pass("manager");
        tell(&format!("STATUS={}", summary(&status.borrow_and_update())));
        loop {
            tokio::select! {
                _ = tick.tick(), if watchdog.is_some() => {
                    // If this was late itself, so may be the threads, which run again no sooner than this does.
                    let now = Timestamp::now();
                    let was_late = now.since(std::mem::replace(&mut looked, now)) > tick.period() + GRACE;
                    let stuck = stuck(&status.borrow()).filter(|_| !was_late);
                    match &stuck {
                        None => tell("WATCHDOG=1"),
                        Some(name) if wedged != stuck => {
                            warn!("camera {name}: its thread is stuck in a driver; the watchdog is not kept quiet any more");
                        }
                        Some(_) => {}
                    }
                    wedged = stuck;
                }
                changed = status.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// Says that the service comes to its end.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

/// The name of a camera whose thread does not report when it said it would.
fn stuck(status: &Status) -> Option<String> {
    let now = Timestamp::now();
    let stuck = status.cameras.iter().find(|camera| camera.counters.is_stuck(now, GRACE));
    stuck.map(|camera| camera.name.clone())
}

fn summary(status: &Status) -> String {
    let cameras = status.cameras.iter().map(|camera| format!("{} {}", camera.name, camera.state));
    cameras.collect::<Vec<_>>().join(", ")
}

fn tell(what: &str) {
    if let Err(error) = try_to_tell(what) {
        debug!("the service manager was not told {what}: {error}");
    }
}

/// Sends one datagram. The sd-notify crate's way of doing so blocks when the manager's queue is full.
fn try_to_tell(what: &str) -> io::Result<()> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(what.as_bytes(), &address).map(drop)
}
