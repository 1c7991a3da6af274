//! A client's connection, with patience of its own: data that makes no progress for too long is an error, whoever
//! wrote it and whatever happens meanwhile.
//!
//! And with an eye on what is under way: [`Socket::clears_in`] tells when a frame that is written would leave at once
//! rather than wait behind an older one. Where a link takes less than the camera gives, that is what keeps the picture
//! new: the queues of kernel and network stay empty, and the frame is chosen when it can go.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::web::server::tcp_info::Path;
use crate::web::server::transport::Transport;

/// Shortest and longest time to the next look at what is under way. A timer is not finer, and an estimate not better.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));

/// A connection that gives up on a peer who takes nothing.
#[derive(Debug)]
pub(in crate::web) struct Socket {
    stream: Transport,
    patience: Duration,
    /// Counts down while a write waits. Kept for the next wait, so that waiting allocates once.
    countdown: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// When something was last written.
    wrote: Instant,
    /// How much of what was written the peer's kernel is known to have confirmed...
    confirmed: u64,
    /// ...and since when no more are, or none were under way. Only the peer's taking something moves this: whatever
    /// else is written meanwhile, as answers to what it asks, does not.
    since: Instant,
}

impl Socket {
    /// Wraps a fresh connection. Small writes go out at once.
    pub(in crate::web) fn new(stream: Transport, patience: Duration) -> io::Result<Self> {
        stream.line().prepare()?;
        let now = Instant::now();
        Ok(Self { stream, patience, countdown: None, waiting: false, wrote: now, confirmed: 0, since: now })
    }

    /// Sets the kernel up for a stream of frames: no queue of old ones.
    pub(in crate::web) fn keep_fresh(&self) -> io::Result<()> {
        self.stream.line().keep_fresh()
    }

    /// The time until what has been written before is off the way, as far as can be told; `None` if it is.
    ///
    /// # Errors
    /// When the peer has taken nothing of it for too long.
    pub(in crate::web) fn clears_in(&mut self) -> io::Result<Option<Duration>> {
        let waiting = self.stream.line().unconfirmed()?;
        let (now, confirmed) = (Instant::now(), self.stream.line().written().saturating_sub(waiting.into()));
        if confirmed > self.confirmed || waiting == 0 {
            (self.confirmed, self.since) = (confirmed, now);
        } else if now >= self.since + self.patience {
            return Err(no_progress());
        }
        if waiting == 0 {
            return Ok(None);
        }
        let (shortest, longest) = LOOKS;
        let still = now - self.since.max(self.wrote);
        let time = match self.stream.line().path()? {
            Some(path) => clears_in(waiting, still, &path),
            // Nobody knows how fast a program reads. What has taken long so far is looked at less often.
            None => Some(still),
        };
        Ok(time.map(|time| time.clamp(shortest, longest)))
    }

    /// The shortest time there and back to the peer.
    pub(in crate::web) fn round_trip(&self) -> Duration {
        self.stream.line().path().ok().flatten().unwrap_or_default().round_trip
    }

    /// Writes all of `parts`, in as few calls as the kernel allows, without joining them first.
    pub(in crate::web) async fn write_parts(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty ones in front would look like a write of nothing.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.write_vectored(parts).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => IoSlice::advance_slices(&mut parts, n),
            }
        }
        // Of use with TLS alone, which keeps the last records to itself while the kernel has no room.
        self.flush().await?;
        self.wrote = Instant::now();
        Ok(())
    }

    /// Does something that may have to wait for the peer to take data, and gives up when that lasts too long.
    fn patiently<T>(
        &mut self,
        cx: &mut Context<'_>,
        work: impl FnOnce(Pin<&mut Transport>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.confirmed == self.stream.line().written() {
            // Nothing was under way as far as is known, so it is from now on that something is.
            self.since = Instant::now();
        }
        let done = work(Pin::new(&mut self.stream), cx);
        if done.is_ready() {
            self.waiting = false;
            return done;
        }
        let patience = self.patience;
        let countdown = self.countdown.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !self.waiting {
            self.waiting = true;
            countdown.as_mut().reset(Instant::now() + patience);
        }
        ready!(countdown.as_mut().poll(cx));
        Poll::Ready(Err(no_progress()))
    }
}

fn no_progress() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer takes no data")
}

/// The time until `waiting` bytes, of which none has been confirmed for `still`, are off the way; `None` if they are.
fn clears_in(waiting: u32, still: Duration, path: &Path) -> Option<Duration> {
    // What the way itself holds is travelling, not queueing.
    let queued = u64::from(waiting).checked_sub(path.holds()).filter(|queued| *queued > 0)?;
    let time = path.time_for(queued);
    // A peer confirms the last segment or two only after a while. They have arrived when they had the time to.
    if waiting <= 2 * path.segment {
        return time.checked_sub(still).filter(|rest| !rest.is_zero());
    }
    Some(time)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().patiently(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().patiently(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().patiently(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
