//! The video nodes of the machine, and what each reports about itself.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::ioctl::{Capability, Device, NodeKind};
use crate::camera::spawn_lock::spawn_lock;

/// All video nodes, ordered by number.
pub(super) fn video_nodes() -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let mut nodes: Vec<(u32, PathBuf)> = entries(Path::new("/dev"))
        .filter(|path| fs::metadata(path).is_ok_and(|meta| meta.file_type().is_char_device()))
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

/// The capabilities of those of `nodes` that answer.
pub(super) fn capabilities(nodes: &[PathBuf]) -> Vec<(PathBuf, Capability)> {
    nodes
        .iter()
        .filter_map(|path| Some((path.clone(), query(path, |device| device.capability()).ok()?)))
        .collect()
}

/// A capture node of the same device as the node at `path`.
pub(super) fn capture_node_beside(path: &Path, of: &Capability) -> Option<PathBuf> {
    let same = |caps: &Capability| caps.kind() == NodeKind::Capture && caps.is_same_device(of);
    let devices = capabilities(&video_nodes());
    devices.into_iter().find(|(other, caps)| other != path && same(caps)).map(|(path, _)| path)
}

/// The entries of `folder`; none if it does not exist.
pub(super) fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Opens the device at `path` for one query.
pub(super) fn query<T>(path: &Path, query: impl FnOnce(Device<'_>) -> io::Result<T>) -> io::Result<T> {
    let _lock = spawn_lock();
    let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    let file = fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    query(Device::new(file.as_fd()))
}
