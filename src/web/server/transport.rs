//! What carries a client's bytes: a TCP or UNIX socket ([`Connection`]), plain or with TLS on top ([`Transport`]).
//!
//! Both are enums and not trait objects, so that a frame goes from the ring to the kernel without indirection.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

use crate::tcp_info::{self, TcpInfo};

/// Bytes that may wait unsent in the kernel (TCP_NOTSENT_LOWAT). Bounds the memory for a peer that stops reading;
/// large enough that a frame of usual size is one system call.
const MAX_UNSENT: u32 = 128 * 1024;
/// Keepalive probes: time until the first, interval, and number. They find peers that vanished while nothing was sent.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// How many bytes were written.
pub(super) type Written = io::Result<usize>;

#[derive(Debug)]
pub(super) enum RawStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// An accepted socket.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: RawStream,
    /// Bytes written so far.
    pub(super) written: u64,
}

impl Connection {
    pub(super) fn new(stream: RawStream) -> Self {
        Self { stream, written: 0 }
    }

    /// Sends small writes at once, and detects peers that are gone.
    pub(super) fn set_options(&self) -> io::Result<()> {
        let RawStream::Tcp(stream) = &self.stream else { return Ok(()) };
        stream.set_nodelay(true)?;
        let (time, interval, retries) = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)
    }

    /// Limits what the kernel queues unsent, for a stream of frames. A UNIX socket has no such queue.
    pub(super) fn limit_unsent(&self) -> io::Result<()> {
        match &self.stream {
            RawStream::Tcp(stream) => SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT),
            RawStream::Unix(_) => Ok(()),
        }
    }

    /// Waits for the first byte from the peer and leaves it to be read; `None` if the peer closes first.
    #[cfg(feature = "tls")]
    pub(super) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        match &self.stream {
            RawStream::Tcp(stream) => Ok((stream.peek(&mut byte).await? > 0).then_some(byte[0])),
            RawStream::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The address of this machine that the peer connected to.
    pub(crate) fn local_address(&self) -> Option<IpAddr> {
        match &self.stream {
            RawStream::Tcp(stream) => stream.local_addr().ok().map(|own| own.ip()),
            RawStream::Unix(_) => None,
        }
    }

    /// How many of the written bytes have not been acknowledged by the peer's kernel, or on a UNIX socket not been read by the peer.
    pub(super) fn send_queue_bytes(&self) -> io::Result<u32> {
        tcp_info::send_queue_bytes(match &self.stream {
            RawStream::Tcp(stream) => stream.as_fd(),
            RawStream::Unix(stream) => stream.as_fd(),
        })
    }

    /// What TCP has measured of the path to the peer; `None` for a UNIX socket.
    pub(super) fn tcp_info(&self) -> io::Result<Option<TcpInfo>> {
        match &self.stream {
            RawStream::Tcp(stream) => tcp_info::tcp_info(stream.as_fd()).map(Some),
            RawStream::Unix(_) => Ok(None),
        }
    }

    /// Sets how many bytes of the peer wake its reader. False on a UNIX socket, which knows no such limit.
    pub(super) fn set_low_water(&self, bytes: u32) -> io::Result<bool> {
        match &self.stream {
            RawStream::Tcp(stream) => tcp_info::set_low_water(stream.as_fd(), bytes).map(|()| true),
            RawStream::Unix(_) => Ok(false),
        }
    }

    /// Reads what is there, whether or not a reader was woken for it. `WouldBlock` if there is nothing.
    pub(super) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.stream {
            RawStream::Tcp(stream) => (&*SockRef::from(stream)).read(buffer),
            RawStream::Unix(stream) => (&*SockRef::from(stream)).read(buffer),
        }
    }

    fn count(&mut self, written: Poll<Written>) -> Poll<Written> {
        if let Poll::Ready(Ok(n)) = &written {
            self.written += *n as u64;
        }
        written
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            RawStream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            RawStream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            RawStream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            RawStream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.count(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Written> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            RawStream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            RawStream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            RawStream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            RawStream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection, with or without TLS.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Connection),
    /// Boxed, as it is much larger.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<Connection>>),
}

impl Transport {
    pub(crate) fn connection(&self) -> &Connection {
        match self {
            Self::Plain(connection) => connection,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// Calls the same method on either kind.
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
    ) -> Poll<Written> {
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
