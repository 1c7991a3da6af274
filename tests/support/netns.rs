//! Network namespaces of a test's own: machines with cables between them, on one machine. Only root can make them.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::finish;

/// Why none can be made here, if so.
pub fn obstacle() -> Option<String> {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Some("network namespaces take root".into());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("there are no TUN devices".into());
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

    /// A network device in it whose packets go to whoever has the file, and come from there: one a read and write, which do not wait.
    #[track_caller]
    pub fn tunnel(&self, name: &str) -> File {
        self.at(|| {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
            let file = file.expect("TUN devices");
            // SAFETY: numbers and arrays of bytes, for which zeroes are valid.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            let letters = request.ifr_name.iter_mut().zip(name.bytes());
            letters.for_each(|(letter, byte)| *letter = byte as libc::c_char);
            request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
            // SAFETY: takes a descriptor that is open, and a request that outlives the call.
            let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
            assert_eq!(made, 0, "{name}: {}", std::io::Error::last_os_error());
            file
        })
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
