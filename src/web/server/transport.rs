//! What carries a client's bytes: TCP or a UNIX socket, with the kernel's word on what has arrived, and TLS on top of it
//! or nothing.
//!
//! An enum rather than a trait object: there are few, they are known, and a frame goes from the ring to the kernel
//! without anything between.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

use crate::web::server::tcp_info::{self, Path};

/// Bytes that may wait in the kernel before the network takes them: what is left of a frame, as no other is begun
/// before. Bounds what a peer who stops reading costs; small enough for many of those, large enough that a frame of
/// usual size is one call to the kernel.
const UNSENT: u32 = 128 * 1024;
/// A machine that is gone without a word while there is nothing to send is asked after so long, so often, so many
/// times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection as the kernel knows it.
#[derive(Debug)]
pub(in crate::web) struct Line {
    stream: Stream,
    /// Bytes given to the kernel so far.
    written: u64,
}

impl From<TcpStream> for Line {
    fn from(stream: TcpStream) -> Self {
        Self { stream: Stream::Tcp(stream), written: 0 }
    }
}

impl From<UnixStream> for Line {
    fn from(stream: UnixStream) -> Self {
        Self { stream: Stream::Unix(stream), written: 0 }
    }
}

impl Line {
    /// Lets small writes go out at once, and finds out about peers that are gone.
    pub(in crate::web) fn prepare(&self) -> io::Result<()> {
        let Stream::Tcp(stream) = &self.stream else { return Ok(()) };
        stream.set_nodelay(true)?;
        let (time, interval, retries) = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)
    }

    /// Sets the kernel up for a stream of frames: no queue of old ones. A UNIX socket has none of its own: what has
    /// been written is what the peer has to read.
    pub(in crate::web) fn keep_fresh(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => SockRef::from(stream).set_tcp_notsent_lowat(UNSENT),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// The first byte that the peer sends, which stays to be read; nothing if it hangs up before.
    #[cfg(feature = "tls")]
    pub(in crate::web) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        match &self.stream {
            Stream::Tcp(stream) => Ok((stream.peek(&mut byte).await? > 0).then_some(byte[0])),
            Stream::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The address of this machine that the peer has reached.
    pub(in crate::web) fn own_address(&self) -> Option<IpAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok().map(|own| own.ip()),
            Stream::Unix(_) => None,
        }
    }

    /// Bytes given to the kernel so far.
    pub(in crate::web) fn written(&self) -> u64 {
        self.written
    }

    /// How many of them the peer's kernel, or on a UNIX socket the peer itself, has not taken yet.
    pub(in crate::web) fn unconfirmed(&self) -> io::Result<u32> {
        tcp_info::unconfirmed(self.descriptor())
    }

    /// What is known of the way to the peer, where there is one.
    pub(in crate::web) fn path(&self) -> io::Result<Option<Path>> {
        match &self.stream {
            Stream::Tcp(stream) => tcp_info::path(stream.as_fd()).map(Some),
            Stream::Unix(_) => Ok(None),
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &written {
            self.written += *n as u64;
        }
        written
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.count(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What has been written is with the kernel.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What a client's bytes go through.
#[derive(Debug)]
pub(in crate::web) enum Transport {
    /// As they are.
    Plain(Line),
    /// Encrypted. Large, and not in the way of those that are not.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<Line>>),
}

impl Transport {
    /// The connection beneath.
    pub(in crate::web) fn line(&self) -> &Line {
        match self {
            Self::Plain(line) => line,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether nobody on the way can read what goes through.
    pub(in crate::web) fn is_encrypted(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// Does the same with whichever it is.
macro_rules! either {
    ($this:expr, $stream:ident => $work:expr) => {
        match $this.get_mut() {
            Transport::Plain($stream) => {
                let $stream = Pin::new($stream);
                $work
            }
            #[cfg(feature = "tls")]
            Transport::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $work
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
