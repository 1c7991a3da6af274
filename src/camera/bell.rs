//! How a capture thread waits: for its source, for a moment, or for somebody to ring.
//!
//! Every wait of a capture thread goes through [`Bell::wait`], so every one of them can be ended: by a viewer
//! who wants frames, by a request, by the stop of the service. No polling, no wakeups while nobody rings.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::{TimeSpec, TimeValLike};

use crate::frame::Timestamp;

/// Wakes one capture thread.
#[derive(Debug)]
pub(crate) struct Bell {
    event: EventFd,
    stopped: AtomicBool,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A descriptor can be read, or has failed.
    Ready {
        /// The first one of those given that can be read or has failed.
        index: usize,
        /// It reported an error or hang-up.
        failed: bool,
    },
    /// The moment has come.
    TimedOut,
    /// Somebody rang.
    Rung,
}

/// Most descriptors one wait takes besides the bell.
const MAX_FDS: usize = 2;

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event, stopped: AtomicBool::new(false) })
    }

    /// Ends the current wait, or the next one.
    pub(crate) fn ring(&self) {
        // Fails only with a count of 2^64 - 2, and then it is ringing already.
        let _ = self.event.write(1);
    }

    /// Tells the thread to come to its end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, SeqCst);
        self.ring();
    }

    /// Whether the thread shall come to its end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    /// Waits until one of `fds` can be read, `until` has come, or somebody rang. A ring is used up by it.
    ///
    /// # Panics
    /// With more than two descriptors.
    pub(crate) fn wait(&self, fds: &[BorrowedFd<'_>], until: Option<Timestamp>) -> io::Result<Wake> {
        assert!(fds.len() <= MAX_FDS, "a wait for {} descriptors", fds.len());
        let bell = || PollFd::new(self.event.as_fd(), PollFlags::POLLIN);
        let mut polled = [bell(), bell(), bell()];
        for (slot, fd) in polled[1..].iter_mut().zip(fds) {
            *slot = PollFd::new(*fd, PollFlags::POLLIN);
        }
        let polled = &mut polled[..=fds.len()];
        loop {
            let left = until.map(|t| t.since(Timestamp::now()));
            match ppoll(polled, left.map(|d| TimeSpec::microseconds(d.as_micros() as i64)), None) {
                Ok(0) => return Ok(Wake::TimedOut),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !flags(&polled[0]).is_empty() {
            // Reading an eventfd takes all of its count at once.
            let _ = self.event.read();
            return Ok(Wake::Rung);
        }
        let (index, found) = polled[1..]
            .iter()
            .map(flags)
            .enumerate()
            .find(|(_, found)| !found.is_empty())
            .expect("ppoll counted a descriptor, and it is not the bell");
        let failed = found.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL);
        Ok(Wake::Ready { index, failed })
    }
}

fn flags(fd: &PollFd<'_>) -> PollFlags {
    // Bits this version of nix has no name for mean something happened all the same.
    fd.revents().unwrap_or(PollFlags::POLLERR)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost_and_is_used_up() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.ring();
        assert_eq!(bell.wait(&[], None).unwrap(), Wake::Rung);
        assert_eq!(bell.wait(&[], Some(Timestamp::now())).unwrap(), Wake::TimedOut);
    }

    #[test]
    fn a_descriptor_wakes_and_names_itself() {
        let bell = Bell::new().unwrap();
        let (quiet, _held) = io::pipe().unwrap();
        let (loud, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let soon = Some(Timestamp::now().after(Duration::from_secs(60)));
        let wake = bell.wait(&[quiet.as_fd(), loud.as_fd()], soon).unwrap();
        assert_eq!(wake, Wake::Ready { index: 1, failed: false });
        drop(writer);
        assert_eq!(bell.wait(&[loud.as_fd()], soon).unwrap(), Wake::Ready { index: 0, failed: true });
    }

    #[test]
    fn a_stop_from_another_thread_ends_an_endless_wait() {
        let bell = Bell::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| bell.stop());
            assert_eq!(bell.wait(&[], None).unwrap(), Wake::Rung);
        });
        assert!(bell.is_stopped());
    }
}
