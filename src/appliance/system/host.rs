//! The machine and the system that run: whether a system is for them, and which keys they trust.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use super::bundle::{SystemManifest, is_date};
use crate::os_release;

/// Below the root: the keys that may sign a system, the date of the system that runs (os-release(5)), and the names of
/// the board, the most exact one first, each ended by a zero (Devicetree Specification, section 2.3.1).
const KEYS: &str = "usr/share/porthole-appliance/system.pub";
const RELEASE: &str = "etc/os-release";
const BOARD: &str = "proc/device-tree/compatible";

/// The machine and the system that run.
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// The keys, one on a line; none where there is no file of them.
    pub(super) fn keys(&self) -> String {
        fs::read_to_string(self.root.join(KEYS)).unwrap_or_default()
    }

    /// The date of the system that runs, if it says one.
    pub(super) fn made(&self) -> Option<String> {
        os_release::image_version(&self.root.join(RELEASE)).filter(|made| is_date(made))
    }

    fn board(&self) -> String {
        let names = fs::read(self.root.join(BOARD)).unwrap_or_default();
        let first = names.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(first).into_owned()
    }

    /// Checks that a system is for this machine, and not older than the one that runs.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn check(&self, manifest: &SystemManifest, may_be_older: bool) -> Result<(), String> {
        let SystemManifest { made, architecture, boards, .. } = manifest;
        let (own, board) = (architecture_here(), self.board());
        if architecture != own {
            return Err(format!("it is for {architecture}, and this machine is {own}: make one for {own}"));
        }
        if !boards.contains(&board) {
            let (boards, board) = (boards.join(", "), board.escape_default());
            return Err(format!(
                "it is for {boards}, and this board is {board}: make one for all boards, without --board"
            ));
        }
        match self.made() {
            Some(here) if *made < here && !may_be_older => Err(format!(
                "it is of {made}, and the system that runs is newer, of {here}: --allow-older installs it nevertheless"
            )),
            _ => Ok(()),
        }
    }
}

/// What this machine is, as Debian calls it.
fn architecture_here() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        "arm" => "armhf",
        other => other,
    }
}
