//! Waking a capture thread from its waits.
//!
//! Every wait of a capture thread goes through [`Waker::wait`], so a viewer, a request or the stop of the service can end
//! it. Nothing polls: a thread that waits uses no CPU time.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use log::warn;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::{TimeSpec, TimeValLike};
use tokio::sync::Notify;

use crate::frame::Timestamp;
use crate::sync::{lock, wait_timeout};

/// Wakes one capture thread.
#[derive(Debug)]
pub(super) struct Waker {
    event: EventFd,
    stopped: AtomicBool,
    /// Wakes a future.
    notify: Notify,
    /// Waits without ppoll; see [`Waker::wait_without_ppoll`].
    sleeping: Mutex<()>,
    woken: Condvar,
    /// Counts the waits without ppoll.
    fallbacks: AtomicUsize,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitResult {
    /// A descriptor can be read, or has failed.
    Ready {
        /// The index of the first such descriptor.
        index: usize,
        /// The descriptor reported an error or a hang-up.
        failed: bool,
        /// The descriptor reported an exceptional condition (POLLPRI): a V4L2 device has an event.
        has_event: bool,
    },
    /// The time is over.
    TimedOut,
    /// The thread was woken.
    Woken,
}

/// Most descriptors per wait, besides that of the waker. The `exec` source waits for two.
const MAX_FDS: usize = 2;
/// A wait without ppoll lasts at most this long. It bounds how late data is noticed, and costs ten wakeups a second.
const FALLBACK: Duration = Duration::from_millis(100);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            stopped: AtomicBool::new(false),
            notify: Notify::new(),
            sleeping: Mutex::new(()),
            woken: Condvar::new(),
            fallbacks: AtomicUsize::new(0),
        })
    }

    /// Ends the current wait, or the next one.
    pub(super) fn wake(&self) {
        // Fails only at a count of 2^64 - 2. The thread is being woken then.
        let _ = self.event.write(1);
        self.notify.notify_one();
        // A thread that waits without ppoll has checked the event before it released this lock, or will check it.
        drop(lock(&self.sleeping));
        self.woken.notify_one();
    }

    /// Tells the thread to end.
    pub(super) fn stop(&self) {
        self.stopped.store(true, SeqCst);
        self.wake();
    }

    /// Whether the thread must end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    /// Waits until one of `fds` can be read, the time `until` is reached, or the thread is woken. One wait takes all calls
    /// of [`Waker::wake`] before it.
    ///
    /// It never fails: if the kernel refuses to wait for descriptors, it reports each as readable from time to time. They
    /// must be non-blocking.
    ///
    /// # Panics
    /// With more than two descriptors.
    pub(super) fn wait(&self, fds: &[BorrowedFd<'_>], until: Option<Timestamp>) -> WaitResult {
        assert!(fds.len() <= MAX_FDS, "a wait for {} descriptors", fds.len());
        let event = || PollFd::new(self.event.as_fd(), PollFlags::POLLIN);
        let mut polled = [event(), event(), event()];
        for (entry, fd) in polled[1..].iter_mut().zip(fds) {
            *entry = PollFd::new(*fd, PollFlags::POLLIN | PollFlags::POLLPRI);
        }
        let polled = &mut polled[..=fds.len()];
        loop {
            let left = until.map(|t| t.since(Timestamp::now()));
            match ppoll(polled, left.map(|d| TimeSpec::microseconds(d.as_micros() as i64)), None) {
                Ok(0) => return WaitResult::TimedOut,
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => {
                    warn!(
                        "ppoll failed: {error}; frames may be late. Check the limit on descriptors and the free memory"
                    );
                    if let Some(result) = self.wait_without_ppoll(fds.len(), left) {
                        return result;
                    }
                }
            }
        }
        if !events(&polled[0]).is_empty() {
            self.take_wake();
            return WaitResult::Woken;
        }
        let (index, events) = polled[1..]
            .iter()
            .map(events)
            .enumerate()
            .find(|(_, events)| !events.is_empty())
            .expect("ppoll counted a descriptor, and it is not that of the waker");
        let failed = events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL);
        WaitResult::Ready { index, failed, has_event: events.contains(PollFlags::POLLPRI) }
    }

    /// Waits for at most [`FALLBACK`] without descriptors. Then each descriptor in turn is reported as readable.
    fn wait_without_ppoll(&self, fds: usize, left: Option<Duration>) -> Option<WaitResult> {
        let sleeping = lock(&self.sleeping);
        if self.take_wake() {
            return Some(WaitResult::Woken);
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Some(WaitResult::TimedOut);
        }
        drop(wait_timeout(&self.woken, sleeping, left.map_or(FALLBACK, |left| left.min(FALLBACK))));
        if self.take_wake() {
            return Some(WaitResult::Woken);
        }
        let index = self.fallbacks.fetch_add(1, Relaxed).checked_rem(fds)?;
        Some(WaitResult::Ready { index, failed: false, has_event: true })
    }

    /// Ready when the thread was woken, for a thread that runs futures. Takes all calls of [`Waker::wake`] before it.
    pub(super) async fn woken(&self) {
        // A notification may be left from a wake that another wait took.
        while !self.take_wake() {
            self.notify.notified().await;
        }
    }

    /// Whether the thread was woken since the last call.
    fn take_wake(&self) -> bool {
        // Reading an eventfd resets its count. An empty one gives EAGAIN.
        self.event.read().is_ok()
    }
}

fn events(fd: &PollFd<'_>) -> PollFlags {
    // Events that nix does not know count as an error.
    fd.revents().unwrap_or(PollFlags::POLLERR)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_wake_before_the_wait_is_not_lost_and_counts_once() {
        let waker = Waker::new().unwrap();
        waker.wake();
        waker.wake();
        assert_eq!(waker.wait(&[], None), WaitResult::Woken);
        assert_eq!(waker.wait(&[], Some(Timestamp::now())), WaitResult::TimedOut);
    }

    #[test]
    fn the_readable_descriptor_is_reported() {
        let waker = Waker::new().unwrap();
        let (quiet, _quiet_writer) = io::pipe().unwrap();
        let (readable, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let soon = Some(Timestamp::now().after(Duration::from_secs(60)));
        let result = waker.wait(&[quiet.as_fd(), readable.as_fd()], soon);
        assert_eq!(result, WaitResult::Ready { index: 1, failed: false, has_event: false });
        drop(writer);
        assert_eq!(
            waker.wait(&[readable.as_fd()], soon),
            WaitResult::Ready { index: 0, failed: true, has_event: false }
        );
    }

    #[test]
    fn a_stop_from_another_thread_ends_an_endless_wait() {
        let waker = Waker::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| waker.stop());
            assert_eq!(waker.wait(&[], None), WaitResult::Woken);
        });
        assert!(waker.is_stopped());
    }

    #[test]
    fn a_wait_without_ppoll_is_bounded_and_can_be_woken() {
        let waker = Waker::new().unwrap();
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(waker.wait_without_ppoll(0, Some(Duration::ZERO)), Some(WaitResult::TimedOut));
        assert_eq!(waker.wait_without_ppoll(0, hour), None, "ppoll is tried again");
        let next = || match waker.wait_without_ppoll(2, hour) {
            Some(WaitResult::Ready { index, failed: false, .. }) => index,
            other => panic!("{other:?}"),
        };
        assert_eq!([next(), next()].iter().sum::<usize>(), 1, "each descriptor in turn");
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            while waker.wait_without_ppoll(0, None) != Some(WaitResult::Woken) {}
        });
        assert_eq!(waker.wait(&[], Some(Timestamp::now())), WaitResult::TimedOut, "the wake was taken");
    }
}
