//! A client's connection, with patience of its own: a write that makes no progress for too long is an error,
//! whoever writes and whatever happens meanwhile.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes that may wait in the kernel before the network takes them. Frames wait in the ring instead, where a newer
/// one replaces them.
const UNSENT: u32 = 16 * 1024;

/// A connection that gives up on a peer who takes nothing.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    patience: Duration,
    /// Counts down while a write waits. Kept for the next wait, so that waiting allocates once.
    countdown: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Socket {
    /// Wraps a fresh connection. Small writes go out at once.
    pub(super) fn new(stream: TcpStream, patience: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, patience, countdown: None, waiting: false })
    }

    /// Sets the kernel up for a stream of frames: no queue of old ones.
    pub(super) fn keep_fresh(&self) -> io::Result<()> {
        SockRef::from(&self.stream).set_tcp_notsent_lowat(UNSENT)
    }

    /// Writes all of `parts`, in as few calls as the kernel allows, without joining them first.
    pub(super) async fn write_parts(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty ones in front would look like a write of nothing.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.write_vectored(parts).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => IoSlice::advance_slices(&mut parts, n),
            }
        }
        Ok(())
    }

    fn guard(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        let patience = self.patience;
        let countdown = self.countdown.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !self.waiting {
            self.waiting = true;
            countdown.as_mut().reset(Instant::now() + patience);
        }
        ready!(countdown.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no data")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.guard(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.guard(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
