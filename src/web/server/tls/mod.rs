//! TLS: the certificate, followed wherever its files go, and handshakes.
//!
//! Keys and records are rustls' business. What is decided here is which certificate, when it is read again, and how
//! little may wait on the way: no more than rustls' own few records, which are gone before the next frame is chosen.
#![forbid(unsafe_code)]

mod files;
mod self_signed;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{info, warn};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::status::Counter;
use crate::web::Encryption;
use crate::web::server::listener::Address;
use crate::web::server::transport::{Line, Transport};
use files::{Pair, Stamp};

/// How often the files are looked at, at most; only when somebody connects.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long what could not be made or read is left alone, unless its files change.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Bytes that rustls may hold back while the kernel has no room for them.
const BUFFERED: usize = 64 * 1024;
/// First byte of a TLS handshake (RFC 8446, section 5.1). No request of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

/// There is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be used.
    #[error("tls {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// The certificate made here cannot be kept.
    #[error(
        "state_dir {}: {source}; the self-signed certificate is kept there: make it writable, or name another \
         with --state-dir", path.display()
    )]
    State {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where the certificate comes from.
#[derive(Debug)]
enum Origin {
    Files { certificate: PathBuf, key: PathBuf },
    SelfSigned { state_dir: PathBuf, names: Vec<String> },
}

impl Origin {
    fn stamp(&self) -> Stamp {
        match self {
            Self::Files { certificate, key } => Stamp::of(&[certificate, key]),
            Self::SelfSigned { state_dir, .. } => Stamp::of(&[&self_signed::path(state_dir)]),
        }
    }

    fn load(&self) -> Result<Pair, TlsError> {
        match self {
            Self::Files { certificate, key } => files::read(certificate, key),
            Self::SelfSigned { state_dir, names } => self_signed::read_or_make(state_dir, names),
        }
    }
}

/// What is served with at present.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// When a certificate made here must be made again, in seconds of the Unix epoch.
    renew_at: Option<u64>,
    /// The files as they were when last read, whether or not they were any good.
    stamp: Stamp,
    look_at: Instant,
}

/// The server's side of TLS.
#[derive(Debug)]
pub(in crate::web) struct Tls {
    origin: Origin,
    current: Mutex<Current>,
    /// Certificates that took the place of an older one.
    pub(in crate::web) reloads: Counter,
    /// Certificates that could not, so that the older one is served with.
    pub(in crate::web) rejected: Counter,
}

/// What a peer turned out to speak.
pub(in crate::web) enum Spoken {
    Tls(Transport),
    Plain(Line),
}

impl Tls {
    /// Makes ready for `encryption`, if that is wanted. What is made here is kept in `state_dir`, and for the names of
    /// this machine and its addresses among `listen`.
    pub(in crate::web) fn prepare(
        encryption: &Encryption,
        state_dir: &Path,
        listen: &[Address],
    ) -> Result<Option<Self>, TlsError> {
        let origin = match encryption {
            Encryption::None => return Ok(None),
            Encryption::Files { certificate, key } => {
                Origin::Files { certificate: certificate.clone(), key: key.clone() }
            }
            Encryption::SelfSigned => {
                Origin::SelfSigned { state_dir: state_dir.into(), names: self_signed::names(listen) }
            }
        };
        // Before it is read: what changes meanwhile is seen at the next look.
        let stamp = origin.stamp();
        let pair = origin.load()?;
        let (renew_at, fingerprint) = (pair.renew_at, pair.fingerprint());
        let config = config(pair).map_err(|why| unfit(&origin, why))?;
        if matches!(origin, Origin::SelfSigned { .. }) {
            info!(
                "https with a certificate of its own, which browsers warn of; its SHA-256 is {fingerprint}"
            );
        }
        let current = Current { config, renew_at, stamp, look_at: Instant::now() + LOOK_EVERY };
        let (reloads, rejected) = Default::default();
        Ok(Some(Self { origin, current: Mutex::new(current), reloads, rejected }))
    }

    /// Finds out whether the peer speaks TLS, and if so shakes hands. Waits for the peer, for ever if that is silent.
    pub(in crate::web) async fn enter(&self, line: Line) -> io::Result<Spoken> {
        match line.first_byte().await? {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(HANDSHAKE) => {
                line.prepare()?;
                let acceptor = TlsAcceptor::from(self.config());
                let bounded =
                    |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(BUFFERED));
                let stream = acceptor.accept_with(line, bounded).await?;
                Ok(Spoken::Tls(Transport::Tls(Box::new(stream))))
            }
            Some(_) => Ok(Spoken::Plain(line)),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Whoever holds this lock replaces what is in it as a whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate to serve with, read again if its files have changed. New ones that are no good are told of, and
    /// the old ones kept: half of them may have been written, and a certificate that ran out is better than none.
    fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current();
        let now = Instant::now();
        if now < current.look_at {
            return Arc::clone(&current.config);
        }
        current.look_at = now + LOOK_EVERY;
        let stamp = self.origin.stamp();
        let is_due = current.renew_at.is_some_and(|at| files::now() >= at);
        if stamp == current.stamp && !is_due {
            return Arc::clone(&current.config);
        }
        current.stamp = stamp;
        let loaded = self.origin.load().and_then(|pair| {
            let (renew_at, fingerprint) = (pair.renew_at, pair.fingerprint());
            let config = config(pair).map_err(|why| unfit(&self.origin, why))?;
            Ok((config, renew_at, fingerprint))
        });
        match loaded {
            Ok((config, renew_at, fingerprint)) => {
                info!("https with a new certificate; its SHA-256 is {fingerprint}");
                self.reloads.add(1);
                (current.config, current.renew_at) = (config, renew_at);
                // What was made just now is not to be read again.
                current.stamp = self.origin.stamp();
            }
            Err(why) => {
                warn!("{why}; https goes on with the certificate it had");
                self.rejected.add(1);
                if is_due {
                    current.look_at = now + TRY_AGAIN;
                }
            }
        }
        Arc::clone(&current.config)
    }
}

/// For viewers no certificate is asked, so none has to be verified.
const NO_VERIFYING: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms { all: &[], mapping: &[] };

fn config(pair: Pair) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = CryptoProvider { signature_verification_algorithms: NO_VERIFYING, ..default_provider() };
    let versions = ServerConfig::builder_with_provider(Arc::new(provider));
    // 1.2 and 1.3.
    let builder = versions.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(pair.chain, pair.key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn unfit(origin: &Origin, why: rustls::Error) -> TlsError {
    let (path, key) = match origin {
        Origin::Files { certificate, key } => (certificate.clone(), key.display().to_string()),
        Origin::SelfSigned { state_dir, .. } => (self_signed::path(state_dir), "that file".into()),
    };
    let why = match why {
        rustls::Error::InconsistentKeys(_) => format!("the key in {key} is not that of this certificate"),
        why => format!("cannot be served with: {why}"),
    };
    TlsError::File { path, why }
}

/// An address that clients may use of those that are listened on.
fn named_by(address: &Address) -> Option<IpAddr> {
    match address {
        Address::Tcp(address) => Some(address.ip()).filter(|ip| !ip.is_unspecified()),
        Address::Unix(_) | Address::Local(_) => None,
        Address::Handed { at, .. } => named_by(at),
    }
}
