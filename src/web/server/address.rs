//! The addresses that the service listens on, as the configuration writes them.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
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
        if let Some(path) = text.strip_prefix("unix:") {
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
}
