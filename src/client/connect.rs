//! Connections to another machine: its name, its addresses, TCP, and TLS where it is asked for.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::error::ConnectError;
use super::look_up::look_up;
use super::stream::RemoteStream;
use super::tls::ClientTls;

/// Longest time to resolve a name. The resolver asks its next server after five seconds, which is too late for a viewer.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time from the addresses to a connection with one of them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time after which the next address is tried beside one that has not answered (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects to one server.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    host: String,
    port: u16,
    tls: Option<ClientTls>,
}

impl Connector {
    /// Connections to `host`, encrypted if there is `tls`.
    pub(crate) fn new(host: &str, port: u16, tls: Option<ClientTls>) -> Self {
        Self { host: host.to_owned(), port, tls }
    }

    /// Connects. Every step has a deadline of its own.
    pub(crate) async fn connect(&self) -> Result<RemoteStream, ConnectError> {
        self.secure(self.tcp().await?).await
    }

    /// The first step: TCP.
    pub(crate) async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let tcp = connect_to_one(resolve(&self.host, self.port).await?).await?;
        // A request is sent at once; there is nothing that it could be sent together with.
        tcp.set_nodelay(true).map_err(ConnectError::Socket)?;
        Ok(tcp)
    }

    /// The second step: TLS, if there is any.
    pub(crate) async fn secure(&self, tcp: TcpStream) -> Result<RemoteStream, ConnectError> {
        match &self.tls {
            None => Ok(Box::new(tcp)),
            Some(tls) => tls.connect(&self.host, tcp).await,
        }
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let lookup = timeout(RESOLVE_TIMEOUT, look_up(host, port)).await;
    let host = host.to_owned();
    match lookup {
        Err(_) => Err(ConnectError::SlowName { host, seconds: RESOLVE_TIMEOUT.as_secs() }),
        Ok(Err(source)) => Err(ConnectError::UnknownName { host, source }),
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).collect();
            let none = || io::Error::other("it has no address");
            if addresses.is_empty() {
                return Err(ConnectError::UnknownName { host, source: none() });
            }
            Ok(addresses)
        }
    }
}

/// Connects to whichever address answers first. Each has a head start before the next.
async fn connect_to_one(addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let shown = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    let attempt = async {
        let (mut attempts, mut last) = (JoinSet::new(), None);
        let mut addresses = addresses.into_iter().peekable();
        loop {
            if let Some(address) = addresses.next() {
                attempts.spawn(async move { (address, TcpStream::connect(address).await) });
            }
            let ended = tokio::select! {
                ended = attempts.join_next() => ended,
                () = sleep(HEAD_START), if addresses.peek().is_some() => continue,
            };
            match ended {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(source)))) => last = Some((address, source)),
                Some(Err(_)) => {}
                None if addresses.peek().is_none() => return Err(last),
                None => {}
            }
        }
    };
    match timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(Some((address, source)))) if source.kind() == io::ErrorKind::ConnectionRefused => {
            Err(ConnectError::Refused { address: address.to_string() })
        }
        Ok(Err(Some((address, source)))) => {
            Err(ConnectError::Unreachable { address: address.to_string(), source })
        }
        Ok(Err(None)) | Err(_) => {
            Err(ConnectError::Timeout { address: shown, seconds: CONNECT_TIMEOUT.as_secs() })
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses_or_does_not_answer() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let good = listener.local_addr().unwrap();
            // A port that was free a moment ago, and one of a network that is reserved for documentation (RFC 5737).
            let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let silent: SocketAddr = "192.0.2.1:9".parse().unwrap();
            let stream = connect_to_one(vec![closed, silent, good]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
            let refused = connect_to_one(vec![closed]).await.unwrap_err();
            assert!(
                matches!(&refused, ConnectError::Refused { address } if *address == closed.to_string()),
                "{refused}"
            );
        });
    }

    #[test]
    fn an_address_needs_no_resolver_and_a_name_that_does_not_exist_is_named() {
        run(async {
            assert_eq!(resolve("::1", 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
            // RFC 6761 reserves the domain.
            let error = resolve("nowhere.invalid", 80).await.unwrap_err().to_string();
            assert!(error.contains("nowhere.invalid"), "{error}");
        });
    }
}
