//! The addresses that the service listens on, how it encrypts there, and the peers that connect.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

use socket2::SockAddr;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address and port. Port 0 takes any free one.
    Tcp(SocketAddr),
    /// A UNIX socket at this path, for this user and its group.
    Unix(PathBuf),
    /// A UNIX socket at this path, for this user and root alone. Its clients may watch without credentials.
    Local(PathBuf),
    /// A socket that the service manager has opened (socket activation).
    Activated {
        /// Its descriptor in this process.
        descriptor: RawFd,
        /// The address it listens on.
        at: Box<ListenAddress>,
    },
}

impl ListenAddress {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) | Self::Local(_) => true,
            Self::Activated { at, .. } => at.is_local(),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) | Self::Local(path) => write!(f, "unix:{}", path.display()),
            Self::Activated { at, .. } => at.fmt(f),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = text.split_once(':').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("unix"));
        if let Some((_, path)) = scheme {
            let path = PathBuf::from(path);
            return match SockAddr::unix(&path) {
                Ok(_) if path.is_absolute() => Ok(Self::Unix(path)),
                _ => Err("must be an absolute path of at most 107 bytes after unix:, like \
                          unix:/run/porthole/http.sock"
                    .into()),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "must be an IP address and a port, like 0.0.0.0:8080 or [::]:8080, or a path after unix:".into()
        })
    }
}

/// How TCP connections are encrypted. UNIX sockets are always plain: their peers are programs of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// TLS with a certificate and key from PEM files.
    Files {
        /// The certificate, followed by its chain.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// TLS with a self-signed certificate that the service makes.
    SelfSigned,
}

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
    fn addresses_parse_as_displayed() {
        for text in ["127.0.0.1:8080", "[::]:80", "unix:/run/porthole/http.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for bad in
            ["", "localhost:80", "8080", "unix:", "unix:relative", &format!("unix:/{}", "x".repeat(200))]
        {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
        assert!("unix:/x".parse::<ListenAddress>().unwrap().is_local());
        assert!(!"0.0.0.0:1".parse::<ListenAddress>().unwrap().is_local());
    }

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
