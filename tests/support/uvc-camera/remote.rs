//! The remote control: one command a connection to a Unix socket, one answer back.
//!
//! | command | what it does |
//! |---|---|
//! | `plug`, `unplug` | what one would do with the plug |
//! | `stall`, `resume` | no more frames, frames again |
//! | `truncate N`, `corrupt N`, `flag N` | spoils the next N frames: cut short, markers in the scan, error bit |
//! | `refuse N` | refuses the next N starts of a stream |
//! | `reset` | as at the start: not plugged in, and nothing of the above to come |
//! | `status` | lines of `key value`, see [`status`] |
//!
//! An answer begins with `error: ` or is what was asked for; it is `ok` where nothing was.
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::descriptors::SIZES;
use crate::device::Device;
use crate::picture::{Fault, monotonic_ns};
use crate::plug::{Camera, Plugged};

/// Whoever connects and says nothing is not listened to for longer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How an answer begins that is none.
const ERROR: &str = "error: ";

/// The camera with its plug.
pub(crate) struct Remote {
    camera: Arc<Camera>,
    plugged: Option<Plugged>,
    plugs: u64,
    /// CLOCK_MONOTONIC of the last plugging in.
    plugged_at_ns: u64,
}

impl Remote {
    pub(crate) fn new(camera: Arc<Camera>) -> Self {
        Self { camera, plugged: None, plugs: 0, plugged_at_ns: 0 }
    }

    /// Takes commands for as long as the program runs.
    pub(crate) fn serve(mut self, path: &Path) -> io::Result<()> {
        // Left over from a program that was killed.
        let _ = std::fs::remove_file(path);
        for connection in UnixListener::bind(path)?.incoming() {
            if let Err(error) = connection.and_then(|mut connection| self.talk(&mut connection)) {
                eprintln!("uvc-camera: remote control: {error}");
            }
        }
        Ok(())
    }

    fn talk(&mut self, connection: &mut UnixStream) -> io::Result<()> {
        connection.set_read_timeout(Some(DEADLINE))?;
        let mut line = String::new();
        BufReader::new(&mut *connection).read_line(&mut line)?;
        let answer = self.obey(line.trim()).unwrap_or_else(|error| format!("{ERROR}{error}\n"));
        connection.write_all(answer.as_bytes())
    }

    fn obey(&mut self, line: &str) -> Result<String, String> {
        let (verb, count) = line.split_once(' ').unwrap_or((line, "1"));
        let count: u32 = count.parse().map_err(|_| format!("{count:?} is not a number"))?;
        let spoil =
            |fault: Fault| self.camera.change(|device| device.stream.to_spoil[fault as usize] = count);
        match verb {
            "plug" => self.plug().map_err(|error| error.to_string())?,
            "unplug" if self.plugged.is_none() => return Err("it is not plugged in".into()),
            "unplug" => self.unplug().map_err(|error| error.to_string())?,
            "reset" => {
                self.unplug().map_err(|error| error.to_string())?;
                self.camera.change(Device::forget_faults);
            }
            "stall" => self.camera.change(|device| device.stream.stalled = true),
            "resume" => self.camera.change(|device| device.stream.stalled = false),
            "truncate" => spoil(Fault::Truncated),
            "corrupt" => spoil(Fault::Corrupt),
            "flag" => spoil(Fault::Flagged),
            "refuse" => self.camera.change(|device| device.to_refuse = count),
            "status" => return Ok(self.status()),
            _ => return Err(format!("{verb:?} is no command")),
        }
        Ok("ok\n".into())
    }

    fn plug(&mut self) -> io::Result<()> {
        if self.plugged.is_some() {
            return Err(io::Error::other("it is plugged in already"));
        }
        self.plugged_at_ns = monotonic_ns();
        self.plugged = Some(Plugged::plug(&self.camera)?);
        self.plugs += 1;
        Ok(())
    }

    fn unplug(&mut self) -> io::Result<()> {
        self.plugged.take().map_or(Ok(()), Plugged::unplug)
    }

    /// What can be known. Everything counts from the start of the program unless it says how things are.
    fn status(&self) -> String {
        let device = self.camera.device();
        let stream = &device.stream;
        let (width, height) = SIZES[stream.mode.size];
        let spoilt = |fault: Fault| stream.sent.spoilt[fault as usize];
        let mut text = String::new();
        let mut line = |key: &str, value: u64| _ = writeln!(text, "{key} {value}");
        line("plugged", self.plugged.is_some().into());
        line("plugs", self.plugs);
        line("plugged_at_ns", self.plugged_at_ns);
        line("streaming", stream.is_running().into());
        line("starts", stream.starts);
        line("width", width.into());
        line("height", height.into());
        line("interval_100ns", stream.mode.interval.into());
        // Frames that were sent to their end, spoilt ones included, and those.
        line("frames", stream.sent.frames);
        line("truncated", spoilt(Fault::Truncated));
        line("corrupt", spoilt(Fault::Corrupt));
        line("flagged", spoilt(Fault::Flagged));
        line("refused", device.refused);
        line("transfers", stream.waiting() as u64);
        for (name, value) in device.controls.iter() {
            let _ = writeln!(text, "{name} {value}");
        }
        text
    }
}

/// Sends one command; the answer, or what it says is wrong.
pub(crate) fn tell(path: &Path, command: &str) -> Result<String, String> {
    let talk = || -> io::Result<String> {
        let mut connection = UnixStream::connect(path)?;
        writeln!(connection, "{command}")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = talk().map_err(|error| format!("{}: {error}", path.display()))?;
    match answer.strip_prefix(ERROR) {
        Some(error) => Err(error.trim().to_owned()),
        None => Ok(answer),
    }
}
