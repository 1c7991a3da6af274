//! What a peer has not taken yet, asked of the kernel: how much, and how fast it goes.
//!
//! Two questions, and nothing about what follows from the answers; that is in [`client_socket`](super::client_socket).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::libc;

/// Bytes given to the kernel that the peer's kernel has not confirmed, sent or not (SIOCOUTQ of tcp(7)).
pub(in crate::web) fn unconfirmed(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, to where it is told.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes.unsigned_abs()) }
}

/// The way to a peer, as far as it has been found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::web) struct Path {
    /// Bytes in a full segment.
    pub(in crate::web) segment: u32,
    /// The shortest round trip seen: there and back with empty queues.
    pub(in crate::web) round_trip: Duration,
    /// Bytes a second that arrived of late; 0 while nothing has.
    pub(in crate::web) bytes_per_s: u64,
}

impl Path {
    /// Bytes that keep the way full: with fewer under way it is idle at times, with more they queue.
    pub(in crate::web) fn holds(&self) -> u64 {
        (u128::from(self.bytes_per_s) * self.round_trip.as_micros() / 1_000_000) as u64
    }

    /// Time so many bytes take; none while nobody knows.
    pub(in crate::web) fn time_for(&self, bytes: u64) -> Duration {
        let micros = (u128::from(bytes) * 1_000_000).checked_div(self.bytes_per_s.into()).unwrap_or(0);
        Duration::from_micros(micros as u64)
    }
}

/// Where the kernel's `struct tcp_info` (include/uapi/linux/tcp.h) holds what is asked for, since Linux 4.9.
mod offset {
    pub(in crate::web) const SND_MSS: usize = 16;
    pub(in crate::web) const MIN_RTT: usize = 148;
    pub(in crate::web) const DELIVERY_RATE: usize = 160;
    pub(in crate::web) const END: usize = 168;
}

/// The way to the peer of a TCP connection (TCP_INFO of tcp(7)).
pub(in crate::web) fn path(socket: BorrowedFd<'_>) -> io::Result<Path> {
    let mut info = [0; offset::END];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: no more than `len` bytes are written, which is what there is room for.
    let answer = unsafe {
        let (info, len) = (info.as_mut_ptr().cast(), &raw mut len);
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, len)
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // A kernel that knows less leaves zeros, which stand for not knowing.
    let field = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    let (low, high) = (field(offset::DELIVERY_RATE), field(offset::DELIVERY_RATE + 4));
    let (low, high) = if cfg!(target_endian = "big") { (high, low) } else { (low, high) };
    Ok(Path {
        segment: field(offset::SND_MSS),
        // All ones stand for none seen.
        round_trip: Duration::from_micros(
            Some(field(offset::MIN_RTT)).filter(|us| *us != u32::MAX).unwrap_or(0).into(),
        ),
        bytes_per_s: u64::from(high) << 32 | u64::from(low),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn the_kernel_tells_what_is_under_way() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert_eq!(unconfirmed(near.as_fd()).unwrap(), 0);
        near.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(n) = near.write(&[0; 65536]) {
            written += n;
        }
        let waiting = unconfirmed(near.as_fd()).unwrap() as usize;
        assert!(waiting > 0 && waiting <= written, "{waiting} of {written}");
        far.read_exact(&mut vec![0; written]).unwrap();
        let path = path(near.as_fd()).unwrap();
        assert!(path.segment >= 536, "{path:?}");
        assert!(path.bytes_per_s > 0 && path.round_trip < Duration::from_secs(10), "{path:?}");
    }

    #[test]
    fn a_path_holds_what_arrives_in_a_round_trip() {
        let path = Path { segment: 1448, round_trip: Duration::from_millis(50), bytes_per_s: 1_000_000 };
        assert_eq!(path.holds(), 50_000);
        assert_eq!(path.time_for(20_000), Duration::from_millis(20));
        assert_eq!(Path::default().time_for(20_000), Duration::ZERO);
    }
}
