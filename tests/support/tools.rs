//! Programs that are not part of this one and may be missing: what a test does with those that are there.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The path of a program, or `None` with a line that says what is left out for want of it.
///
/// With `CI` set nothing may be missing: there every package of `scripts/test` is installed.
#[track_caller]
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        missing(&format!("there is no {name}; Debian has it in {package}"));
    }
    found
}

/// Says that something is left out; a failure where nothing may be.
#[track_caller]
pub fn missing(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    // Past the test harness, which keeps what a test that passes prints to itself.
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// A program that serves while a test runs. Killed when dropped.
pub struct Running(Child);

impl Running {
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago, for programs that do not tell which one they took.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
