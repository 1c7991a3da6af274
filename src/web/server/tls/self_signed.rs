//! The self-signed certificate, made once and kept where only this user can read it.
//!
//! One file holds the names and the end of validity as text, which readers of PEM skip, then certificate and key.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use log::warn;
use nix::ifaddrs::getifaddrs;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use super::certificate::{self, Certificate};
use super::error::TlsError;
use crate::storage;
use crate::web::server::address::ListenAddress;

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
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("self-signed.pem")
}

/// The names that clients may use for this machine: its host name, alone and under `.local`, and its addresses. Of IPv6
/// only those in `listen`, as temporary addresses change every day.
pub(super) fn names(listen: &[ListenAddress]) -> Vec<String> {
    let hostname =
        nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    names.extend(
        [format!("{hostname}.local"), hostname].into_iter().filter(|name| name.len() < 64).filter(is_name),
    );
    let interfaces = getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| Some(IpAddr::from(interface.address?.as_sockaddr_in()?.ip())));
    names
        .extend(interfaces.chain(listen.iter().filter_map(named_by)).map(|ip| ip.to_canonical().to_string()));
    names.into_iter().collect()
}

/// The certificate that is kept; or a new one if that lacks one of `names` or soon ends.
pub(super) fn read_or_make(state_dir: &Path, names: &[String]) -> Result<Certificate, TlsError> {
    match read(&path(state_dir)) {
        Ok((certificate, kept_names)) => {
            let ends = certificate.renew_at.is_none_or(|at| certificate::unix_time() >= at);
            if !ends && names.iter().all(|name| kept_names.contains(name)) {
                return Ok(certificate);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!("{}: {error}; a new one is made", path(state_dir).display()),
    }
    make(state_dir, names).map_err(|source| TlsError::StateDir { path: state_dir.into(), source })
}

/// The certificate in the file, with the names it is for.
fn read(path: &Path) -> io::Result<(Certificate, Vec<String>)> {
    let bytes = certificate::read_file(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let names = after(NAMES).unwrap_or_default().split(' ').map(str::to_owned).collect();
    let until: u64 = after(UNTIL).and_then(|until| until.parse().ok()).unwrap_or(0);
    let chain = certificate::chain(&bytes).map_err(io::Error::other)?;
    let key = certificate::key(&bytes).map_err(io::Error::other)?;
    Ok((Certificate { chain, key, renew_at: Some(until.saturating_sub(RENEW_BEFORE)) }, names))
}

fn make(state_dir: &Path, names: &[String]) -> io::Result<Certificate> {
    let now = certificate::unix_time();
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
    let path = path(state_dir);
    storage::replace(&path, 0o600, text.as_bytes())?;
    Ok(read(&path)?.0)
}

/// Encodes PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // A line has 64 characters, which are 48 bytes.
    for line in der.chunks(48) {
        text += &BASE64.encode(line);
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
