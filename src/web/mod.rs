//! The web: HTTP and WebSocket clients, what they may do, and frames to those that watch.
//!
//! It reads the [ring](crate::ring) and the [status](crate::status), and knows of cameras only that viewers can subscribe
//! to them. Nothing here can slow a camera, or one viewer another.
//!
//! A request passes each room once, from the top down:
//!
//! | room | what belongs there |
//! |---|---|
//! | [`connection`] | one connection from accept to close: TLS handshake, HTTP, the stream that takes it over |
//! | [`router`], [`route`] | from a request to its endpoint, with access checked on the way |
//! | [`page`] | the files of the web page |
//! | [`api`] | state, metrics, health, controls, login, and answers to denied requests |
//! | [`server_state`] | what all connections share |
//! | [`stream`] | frames over WebSocket, MJPEG and as snapshots; the viewer registry |
//! | [`access`] | host names, origins, credentials, and the check that decides about each request |
//! | [`response`] | what every answer is made of |
//! | [`server`] | sockets: listening, limits, TLS, transports |
//!
//! Imports go down this list only.

mod access;
mod api;
mod connection;
mod page;
mod response;
mod route;
mod router;
mod server;
mod server_state;
pub(crate) mod stream;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

pub use access::authentication::AuthMode;
pub use access::host::host;
pub use access::origin::origin;
pub use access::password::UserRole;
pub use access::password::{PasswordHash, Passwords, keep_passwords, kept_passwords, passwords_file};
pub use access::secrets::{TokenError, keep_token, kept_token};
pub use server::address::Encryption;
pub use server::address::ListenAddress;
pub use server::connection_limiter::ConnectionLimits;
pub use server::listener::ListenError;
pub use server::socket_activation::{SocketActivationError, activated_sockets};
pub use server::tls::TlsError;

use crate::camera::{Camera, CameraSet};
use crate::failpoint;
use crate::frame::Timestamp;
use crate::led::LedInfo;
use crate::status::{CameraId, Watcher};
use access::authentication::Authenticator;
use access::check::AccessCheck;
use access::host::HostPolicy;
use access::origin::OriginPolicy;
use response::ResponseHeaders;
use server::address::Peer;
use server::connection_limiter::{ConnectionCounters, ConnectionLimiter, ConnectionRejected, Rejector};
use server::listener::Listeners;
use server::tls::TlsServer;
use server::transport::Connection;
use server_state::ServerState;
use stream::viewers::ViewerRegistry;
use stream::websocket::session::StreamTimeouts;

/// Pause after a connection could not be accepted, mostly for lack of descriptors. Everything else goes on meanwhile.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Time that connections have to end by themselves at the stop; the rest is aborted. Longer than a connection takes to
/// close in order, shorter than the deadline of the whole service.
const STOP_TIMEOUT: Duration = Duration::from_millis(600);

/// The configuration of the web.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// The addresses to listen on, at least one.
    pub listen: Vec<ListenAddress>,
    /// Most viewers of all cameras together.
    pub max_viewers: usize,
    /// Further limits.
    pub limits: WebLimits,
    /// A peer that takes no data, or acknowledges no frame, for this long is disconnected.
    pub write_timeout: Duration,
    /// Whether TCP clients use TLS.
    pub encryption: Encryption,
    /// Which credentials are asked for.
    pub auth: AuthMode,
    /// Further names of this machine, as [`host()`] gives them.
    pub hosts: Vec<String>,
    /// Sites whose pages may read the answers, as [`origin()`] gives them.
    pub allow_origins: Vec<String>,
    /// The directory that keeps the token, passwords and the self-signed certificate.
    pub state_dir: PathBuf,
    /// Id of the board, to be shown.
    pub board: String,
    /// The LEDs, to be shown.
    pub leds: Vec<LedInfo>,
}

/// Limits on connections and viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebLimits {
    /// On the number of connections.
    pub connections: ConnectionLimits,
    /// Most viewers from one address.
    pub viewers_per_address: usize,
    /// Time for a client to send a request, to begin the next one, and for its TLS handshake.
    pub request_timeout: Duration,
    /// A WebSocket client that sends nothing for this long, though it is pinged, is disconnected.
    pub pong_timeout: Duration,
}

/// The web cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The access token cannot be kept.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is no certificate to serve with.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The web, which listens and does not serve yet.
#[derive(Debug)]
pub struct Web {
    listeners: Listeners,
    limiter: Arc<ConnectionLimiter>,
    server: Arc<ServerState>,
    stop: watch::Sender<bool>,
}

impl Web {
    /// Listens on the addresses in `settings`.
    ///
    /// # Errors
    /// [`WebError`] when an address cannot be listened on, or the token or the certificate cannot be read or kept.
    pub fn bind(settings: WebSettings, cameras: CameraSet, status: Watcher) -> Result<Self, WebError> {
        let WebSettings { listen, limits, allow_origins, state_dir, .. } = settings;
        let authenticator = Authenticator::prepare(settings.auth, &state_dir)?;
        let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        let hosts = HostPolicy::new(&hostname.unwrap_or_default(), &settings.hosts);
        let is_public = !listen.iter().all(ListenAddress::is_local);
        let origins = OriginPolicy::new(&allow_origins, is_public);
        let tls = TlsServer::prepare(&settings.encryption, &state_dir, &listen)?;
        let listeners = Listeners::bind(&listen)?;
        let (stop, stopped) = watch::channel(false);
        let viewers = ViewerRegistry::new(settings.max_viewers, limits.viewers_per_address);
        let server = ServerState {
            cameras,
            status,
            viewers,
            access: AccessCheck::new(hosts, origins, authenticator),
            response_headers: ResponseHeaders::new(&allow_origins),
            tls,
            counters: ConnectionCounters::default(),
            request_timeout: limits.request_timeout,
            stream_timeouts: StreamTimeouts { write: settings.write_timeout, pong: limits.pong_timeout },
            board: settings.board,
            leds: settings.leds,
            started: Timestamp::now(),
            stop: stopped,
        };
        let limiter = ConnectionLimiter::new(limits.connections);
        Ok(Self { listeners, limiter, server: Arc::new(server), stop })
    }

    /// What `/state` says of each camera, for others than web clients.
    pub fn camera_states(&self) -> CameraStates {
        CameraStates { server: Arc::clone(&self.server) }
    }

    /// The addresses it listens on, with the ports that the kernel chose.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> io::Result<Vec<ListenAddress>> {
        self.listeners.addresses()
    }

    /// A URL for each address, to open in a browser; for a UNIX socket, its path. Local sockets are left out. The URLs hold
    /// the token if that was made just now, and must not be logged then.
    ///
    /// # Errors
    /// When the kernel does not tell the addresses.
    pub fn urls(&self, hostname: &str) -> io::Result<Vec<String>> {
        let token = self.server.access.authenticator.new_token();
        let token = token.map(|token| format!("?token={token}")).unwrap_or_default();
        let addresses = self.addresses()?.into_iter();
        let addresses = addresses.filter(|address| !matches!(address, ListenAddress::Local(_)));
        Ok(addresses
            .map(|address| match address {
                ListenAddress::Tcp(address) => format!("{}{token}", self.url(address, hostname)),
                other => other.to_string(),
            })
            .collect())
    }

    /// The URL of the page for other machines, without a token; `None` if it is served to this machine alone.
    ///
    /// # Errors
    /// When the kernel does not report the addresses.
    pub fn page_url(&self, hostname: &str) -> io::Result<Option<String>> {
        let of_network = |address| match address {
            ListenAddress::Tcp(address) if !address.ip().is_loopback() => Some(self.url(address, hostname)),
            _ => None,
        };
        Ok(self.addresses()?.into_iter().find_map(of_network))
    }

    fn url(&self, address: SocketAddr, hostname: &str) -> String {
        let scheme = if self.server.tls.is_some() { "https" } else { "http" };
        let host = match address.ip() {
            ip if ip.is_unspecified() => format!("{hostname}.local"),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("{scheme}://{host}:{}/", address.port())
    }

    /// Serves until `stop` is ready, then closes all connections.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { mut listeners, limiter, server, stop: stop_all } = self;
        let rejector = Rejector::default();
        let mut notifiers = JoinSet::new();
        let (mut cameras, mut notified) = (server.cameras.subscribe(), BTreeSet::new());
        notify_viewers(&cameras.borrow_and_update(), &mut notified, &mut notifiers);
        let mut connections = JoinSet::new();
        // When connections are accepted again, after one could not be.
        let mut accept_at: Option<Instant> = None;
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = sleep_until(accept_at.unwrap_or_else(Instant::now)), if accept_at.is_some() => accept_at = None,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    server.counters.ended.add(1);
                    log_panic(ended);
                }
                Ok(()) = cameras.changed() => {
                    let cameras = Arc::clone(&cameras.borrow_and_update());
                    notify_viewers(&cameras, &mut notified, &mut notifiers);
                    server.viewers.forget_all_but(&notified);
                }
                // Without a notifier no viewer would be woken any more, so the service ends, too.
                Some(Err(panic)) = notifiers.join_next() => resume_unwind(panic.into_panic()),
                accepted = listeners.accept(), if accept_at.is_none() => match accepted {
                    Ok((connection, peer)) => {
                        failpoint::pass("web");
                        admit(&server, &limiter, &rejector, &mut connections, connection, peer);
                    }
                    Err(error) => {
                        debug!("accepting a connection: {error}");
                        server.counters.accept_failed.add(1);
                        // Descriptors become free when connections end.
                        server.counters.evicted.add(limiter.evict_one(Instant::now()).into());
                        accept_at = Some(Instant::now() + ACCEPT_RETRY);
                    }
                },
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        // The file of a UNIX socket is removed, and its disk may hang.
        let closed = spawn_blocking(move || drop(listeners));
        // Fails only without receivers, and then there is no connection to stop.
        let _ = stop_all.send(true);
        end_connections(connections, STOP_TIMEOUT).await;
        if timeout_at(deadline, closed).await.is_err() {
            warn!("the file of a UNIX socket could not be removed within {} ms", STOP_TIMEOUT.as_millis());
        }
    }
}

/// Starts the notifiers of those `cameras` that are not `notified`. They end by themselves when a camera is gone.
fn notify_viewers(cameras: &[Camera], notified: &mut BTreeSet<CameraId>, notifiers: &mut JoinSet<()>) {
    for camera in cameras.iter().filter(|camera| !notified.contains(&camera.id())) {
        notifiers.spawn(camera.ring().clone().run_notifier());
        if let Some(units) = camera.units() {
            notifiers.spawn(units.clone().run_notifier());
        }
    }
    *notified = cameras.iter().map(Camera::id).collect();
}

/// What `/state` says of each camera. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CameraStates {
    server: Arc<ServerState>,
}

impl CameraStates {
    /// The part of the camera `id` as JSON, at `now`. With the time zero, ages are zero, and two of them differ only if
    /// something has happened. `None` if there is no such camera.
    pub fn json(&self, id: CameraId, now: Timestamp) -> Option<Vec<u8>> {
        api::state::camera_json(&self.server, id, now)
    }
}

/// Waits until all connections have ended, for at most `limit`, then aborts the rest.
async fn end_connections(mut connections: JoinSet<()>, limit: Duration) {
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if timeout(limit, all_ended).await.is_err() {
        warn!("{} connections did not close within {} ms and are cut", connections.len(), limit.as_millis());
        connections.shutdown().await;
    }
}

/// Starts to serve a new connection, or to reject it.
fn admit(
    server: &Arc<ServerState>,
    limiter: &Arc<ConnectionLimiter>,
    rejector: &Rejector,
    connections: &mut JoinSet<()>,
    connection: Connection,
    peer: Peer,
) {
    server.counters.accepted.add(1);
    match limiter.admit(peer, Instant::now()) {
        Ok((permit, evicted)) => {
            server.counters.evicted.add(evicted.into());
            connections.spawn(connection::serve(Arc::clone(server), connection, peer, permit));
        }
        Err(why) => {
            debug!("{peer}: {why}");
            match why {
                ConnectionRejected::Total(_) => server.counters.rejected_total.add(1),
                ConnectionRejected::PerAddress(_) => server.counters.rejected_per_address.add(1),
            }
            match rejector.answer(Arc::clone(server).open(connection, peer), why) {
                Some(answering) => drop(connections.spawn(answering)),
                None => server.counters.ended.add(1),
            }
        }
    }
}

/// Logs the panic of a connection's task. The other connections go on.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(panic) = ended {
        warn!("a connection ended in a panic, which is a bug in porthole: {panic}");
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::*;

    /// Notes that it is dropped.
    struct NoteDrop(Arc<AtomicBool>);

    impl Drop for NoteDrop {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }

    #[test]
    fn a_connection_that_does_not_end_is_cut_at_the_stop() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let is_cut = Arc::new(AtomicBool::new(false));
        runtime.block_on(async {
            let mut connections = JoinSet::new();
            let note = NoteDrop(Arc::clone(&is_cut));
            connections.spawn(async move {
                let _note = note;
                pending().await
            });
            connections.spawn(async {});
            end_connections(connections, Duration::from_millis(20)).await;
        });
        assert!(is_cut.load(SeqCst));
    }
}
