//! Listening sockets: TCP and UNIX, opened here or by a service manager. What happens to an accepted connection is decided
//! elsewhere.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::{fs, io};

use log::warn;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::address::{ListenAddress, Peer};
use super::socket_activation;
use super::transport::{Connection, RawStream};

/// Connections that may wait to be accepted: as many as may come at once after a network outage.
const BACKLOG: u32 = 256;
/// Mode of a UNIX socket: this user and its group, which a web server in front can be in.
const UNIX_MODE: u32 = 0o660;
/// Mode of a local socket: this user, and root.
const LOCAL_MODE: u32 = 0o600;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; {remedy}")]
pub struct ListenError {
    address: ListenAddress,
    remedy: &'static str,
    #[source]
    source: io::Error,
}

/// The file of a UNIX socket. It is removed with the socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another service may have put its own socket there.
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode)
            && let Err(cause) = fs::remove_file(&self.path)
        {
            warn!("unix:{} cannot be removed: {cause}", self.path.display());
        }
    }
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// `None` if the file belongs to the service manager.
        _file: Option<SocketFile>,
        peer: Peer,
    },
}

impl ListenerSocket {
    fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => bind_tcp(*address),
            ListenAddress::Unix(path) => bind_unix(path, Peer::Unix, UNIX_MODE),
            ListenAddress::Local(path) => bind_unix(path, Peer::Local, LOCAL_MODE),
            ListenAddress::Activated { descriptor, at } => {
                let socket = Socket::from(socket_activation::take(*descriptor));
                socket.set_nonblocking(true)?;
                socket.set_cloexec(true)?;
                Ok(match **at {
                    ListenAddress::Unix(_) => {
                        let listener = UnixListener::from_std(socket.into())?;
                        Self::Unix { listener, _file: None, peer: Peer::Unix }
                    }
                    _ => Self::Tcp(TcpListener::from_std(socket.into())?),
                })
            }
        }
    }

    fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix { listener, peer, .. } => {
                let path = listener.local_addr()?.as_pathname().map(PathBuf::from).unwrap_or_default();
                Ok(if *peer == Peer::Local { ListenAddress::Local(path) } else { ListenAddress::Unix(path) })
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Connection, Peer)>> {
        match self {
            Self::Tcp(listener) => {
                let accepted = listener.poll_accept(cx);
                accepted.map_ok(|(stream, peer)| (Connection::new(RawStream::Tcp(stream)), Peer::Tcp(peer)))
            }
            Self::Unix { listener, peer, .. } => {
                let accepted = listener.poll_accept(cx);
                accepted.map_ok(|(stream, _)| (Connection::new(RawStream::Unix(stream)), *peer))
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<ListenerSocket>,
    /// The socket that is asked first for the next connection. It moves on, so that a busy socket starves no other.
    first: usize,
}

impl Listeners {
    pub(crate) fn bind(addresses: &[ListenAddress]) -> Result<Self, ListenError> {
        let bind = |address: &ListenAddress| {
            ListenerSocket::bind(address).map_err(|source| {
                let remedy = remedy(address, &source);
                ListenError { address: address.clone(), remedy, source }
            })
        };
        Ok(Self { sockets: addresses.iter().map(bind).collect::<Result<_, _>>()?, first: 0 })
    }

    /// The addresses, with the ports that the kernel chose.
    pub(crate) fn addresses(&self) -> io::Result<Vec<ListenAddress>> {
        self.sockets.iter().map(ListenerSocket::address).collect()
    }

    /// Waits for the next connection on any of the sockets. Loses nothing when cancelled.
    pub(crate) async fn accept(&mut self) -> io::Result<(Connection, Peer)> {
        poll_fn(|cx| {
            for step in 0..self.sockets.len() {
                let index = (self.first + step) % self.sockets.len();
                if let Poll::Ready(accepted) = self.sockets[index].poll_accept(cx) {
                    self.first = index + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<ListenerSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait until the last connections have timed out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG).map(ListenerSocket::Tcp)
}

fn bind_unix(path: &Path, peer: Peer, mode: u32) -> io::Result<ListenerSocket> {
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
    // Before the first client can connect, which is from `listen` on.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG as i32)?;
    Ok(ListenerSocket::Unix { listener: UnixListener::from_std(socket.into())?, _file: Some(file), peer })
}

/// Whether the socket at `path` has no listener any more: its service was killed, or the machine lost power.
fn is_abandoned(path: &Path, address: &SockAddr) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.connect(address)
    };
    is_socket && connect().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// What to do when an address cannot be listened on.
fn remedy(address: &ListenAddress, error: &io::Error) -> &'static str {
    let is_file = matches!(address, ListenAddress::Unix(_) | ListenAddress::Local(_));
    match error.kind() {
        io::ErrorKind::AddrInUse if is_file => {
            "another program listens there, or the file is not a socket: stop that program, remove the file, or name \
             another path with --listen"
        }
        io::ErrorKind::NotFound if is_file => "create its directory, or name another path with --listen",
        io::ErrorKind::PermissionDenied if is_file => {
            "this user may not write there: name another path with --listen"
        }
        io::ErrorKind::AddrInUse => "another program has that port: stop it, or name another with --listen",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: use 0.0.0.0 for all of its addresses, or 127.0.0.1 for itself alone"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: name a higher one with --listen"
        }
        _ => "name another address with --listen",
    }
}
