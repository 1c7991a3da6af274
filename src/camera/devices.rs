//! Finding video devices: which nodes there are and what each says it is.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::kernel::{Capability, Device, NodeKind, turn};

/// All video nodes, by number.
pub(super) fn nodes() -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let mut nodes: Vec<(u32, PathBuf)> = entries(Path::new("/dev"))
        .filter(|path| fs::metadata(path).is_ok_and(|meta| meta.file_type().is_char_device()))
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

/// What those of `nodes` that answer say they are.
pub(super) fn capabilities(nodes: &[PathBuf]) -> Vec<(PathBuf, Capability)> {
    nodes
        .iter()
        .filter_map(|path| Some((path.clone(), ask(path, |device| device.capability()).ok()?)))
        .collect()
}

/// Another node of the same device that is a camera.
pub(super) fn sibling(of: &Capability, path: &str) -> Option<PathBuf> {
    let same = |caps: &Capability| caps.kind() == NodeKind::Capture && caps.is_beside(of);
    let devices = capabilities(&nodes());
    devices.into_iter().find(|(other, caps)| other != Path::new(path) && same(caps)).map(|(path, _)| path)
}

/// Whether a format is what a sensor gives before any processing: Bayer mosaics and their packed and wide kin.
/// Codes: kernel documentation, "Raw Bayer Formats".
pub(super) fn is_raw_sensor(fourcc: [u8; 4]) -> bool {
    const PATTERNS: [&[u8]; 20] = [
        b"pBA", b"pGA", b"pgA", b"pRA", b"pBC", b"pGC", b"pgC", b"pRC", b"pBE", b"pGE", b"pgE", b"pRE",
        b"BA8", b"GBR", b"GRB", b"RGG", b"BG1", b"GB1", b"BA1", b"RG1",
    ];
    PATTERNS.iter().any(|pattern| fourcc.starts_with(pattern)) || matches!(&fourcc, b"BYR2" | b"GR16")
}

/// What is in `folder`; nothing if it is not there.
pub(super) fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Asks the device at `path`, opened for the question alone.
pub(super) fn ask<T>(path: &Path, question: impl FnOnce(Device<'_>) -> io::Result<T>) -> io::Result<T> {
    let _turn = turn();
    let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    let file = fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    question(Device::new(file.as_fd()))
}
