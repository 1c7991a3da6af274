//! What black-box tests share: the program under test, clients of every kind, and fake hardware.
//!
//! Belongs here: what more than one test file uses. Does not belong here: what a test expects of the program.
//! No test sleeps to wait for something: [`until`] polls until a condition holds, and fails after [`DEADLINE`].
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that fails panics, and says where")]
#![allow(clippy::new_without_default, reason = "a test names what it makes")]

pub mod broker;
pub mod browser;
pub mod crowd;
pub mod engine;
pub mod fakecam;
pub mod fragments;
pub mod http;
pub mod mqtt;
pub mod netns;
pub mod picture;
pub mod prometheus;
pub mod tls;
pub mod tools;
pub mod video;
pub mod ws;

/// Writes H.264 of flat colours, as the fake camera does.
pub use h264_writer as h264;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest that anything may take which is expected to happen. Generous: the machine may be busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Looks until `condition` gives something, and returns that.
///
/// # Panics
/// When it has not within [`DEADLINE`]; `what` says what did not come about.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < give_up, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder of its own for one test, gone when the test is over.
pub struct Scratch(PathBuf);

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("porthole-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The last of a browser's processes may write into it for a moment after the first has ended.
        let give_up = Instant::now() + Duration::from_secs(2);
        while std::fs::remove_dir_all(&self.0).is_err() && self.0.exists() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The folder of the running test: `target/PROFILE/deps`.
fn folder_of_tests() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("")
}

/// A program of the package under test. Cargo builds those before it runs an integration test or a benchmark.
///
/// # Panics
/// When it is not there, as in a unit test.
#[track_caller]
pub fn built(name: &str) -> PathBuf {
    let program = folder_of_tests().with_file_name(name);
    assert!(program.is_file(), "there is no {}; build it with: cargo build --bin {name}", program.display());
    program
}

/// A shared library to preload into the program under test. Cargo builds it as a dependency of this crate.
///
/// # Panics
/// When this crate's `Cargo.toml` does not name it.
#[track_caller]
pub fn library(name: &str) -> PathBuf {
    let library = folder_of_tests().join(format!("lib{name}.so"));
    assert!(library.is_file(), "there is no {}; tests/support/Cargo.toml must name it", library.display());
    library
}

/// Cargo, for what Cargo does not build with a test.
pub fn cargo() -> Command {
    outside_of_package(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).as_ref())
}

/// A script of `scripts/`, which may call Cargo.
pub fn script(name: &str) -> Command {
    outside_of_package(&source_tree().join("scripts").join(name))
}

/// A command that does not see what Cargo tells this test about its package. Build scripts would see that too, and Cargo
/// would build their packages again: now, and once more for the next test.
fn outside_of_package(program: &Path) -> Command {
    let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"];
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| of_package.iter().any(|start| key.starts_with(start))) {
            command.env_remove(key);
        }
    }
    command
}

/// The program under test. It sees nothing of this environment that would change what it does.
pub fn porthole() -> Command {
    let mut command = Command::new(built("porthole"));
    for key in
        ["PORTHOLE_LOG", "STATE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM", "LD_PRELOAD"]
    {
        command.env_remove(key);
    }
    // Somebody's own state must not be touched, whatever a test forgets.
    command
        .env("XDG_STATE_HOME", std::env::temp_dir().join(format!("porthole-state-{}", std::process::id())));
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    finish(porthole().args(arguments))
}

/// Runs a command to its end: exit code, standard output, standard error.
#[track_caller]
pub fn finish(command: &mut Command) -> (i32, String, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let text = |stream: &mut dyn Read| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let out = std::thread::spawn(move || text(&mut out));
    let err = std::thread::spawn(move || text(&mut err));
    let give_up = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > give_up => {
                child.kill().unwrap();
                panic!("{command:?} did not end: {}", err.join().unwrap());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    (status.code().unwrap_or(-1), out.join().unwrap(), err.join().unwrap())
}

/// Preloads a disk that does what `variable` orders to everything below `path`; `fakedisk/lib.rs` lists the orders.
pub fn fake_disk(command: &mut Command, variable: &str, order: &str, path: &Path) {
    let others = command.get_envs().find(|(key, _)| *key == "LD_PRELOAD").and_then(|(_, value)| value);
    let mut preload = others.map(ToOwned::to_owned).unwrap_or_default();
    preload.push(" ");
    preload.push(library("fakedisk"));
    command.env("LD_PRELOAD", preload).env(variable, format!("{order}:{}", path.display()));
}

/// A running service. Killed when dropped, if it has not ended.
pub struct Porthole {
    child: Child,
    pub address: SocketAddr,
    pub url: String,
    log: Arc<Mutex<Vec<String>>>,
    log_reader: JoinHandle<()>,
}

impl Porthole {
    /// Starts it with these arguments on a free loopback port.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(porthole().args(["--listen", "127.0.0.1:0"]).args(arguments))
    }

    /// Starts it with a configuration file.
    #[track_caller]
    pub fn configured(scratch: &Scratch, config: &str) -> Self {
        let file = scratch.file("porthole.toml", config);
        Self::start(&["--config", file.to_str().unwrap()])
    }

    /// Starts it with fake cameras.
    #[track_caller]
    pub fn with_cameras(cameras: &[fakecam::Camera], arguments: &[&str]) -> Self {
        Self::spawn(
            porthole().envs(fakecam::environment(cameras)).args(["--listen", "127.0.0.1:0"]).args(arguments),
        )
    }

    /// Starts a command that serves, and waits until it says where.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        let log_reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let url = match told.recv_timeout(DEADLINE) {
            Ok(line) => {
                line.strip_prefix("porthole: open ").expect("the first line names the URL").to_owned()
            }
            Err(error) => {
                let _ = child.kill();
                panic!("it did not start ({error}): {:?}", log.lock().unwrap());
            }
        };
        let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        // A UNIX socket has none.
        let port: u16 = host.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        Self { child, address: ([127, 0, 0, 1], port).into(), url, log, log_reader }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What has come of its log so far. All that it will ever be once [`Self::wait`] has returned.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits until these words are in its log.
    #[track_caller]
    pub fn until_logged(&self, words: &str) {
        until(&format!("the log says {words:?}"), || self.log().contains(words).then_some(()));
    }

    /// `/state`, parsed.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_slice(&http::get(self.address, "/state").body).unwrap()
    }

    /// The first camera's part of `/state`.
    #[track_caller]
    pub fn camera(&self) -> Value {
        self.state()["cameras"][0].clone()
    }

    /// Waits until the first camera is in `state`, and returns its part of `/state`.
    #[track_caller]
    pub fn until_camera_is(&self, state: &str) -> Value {
        until(&format!("the camera is {state}, log: {}", self.log()), || {
            Some(self.camera()).filter(|camera| camera["state"] == state)
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so its number is still its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Waits for its end, and for that of its log.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let status =
            until(&format!("the service ends, log: {}", self.log()), || self.child.try_wait().unwrap());
        until("nobody holds its log open", || self.log_reader.is_finished().then_some(()));
        status
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Asks it to stop, and waits until it has; its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(libc::SIGTERM);
        self.wait().code()
    }
}

impl Drop for Porthole {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the service:\n{}", self.log());
        }
    }
}

/// A number from `/proc/PID/status`, such as `VmRSS` in kB or `Threads`.
pub fn proc_status(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{key}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Time that all threads of a process have run, but that of a fake camera. What that does, a real camera does by itself.
pub fn cpu_of(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().map(|task| task.path());
    let nanoseconds = tasks.filter_map(|task| {
        let is_fake = std::fs::read_to_string(task.join("comm")).ok()?.trim() == "fakecam";
        let schedstat = std::fs::read_to_string(task.join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok().filter(|_| !is_fake)
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Time that the main thread of a process has run: of Porthole the one that serves all connections.
pub fn cpu_of_main_thread(pid: u32) -> Duration {
    let schedstat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
    Duration::from_nanos(schedstat.split_whitespace().next().unwrap().parse().unwrap())
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The root of the source tree.
pub fn source_tree() -> &'static Path {
    let this_crate = Path::new(env!("CARGO_MANIFEST_DIR"));
    this_crate.ancestors().nth(2).expect("this crate is two folders below the root")
}
