//! Finds the descriptor that rscam hides. Goes when rscam goes.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::fstat;

use super::ioctl::Device;
use super::nodes::open_node;
use crate::sync::lock;

/// The owner of an open V4L2 device, and the descriptor that it hides.
#[derive(Debug)]
pub(super) struct DeviceOwner<T> {
    owner: T,
    fd: RawFd,
}

impl<T> DeviceOwner<T> {
    /// Runs `open`, which opens the device at `path`, and finds the descriptor. The result of `open` must own the descriptor
    /// for as long as it lives. Sets O_CLOEXEC and O_NONBLOCK.
    ///
    /// All other descriptors of this process have O_CLOEXEC, so the right one is that of the node without it.
    pub(super) fn open(path: &Path, open: impl FnOnce() -> io::Result<T>) -> io::Result<Self> {
        let node = fs::metadata(path)?.rdev();
        let opening = opening_lock(node);
        let _alone = lock(&opening);
        let owner = open()?;
        let is_of_node = |&fd: &RawFd| fstat(borrow(fd)).is_ok_and(|stat| stat.st_rdev == node);
        let mut found = inheritable_descriptors()?.into_iter().find(is_of_node);
        if found.is_none() {
            found = find_by_capability(path)?;
        }
        let fd =
            found.ok_or_else(|| io::Error::other("opened, but its descriptor is not found; try again"))?;
        let opened = Self { owner, fd };
        let device = opened.device();
        fcntl(device.fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let flags = OFlag::from_bits_retain(fcntl(device.fd(), FcntlArg::F_GETFL)?);
        fcntl(device.fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(opened)
    }

    /// The open device.
    pub(super) fn device(&self) -> Device<'_> {
        Device::new(borrow(self.fd))
    }

    pub(super) fn owner_mut(&mut self) -> &mut T {
        &mut self.owner
    }
}

/// Borrows a descriptor of this process for one call, or for as long as its owner is borrowed.
fn borrow<'fd>(fd: RawFd) -> BorrowedFd<'fd> {
    // SAFETY: either `DeviceOwner::owner` keeps the descriptor open, or the descriptor was listed just now. One that was closed
    // meanwhile makes the query fail, and one that was opened again is queried instead. Both are harmless.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// The lock for openings of one node. Two openings of the same node at once would find each other's descriptor.
fn opening_lock(node: u64) -> Arc<Mutex<()>> {
    static OPENINGS: Mutex<BTreeMap<u64, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    Arc::clone(lock(&OPENINGS).entry(node).or_default())
}

/// The descriptors of this process without O_CLOEXEC, except the standard ones.
fn inheritable_descriptors() -> io::Result<Vec<RawFd>> {
    let all: io::Result<Vec<RawFd>> = fs::read_dir("/proc/self/fd")?
        .map(|entry| entry?.file_name().to_string_lossy().parse().map_err(io::Error::other))
        .collect();
    let is_inheritable = |&fd: &RawFd| fd > 2 && fcntl(borrow(fd), FcntlArg::F_GETFD) == Ok(0);
    Ok(all?.into_iter().filter(is_inheritable).collect())
}

/// The descriptor that reports the same camera as the node at `path`. Under libcamerify a device is opened as an eventfd, which
/// has no node.
fn find_by_capability(path: &Path) -> io::Result<Option<RawFd>> {
    let node = open_node(path)?;
    let Ok(camera) = Device::new(node.as_fd()).capability() else { return Ok(None) };
    let is_camera = |&fd: &RawFd| {
        Device::new(borrow(fd)).capability().is_ok_and(|capability| capability.is_same_camera(&camera))
    };
    Ok(inheritable_descriptors()?.into_iter().find(is_camera))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn inheritable(path: &str) -> io::Result<fs::File> {
        let file = fs::File::open(path)?;
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(file)
    }

    #[test]
    fn the_descriptor_is_found_by_its_node_among_others() {
        let _others = [inheritable("/dev/null").unwrap(), fs::File::open("/dev/zero").unwrap()];
        let opened = DeviceOwner::open(Path::new("/dev/zero"), || inheritable("/dev/zero")).unwrap();
        assert_eq!(opened.fd, opened.owner.as_raw_fd());
        assert_eq!(fcntl(&opened.owner, FcntlArg::F_GETFD), Ok(FdFlag::FD_CLOEXEC.bits()));
    }

    #[test]
    fn a_file_that_is_not_found_is_an_error() {
        let error = DeviceOwner::open(Path::new("/dev/full"), || fs::File::open("/dev/full")).unwrap_err();
        assert!(error.to_string().contains("is not found"), "{error}");
    }
}
