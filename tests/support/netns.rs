//! Network namespaces of a test's own: machines with cables between them, on one machine. Only root can make them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::finish;

/// Why none can be made here, if so.
pub fn obstacle() -> Option<String> {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Some("network namespaces take root".into());
    }
    let missing = ["ip", "tc"].into_iter().find(|tool| Command::new(tool).arg("-V").output().is_err());
    missing.map(|tool| format!("there is no {tool}, which is of the package iproute2"))
}

/// A namespace with nothing in it but its loopback. Gone when dropped.
pub struct Space(String);

impl Default for Space {
    fn default() -> Self {
        Self::new()
    }
}

impl Space {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let this = Self(format!("ph{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        run("ip", &["netns", "add", this.name()]);
        this.ip("link set lo up");
        this
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Configures it: words of ip(8).
    #[track_caller]
    pub fn ip(&self, words: &str) {
        let words = words.split_whitespace();
        run("ip", &["-n", self.name()].into_iter().chain(words).collect::<Vec<_>>());
    }

    /// Configures what waits to be sent in it: words of tc(8).
    #[track_caller]
    pub fn tc(&self, words: &str) {
        let words = words.split_whitespace();
        run("tc", &["-n", self.name()].into_iter().chain(words).collect::<Vec<_>>());
    }

    /// A program that will run in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name()]).arg(program);
        command
    }

    /// Does `work` in it. Threads it starts are there too.
    pub fn at<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/run/netns/{}", self.name())).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                // SAFETY: takes a descriptor that is open, and moves this thread alone.
                assert_eq!(unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", self.name()]).status();
    }
}

#[track_caller]
fn run(program: &str, words: &[&str]) {
    let (code, out, error) = finish(Command::new(program).args(words));
    assert_eq!(code, 0, "{program} {words:?}: {out}{error}");
}
