//! A child process, in a process group of its own that ends as a whole.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use log::warn;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::camera::wake::{WaitResult, Waker};
use crate::frame::Timestamp;

/// Time from SIGTERM to SIGKILL. The whole service must stop within 900 ms.
const TERM_GRACE: Duration = Duration::from_millis(400);
/// Longest time between the end of a command's output and its exit, if the one causes the other.
const EXIT_GRACE: Duration = Duration::from_millis(200);
/// Interval of the checks for an exit. Before Linux 5.3 there is no descriptor to wait for.
const EXIT_POLL: Duration = Duration::from_millis(5);
/// Bytes kept of each line that a command wrote to its standard error.
const MAX_LINE: usize = 200;
/// Lines kept. The last one tells why the command ended; libcamera tells more in those before.
const MAX_LINES: usize = 8;
/// Most reads of the standard error at the end of a command: as much as a pipe holds. A process that it left behind may write on.
const LAST_READS: usize = 128;
/// Most descriptors that are marked one by one, which takes 10 ms. The service uses a few hundred.
const MAX_DESCRIPTORS: libc::rlim_t = 65_536;
/// SIGKILL as [`ExitStatusExt::signal`] reports it.
const SIGKILL: i32 = Signal::SIGKILL as i32;

/// A running command.
pub(super) struct ChildProcess {
    child: Child,
    group: Pid,
    stdout: ChildStdout,
    /// `None` once the command has closed it.
    stderr: Option<ChildStderr>,
    said: RecentLines,
}

/// How a command ended.
pub(super) struct ProcessEnd {
    /// In words: "ended with status 1".
    pub(super) outcome: String,
    /// The last lines that it wrote to its standard error.
    pub(super) said: String,
}

impl ProcessEnd {
    /// The last line of its standard error; empty without one.
    pub(super) fn last_line(&self) -> &str {
        self.said.lines().last().unwrap_or_default()
    }
}

impl ChildProcess {
    /// Starts a command. Its standard output and error can be read without blocking.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The kernel kills the child when the thread that started it ends in any way, also by SIGKILL.
        // SAFETY: between fork and exec the closure makes system calls that are allowed there, and does not allocate.
        unsafe {
            command.pre_exec(|| {
                keep_descriptors_from_child();
                Ok(set_pdeathsig(Signal::SIGKILL)?)
            })
        };
        let mut child = command.spawn()?;
        let group = Pid::from_raw(child.id() as i32);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = stdout.ok_or_else(|| io::Error::other("its standard output is no pipe"))?;
        for fd in [Some(stdout.as_fd()), stderr.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
            fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(Self { child, group, stdout, stderr, said: RecentLines::default() })
    }

    pub(super) fn group(&self) -> Pid {
        self.group
    }

    /// Waits for output: descriptor 0 is the standard output, 1 the standard error.
    pub(super) fn wait(&self, waker: &Waker, deadline: Timestamp) -> WaitResult {
        let stdout = self.stdout.as_fd();
        match &self.stderr {
            Some(stderr) => waker.wait(&[stdout, stderr.as_fd()], Some(deadline)),
            None => waker.wait(&[stdout], Some(deadline)),
        }
    }

    pub(super) fn read_stdout(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.read(buffer)
    }

    /// Reads from the standard error and keeps its last lines. Returns whether there was anything.
    pub(super) fn read_stderr(&mut self) -> bool {
        let Some(stderr) = &mut self.stderr else { return false };
        let mut buffer = [0; 512];
        match stderr.read(&mut buffer) {
            Ok(n) if n > 0 => {
                self.said.add(&buffer[..n]);
                return true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            _ => self.stderr = None,
        }
        false
    }

    /// The last lines of its standard error so far.
    pub(super) fn said(&self) -> String {
        self.said.text()
    }

    /// Whether a command that has closed its output exits too.
    pub(super) fn ends_after_its_output(&self) -> bool {
        self.exits_within(EXIT_GRACE)
    }

    /// Ends the process group.
    pub(super) fn terminate(mut self) -> ProcessEnd {
        let _ = killpg(self.group, Signal::SIGTERM);
        self.exits_within(TERM_GRACE);
        // Also for processes that the command left behind. The number still belongs to the group: the command has not been
        // reaped. Once it is, the number may be reused, so this runs once.
        if let Err(error) = killpg(self.group, Signal::SIGKILL) {
            warn!("process group {} cannot be killed: {error}", self.group);
        }
        let outcome =
            self.child.wait().map_or_else(|error| format!("cannot be waited for ({error})"), outcome);
        let mut reads = 0;
        while reads < LAST_READS && self.read_stderr() {
            reads += 1;
        }
        ProcessEnd { outcome, said: self.said.text() }
    }

    /// Waits for at most `timeout` until the command has exited; returns whether it has. Does not reap it.
    fn exits_within(&self, timeout: Duration) -> bool {
        let begun = Timestamp::now();
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while matches!(waitid(Id::Pid(self.group), flags), Ok(WaitStatus::StillAlive)) {
            if Timestamp::now().since(begun) >= timeout {
                return false;
            }
            std::thread::sleep(EXIT_POLL);
        }
        true
    }
}

/// Sets O_CLOEXEC on all descriptors but the standard ones, in the child. rscam opens devices without it, and a child that
/// inherits a device keeps it busy.
fn keep_descriptors_from_child() {
    let (first, last, flags) = (3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: the call changes flags of descriptors. By number, as the function is not in every C library.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    // Before Linux 5.11 the kernel does not know the flag.
    if Errno::result(marked).is_err() {
        mark_one_by_one();
    }
}

/// Sets O_CLOEXEC on all descriptors but the standard ones, without close_range(2).
fn mark_one_by_one() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes `limit`.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    for fd in 3..limit.rlim_cur.min(MAX_DESCRIPTORS) as i32 {
        // SAFETY: the call changes the flag of a descriptor, or fails if there is none.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// How a command ended, in words.
fn outcome(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(127), _) => "was not found".into(),
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(SIGKILL)) => "was killed (signal 9), as the kernel does when memory runs out".into(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => format!("ended ({status})"),
    }
}

/// The last lines that were not empty.
#[derive(Default)]
struct RecentLines {
    earlier: VecDeque<Vec<u8>>,
    line: Vec<u8>,
    finished: bool,
}

impl RecentLines {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.finished = true,
                _ => {
                    if std::mem::take(&mut self.finished) && !self.line.is_empty() {
                        self.earlier.push_back(std::mem::take(&mut self.line));
                        if self.earlier.len() == MAX_LINES {
                            self.earlier.pop_front();
                        }
                    }
                    if self.line.len() < MAX_LINE {
                        self.line.push(byte);
                    }
                }
            }
        }
    }

    fn text(&self) -> String {
        let lines = self.earlier.iter().chain([&self.line]);
        let lines: Vec<String> = lines.map(|line| String::from_utf8_lossy(line).trim().to_owned()).collect();
        lines.join("\n").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::fcntl::FdFlag;

    use super::*;

    #[test]
    fn a_child_inherits_the_standard_descriptors_only() {
        let inheritable = File::open("/dev/null").unwrap();
        fcntl(&inheritable, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        for keep in [keep_descriptors_from_child, mark_one_by_one] {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", "echo /proc/$$/fd/*"]);
            // SAFETY: the closure makes system calls only.
            unsafe {
                shell.pre_exec(move || {
                    keep();
                    Ok(())
                })
            };
            let fds = String::from_utf8(shell.output().unwrap().stdout).unwrap();
            // The shell itself opens one to list the folder, with the lowest number that is free.
            let fds: Vec<u32> =
                fds.split_whitespace().map(|fd| fd.rsplit('/').next().unwrap().parse().unwrap()).collect();
            assert!(
                fds.starts_with(&[0, 1, 2]) && fds.len() <= 4 && fds.iter().all(|fd| *fd <= 3),
                "{fds:?}"
            );
        }
    }

    #[test]
    fn the_last_lines_are_kept_and_limited() {
        let mut lines = RecentLines::default();
        let last = |lines: &RecentLines| {
            ProcessEnd { outcome: String::new(), said: lines.text() }.last_line().to_owned()
        };
        assert_eq!((last(&lines).as_str(), lines.text().as_str()), ("", ""));
        lines.add(b"first\nsecond ");
        assert_eq!((last(&lines).as_str(), lines.text().as_str()), ("second", "first\nsecond"));
        lines.add(b"line\r\n\n");
        assert_eq!(last(&lines), "second line");
        lines.add(&[b'x'; 5000]);
        assert_eq!(last(&lines), "x".repeat(MAX_LINE));
        lines.add(&b"\ny".repeat(1000));
        assert_eq!(lines.text(), ["y"; MAX_LINES].join("\n"));
    }
}
