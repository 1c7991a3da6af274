//! The `porthole` command: command line, logging, signals, exit codes. No logic.
#![forbid(unsafe_code)]

mod passwd;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Parser;
use log::{error, info, warn};
use porthole::command::{Command, Verb};
use porthole::config::{self, Flags};
use porthole::led::{Role, Signal, StatusLeds};
use porthole::service::{Fault, Service};
use porthole::{board, camera, led, logging};
use signal_hook::consts::SIGABRT;
use signal_hook::flag::register_conditional_shutdown;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};

/// What the exit code says.
#[derive(Clone, Copy)]
enum Exit {
    /// Stopped because it was told to.
    Clean = 0,
    /// The configuration or the command line is wrong.
    Configuration = 1,
    /// The configuration is right, but the service could not come up.
    NotStarted = 2,
    /// It ran, and then it could not go on, or not stop as it should.
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
            // --help and --version are no errors; clap sends them to standard output.
            let exit = if error.use_stderr() { Exit::Configuration } else { Exit::Clean };
            let _ = error.print();
            return exit.into();
        }
    };
    logging::start(command.log);
    let exit = match command.verb.unwrap_or(Verb::Run) {
        Verb::Run => {
            abort_with_fault();
            run(&command.flags)
        }
        Verb::Cameras => print(|out| cameras(out)),
        Verb::Boards { id: None } => print(|out| boards(out)),
        Verb::Boards { id: Some(id) } => match board::find(&id) {
            Ok(board) => print(|out| write!(out, "{board}")),
            Err(why) => fail(&format!("board {id:?} {why}"), Exit::Configuration),
        },
        Verb::Led { role, what } => led(&command.flags, role, &what),
        Verb::Passwd { role, print: only_print } => match config::load_state_dir(&command.flags) {
            Ok(state_dir) => match passwd::set(&state_dir, role, only_print) {
                Ok(done) => print(|out| writeln!(out, "{done}")),
                Err(why) => fail(&why, Exit::Configuration),
            },
            Err(wrong) => fail(&wrong, Exit::Configuration),
        },
        Verb::Check => check(&command.flags),
    };
    exit.into()
}

fn run(flags: &Flags) -> Exit {
    let config = match config::load(flags) {
        Ok(config) => config,
        Err(wrong) => return fail(&wrong, Exit::Configuration),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let serving = async {
        // Before anybody can know that it runs and tell it to stop.
        let (mut told, mut again) = (told_to_stop()?, told_to_stop()?);
        let service = Service::start(config).map_err(|cause| fail(&cause, Exit::NotStarted))?;
        let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        match service.urls(&hostname.unwrap_or_else(|_| "localhost".into())) {
            // Not to the log: the first time they hold the token.
            Ok(urls) => urls.iter().for_each(|url| drop(writeln!(io::stdout(), "porthole: open {url}"))),
            Err(cause) => warn!("the address cannot be told: {cause}"),
        }
        tokio::select! {
            ended = service.run(async { told.first().await }) => {
                ended.map_err(|fault: Fault| fail(&fault, Exit::Fault))
            }
            // The service is dropped where it is, and with it its LEDs go dark; nothing else is waited for.
            () = again.second() => Err(Exit::Fault),
        }
    };
    // The panic has been reported; what it left has been dropped, and the LEDs are dark.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serving))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref().copied()).unwrap_or("no message");
        Err(fail(&format!("a panic: {said}; this is a bug in porthole, please report it"), Exit::Fault))
    });
    // A thread that a driver holds is not waited for: it ends with the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Exit::Clean,
        // Whoever did not stop in time is left to the kernel, which takes everything back.
        Err(exit) => std::process::exit(exit as i32),
    }
}

/// Makes what cannot end in order, for want of memory or by a panic within a panic, end with the code of a fault: it has
/// been told by then, and to the service manager it is one. Its watchdog ends the service in this way too.
fn abort_with_fault() {
    let always = Arc::new(AtomicBool::new(true));
    if let Err(cause) = register_conditional_shutdown(SIGABRT, Exit::Fault as i32, always) {
        warn!("if memory runs out, the exit code will not be {}: {cause}", Exit::Fault as i32);
    }
}

/// One thread for all connections: it is never the one that waits, and a second would only pass work around. Those that
/// wait for a driver in its stead go soon after.
fn runtime() -> Result<Runtime, Exit> {
    let built = Builder::new_current_thread().enable_all().thread_keep_alive(Duration::from_secs(1)).build();
    built.map_err(|cause| {
        fail(&format!("cannot start: {cause}; see the limits on descriptors"), Exit::NotStarted)
    })
}

fn led(flags: &Flags, role: Role, what: &str) -> Exit {
    let config = match config::load(flags) {
        Ok(config) => config,
        Err(wrong) => return fail(&wrong, Exit::Configuration),
    };
    let Some(settings) = config.leds.into_iter().find(|led| led.role == role) else {
        let why = format!("no LED is configured for {role}; add [[led]] with role = \"{role}\" and its line");
        return fail(&why, Exit::Configuration);
    };
    let leds = match StatusLeds::open(vec![led::Settings { required: true, ..settings }]) {
        Ok(leds) => leds,
        Err((role, cause)) => return fail(&format!("led {role}: {cause}"), Exit::NotStarted),
    };
    let signal = match what {
        "on" => Signal::On,
        "blink" => Signal::Blink,
        // Opening it made it dark.
        _ => return Exit::Clean,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    runtime.block_on(async {
        let mut told = match told_to_stop() {
            Ok(told) => told,
            Err(exit) => return exit,
        };
        let line = leds.infos().first().map(|info| info.line.to_string()).unwrap_or_default();
        drop(writeln!(io::stdout(), "{role} on {line}: {what}; Ctrl-C ends it"));
        leds.try_out(signal, told.first()).await;
        Exit::Clean
    })
}

/// A signal may come twice though it was sent once: to the process and to its group, as timeout(1) does.
const ECHO: Duration = Duration::from_millis(100);

/// Hears SIGTERM and SIGINT, which no longer end the process by themselves.
struct ToldToStop {
    terminate: UnixSignal,
    interrupt: UnixSignal,
}

fn told_to_stop() -> Result<ToldToStop, Exit> {
    let heard = |kind| {
        signal(kind).map_err(|cause| fail(&format!("cannot catch signals: {cause}"), Exit::NotStarted))
    };
    Ok(ToldToStop { terminate: heard(SignalKind::terminate())?, interrupt: heard(SignalKind::interrupt())? })
}

impl ToldToStop {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ready when told to stop.
    async fn first(&mut self) {
        // Not within the call to log: at a level that leaves it out, its arguments are not waited for.
        let signal = self.next().await;
        info!("{signal}: stopping");
    }

    /// Ready when told a second time.
    async fn second(&mut self) {
        self.next().await;
        let first = Instant::now();
        loop {
            let again = self.next().await;
            if first.elapsed() > ECHO {
                return warn!("{again} again: stopping at once");
            }
        }
    }
}

fn check(flags: &Flags) -> Exit {
    match config::load(flags) {
        Ok(config) => print(|out| {
            config.report.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            writeln!(out, "\n# The configuration is good.")
        }),
        Err(wrong) => fail(&wrong, Exit::Configuration),
    }
}

fn cameras(out: &mut dyn Write) -> io::Result<()> {
    let cameras = camera::list();
    if cameras.is_empty() {
        writeln!(out, "There is no /dev/video*: no camera is connected, or its driver is not loaded.")?;
    }
    cameras.iter().try_for_each(|camera| write!(out, "{camera}"))
}

fn boards(out: &mut dyn Write) -> io::Result<()> {
    let here = board::this_machine();
    board::all().try_for_each(|board| {
        let mark = if board.id() == here.id() { "* " } else { "  " };
        writeln!(out, "{mark}{:18} {}", board.id(), board.name())
    })
}

/// Prints to standard output. A reader who has seen enough, as `head` does, is no fault.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Exit {
    match write(&mut io::stdout().lock()) {
        Ok(()) => Exit::Clean,
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Exit::Clean,
        Err(cause) => fail(&format!("cannot write to standard output: {cause}"), Exit::Fault),
    }
}

fn fail(why: &dyn std::fmt::Display, exit: Exit) -> Exit {
    error!("{why}");
    exit
}
