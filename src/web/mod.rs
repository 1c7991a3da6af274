//! The web: who may connect, what they ask for, and frames to those who watch.
//!
//! Reads the [ring](crate::ring) and the [status](crate::status), and knows of cameras only that they have places for
//! viewers. Nothing here can slow a camera, or one viewer another.
mod auth;
mod backlog;
mod controls;
mod crowd;
mod gate;
mod handed;
mod handshake;
mod http;
mod listener;
mod metrics;
mod mjpeg;
mod origin;
mod page;
mod redirect;
mod route;
mod snapshot;
mod socket;
mod state;
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
mod tls;
mod transport;
mod viewer;
mod window;
pub(crate) mod wire;
mod ws;

use std::io;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

pub use auth::{
    AuthMode, PasswordHash, Passwords, Role, TokenError, keep_passwords, keep_token, kept_passwords,
    passwords_file,
};
pub use crowd::Limits;
pub use handed::{HandedError, handed_over};
pub use listener::Address;
pub use origin::{host, origin};
pub use tls::TlsError;

use crate::camera::Camera;
use crate::failpoint;
use crate::frame::Timestamp;
use crate::led::LedInfo;
use crate::status::{Counter, Watcher};
use auth::Auth;
use crowd::{Crowd, Doorman, Turned};
use listener::{Listener, Peer};
use origin::Doors;
use tls::{Spoken, Tls};
use transport::{Line, Transport};
use viewer::Register;

/// How long to wait when no connection can be accepted for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Whether those who connect by TCP must speak TLS. UNIX sockets are for programs of this machine, and plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// They must not.
    None,
    /// With a certificate and its key in these files, both PEM.
    Files {
        /// The certificate, and behind it those that vouch for it.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// With a certificate made here.
    SelfSigned,
}

/// What the operator decides about the web.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen, at least one.
    pub listen: Vec<Address>,
    /// Most viewers at a time, of all cameras together.
    pub max_viewers: usize,
    /// How much else there may be.
    pub limits: Limits,
    /// How long a peer may take no data, or acknowledge none, before it is dropped.
    pub patience: Duration,
    /// Whether that is by HTTPS.
    pub encryption: Encryption,
    /// Who may come in.
    pub auth: AuthMode,
    /// Names this machine is reached by, besides its own; as [`host()`] gives them.
    pub hosts: Vec<String>,
    /// Sites whose pages may read what is here, as [`origin()`] gives them.
    pub allow_origins: Vec<String>,
    /// Where the token is kept.
    pub state_dir: PathBuf,
    /// The board's id, to be shown.
    pub board: String,
    /// The LEDs there are, to be shown.
    pub leds: Vec<LedInfo>,
}

/// The web cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {remedy}")]
    Listen {
        /// The address asked for.
        address: Address,
        /// What to do about it.
        remedy: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The access token cannot be kept.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is no certificate to serve with.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What every connection has to do with.
#[derive(Debug)]
struct Site {
    settings: Settings,
    cameras: Vec<Camera>,
    status: Watcher,
    viewers: Arc<Register>,
    auth: Auth,
    doors: Doors,
    tls: Option<Tls>,
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
    /// Connections turned away because all were taken.
    crowded: Counter,
    /// Connections turned away because their address had as many as one may.
    crowded_address: Counter,
    /// Connections of which nothing was asked, ended to make room for others.
    sent_away: Counter,
    /// Connections ended because the peer took no data for too long.
    stalled: Counter,
    /// Connections ended because no request came in time.
    idle: Counter,
    /// Connections ended because what came was no HTTP.
    malformed: Counter,
    /// Connections ended because their TLS handshake failed.
    handshake: Counter,
    /// Requests in plain HTTP where HTTPS is spoken.
    plain: Counter,
    /// Requests without a right token or password.
    unauthorized: Counter,
    /// Requests not looked at, as too much from their address was wrong before.
    throttled: Counter,
    /// Requests whose password was not checked, as too many were waiting for that.
    unchecked: Counter,
    /// Requests for a host that is not this one.
    foreign_host: Counter,
    /// Requests sent by a page of a site that may not.
    foreign_origin: Counter,
    /// Requests to change something by somebody who may not.
    not_admin: Counter,
    /// Viewers turned away because all places were taken.
    refused: Counter,
}

impl Site {
    /// Shakes hands with a peer who speaks TLS, where that is spoken. Waits for the peer, for ever if that is silent.
    async fn enter(self: Arc<Self>, line: Line, remote: Peer) -> io::Result<Transport> {
        match &self.tls {
            // A UNIX socket is plain: its peers are programs of this machine.
            Some(tls) if !remote.is_unix() => match tls.enter(line).await? {
                Spoken::Tls(transport) => Ok(transport),
                Spoken::Plain(line) => Ok(Transport::Plain(line)),
            },
            _ => Ok(Transport::Plain(line)),
        }
    }

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

    /// Counts one who was turned away.
    fn turned_away(&self, why: Turned) {
        match why {
            Turned::Total(_) => self.counters.crowded.add(1),
            Turned::Address(_) => self.counters.crowded_address.add(1),
        }
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
    listeners: Vec<Listener>,
    site: Site,
    stop: watch::Sender<bool>,
}

impl Web {
    /// Listens on the addresses in `settings`.
    ///
    /// # Errors
    /// [`WebError`] when that cannot be, or the token cannot be kept.
    pub fn bind(settings: Settings, cameras: Vec<Camera>, status: Watcher) -> Result<Self, WebError> {
        let auth = Auth::prepare(settings.auth.clone(), &settings.state_dir)?;
        let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        let is_public = !settings.listen.iter().all(Address::is_local);
        let doors =
            Doors::new(&hostname.unwrap_or_default(), &settings.hosts, &settings.allow_origins, is_public);
        let tls = Tls::prepare(&settings.encryption, &settings.state_dir, &settings.listen)?;
        let bind = |address: &Address| {
            Listener::bind(address).map_err(|source| {
                let remedy = listener::remedy(address, &source);
                WebError::Listen { address: address.clone(), remedy, source }
            })
        };
        let listeners = settings.listen.iter().map(bind).collect::<Result<_, _>>()?;
        let (stop, stopped) = watch::channel(false);
        let most = (settings.max_viewers, settings.limits.viewers_per_address);
        let viewers = Register::new(most, cameras.len());
        let counters = Counters::default();
        let started = Timestamp::now();
        let site =
            Site { settings, cameras, status, viewers, auth, doors, tls, started, counters, stop: stopped };
        Ok(Self { listeners, site, stop })
    }

    /// Where it listens, with the ports it was given.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> io::Result<Vec<Address>> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// A URL for each address, to open in a browser; for a UNIX socket, its path, unless that is a local one. They hold the
    /// token if that was made just now, and are not to be logged then.
    ///
    /// # Errors
    /// When the kernel does not tell the addresses.
    pub fn urls(&self, hostname: &str) -> io::Result<Vec<String>> {
        let token = self.site.auth.new_token().map(|token| format!("?token={token}")).unwrap_or_default();
        let scheme = if self.site.tls.is_some() { "https" } else { "http" };
        let url = |address: Address| match address {
            Address::Tcp(address) => {
                let host = match address.ip() {
                    ip if ip.is_unspecified() => format!("{hostname}.local"),
                    IpAddr::V4(ip) => ip.to_string(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                };
                format!("{scheme}://{host}:{}/{token}", address.port())
            }
            other => other.to_string(),
        };
        let addresses = self.addresses()?.into_iter();
        Ok(addresses.filter(|address| !matches!(address, Address::Local(_))).map(url).collect())
    }

    /// Serves until `stop` is ready, then says goodbye to everybody.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listeners, site, stop: tell_all } = self;
        let mut turn = 0;
        let site = Arc::new(site);
        let (crowd, doorman) = (Crowd::new(site.settings.limits), Doorman::default());
        let mut notifiers = JoinSet::new();
        for camera in &site.cameras {
            notifiers.spawn(camera.ring().clone().run_notifier());
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
                // Without it nobody would be told of frames any more, so this is the end of all.
                Some(Err(panic)) = notifiers.join_next() => resume_unwind(panic.into_panic()),
                accepted = listener::accept(&listeners, &mut turn) => match accepted {
                    Ok((line, peer)) => {
                        failpoint::pass("web");
                        site.counters.accepted.add(1);
                        match crowd.admit(peer, Instant::now()) {
                            Ok((ticket, sent_away)) => {
                                site.counters.sent_away.add(sent_away.into());
                                connections.spawn(http::serve(Arc::clone(&site), line, peer, ticket));
                            }
                            Err(why) => {
                                debug!("{peer}: {why}");
                                site.turned_away(why);
                                match doorman.turn_away(Arc::clone(&site).enter(line, peer), why) {
                                    Some(told) => drop(connections.spawn(told)),
                                    None => site.counters.ended.add(1),
                                }
                            }
                        }
                    }
                    Err(error) => {
                        debug!("accepting a connection: {error}");
                        site.counters.unaccepted.add(1);
                        // Out of descriptors, most likely. They come back when connections end.
                        site.counters.sent_away.add(crowd.send_one_away(Instant::now()).into());
                        sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        drop(listeners);
        // Fails only if nobody listens, and then nobody has to be told.
        let _ = tell_all.send(true);
        while let Some(ended) = connections.join_next().await {
            if let Err(panic) = ended {
                warn!("{panic}");
            }
        }
    }
}
