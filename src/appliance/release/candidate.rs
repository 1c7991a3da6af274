//! Whether a file is a program that could serve here: before it is put on trial, as the trial costs an interruption.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest that a program may take to say its version, or to read the configuration: on a slow board, while it serves.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most that is read of what it says.
const MOST_SAID: u64 = 2000;

/// What an ELF file begins with, as far as its machine (elf(5)).
const HEAD: usize = 20;
/// What must be the same: the magic, the class, the byte order.
const SAME: std::ops::Range<usize> = 0..6;

/// The version of the program at `path`, if it can run here and is content with its `configuration`, arguments of its
/// verb `check`.
///
/// # Errors
/// Why it is not to be taken.
pub(super) fn version(path: &Path, configuration: Option<&[&Path; 2]>) -> Result<String, String> {
    is_for_this_machine(path)?;
    let said = said_by(Command::new(path).arg("--version"))?;
    let version = said.trim().strip_prefix("porthole ").filter(|version| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b".+-~".contains(&b);
        (1..=40).contains(&version.len()) && version.bytes().all(letter)
    });
    let version =
        version.ok_or_else(|| format!("it is no porthole: of its version it says {:?}", said.trim()))?;
    if let Some([config, state_dir]) = configuration {
        let mut check = Command::new(path);
        check.args(["--log", "error", "check", "--config"]).arg(config).arg("--state-dir").arg(state_dir);
        said_by(&mut check)
            .map_err(|why| format!("version {version} does not take this configuration: {why}"))?;
    }
    Ok(version.to_owned())
}

fn is_for_this_machine(path: &Path) -> Result<(), String> {
    let head = |path: &Path| -> io::Result<[u8; HEAD]> {
        let mut head = [0; HEAD];
        File::open(path)?.read_exact(&mut head)?;
        Ok(head)
    };
    // Itself is a program for this machine.
    let own = head(Path::new("/proc/self/exe")).map_err(|cause| format!("/proc/self/exe: {cause}"))?;
    let head = head(path).ok().filter(|head| head.starts_with(b"\x7fELF"));
    let head = head.ok_or("it is no program, but something else")?;
    match head[SAME] == own[SAME] && machine(&head) == machine(&own) {
        true => Ok(()),
        false => {
            Err(format!("it is a program for {}, and this machine is {}", machine(&head), machine(&own)))
        }
    }
}

fn machine(head: &[u8; HEAD]) -> String {
    // All there are have the same byte order; where one had not, the number would tell.
    match u16::from_le_bytes([head[18], head[19]]) {
        3 => "32-bit x86".into(),
        40 => "32-bit ARM".into(),
        62 => "64-bit x86".into(),
        183 => "64-bit ARM".into(),
        other => format!("machine {other} of the ELF standard"),
    }
}

/// What a command says, if it ends well and in time.
fn said_by(command: &mut Command) -> Result<String, String> {
    // It is asked, not started by the service manager.
    for key in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "PORTHOLE_LOG"] {
        command.env_remove(key);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            "it needs a loader that is not here: it was built for another system".into()
        }
        _ => format!("it does not start: {cause}"),
    })?;
    let give_up = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < give_up => sleep(Duration::from_millis(10)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it says nothing within {} s", PATIENCE.as_secs()));
            }
        }
    };
    let text = |stream: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        // What can be read is what there is.
        let _ = stream.map(|stream| stream.take(MOST_SAID).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    match ended.success() {
        true => Ok(text(child.stdout.as_mut().map(|out| out as &mut dyn Read))),
        false => {
            let error = text(child.stderr.as_mut().map(|error| error as &mut dyn Read));
            Err(format!("{ended}: {}", error.trim()))
        }
    }
}
