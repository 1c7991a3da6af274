//! TLS: handshakes, and which certificate they use. The certificate is read again when its files change, and renewed if it
//! is self-signed. Keys, records and ciphers are the business of rustls.
#![forbid(unsafe_code)]

mod certificate;

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::{info, warn};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

pub use certificate::TlsError;

use crate::status::Counter;
use crate::sync::lock;
use crate::web::server::address::{Encryption, ListenAddress};
use crate::web::server::transport::{Connection, Transport};
use certificate::{Certificate, FileStamps};

/// Least time between two checks whether the files have changed. They are checked only when a client connects.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time until a failed renewal is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Most bytes that rustls buffers while the kernel has no room. A few records, which are gone before the next frame is
/// chosen.
const MAX_BUFFERED: usize = 64 * 1024;
/// First byte of a TLS handshake record (RFC 8446, section 5.1). No HTTP request begins with it.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Where the certificate comes from.
#[derive(Debug)]
enum CertificateSource {
    Files { certificate: PathBuf, key: PathBuf },
    SelfSigned { state_dir: PathBuf, names: Vec<String> },
}

impl CertificateSource {
    fn stamps(&self) -> FileStamps {
        match self {
            Self::Files { certificate, key } => certificate::file_stamps(&[certificate, key]),
            Self::SelfSigned { state_dir, .. } => {
                certificate::file_stamps(&[&certificate::self_signed_path(state_dir)])
            }
        }
    }

    /// The certificate, ready for use, with the time at which it must be renewed and its fingerprint.
    fn load(&self) -> Result<(Arc<ServerConfig>, Option<u64>, String), TlsError> {
        let certificate = match self {
            Self::Files { certificate, key } => certificate::read(certificate, key),
            Self::SelfSigned { state_dir, names } => certificate::self_signed(state_dir, names),
        }?;
        let (renew_at, fingerprint) = (certificate.renew_at, certificate.fingerprint());
        let config = config(certificate).map_err(|why| unusable(self, why))?;
        Ok((config, renew_at, fingerprint))
    }
}

/// The certificate in use.
#[derive(Debug)]
struct LoadedCertificate {
    config: Arc<ServerConfig>,
    /// When a self-signed certificate must be renewed, in seconds since the Unix epoch.
    renew_at: Option<u64>,
    /// The files as they were when last read, valid or not.
    stamps: FileStamps,
    check_at: Instant,
    /// A thread checks the files now.
    is_being_checked: bool,
}

/// The server's side of TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsServer(Arc<CertificateStore>);

/// The certificate, and where it is read again.
#[derive(Debug)]
pub(crate) struct CertificateStore {
    source: CertificateSource,
    /// Never locked while files are read.
    current: Mutex<LoadedCertificate>,
    /// Certificates that replaced an older one.
    pub(crate) reloads: Counter,
    /// Certificates that were not valid, so that the older one stays in use.
    pub(crate) rejected: Counter,
}

impl Deref for TlsServer {
    type Target = CertificateStore;

    fn deref(&self) -> &CertificateStore {
        &self.0
    }
}

impl TlsServer {
    /// Loads the certificate; `None` if `encryption` is none. A self-signed one is kept in `state_dir`, and made for the
    /// names and addresses of this machine and those in `listen`.
    pub(crate) fn prepare(
        encryption: &Encryption,
        state_dir: &Path,
        listen: &[ListenAddress],
    ) -> Result<Option<Self>, TlsError> {
        let source = match encryption {
            Encryption::None => return Ok(None),
            Encryption::Files { certificate, key } => {
                CertificateSource::Files { certificate: certificate.clone(), key: key.clone() }
            }
            Encryption::SelfSigned => CertificateSource::SelfSigned {
                state_dir: state_dir.into(),
                names: certificate::self_signed_names(listen),
            },
        };
        // Taken before the files are read, so that a change meanwhile is seen at the next check.
        let stamps = source.stamps();
        let (config, renew_at, fingerprint) = source.load()?;
        if matches!(source, CertificateSource::SelfSigned { .. }) {
            info!(
                "https with a self-signed certificate, which browsers warn of; its SHA-256 is {fingerprint}"
            );
        }
        let check_at = Instant::now() + CHECK_INTERVAL;
        let current = LoadedCertificate { config, renew_at, stamps, check_at, is_being_checked: false };
        let (reloads, rejected) = Default::default();
        Ok(Some(Self(Arc::new(CertificateStore { source, current: Mutex::new(current), reloads, rejected }))))
    }

    /// Waits for the first byte and completes the TLS handshake if it begins one. Anything else, most likely a plain HTTP
    /// request, is still to be read. Has no timeout of its own.
    pub(crate) async fn accept(&self, connection: Connection) -> io::Result<Transport> {
        match connection.first_byte().await? {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(HANDSHAKE_RECORD) => {
                connection.set_options()?;
                let acceptor = TlsAcceptor::from(self.config().await);
                let bounded =
                    |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(MAX_BUFFERED));
                let stream = acceptor.accept_with(connection, bounded).await?;
                Ok(Transport::Tls(Box::new(stream)))
            }
            Some(_) => Ok(Transport::Plain(connection)),
        }
    }

    /// The certificate in use, checked first if that is due. The client whose connection is the occasion waits for the
    /// check, which may make a key and write it to a slow disk; all others get the certificate that is there.
    async fn config(&self) -> Arc<ServerConfig> {
        if self.begin_check(Instant::now()) {
            let store = Arc::clone(&self.0);
            if let Err(panic) = spawn_blocking(move || store.check()).await {
                warn!("the certificate's files were not checked, which is a bug in porthole: {panic}");
            }
        }
        Arc::clone(&lock(&self.current).config)
    }
}

impl CertificateStore {
    /// Whether the files must be checked now. It is true for one caller at a time, which must call [`check`](Self::check).
    fn begin_check(&self, now: Instant) -> bool {
        let mut current = lock(&self.current);
        let is_due = now >= current.check_at && !current.is_being_checked;
        current.is_being_checked |= is_due;
        is_due
    }

    /// Reads the certificate again if its files have changed or it must be renewed. If the new one is not valid, that is
    /// logged and the old one stays: the files may be half written, and an expired certificate is better than none. Blocks.
    fn check(&self) {
        let (known_stamps, renew_at) = {
            let current = lock(&self.current);
            (current.stamps.clone(), current.renew_at)
        };
        let mut stamps = self.source.stamps();
        let mut interval = CHECK_INTERVAL;
        let is_due = renew_at.is_some_and(|at| certificate::unix_time() >= at);
        let loaded = (stamps != known_stamps || is_due).then(|| self.source.load());
        match &loaded {
            // Reading it may have made it, which is no reason to read it again.
            Some(Ok(_)) if matches!(self.source, CertificateSource::SelfSigned { .. }) => {
                stamps = self.source.stamps();
            }
            Some(Err(why)) => {
                warn!("{why}; https keeps its old certificate");
                self.rejected.add(1);
                if is_due {
                    interval = RETRY_INTERVAL;
                }
            }
            _ => {}
        }
        let mut current = lock(&self.current);
        (current.stamps, current.check_at, current.is_being_checked) =
            (stamps, Instant::now() + interval, false);
        if let Some(Ok((config, renew_at, fingerprint))) = loaded {
            info!("https with a new certificate; its SHA-256 is {fingerprint}");
            self.reloads.add(1);
            (current.config, current.renew_at) = (config, renew_at);
        }
    }
}

/// Clients are not asked for certificates, so no signature has to be verified.
const NO_VERIFICATION: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms { all: &[], mapping: &[] };

fn config(certificate: Certificate) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider =
        CryptoProvider { signature_verification_algorithms: NO_VERIFICATION, ..default_provider() };
    let versions = ServerConfig::builder_with_provider(Arc::new(provider));
    // TLS 1.2 and 1.3.
    let builder = versions.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(certificate.chain, certificate.key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn unusable(source: &CertificateSource, why: rustls::Error) -> TlsError {
    let (path, key) = match source {
        CertificateSource::Files { certificate, key } => (certificate.clone(), key.display().to_string()),
        CertificateSource::SelfSigned { state_dir, .. } => {
            (certificate::self_signed_path(state_dir), "that file".into())
        }
    };
    let why = match why {
        rustls::Error::InconsistentKeys(_) => format!("the key in {key} does not belong to this certificate"),
        why => format!("cannot be used: {why}"),
    };
    TlsError::File { path, why }
}
