//! Finds the descriptor that rscam hides. Goes when rscam goes.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use super::ioctl::Device;
use crate::camera::spawn_lock::spawn_lock;

/// The owner of an open V4L2 device, and the descriptor that it hides.
#[derive(Debug)]
pub(super) struct DeviceOwner<T> {
    owner: T,
    fd: RawFd,
}

impl<T> DeviceOwner<T> {
    /// Runs `open` and finds the V4L2 descriptor that it opened. The result of `open` must own the descriptor for as long as
    /// it lives. Sets O_CLOEXEC and O_NONBLOCK.
    ///
    /// Other threads may open and close other files meanwhile, but video devices only with the spawn lock. So the one new
    /// descriptor that answers as a video device is the right one. If another device is closed at the same time and its
    /// number is reused, no new descriptor is found: this fails, and the next attempt succeeds.
    pub(super) fn open(open: impl FnOnce() -> io::Result<T>) -> io::Result<Self> {
        let _lock = spawn_lock();
        let before = video_descriptors()?;
        let owner = open()?;
        let new = video_descriptors()?.into_iter().find(|fd| !before.contains(fd));
        let fd = new.ok_or_else(|| {
            io::Error::other("opened, but it does not answer VIDIOC_QUERYCAP as a camera does")
        })?;
        let opened = Self { owner, fd };
        let device = opened.device();
        fcntl(device.fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let flags = OFlag::from_bits_retain(fcntl(device.fd(), FcntlArg::F_GETFL)?);
        fcntl(device.fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(opened)
    }

    /// The open device.
    pub(super) fn device(&self) -> Device<'_> {
        // SAFETY: `owner` keeps the descriptor open, and `self` is borrowed meanwhile.
        Device::new(unsafe { BorrowedFd::borrow_raw(self.fd) })
    }

    pub(super) fn owner(&self) -> &T {
        &self.owner
    }

    pub(super) fn owner_mut(&mut self) -> &mut T {
        &mut self.owner
    }
}

/// The descriptors of this process that are video devices.
fn video_descriptors() -> io::Result<Vec<RawFd>> {
    let all: io::Result<Vec<RawFd>> = std::fs::read_dir("/proc/self/fd")?
        .map(|entry| entry?.file_name().to_string_lossy().parse().map_err(io::Error::other))
        .collect();
    let is_video = |&fd: &RawFd| {
        // SAFETY: the descriptor may have been closed meanwhile, as that of the listing itself; then the query fails. If it was
        // reused, the query goes to the new file. Both are harmless.
        Device::new(unsafe { BorrowedFd::borrow_raw(fd) }).capability().is_ok()
    };
    Ok(all?.into_iter().filter(is_video).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_video_device_is_an_error() {
        let error = DeviceOwner::open(|| std::fs::File::open("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("VIDIOC_QUERYCAP"), "{error}");
    }
}
