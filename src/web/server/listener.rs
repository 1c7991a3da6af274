//! Where connections come from: addresses, and listening on them.
//!
//! TCP sockets, UNIX sockets, and either of them opened by a service manager. What follows once a peer has connected
//! is none of this file's business.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::task::{Context, Poll};

use log::warn;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::web::server::socket_activation;
use crate::web::server::transport::Line;

/// Connections waiting to be accepted: as many as may come at once after a network was away.
const BACKLOG: u32 = 256;
/// Who may connect to a UNIX socket: this user and its group, as that of a web server in front.
const MODE: u32 = 0o660;
/// Who may connect to a local socket: this user, and root.
const LOCAL_MODE: u32 = 0o600;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and port. Port 0 takes any free one.
    Tcp(SocketAddr),
    /// A UNIX socket at a path.
    Unix(PathBuf),
    /// A UNIX socket for this user and root alone, who may watch whatever else is asked of others.
    Local(PathBuf),
    /// A socket that the service manager has opened.
    Handed {
        /// As what this process has it.
        descriptor: RawFd,
        /// Where it listens.
        at: Box<Address>,
    },
}

impl Address {
    /// Whether nobody outside this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) | Self::Local(_) => true,
            Self::Handed { at, .. } => at.is_local(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) | Self::Local(path) => write!(f, "unix:{}", path.display()),
            Self::Handed { at, .. } => at.fmt(f),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match SockAddr::unix(&path) {
                Ok(_) if path.is_absolute() => Ok(Self::Unix(path)),
                _ => Err("must be a whole path of at most 107 bytes behind unix:, like \
                          unix:/run/porthole/http.sock"
                    .into()),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "must be an IP address and a port, like 0.0.0.0:8080 or [::]:8080, or a path behind unix:".into()
        })
    }
}

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Peer {
    /// Somebody at this address.
    Tcp(SocketAddr),
    /// A program on this machine.
    Unix,
    /// One that runs as this user or root.
    Local,
}

impl Peer {
    /// Whether it speaks by a UNIX socket, which is plain.
    pub(in crate::web) fn is_unix(self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    /// Whom it is counted with. None for this machine.
    pub(in crate::web) fn household(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => household(address.ip()),
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

/// Whoever has this address, or in IPv6 the network of 64 bits that one customer is given at least (RFC 6177): there,
/// addresses cost nothing. None for this machine: its own programs, and a proxy with everybody behind it.
pub(in crate::web) fn household(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into()),
        ip => Some(ip),
    }
}

/// The file of a UNIX socket, which goes when nobody listens there any more.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another service may have taken the place.
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode)
            && let Err(cause) = fs::remove_file(&self.path)
        {
            warn!("unix:{} is left behind: {cause}", self.path.display());
        }
    }
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    /// With its file, unless that is the service manager's, and who comes by it.
    Unix {
        listener: UnixListener,
        _file: Option<SocketFile>,
        peer: Peer,
    },
}

/// Something that connections come from.
#[derive(Debug)]
pub(in crate::web) struct Listener(Kind);

impl Listener {
    /// Listens at `address`.
    pub(in crate::web) fn bind(address: &Address) -> io::Result<Self> {
        let kind = match address {
            Address::Tcp(address) => Kind::Tcp(bind_tcp(*address)?),
            Address::Unix(path) => bind_unix(path, Peer::Unix, MODE)?,
            Address::Local(path) => bind_unix(path, Peer::Local, LOCAL_MODE)?,
            Address::Handed { descriptor, at } => {
                let socket = Socket::from(socket_activation::take(*descriptor));
                socket.set_nonblocking(true)?;
                socket.set_cloexec(true)?;
                match **at {
                    Address::Unix(_) => {
                        let listener = UnixListener::from_std(socket.into())?;
                        Kind::Unix { listener, _file: None, peer: Peer::Unix }
                    }
                    _ => Kind::Tcp(TcpListener::from_std(socket.into())?),
                }
            }
        };
        Ok(Self(kind))
    }

    /// Where it listens, with the port it was given.
    pub(in crate::web) fn address(&self) -> io::Result<Address> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Kind::Unix { listener, peer, .. } => {
                let path = listener.local_addr()?.as_pathname().map(PathBuf::from).unwrap_or_default();
                Ok(if *peer == Peer::Local { Address::Local(path) } else { Address::Unix(path) })
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Line, Peer)>> {
        match &self.0 {
            Kind::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, address)| (Line::from(stream), Peer::Tcp(address)))
            }
            Kind::Unix { listener, peer, .. } => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (Line::from(stream), *peer))
            }
        }
    }
}

/// The next connection of any of `listeners`. `turn` is whose turn it is to be asked first, so that none is forgotten
/// over another.
pub(in crate::web) async fn accept(listeners: &[Listener], turn: &mut usize) -> io::Result<(Line, Peer)> {
    poll_fn(|cx| {
        for step in 0..listeners.len() {
            let index = (*turn + step) % listeners.len();
            if let Poll::Ready(accepted) = listeners[index].poll_accept(cx) {
                *turn = index + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that a restart need not wait for the last connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_unix(path: &Path, peer: Peer, mode: u32) -> io::Result<Kind> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path, &address) => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let meta = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.into(), inode: (meta.dev(), meta.ino()) };
    // Before anybody can connect, which is from the next line on.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG as i32)?;
    Ok(Kind::Unix { listener: UnixListener::from_std(socket.into())?, _file: Some(file), peer })
}

/// Whether a socket was left there by somebody who listens no more: killed, or the machine lost its power.
fn is_abandoned(path: &Path, address: &SockAddr) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refuses = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.connect(address)
    };
    is_socket && refuses().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// What to do when [`Listener::bind`] has failed.
pub(in crate::web) fn remedy(address: &Address, error: &io::Error) -> &'static str {
    match (address, error.kind()) {
        (Address::Unix(_) | Address::Local(_), io::ErrorKind::AddrInUse) => {
            "another program listens there, or what is there is no socket: stop or remove it, or name another \
             path with --listen"
        }
        (Address::Unix(_) | Address::Local(_), io::ErrorKind::NotFound) => {
            "make its folder, or name another path with --listen"
        }
        (Address::Unix(_) | Address::Local(_), io::ErrorKind::PermissionDenied) => {
            "this user may not write there: name another path with --listen"
        }
        (_, io::ErrorKind::AddrInUse) => {
            "another program has that port: stop it, or name another with --listen"
        }
        (_, io::ErrorKind::AddrNotAvailable) => {
            "this machine has no such address: use 0.0.0.0 for all it has, or 127.0.0.1 for itself alone"
        }
        (_, io::ErrorKind::PermissionDenied) => {
            "ports below 1024 need a privilege: name a higher one with --listen"
        }
        _ => "name another address with --listen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["127.0.0.1:8080", "[::]:80", "unix:/run/porthole/http.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in
            ["", "localhost:80", "8080", "unix:", "unix:relative", &format!("unix:/{}", "x".repeat(200))]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        assert!("unix:/x".parse::<Address>().unwrap().is_local());
        assert!(!"0.0.0.0:1".parse::<Address>().unwrap().is_local());
    }

    #[test]
    fn a_household_is_what_an_attacker_could_be() {
        let of = |text: &str| household(text.parse().unwrap()).map(|ip| ip.to_string());
        assert_eq!((of("127.0.0.1"), of("127.9.9.9"), of("::1")), (None, None, None));
        assert_eq!(of("::ffff:127.0.0.1"), None);
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), Some("2001:db8:1:2::".into()));
        assert_eq!((Peer::Unix.household(), Peer::Local.household()), (None, None));
    }
}
