//! A shell command that writes JPEGs to its standard output: the way to CSI cameras and to everything else that
//! has its own program.
//!
//! The command runs in a process group of its own, which ends as a whole when the source is closed: asked first,
//! made to a moment later. When it ends by itself the source has failed, and is opened again with growing delay.
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use log::{debug, warn};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::bell::{Bell, Wake};
use super::error::SourceError;
use super::kernel::{dies_with_parent, turn};
use super::splitter::{Piece, Splitter};
use super::{Captured, Next, Opening, Settings, ShellCommand, Sink, Source, without_passwords};
use crate::frame::{PixelFormat, Timestamp};
use crate::jpeg::Picture;

/// Bytes asked for in one read: as much as a pipe holds.
const READ: usize = 64 * 1024;
/// Time a command has to end after it was asked to; then it is killed. Short enough that the whole service can
/// stop within its deadline.
const GRACE: Duration = Duration::from_millis(400);
/// Time between the end of a command's output and its own: a moment, unless the machine is busy.
const PARTING: Duration = Duration::from_millis(200);
/// How often to look whether it has ended. There is no descriptor to wait on before Linux 5.3.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes kept of the last line a command wrote to its standard error.
const SAID: usize = 200;
/// The signal as a status tells it.
const KILL: i32 = Signal::SIGKILL as i32;

pub(super) struct Exec {
    command: ShellCommand,
    fps: f32,
    frame_bytes: usize,
    running: Option<Running>,
}

struct Running {
    child: Child,
    group: Pid,
    stdout: ChildStdout,
    /// `None` once the command has closed it.
    stderr: Option<ChildStderr>,
    splitter: Splitter,
    said: LastLine,
}

impl Exec {
    pub(super) fn new(command: ShellCommand, settings: &Settings) -> Self {
        Self { command, fps: settings.fps, frame_bytes: settings.frame_bytes(), running: None }
    }

    fn failed(&self, what: impl Into<String>, said: &str) -> SourceError {
        let said =
            if said.is_empty() { String::new() } else { format!("; it said: {}", without_passwords(said)) };
        SourceError::Exec { command: self.command.to_string(), what: what.into(), said }
    }

    /// Why a command that has closed its output is over: it does so when it ends, and is of no use otherwise.
    fn ended(&mut self) -> SourceError {
        let Some(running) = self.running.take() else { return self.failed("was not running", "") };
        let by_itself = running.ends_within(PARTING);
        let (what, said) = running.end();
        self.failed(if by_itself { &what } else { "closed its output and went on" }, &said)
    }

    fn spawn(&self) -> io::Result<Running> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(self.command.for_the_shell()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        dies_with_parent(&mut command);
        let mut child = {
            let _turn = turn();
            command.spawn()?
        };
        let group = Pid::from_raw(child.id() as i32);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = stdout.ok_or_else(|| io::Error::other("no pipe from its standard output"))?;
        for fd in [Some(stdout.as_fd()), stderr.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
            fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        let splitter = Splitter::new(self.frame_bytes + READ);
        Ok(Running { child, group, stdout, stderr, splitter, said: LastLine::default() })
    }
}

impl Source for Exec {
    fn open(&mut self) -> Result<Opening, SourceError> {
        let running = self.spawn().map_err(|e| self.failed(format!("could not be started ({e})"), ""))?;
        debug!("exec: started `{}` as process group {}", self.command, running.group);
        self.running = Some(running);
        Ok(Opening {
            driver: "exec".into(),
            card: self.command.program(),
            path: self.command.to_string(),
            format: PixelFormat::Mjpeg,
            resolution: None,
            fps: self.fps,
            frame_bytes: self.frame_bytes,
            has_larger: false,
        })
    }

    fn next(&mut self, bell: &Bell, until: Timestamp, sink: &mut Sink<'_>) -> Result<Next, SourceError> {
        let Some(running) = &mut self.running else { return Ok(Next::TimedOut) };
        loop {
            match running.splitter.next() {
                Piece::Picture(data) => {
                    let picture = Picture::Jpeg { data, expected: None };
                    sink(Captured { picture, at: Timestamp::now(), missed: 0, damaged: false });
                    return Ok(Next::Picture);
                }
                Piece::TooLarge => {
                    warn!("exec: a frame of more than {} bytes was left out", self.frame_bytes)
                }
                Piece::Incomplete => {}
            }
            let fds =
                [running.stdout.as_fd(), running.stderr.as_ref().map_or(running.stdout.as_fd(), AsFd::as_fd)];
            let fds = if running.stderr.is_some() { &fds[..] } else { &fds[..1] };
            match bell.wait(fds, Some(until))? {
                Wake::Rung => return Ok(Next::Rung),
                Wake::TimedOut => return Ok(Next::TimedOut),
                Wake::Ready { index: 0, .. } => {
                    let Running { stdout, splitter, .. } = running;
                    let read = splitter.fill(|room| {
                        let n = room.len().min(READ);
                        stdout.read(&mut room[..n])
                    });
                    match read {
                        Ok(0) => return Err(self.ended()),
                        Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                            return Err(self.failed(format!("could not be read from ({e})"), ""));
                        }
                        _ => {}
                    }
                }
                Wake::Ready { .. } => running.listen(),
            }
        }
    }

    fn close(&mut self) {
        if let Some(running) = self.running.take() {
            let (what, _) = running.end();
            debug!("exec: `{}` {what}", self.command);
        }
    }
}

impl Running {
    /// Takes in what the command writes to its standard error.
    fn listen(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut buffer = [0; 512];
        match stderr.read(&mut buffer) {
            Ok(0) => self.stderr = None,
            Ok(n) => self.said.take(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.stderr = None,
        }
    }

    /// Brings the whole process group to its end: how the command ended, and what it said last. Once only, as the number
    /// may be that of another group as soon as the command has been collected.
    fn end(mut self) -> (String, String) {
        let _ = killpg(self.group, Signal::SIGTERM);
        self.ends_within(GRACE);
        // Also what the command left behind. Its number still belongs to the group: it is not collected yet.
        if let Err(error) = killpg(self.group, Signal::SIGKILL) {
            warn!("exec: process group {} cannot be killed: {error}", self.group);
        }
        let what = self.child.wait().map_or_else(|error| format!("cannot be waited for ({error})"), outcome);
        self.listen();
        (what, self.said.text())
    }

    /// Waits for so long until the command has ended; whether it has. It is not collected.
    fn ends_within(&self, time: Duration) -> bool {
        let begun = Timestamp::now();
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while matches!(waitid(Id::Pid(self.group), look), Ok(WaitStatus::StillAlive)) {
            if Timestamp::now().since(begun) >= time {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

fn outcome(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(127), _) => "was not found".into(),
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(KILL)) => "was killed (signal 9), as the kernel does when memory runs out".into(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => format!("ended ({status})"),
    }
}

/// The last line that had anything in it.
#[derive(Default)]
struct LastLine {
    line: Vec<u8>,
    finished: bool,
}

impl LastLine {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.finished = true,
                _ => {
                    if std::mem::take(&mut self.finished) {
                        self.line.clear();
                    }
                    if self.line.len() < SAID {
                        self.line.push(byte);
                    }
                }
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.line).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_kept_and_bounded() {
        let mut said = LastLine::default();
        said.take(b"first\nsecond ");
        assert_eq!(said.text(), "second");
        said.take(b"line\r\n\n");
        assert_eq!(said.text(), "second line");
        said.take(&[b'x'; 5000]);
        assert_eq!(said.text(), "x".repeat(SAID));
    }
}
