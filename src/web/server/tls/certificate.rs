//! Certificates and private keys: from PEM files, or self-signed, made once and kept where only this user can read it.
//!
//! The file of a self-signed one holds the names and the end of validity as text, which readers of PEM skip, then
//! certificate and key.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use log::warn;
use nix::ifaddrs::getifaddrs;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::storage;
use crate::web::server::address::ListenAddress;

/// There is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("tls {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The self-signed certificate cannot be kept.
    #[error(
        "state_dir {}: {source}; the self-signed certificate is kept there: make it writable, or name another \
         with --state-dir", path.display()
    )]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Most bytes that are read of a file. Chains take a few thousand.
const MAX_BYTES: u64 = 256 * 1024;

/// A certificate chain and its private key.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// When a self-signed certificate must be renewed, in seconds since the Unix epoch.
    pub(super) renew_at: Option<u64>,
}

impl Certificate {
    /// The SHA-256 of the certificate, as browsers show it.
    pub(super) fn fingerprint(&self) -> String {
        let certificate = self.chain.first().map(|der| der.as_ref()).unwrap_or_default();
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }
}

/// Device, inode, time and size of files, which differ once a file is replaced or written to.
pub(super) type FileStamps = Vec<Option<(u64, u64, Option<SystemTime>, u64)>>;

/// The stamps of `paths` at this moment; `None` for a file that is missing.
pub(super) fn file_stamps(paths: &[&Path]) -> FileStamps {
    let stamp = |meta: Metadata| (meta.dev(), meta.ino(), meta.modified().ok(), meta.len());
    paths.iter().map(|path| fs::metadata(path).ok().map(stamp)).collect()
}

/// The current time, in seconds since the Unix epoch.
pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads a certificate and its key, which may be in one file.
pub(super) fn read(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
    let bad = |path: &Path, why: String| TlsError::File { path: path.into(), why };
    let text = read_file(certificate).map_err(|error| bad(certificate, error.to_string()))?;
    let chain = parse_chain(&text).map_err(|why| bad(certificate, why))?;
    let text = read_file(key).map_err(|error| bad(key, error.to_string()))?;
    let key = parse_key(&text).map_err(|why| bad(key, why))?;
    Ok(Certificate { chain, key, renew_at: None })
}

/// Reads a regular file, up to [`MAX_BYTES`].
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Checked first, as opening a pipe may block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The certificates in a PEM text.
fn parse_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("holds no certificate; it must be PEM, with a line BEGIN CERTIFICATE".into()),
        Err(error) => Err(format!("is not valid PEM: {error}")),
    }
}

/// The first private key in a PEM text.
fn parse_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|_| {
        "holds no private key; it must be PEM, with a line BEGIN PRIVATE KEY and without a password".into()
    })
}

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;
/// Seconds of validity. Apple's systems reject more than 825 days.
const VALIDITY: u64 = 800 * DAY;
/// Seconds before the end of validity at which it is renewed.
const RENEW_BEFORE: u64 = 30 * DAY;
/// Seconds by which a client's clock may be slow.
const CLOCK_SKEW: u64 = 2 * DAY;
/// Starts of the lines before the PEM.
const NAMES: &str = "for: ";
const UNTIL: &str = "until, in seconds of the Unix epoch: ";

/// The file it is kept in.
pub(super) fn self_signed_path(state_dir: &Path) -> PathBuf {
    state_dir.join("self-signed.pem")
}

/// The names that clients may use for this machine: its host name, alone and under `.local`, and its addresses. Of IPv6
/// only those in `listen`, as temporary addresses change every day.
pub(super) fn self_signed_names(listen: &[ListenAddress]) -> Vec<String> {
    let hostname =
        nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let is_name = |name: &String| (1..64).contains(&name.len()) && name.bytes().all(is_letter);
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    names.extend([format!("{hostname}.local"), hostname].into_iter().filter(is_name));
    let interfaces = getifaddrs().into_iter().flatten();
    let own = interfaces.filter_map(|one| Some(IpAddr::from(one.address?.as_sockaddr_in()?.ip())));
    let listening = listen.iter().filter_map(named_by);
    names.extend(own.chain(listening).map(|ip| ip.to_canonical().to_string()));
    names.into_iter().collect()
}

/// The certificate that is kept; or a new one if that lacks one of `names` or soon ends.
pub(super) fn self_signed(state_dir: &Path, names: &[String]) -> Result<Certificate, TlsError> {
    let path = self_signed_path(state_dir);
    match read_self_signed(&path) {
        Ok((certificate, kept_names)) => {
            let ends = certificate.renew_at.is_none_or(|at| unix_time() >= at);
            if !ends && names.iter().all(|name| kept_names.contains(name)) {
                return Ok(certificate);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!("{}: {error}; a new one is made", path.display()),
    }
    make_self_signed(&path, names).map_err(|source| TlsError::StateDir { path: state_dir.into(), source })
}

/// The certificate in the file, with the names it is for.
fn read_self_signed(path: &Path) -> io::Result<(Certificate, Vec<String>)> {
    let bytes = read_file(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let names = after(NAMES).unwrap_or_default().split(' ').map(str::to_owned).collect();
    let until: u64 = after(UNTIL).and_then(|until| until.parse().ok()).unwrap_or(0);
    let chain = parse_chain(&bytes).map_err(io::Error::other)?;
    let key = parse_key(&bytes).map_err(io::Error::other)?;
    Ok((Certificate { chain, key, renew_at: Some(until.saturating_sub(RENEW_BEFORE)) }, names))
}

fn make_self_signed(path: &Path, names: &[String]) -> io::Result<Certificate> {
    let now = unix_time();
    let (from, until) = (now.saturating_sub(CLOCK_SKEW), now + VALIDITY);
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(from);
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "porthole");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    let text = format!(
        "{NAMES}{}\n{UNTIL}{until}\n{}{}",
        names.join(" "),
        pem("CERTIFICATE", certificate.der()),
        pem("PRIVATE KEY", &key.serialize_der())
    );
    storage::replace(path, 0o600, text.as_bytes())?;
    Ok(read_self_signed(path)?.0)
}

/// Encodes PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // A line has 64 characters, which are 48 bytes.
    for line in der.chunks(48) {
        BASE64_STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// The address that clients of a listening socket use, if it is a single one.
fn named_by(address: &ListenAddress) -> Option<IpAddr> {
    match address {
        ListenAddress::Tcp(address) => Some(address.ip()).filter(|ip| !ip.is_unspecified()),
        ListenAddress::Unix(_) | ListenAddress::Local(_) => None,
        ListenAddress::Activated { at, .. } => named_by(at),
    }
}
