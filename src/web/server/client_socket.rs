//! A client's connection with a write timeout: a write that makes no progress for too long fails, whatever else happens
//! meanwhile.
//!
//! [`ClientSocket::time_until_clear`] tells when a new frame would leave at once and not queue behind an older one. A
//! stream waits for that moment before it chooses its next frame, so that on a slow link the queues of kernel and network
//! stay empty and the picture stays new.
//!
//! What a peer sends wakes the thread, unless a stream has said that so few bytes can wait until its next frame is due
//! ([`ClientSocket::read_later`]). They are read then, and whenever somebody asks ([`LateReads`]).
#![forbid(unsafe_code)]

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::transport::{Transport, Written};
use crate::tcp_info::TcpInfo;

/// Shortest and longest time until the send queue is looked at again. A timer is not finer than the first; an estimate is
/// not good for longer than the second.
const CLEAR_CHECK_INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));

/// Time to send what ends a connection, and time for the peer to close its side afterwards. A peer that takes longer is
/// disconnected.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);
/// Most bytes of a peer that are discarded after the end, far more than any request takes here. A peer that sends more is
/// disconnected too.
const MOST_DISCARDED: usize = 4 << 20;
/// Bytes that are read at once to be discarded.
const DISCARDED_AT_ONCE: usize = 16 << 10;

/// Whether what a peer sends is read late, for those who want to know of it before.
#[derive(Debug, Default)]
pub(crate) struct LateReads {
    is_late: AtomicBool,
    is_asked: AtomicBool,
}

impl LateReads {
    /// Asks for what was sent, if it is read late. It is read when the task of the connection is polled next, by whoever wakes
    /// that. Returns whether that is necessary.
    pub(crate) fn ask(&self) -> bool {
        let is_late = self.is_late.load(Relaxed);
        self.is_asked.fetch_or(is_late, Relaxed);
        is_late
    }
}

/// A connection whose writes time out.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    transport: Transport,
    write_timeout: Duration,
    /// Runs while a write waits. Kept for the next wait, so that only the first allocates.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    last_write: Instant,
    /// Written bytes that the peer is known to have received.
    acknowledged: u64,
    /// Since when no more were acknowledged, or since nothing was in flight. New writes do not move it: a peer that keeps
    /// the service talking, by pings for example, makes no progress by that.
    no_progress_since: Instant,
    late_reads: Arc<LateReads>,
}

impl ClientSocket {
    pub(crate) fn new(transport: Transport, write_timeout: Duration) -> io::Result<Self> {
        transport.connection().set_options()?;
        let now = Instant::now();
        Ok(Self {
            transport,
            write_timeout,
            timer: None,
            is_waiting: false,
            last_write: now,
            acknowledged: 0,
            no_progress_since: now,
            late_reads: Arc::default(),
        })
    }

    /// A connection to a program on this machine.
    #[cfg(test)]
    pub(crate) fn for_test(stream: tokio::net::UnixStream) -> Self {
        use super::transport::{Connection, RawStream};
        Self::new(Transport::Plain(Connection::new(RawStream::Unix(stream))), Duration::from_secs(10))
            .unwrap()
    }

    /// Prepares for a stream of frames: the kernel queues little unsent data.
    pub(crate) fn limit_unsent(&self) -> io::Result<()> {
        self.transport.connection().limit_unsent()
    }

    /// The estimated time until earlier writes no longer delay a new one; `None` if they do not. Fails when the peer
    /// has taken nothing of them within the write timeout.
    pub(crate) fn time_until_clear(&mut self) -> io::Result<Option<Duration>> {
        let connection = self.transport.connection();
        if self.acknowledged == connection.written {
            return Ok(None);
        }
        let queued = connection.send_queue_bytes()?;
        let (now, acknowledged) = (Instant::now(), connection.written.saturating_sub(queued.into()));
        if acknowledged > self.acknowledged || queued == 0 {
            (self.acknowledged, self.no_progress_since) = (acknowledged, now);
        } else if now >= self.no_progress_since + self.write_timeout {
            return Err(write_timed_out());
        }
        if queued == 0 {
            return Ok(None);
        }
        let idle = now - self.no_progress_since.max(self.last_write);
        let time = match connection.tcp_info()? {
            Some(info) => time_until_clear(queued, idle, &info),
            // The rate at which a local program reads is not known. The longer it has read nothing, the longer the wait.
            None => Some(idle),
        };
        let (shortest, longest) = CLEAR_CHECK_INTERVAL;
        Ok(time.map(|time| time.clamp(shortest, longest)))
    }

    /// Bytes written so far, with those that TLS adds.
    pub(crate) fn written(&self) -> u64 {
        self.transport.connection().written
    }

    /// The peer has said that it received the first `written` bytes, so the kernel need not be asked. A peer that says so
    /// too early delays only its own frames.
    pub(crate) fn mark_received(&mut self, written: u64) {
        if written > self.acknowledged {
            (self.acknowledged, self.no_progress_since) = (written, Instant::now());
        }
    }

    /// Whether what the peer sends is read late, shared with those who ask for it.
    pub(crate) fn share_late_reads(&mut self, shared: &Arc<LateReads>) {
        self.late_reads = Arc::clone(shared);
    }

    /// From now on fewer than `bytes` bytes of the peer wake nobody, and are read with the next frame. Returns whether this
    /// connection can do that: TLS may hold back what was read.
    pub(crate) fn read_later(&mut self, bytes: u32) -> io::Result<bool> {
        let is_late = match &self.transport {
            Transport::Plain(connection) => connection.set_low_water(bytes)?,
            #[cfg(feature = "tls")]
            Transport::Tls(_) => false,
        };
        self.late_reads.is_late.store(is_late, Relaxed);
        Ok(is_late)
    }

    /// From now on each byte of the peer wakes the task again.
    pub(crate) fn read_at_once(&mut self) -> io::Result<()> {
        if self.late_reads.is_late.swap(false, Relaxed) {
            self.transport.connection().set_low_water(1)?;
            // Before Linux 4.18 nobody is woken for what has come before.
            self.late_reads.is_asked.store(true, Relaxed);
        }
        Ok(())
    }

    /// Reads what has come and woken nobody, if it may tell that the way is clear for a new frame.
    pub(crate) fn read_late(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let connection = self.transport.connection();
        if !self.late_reads.is_late.load(Relaxed) || self.acknowledged == connection.written {
            return Ok(None);
        }
        some_read(connection.read_now(buffer))
    }

    /// The shortest round trip to the peer; zero if it is not known.
    pub(crate) fn min_round_trip(&self) -> Duration {
        self.transport.connection().tcp_info().ok().flatten().unwrap_or_default().min_round_trip
    }

    /// Writes all of `parts` with as few system calls as the kernel allows, and without joining them first.
    pub(crate) async fn write_parts(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Skips empty parts at the start, for which a write would return 0.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.write_vectored(parts).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => IoSlice::advance_slices(&mut parts, n),
            }
        }
        // TLS keeps the last records in its own buffer while the kernel has no room.
        self.flush().await?;
        self.last_write = Instant::now();
        Ok(())
    }

    /// Shuts the sending side down, and discards what the peer still sends until it closes its own. A socket that is closed before that
    /// resets the connection, and the reset may overtake what was sent last (RFC 9112, section 9.6).
    pub(crate) async fn end(mut self) {
        let discard = async {
            self.shutdown().await?;
            self.read_at_once()?;
            let (mut buffer, mut left) = (vec![0; DISCARDED_AT_ONCE], MOST_DISCARDED);
            while left > 0 {
                match self.read(&mut buffer).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            Ok::<_, io::Error>(())
        };
        // Whoever does not close in time is disconnected.
        let _ = timeout(CLOSE_TIMEOUT, discard).await;
    }

    /// Polls a write, and fails when it has waited for the whole timeout.
    fn poll_with_timeout<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Transport>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.acknowledged == self.transport.connection().written {
            // Nothing is known to be in flight, so progress is awaited from now on.
            self.no_progress_since = Instant::now();
        }
        let done = write(Pin::new(&mut self.transport), cx);
        if done.is_ready() {
            self.is_waiting = false;
            return done;
        }
        let write_timeout = self.write_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.as_mut().reset(Instant::now() + write_timeout);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(write_timed_out()))
    }
}

/// `None` if there is nothing to be read.
fn some_read(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        read => read.map(Some),
    }
}

fn write_timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer takes no data")
}

/// The time until `queued` bytes, of which none was acknowledged for `idle`, are out of the way; `None` if they are.
fn time_until_clear(queued: u32, idle: Duration, info: &TcpInfo) -> Option<Duration> {
    // Bytes up to the bandwidth-delay product travel. Those beyond it wait in a queue.
    let waiting = u64::from(queued).checked_sub(info.bandwidth_delay_product()).filter(|bytes| *bytes > 0)?;
    let time = info.delivery_time(waiting);
    // A peer delays its acknowledgement of the last segment or two. They count as delivered after the time that takes.
    if queued <= 2 * info.segment {
        return time.checked_sub(idle).filter(|rest| !rest.is_zero());
    }
    Some(time)
}

impl AsyncRead for ClientSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.late_reads.is_asked.load(Relaxed) && this.late_reads.is_asked.swap(false, Relaxed) {
            let read = this.transport.connection().read_now(buf.initialize_unfilled());
            if let Some(n) = some_read(read)? {
                buf.advance(n);
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut this.transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_with_timeout(cx, |transport, cx| transport.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Written> {
        self.get_mut().poll_with_timeout(cx, |transport, cx| transport.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_with_timeout(cx, |transport, cx| transport.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::net::UnixStream;
    use tokio::task::yield_now;

    use super::super::transport::{Connection, RawStream};
    use super::*;

    /// What a task reads that waits for as long as the kernel has something to report.
    async fn read_if_woken(socket: &mut ClientSocket) -> Option<usize> {
        let mut buffer = [0; 100];
        for _ in 0..2 {
            tokio::select! {
                biased;
                read = socket.read(&mut buffer) => return Some(read.unwrap()),
                () = std::future::ready(()) => {}
            }
            // The runtime looks at the sockets meanwhile.
            yield_now().await;
        }
        None
    }

    #[test]
    fn what_is_read_late_wakes_nobody_until_it_is_more_or_somebody_asks() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            far.set_nodelay(true).unwrap();
            let (near, _) = listener.accept().await.unwrap();
            let transport = Transport::Plain(Connection::new(RawStream::Tcp(near)));
            let mut socket = ClientSocket::new(transport, Duration::from_secs(10)).unwrap();
            let shared = Arc::default();
            socket.share_late_reads(&shared);
            assert_eq!(read_if_woken(&mut socket).await, None);
            far.write_all(&[0; 10]).unwrap();
            assert_eq!(read_if_woken(&mut socket).await, Some(10));
            assert!(!shared.ask(), "it is read at once");

            assert!(socket.read_later(40).unwrap());
            far.write_all(&[1; 10]).unwrap();
            assert_eq!(read_if_woken(&mut socket).await, None);
            far.write_all(&[1; 30]).unwrap();
            assert_eq!(read_if_woken(&mut socket).await, Some(40));

            far.write_all(&[2; 10]).unwrap();
            let mut buffer = [0; 100];
            assert_eq!(
                socket.read_late(&mut buffer).unwrap(),
                None,
                "there is nothing that it could be about"
            );
            assert!(shared.ask());
            assert_eq!(read_if_woken(&mut socket).await, Some(10), "somebody has asked");

            socket.write_parts(&mut [IoSlice::new(b"frame")]).await.unwrap();
            assert_eq!(socket.read_late(&mut buffer).unwrap(), None, "nothing has come");
            far.write_all(&[3; 10]).unwrap();
            assert_eq!(socket.read_late(&mut buffer).unwrap(), Some(10));

            far.write_all(&[4; 10]).unwrap();
            socket.read_at_once().unwrap();
            assert_eq!(read_if_woken(&mut socket).await, Some(10), "each byte wakes again");
        });
    }

    #[test]
    fn the_kernel_is_not_asked_for_what_the_peer_has_said() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // What a peer has not read counts as queued on a UNIX socket.
            let (near, _far) = UnixStream::pair().unwrap();
            let transport = Transport::Plain(Connection::new(RawStream::Unix(near)));
            let mut socket = ClientSocket::new(transport, Duration::from_secs(10)).unwrap();
            assert_eq!(socket.time_until_clear().unwrap(), None, "nothing was written");
            socket.write_parts(&mut [IoSlice::new(&[0; 100])]).await.unwrap();
            let first = socket.written();
            assert!(socket.time_until_clear().unwrap().is_some());
            socket.mark_received(first);
            assert_eq!(socket.time_until_clear().unwrap(), None);
            socket.write_parts(&mut [IoSlice::new(b"ping")]).await.unwrap();
            socket.mark_received(first);
            assert!(socket.time_until_clear().unwrap().is_some(), "more was written since");
        });
    }
}
