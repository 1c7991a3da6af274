//! The list of a Raspberry Pi's cameras, as the program prints it.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::time::Duration;

use super::super::process::ChildProcess;
use super::error::RpiCamError;
use super::program::RpiCamProgram;
use super::start_controls::default_controls;
use crate::camera::wake::{WaitResult, Waker};
use crate::escape::escape;
use crate::frame::Timestamp;

/// Time for the list. The program sets up each camera in each of its modes, which takes a second on a Raspberry Pi Zero.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of the list. That of a Compute Module with four cameras has 3 KB.
const MAX_LIST_BYTES: usize = 64 * 1024;

/// A camera of a Raspberry Pi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedCamera {
    /// The number that the program knows it by.
    pub(super) index: u32,
    /// The sensor, such as `imx708_wide`.
    pub(super) model: String,
    /// Where it is in the device tree.
    pub(super) id: String,
    /// The modes of its sensor, as the program prints them.
    modes: Vec<String>,
}

/// Lists the cameras. `camera` is named in errors.
pub(super) fn cameras(
    camera: &str,
    program: &RpiCamProgram,
    waker: &Waker,
) -> Result<Vec<ListedCamera>, RpiCamError> {
    let not_started = |source: io::Error| RpiCamError::NotStarted {
        camera: camera.to_owned(),
        program: program.name.into(),
        source,
    };
    let mut process = ChildProcess::spawn(program.list_command()).map_err(not_started)?;
    let (mut output, mut buffer) = (Vec::new(), [0; 4096]);
    let deadline = Timestamp::now().after(LIST_TIMEOUT);
    loop {
        match process.wait(waker, deadline) {
            // A viewer wakes the thread too.
            WaitResult::Woken if !waker.is_stopped() => {}
            WaitResult::Woken | WaitResult::TimedOut => {
                process.terminate();
                let (camera, program) = (camera.to_owned(), program.name.into());
                return Err(RpiCamError::ListTimeout { camera, program, seconds: LIST_TIMEOUT.as_secs() });
            }
            WaitResult::Ready { index: 0, .. } => match process.read_stdout(&mut buffer) {
                Ok(0) => break,
                Ok(n) if output.len() + n <= MAX_LIST_BYTES => output.extend_from_slice(&buffer[..n]),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            },
            WaitResult::Ready { .. } => {
                process.read_stderr();
            }
        }
    }
    process.ends_after_its_output();
    let end = process.terminate();
    let text = String::from_utf8_lossy(&output);
    let found = parse(&text);
    if found.is_empty() {
        if text.contains("No cameras available") {
            let (camera, program) = (camera.to_owned(), program.name.into());
            return Err(RpiCamError::NoCamera { camera, program });
        }
        return Err(RpiCamError::of_end(camera, program.name, &end.outcome, &end));
    }
    Ok(found)
}

/// Reads `0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)` and the lines of modes after it.
fn parse(text: &str) -> Vec<ListedCamera> {
    let mut cameras: Vec<ListedCamera> = Vec::new();
    for line in text.lines() {
        let head = line.split_once(" : ").and_then(|(index, rest)| {
            let (model, rest) = rest.split_once(" [")?;
            let (_, id) = rest.rsplit_once(" (")?;
            let id = id.trim_end().strip_suffix(')')?.to_owned();
            Some(ListedCamera { index: index.parse().ok()?, model: model.to_owned(), id, modes: Vec::new() })
        });
        match (head, cameras.last_mut()) {
            (Some(camera), _) => cameras.push(camera),
            (None, Some(camera)) if line.contains(" fps - ") => {
                let mode = line.trim_start().strip_prefix("Modes:").unwrap_or(line);
                // Without the format, which is the sensor's own.
                let mode = mode.rsplit_once("' : ").map_or(mode, |(_, mode)| mode);
                camera.modes.extend(short_mode(mode));
            }
            _ => {}
        }
    }
    cameras
}

/// `1536x864 at 120.13 fps` of `1536x864 [120.13 fps - (768, 432)/3072x1728 crop]`.
fn short_mode(mode: &str) -> Option<String> {
    let (size, rest) = mode.trim().split_once(" [")?;
    let (rate, _) = rest.split_once(" fps")?;
    Some(format!("{size} at up to {rate} fps"))
}

/// The cameras of a Raspberry Pi, for `porthole cameras`.
#[derive(Debug)]
pub struct RpiCamListing {
    program: &'static str,
    cameras: Result<Vec<ListedCamera>, RpiCamError>,
}

/// Lists the cameras of a Raspberry Pi. `None` where the program for them is not installed, or finds none.
pub fn list() -> Option<RpiCamListing> {
    let program = RpiCamProgram::find("rpicam").ok()?;
    let waker = Waker::new().ok()?;
    let cameras = cameras("rpicam", &program, &waker);
    let is_absent = cameras.as_ref().is_err_and(RpiCamError::is_absence);
    (!is_absent).then_some(RpiCamListing { program: program.name, cameras })
}

impl fmt::Display for RpiCamListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cameras = match &self.cameras {
            Ok(cameras) => cameras,
            Err(error) => return writeln!(f, "{}", escape(&error.to_string())),
        };
        for camera in cameras {
            writeln!(f, "rpicam:{}  {} ({})", camera.index, escape(&camera.model), self.program)?;
            writeln!(f, "  {}", escape(&camera.id))?;
            for mode in &camera.modes {
                writeln!(f, "  sensor {}", escape(mode))?;
            }
            for control in default_controls() {
                writeln!(f, "  {control}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_program_is_read() {
        let text = "Available cameras\n-----------------\n\
            0 : imx708_wide [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)\n    \
            Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]\n                             \
            2304x1296 [56.03 fps - (0, 0)/4608x2592 crop]\n\n\
            1 : ov9281 [1280x800 10-bit MONO] (/base/axi/pcie@120000/rp1/i2c@80000/ov9281@60)\n    \
            Modes: 'R8' : 640x400 [309.79 fps - (0, 0)/1280x800 crop]\n           \
            'R10_CSI2P' : 1280x800 [143.66 fps - (0, 0)/1280x800 crop]\n\n";
        let found = parse(text);
        let seen: Vec<(u32, &str, &str)> =
            found.iter().map(|c| (c.index, c.model.as_str(), c.id.rsplit('/').next().unwrap())).collect();
        assert_eq!(seen, [(0, "imx708_wide", "imx708@1a"), (1, "ov9281", "ov9281@60")]);
        assert_eq!(found[0].modes, ["1536x864 at up to 120.13 fps", "2304x1296 at up to 56.03 fps"]);
        assert_eq!(found[1].modes, ["640x400 at up to 309.79 fps", "1280x800 at up to 143.66 fps"]);
        assert_eq!(parse("No cameras available!\n"), []);
        assert_eq!(parse("x : y [z] (w)\n0 : a [\n0 : a [b\n"), []);
    }
}
