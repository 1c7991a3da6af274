//! The web: who may connect, what they ask for, and frames to those who watch.
//!
//! Reads the [ring](crate::ring) and the [status](crate::status), and knows of cameras only that they have places for
//! viewers. Nothing here can slow a camera, or one viewer another.
mod auth;
mod backlog;
mod controls;
mod handshake;
mod http;
mod metrics;
mod mjpeg;
mod page;
mod route;
mod snapshot;
mod socket;
mod state;
mod viewer;
mod window;
mod wire;
mod ws;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use auth::{AuthMode, TokenError};

use crate::camera::Camera;
use crate::frame::Timestamp;
use crate::led::LightInfo;
use crate::status::{Counter, Watcher};
use auth::Auth;
use viewer::Register;

/// Connections waiting to be accepted: as many as may come at once after a network was away.
const BACKLOG: u32 = 256;
/// Connections besides those of viewers: pages, snapshots, states.
const SPARE_CONNECTIONS: usize = 64;
/// How long to wait when no connection can be accepted for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the operator decides about the web.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Most viewers at a time, of all cameras together.
    pub max_viewers: usize,
    /// How long a peer may take no data, or acknowledge none, before it is dropped.
    pub patience: Duration,
    /// Who may come in.
    pub auth: AuthMode,
    /// Where the token is kept.
    pub state_dir: PathBuf,
    /// The board's id, to be shown.
    pub board: String,
    /// The LEDs there are, to be shown.
    pub leds: Vec<LightInfo>,
}

/// The web cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {remedy}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What to do about it.
        remedy: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The access token cannot be kept.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// What every connection has to do with.
#[derive(Debug)]
struct Site {
    settings: Settings,
    cameras: Vec<Camera>,
    status: Watcher,
    viewers: Arc<Register>,
    auth: Auth,
    started: Timestamp,
    counters: Counters,
    stop: watch::Receiver<bool>,
}

/// What is counted about connections.
#[derive(Debug, Default)]
struct Counters {
    /// Connections that were accepted.
    accepted: Counter,
    /// Connections that have ended.
    ended: Counter,
    /// Connections that could not be accepted, for want of descriptors most likely.
    unaccepted: Counter,
    /// Connections ended because the peer took no data for too long.
    stalled: Counter,
    /// Connections ended because no request came in time.
    idle: Counter,
    /// Connections ended because what came was no HTTP.
    malformed: Counter,
    /// Requests without the right token.
    unauthorized: Counter,
    /// Viewers turned away because all places were taken.
    refused: Counter,
}

impl Site {
    /// The camera of this name, or the first, with its index.
    fn camera(&self, name: Option<&str>) -> Option<(usize, &Camera)> {
        let mut cameras = self.cameras.iter().enumerate();
        match name {
            Some(name) => cameras.find(|(_, camera)| camera.name() == name),
            None => cameras.next(),
        }
    }

    fn no_such_camera(&self, name: Option<&str>) -> String {
        let known: Vec<&str> = self.cameras.iter().map(Camera::name).collect();
        format!("there is no camera {:?}; there is {}", name.unwrap_or_default(), known.join(", "))
    }

    /// Ready when the service stops.
    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // A sender that is gone means the same.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Ready with the reason when a camera cannot give frames.
    async fn fault(&self, camera: usize) -> String {
        let mut status = self.status.clone();
        let fault = |status: &crate::status::Status| {
            let camera = &status.cameras[camera];
            camera.state.is_fault().then(|| camera.error.clone().unwrap_or_default())
        };
        loop {
            if let Some(why) = fault(&status.borrow_and_update()) {
                return why;
            }
            if status.changed().await.is_err() {
                return "the service stops".into();
            }
        }
    }
}

/// A web that listens and does not serve yet.
#[derive(Debug)]
pub struct Web {
    listener: TcpListener,
    site: Site,
    stop: watch::Sender<bool>,
}

impl Web {
    /// Listens on the address in `settings`.
    ///
    /// # Errors
    /// [`WebError`] when that cannot be, or the token cannot be kept.
    pub fn bind(settings: Settings, cameras: Vec<Camera>, status: Watcher) -> Result<Self, WebError> {
        let auth = Auth::prepare(settings.auth, &settings.state_dir)?;
        let address = settings.listen;
        let listener = listen(address).map_err(|source| {
            let remedy = match source.kind() {
                io::ErrorKind::AddrInUse => "another program has that port: stop it, or name another with --listen",
                io::ErrorKind::AddrNotAvailable => {
                    "this machine has no such address: use 0.0.0.0 for all it has, or 127.0.0.1 for itself alone"
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need a privilege: name a higher one with --listen"
                }
                _ => "name another address with --listen",
            };
            WebError::Listen { address, remedy, source }
        })?;
        let (stop, stopped) = watch::channel(false);
        let viewers = Register::new(settings.max_viewers, cameras.len());
        let counters = Counters::default();
        let started = Timestamp::now();
        let site = Site { settings, cameras, status, viewers, auth, started, counters, stop: stopped };
        Ok(Self { listener, site, stop })
    }

    /// The address it listens on, with the port it was given.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A URL to open in a browser. It holds the token if that was made just now, and is not to be logged then.
    pub fn url(&self, hostname: &str) -> io::Result<String> {
        let address = self.address()?;
        let host = match address.ip() {
            ip if ip.is_unspecified() => format!("{hostname}.local"),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let token = self.site.auth.new_token().map(|token| format!("?token={token}")).unwrap_or_default();
        Ok(format!("http://{host}:{}/{token}", address.port()))
    }

    /// Serves until `stop` is ready, then says goodbye to everybody.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listener, site, stop: tell_all } = self;
        let site = Arc::new(site);
        let most = site.settings.max_viewers + SPARE_CONNECTIONS;
        let mut heralds = JoinSet::new();
        for camera in &site.cameras {
            heralds.spawn(camera.ring().clone().herald());
        }
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    site.counters.ended.add(1);
                    if let Err(panic) = ended { http::report(panic); }
                }
                accepted = listener.accept(), if connections.len() < most => match accepted {
                    Ok((stream, remote)) => {
                        site.counters.accepted.add(1);
                        connections.spawn(http::serve(Arc::clone(&site), stream, remote));
                    }
                    Err(error) => {
                        debug!("accepting a connection: {error}");
                        site.counters.unaccepted.add(1);
                        // Out of descriptors, most likely. They come back when connections end.
                        sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        drop(listener);
        // Fails only if nobody listens, and then nobody has to be told.
        let _ = tell_all.send(true);
        while let Some(ended) = connections.join_next().await {
            if let Err(panic) = ended {
                warn!("{panic}");
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that a restart need not wait for the last connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
