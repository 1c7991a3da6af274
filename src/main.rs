//! The `porthole` command: command line, logging, signals, exit codes. No logic.
#![forbid(unsafe_code)]

mod health;
mod passwd;
mod title;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Parser;
use log::{error, info, warn};
use porthole::command::{Action, Command};
use porthole::config::{self, Config, Flags};
use porthole::escape::escape_lines;
use porthole::led::{LedRole, Signal, StatusLeds};
use porthole::service::{RunError, Service};
use porthole::{board, camera, led, logging};
use signal_hook::consts::SIGABRT;
use signal_hook::flag::register_conditional_shutdown;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};

/// The meaning of the exit code.
#[derive(Clone, Copy)]
enum Exit {
    /// Stopped by a signal, or done.
    Clean = 0,
    /// The configuration or the command line is wrong, or the service that was asked is not healthy.
    Configuration = 1,
    /// The configuration is right, but the service could not start.
    NotStarted = 2,
    /// The service ran, and could not go on or not stop in time.
    Fault = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => {
            // --help and --version are not errors; clap writes them to standard output.
            let text = error.render().to_string();
            let (exit, _) = match error.use_stderr() {
                true => (Exit::Configuration, io::stderr().write_all(escape_lines(&text).as_bytes())),
                false => (Exit::Clean, io::stdout().write_all(text.as_bytes())),
            };
            return exit.into();
        }
    };
    let hidden = title::hide_passwords();
    logging::start(command.log);
    if let Err(cause) = hidden {
        warn!(
            "passwords on the command line are visible to other users of this machine: {cause}; write them into a file"
        );
    }
    let flags = &command.flags;
    let done = match command.action.unwrap_or(Action::Run) {
        Action::Run => {
            abort_with_fault();
            run(flags)
        }
        Action::Cameras => print(|out| cameras(out)),
        Action::Boards { id: None } => print(|out| boards(out)),
        Action::Boards { id: Some(id) } => board::find(&id)
            .map_err(|error| fail(&format!("board {id:?} {error}"), Exit::Configuration))
            .and_then(|board| print(|out| write!(out, "{board}"))),
        Action::Led { role, state } => led(flags, role, &state),
        Action::Passwd { role, print: only_print } => config::load_state_dir(flags)
            .map_err(|error| error.to_string())
            .and_then(|state_dir| passwd::set(&state_dir, role, only_print))
            .map_err(|error| fail(&error, Exit::Configuration))
            .and_then(|done| print(|out| writeln!(out, "{done}"))),
        Action::Check => check(flags),
        Action::Health => load(flags)
            .and_then(|config| health::ask(config).map_err(|error| fail(&error, Exit::Configuration)))
            .and_then(|answer| print(|out| writeln!(out, "{answer}"))),
    };
    done.err().unwrap_or(Exit::Clean).into()
}

fn load(flags: &Flags) -> Result<Config, Exit> {
    config::load(flags).map_err(|error| fail(&error, Exit::Configuration))
}

fn run(flags: &Flags) -> Result<(), Exit> {
    let config = load(flags)?;
    let runtime = runtime()?;
    let serving = async {
        // Before the service announces itself, so that no signal is missed.
        let (mut stop, mut stop_now) = (StopSignals::new()?, StopSignals::new()?);
        let service = Service::start(config).map_err(|cause| fail(&cause, Exit::NotStarted))?;
        let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        match service.urls(&hostname.unwrap_or_else(|_| "localhost".into())) {
            // Not to the log: the first time they contain the token.
            Ok(urls) => {
                drop(write_text(|out| urls.iter().try_for_each(|url| writeln!(out, "porthole: open {url}"))))
            }
            Err(cause) => warn!("cannot print the address: {cause}"),
        }
        tokio::select! {
            ended = service.run(stop.first()) => {
                ended.map_err(|error: RunError| fail(&error, Exit::Fault))
            }
            // The service is dropped as it is, which turns its LEDs off; nothing else is waited for.
            () = stop_now.second() => Err(Exit::Fault),
        }
    };
    // The panic has been reported, and unwinding has turned the LEDs off.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serving))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref().copied()).unwrap_or("no message");
        Err(fail(&format!("a panic: {said}; this is a bug in porthole, please report it"), Exit::Fault))
    });
    // A thread that hangs in a driver is not waited for: it ends with the process.
    runtime.shutdown_background();
    // The kernel cleans up after what did not stop in time.
    ended.map_err(|exit| std::process::exit(exit as i32))
}

/// Ends the process with the code of a fault where it would abort: without memory, by a panic within a panic, or when the
/// service manager's watchdog ends it. The cause is in the log by then.
fn abort_with_fault() {
    let always = Arc::new(AtomicBool::new(true));
    if let Err(cause) = register_conditional_shutdown(SIGABRT, Exit::Fault as i32, always) {
        warn!(
            "cannot catch SIGABRT: {cause}; if memory runs out, the exit code will not be {}",
            Exit::Fault as i32
        );
    }
}

/// One thread for all connections: it never blocks, so a second one would only pass work around. Threads that wait for a
/// driver are others, and end soon after.
fn runtime() -> Result<Runtime, Exit> {
    let built = Builder::new_current_thread().enable_all().thread_keep_alive(Duration::from_secs(1)).build();
    built.map_err(|cause| {
        fail(&format!("cannot start: {cause}; see the limits on descriptors"), Exit::NotStarted)
    })
}

fn led(flags: &Flags, role: LedRole, state: &str) -> Result<(), Exit> {
    let Some(settings) = load(flags)?.leds.into_iter().find(|led| led.role == role) else {
        let why = format!("no LED is configured for {role}; add [[led]] with role = \"{role}\" and its line");
        return Err(fail(&why, Exit::Configuration));
    };
    let leds = StatusLeds::open(vec![led::LedSettings { required: true, ..settings }])
        .map_err(|(role, cause)| fail(&format!("led {role}: {cause}"), Exit::NotStarted))?;
    let signal = match state.to_ascii_lowercase().as_str() {
        "on" => Signal::On,
        "blink" => Signal::Blink,
        // Opening it has turned it off.
        _ => return Ok(()),
    };
    runtime()?.block_on(async {
        let mut stop = StopSignals::new()?;
        let line = leds.infos().first().map(|info| info.line.to_string()).unwrap_or_default();
        drop(write_text(|out| writeln!(out, "{role} on {line}: {state}; Ctrl-C ends it")));
        leds.try_out(signal, stop.first()).await;
        Ok(())
    })
}

/// A signal that comes again within this time counts as the same: timeout(1) sends it to the process and to its group.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// SIGTERM and SIGINT, which no longer end the process by themselves.
struct StopSignals {
    terminate: UnixSignal,
    interrupt: UnixSignal,
}

impl StopSignals {
    fn new() -> Result<Self, Exit> {
        let catch = |kind| {
            signal(kind).map_err(|cause| fail(&format!("cannot catch signals: {cause}"), Exit::NotStarted))
        };
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ready at the first signal.
    async fn first(&mut self) {
        // Not within the call to log: at a level that leaves it out, its arguments are not awaited.
        let signal = self.next().await;
        info!("{signal}: stopping");
    }

    /// Ready at the second signal.
    async fn second(&mut self) {
        self.next().await;
        let first = Instant::now();
        loop {
            let again = self.next().await;
            if first.elapsed() > SAME_SIGNAL {
                return warn!("{again} again: stopping at once");
            }
        }
    }
}

fn check(flags: &Flags) -> Result<(), Exit> {
    let report = load(flags)?.report;
    print(|out| {
        report.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        writeln!(out, "\n# The configuration is good.")
    })
}

fn cameras(out: &mut dyn Write) -> io::Result<()> {
    let (cameras, rpicam) = (camera::list(), camera::list_rpicam());
    if cameras.is_empty() && rpicam.is_none() {
        writeln!(out, "There is no /dev/video*: no camera is connected, or its driver is not loaded.")?;
    }
    cameras.iter().try_for_each(|camera| write!(out, "{camera}"))?;
    rpicam.iter().try_for_each(|cameras| write!(out, "{cameras}"))
}

fn boards(out: &mut dyn Write) -> io::Result<()> {
    let here = board::this_machine();
    board::all().try_for_each(|board| {
        let mark = if board.id() == here.id() { "* " } else { "  " };
        writeln!(out, "{mark}{:18} {}", board.id(), board.name())
    })
}

/// Writes text to standard output. What devices and files say of themselves cannot control the terminal.
fn write_text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut text = Vec::new();
    write(&mut text)?;
    io::stdout().lock().write_all(escape_lines(&String::from_utf8_lossy(&text)).as_bytes())
}

/// Prints to standard output. It is not a fault when the reader closes it early, as `head` does.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Exit> {
    match write_text(write) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(fail(&format!("cannot write to standard output: {cause}"), Exit::Fault))
        }
        _ => Ok(()),
    }
}

fn fail(error: &dyn std::fmt::Display, exit: Exit) -> Exit {
    error!("{error}");
    exit
}
