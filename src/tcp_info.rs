//! The kernel's view of a connection: how much it has not delivered yet, how fast it delivers, and from how many bytes on it wakes
//! a reader.
//!
//! Only the system calls and plain arithmetic. Those who send draw the conclusions.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::libc;

/// Bytes in the kernel's send queue: written, and not yet acknowledged by the peer's kernel (SIOCOUTQ of tcp(7)).
pub(crate) fn send_queue_bytes(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, to the pointer it is given.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes.unsigned_abs()) }
}

/// Sets from how many unread bytes on a TCP socket counts as readable, and its reader is woken (SO_RCVLOWAT of socket(7)). It is
/// woken at once if there are as many.
pub(crate) fn set_low_water(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let bytes = bytes as libc::c_int;
    // SAFETY: the kernel reads one int from the pointer, which is as long as it is told.
    let answer = unsafe {
        let (at, len) = ((&raw const bytes).cast(), size_of::<libc::c_int>() as libc::socklen_t);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, at, len)
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What TCP has measured of the path to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// Bytes in a full segment.
    pub(crate) segment: u32,
    /// The shortest round trip seen, which is one with empty queues.
    pub(crate) min_round_trip: Duration,
    /// Bytes a second that were recently delivered; 0 before the first.
    pub(crate) delivery_rate: u64,
    /// Bytes that the peer has acknowledged since the connection began.
    pub(crate) acknowledged: u64,
}

impl TcpInfo {
    /// The bandwidth-delay product, in bytes. With fewer in flight the path is idle at times; with more they queue.
    pub(crate) fn bandwidth_delay_product(&self) -> u64 {
        (u128::from(self.delivery_rate) * self.min_round_trip.as_micros() / 1_000_000) as u64
    }

    /// Time to deliver so many bytes; zero while the rate is not known.
    pub(crate) fn delivery_time(&self, bytes: u64) -> Duration {
        let micros = (u128::from(bytes) * 1_000_000).checked_div(self.delivery_rate.into()).unwrap_or(0);
        Duration::from_micros(micros as u64)
    }
}

/// Reads TCP_INFO of a TCP socket (tcp(7)).
pub(crate) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of the struct, which consists of integers. An older kernel
    // leaves zeros at its end, which mean "not known".
    let (answer, info) = unsafe {
        let (at, len) = (info.as_mut_ptr().cast(), &raw mut len);
        (libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, len), info.assume_init())
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // All ones mean that no round trip was measured.
    let min_round_trip = Some(info.tcpi_min_rtt).filter(|us| *us != u32::MAX).unwrap_or(0);
    Ok(TcpInfo {
        segment: info.tcpi_snd_mss,
        min_round_trip: Duration::from_micros(min_round_trip.into()),
        delivery_rate: info.tcpi_delivery_rate,
        acknowledged: info.tcpi_bytes_acked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn the_kernel_reports_queue_and_rate() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert_eq!(send_queue_bytes(near.as_fd()).unwrap(), 0);
        near.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(n) = near.write(&[0; 65536]) {
            written += n;
        }
        let queued = send_queue_bytes(near.as_fd()).unwrap() as usize;
        assert!(queued > 0 && queued <= written, "{queued} of {written}");
        far.read_exact(&mut vec![0; written]).unwrap();
        let info = tcp_info(near.as_fd()).unwrap();
        assert!(info.segment >= 536, "{info:?}");
        assert!(info.delivery_rate > 0 && info.min_round_trip < Duration::from_secs(10), "{info:?}");
    }

    #[test]
    fn a_path_holds_what_is_delivered_in_a_round_trip() {
        let info = TcpInfo {
            segment: 1448,
            min_round_trip: Duration::from_millis(50),
            delivery_rate: 1_000_000,
            acknowledged: 0,
        };
        assert_eq!(info.bandwidth_delay_product(), 50_000);
        assert_eq!(info.delivery_time(20_000), Duration::from_millis(20));
        assert_eq!(TcpInfo::default().delivery_time(20_000), Duration::ZERO);
    }
}
