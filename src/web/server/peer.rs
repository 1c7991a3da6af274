//! The other end of an accepted connection, and the group that its address is counted with.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A TCP client at this address.
    Tcp(SocketAddr),
    /// A program on this machine, by a UNIX socket.
    Unix,
    /// A program on this machine that runs as this user or root.
    Local,
}

impl Peer {
    /// Whether it connected by a UNIX socket. TLS is not used there.
    pub(crate) fn is_unix(self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    /// The group that limits per address count it in; see [`address_group`].
    pub(crate) fn address_group(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => address_group(address.ip()),
            Self::Unix | Self::Local => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Local => f.write_str("local"),
        }
    }
}

/// The addresses that one customer can choose from: an IPv4 address, or an IPv6 network of 64 bits, the least that a
/// customer is given (RFC 6177). `None` for this machine, which may hold a proxy with all of its clients behind it.
pub(crate) fn address_group(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into()),
        ip => Some(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_group_holds_all_addresses_of_one_customer() {
        let group = |text: &str| address_group(text.parse().unwrap()).map(|ip| ip.to_string());
        assert_eq!((group("127.0.0.1"), group("127.9.9.9"), group("::1")), (None, None, None));
        assert_eq!(group("::ffff:127.0.0.1"), None);
        assert_eq!(group("::ffff:192.0.2.1"), group("192.0.2.1"));
        assert_eq!(group("2001:db8:1:2:3:4:5:6"), Some("2001:db8:1:2::".into()));
        assert_eq!((Peer::Unix.address_group(), Peer::Local.address_group()), (None, None));
    }
}
