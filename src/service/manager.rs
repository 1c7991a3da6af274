//! Notifications to the service manager: readiness, status, and the keep-alives of its watchdog.
//!
//! The protocol is that of sd_notify(3). Nothing waits for the manager: a notification that it does not receive is lost.
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

/// How late a capture thread may be for its deadline before it counts as stuck. Shorter, and a busy machine restarts the
/// service.
const DEADLINE_GRACE: Duration = Duration::from_secs(3);

/// Sends that the service is ready, then the state of its cameras, and keep-alives while no capture thread is stuck. It runs
/// on the thread of the web, so the keep-alives stop when that thread is stuck, too.
pub(super) async fn notify(mut status: Watcher) {
    let watchdog = sd_notify::watchdog_enabled();
    // At half the watchdog's timeout, as systemd advises. Without a watchdog the interval is not used.
    let mut tick = interval(watchdog.unwrap_or(Duration::from_secs(1)) / 2);
    // Ticks that were missed while the machine was suspended are not made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut reported, mut last_tick) = (None, Timestamp::now());
    send("READY=1");
    loop {
        failpoint::pass("manager");
        send(&format!("STATUS={}", summary(&status.borrow_and_update())));
        loop {
            tokio::select! {
                _ = tick.tick(), if watchdog.is_some() => {
                    // If this task is late, the machine was suspended or busy, and the capture threads may be late for the same
                    // reason.
                    let now = Timestamp::now();
                    let elapsed = now.since(std::mem::replace(&mut last_tick, now));
                    let was_late = elapsed > tick.period() + DEADLINE_GRACE;
                    let stuck = stuck_camera(&status.borrow()).filter(|_| !was_late);
                    match &stuck {
                        None => send("WATCHDOG=1"),
                        Some(name) if reported != stuck => {
                            warn!("camera {name}: its thread is stuck in a driver; the watchdog will restart the service");
                        }
                        Some(_) => {}
                    }
                    reported = stuck;
                }
                changed = status.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// Sends that the service stops.
pub(super) fn stopping() {
    send("STOPPING=1");
}

/// The name of a camera whose capture thread is stuck.
fn stuck_camera(status: &Status) -> Option<String> {
    let now = Timestamp::now();
    let stuck = status.cameras.iter().find(|camera| camera.counters.is_stuck(now, DEADLINE_GRACE));
    stuck.map(|camera| camera.name.clone())
}

fn summary(status: &Status) -> String {
    let cameras = status.cameras.iter().map(|camera| format!("{} {}", camera.name, camera.state));
    cameras.collect::<Vec<_>>().join(", ")
}

fn send(message: &str) {
    if let Err(error) = try_send(message) {
        debug!("{message} was not sent to the service manager: {error}");
    }
}

/// Sends one datagram. The function of the sd-notify crate blocks while the manager's queue is full.
fn try_send(message: &str) -> io::Result<()> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}
