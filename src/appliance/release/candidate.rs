//! Checks that a file is a program that could serve here, before its trial interrupts the service.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest time for a program to print its version or check the configuration, on a slow board that serves meanwhile.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes that are read of its output.
const MOST_OUTPUT: u64 = 2000;

/// Bytes of an ELF file's header up to its machine (elf(5)).
const HEADER: usize = 20;
/// Bytes that must be the same: the magic, the class, the byte order.
const SAME: std::ops::Range<usize> = 0..6;

/// The version of the program at `path`, if it can run here and accepts the configuration: the file and the state
/// directory that it would be started with.
///
/// # Errors
/// Why it is refused.
pub(super) fn version(path: &Path, configuration: Option<&[&Path; 2]>) -> Result<String, String> {
    is_for_this_machine(path)?;
    let output = output_of(Command::new(path).arg("--version"))?;
    let version = output.trim().strip_prefix("porthole ").filter(|version| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b".+-~".contains(&b);
        (1..=40).contains(&version.len()) && version.bytes().all(letter)
    });
    let version =
        version.ok_or_else(|| format!("it is not a porthole: its version is {:?}", output.trim()))?;
    if let Some([config, state_dir]) = configuration {
        let mut check = Command::new(path);
        check.args(["--log", "error", "check", "--config"]).arg(config).arg("--state-dir").arg(state_dir);
        output_of(&mut check)
            .map_err(|why| format!("version {version} does not accept this configuration: {why}"))?;
    }
    Ok(version.to_owned())
}

fn is_for_this_machine(path: &Path) -> Result<(), String> {
    let head = |path: &Path| -> io::Result<[u8; HEADER]> {
        let mut head = [0; HEADER];
        File::open(path)?.read_exact(&mut head)?;
        Ok(head)
    };
    // This program is one for this machine.
    let own = head(Path::new("/proc/self/exe")).map_err(|cause| format!("/proc/self/exe: {cause}"))?;
    let head = head(path).ok().filter(|head| head.starts_with(b"\x7fELF"));
    let head = head.ok_or("it is not a program")?;
    match head[SAME] == own[SAME] && machine(&head) == machine(&own) {
        true => Ok(()),
        false => {
            Err(format!("it is a program for {}, and this machine is {}", machine(&head), machine(&own)))
        }
    }
}

fn machine(head: &[u8; HEADER]) -> String {
    // All of these are little-endian; the number of another machine is shown as it is.
    match u16::from_le_bytes([head[18], head[19]]) {
        3 => "32-bit x86".into(),
        40 => "32-bit ARM".into(),
        62 => "64-bit x86".into(),
        183 => "64-bit ARM".into(),
        other => format!("machine {other} of the ELF standard"),
    }
}

/// The output of a command that succeeds in time.
fn output_of(command: &mut Command) -> Result<String, String> {
    // The service manager did not start this one.
    for key in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "PORTHOLE_LOG"] {
        command.env_remove(key);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            "it needs a loader that is missing here: it was built for another system".into()
        }
        _ => format!("it does not start: {cause}"),
    })?;
    let give_up = Instant::now() + TIMEOUT;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < give_up => sleep(Duration::from_millis(10)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it does not end within {} s", TIMEOUT.as_secs()));
            }
        }
    };
    let text = |stream: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        // A part of the output is enough.
        let _ = stream.map(|stream| stream.take(MOST_OUTPUT).read_to_end(&mut bytes));
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
