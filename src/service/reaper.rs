//! Reaps what commands leave behind where the service is process 1, as in a container: the kernel makes it the parent of
//! every process whose own parent has ended. The commands of `exec` sources are reaped by their sources, not here.
#![forbid(unsafe_code)]

use log::{debug, warn};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// Reaps orphans for as long as it is awaited, if this is process 1. It must be awaited by the main thread: the kernel
/// gives orphans to that thread of process 1, and `__WNOTHREAD` leaves the children of all others alone (wait(2)).
pub(super) async fn reap_orphans() -> std::convert::Infallible {
    if std::process::id() != 1 {
        return std::future::pending().await;
    }
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(cause) => {
            warn!("cannot catch SIGCHLD: {cause}; what commands leave behind stays in the process table");
            return std::future::pending().await;
        }
    };
    loop {
        // Also before the first signal: processes may have ended before it was caught.
        reap();
        if ended.recv().await.is_none() {
            return std::future::pending().await;
        }
    }
}

/// Reaps every child of this thread that has ended.
fn reap() {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WNOTHREAD;
    loop {
        match waitpid(None, Some(flags)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(status) => debug!("a command left a process behind, which has ended: {status:?}"),
            Err(Errno::EINTR) => {}
            Err(errno) => return warn!("cannot reap what commands leave behind: {errno}; restart porthole"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[allow(clippy::zombie_processes, reason = "one of the two is what is reaped")]
    fn children_of_this_thread_are_reaped_and_those_of_others_left() {
        // The threads of the test runner are not the one that `reap` is called on.
        let start = || Command::new("true").spawn().unwrap();
        let other = std::thread::spawn(move || {
            let mut of_other = start();
            let has_ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            let id = |pid: u32| nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid as i32));
            nix::sys::wait::waitid(id(of_other.id()), has_ended).unwrap();
            let (reaped, is_reaped) = std::sync::mpsc::channel();
            let own = std::thread::spawn(move || {
                let own = start();
                nix::sys::wait::waitid(id(own.id()), has_ended).unwrap();
                reap();
                assert_eq!(nix::sys::wait::waitid(id(own.id()), has_ended), Err(Errno::ECHILD));
                reaped.send(()).unwrap();
            });
            is_reaped.recv().unwrap();
            own.join().unwrap();
            assert!(of_other.wait().unwrap().success(), "the child of another thread was reaped");
        });
        other.join().unwrap();
    }
}
