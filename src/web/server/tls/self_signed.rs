//! A certificate that nobody vouches for, made once and kept where only this user can read it.
//!
//! One file holds all: for whom and until when, in words before the PEM, where readers of PEM look over them; then
//! certificate and key. Written aside and moved, so that a power cut leaves a whole one or none.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use log::warn;
use nix::ifaddrs::getifaddrs;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use super::files::{self, Pair};
use super::{Address, TlsError, named_by};

const DAY: u64 = 24 * 60 * 60;
/// For how long it is made: no longer, or Apple's systems take it for nothing (825 days at most).
const VALID: u64 = 800 * DAY;
/// How long before its end it is made again.
const RENEW_BEFORE: u64 = 30 * DAY;
/// By how much a client's clock may be behind.
const SLOW_CLOCK: u64 = 2 * DAY;
/// What stands before the PEM.
const NAMES: &str = "for: ";
const UNTIL: &str = "until, in seconds of the Unix epoch: ";

/// Where it is kept.
pub(in crate::web) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("self-signed.pem")
}

/// What clients may call this machine: its name, alone and as mDNS has it, and its addresses. Those of IPv6 that change
/// every day are none that anybody types, so only such as are listened on are taken of them.
pub(in crate::web) fn names(listen: &[Address]) -> Vec<String> {
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

/// The certificate that is kept, or a new one if that does not stand for all of `names`, or soon ends.
pub(in crate::web) fn read_or_make(state_dir: &Path, names: &[String]) -> Result<Pair, TlsError> {
    match read(&path(state_dir)) {
        Ok((pair, had)) => {
            let ends = pair.renew_at.is_none_or(|at| files::now() >= at);
            if !ends && names.iter().all(|name| had.contains(name)) {
                return Ok(pair);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!("{}: {error}; it is made anew", path(state_dir).display()),
    }
    make(state_dir, names).map_err(|source| TlsError::State { path: state_dir.into(), source })
}

/// What is kept, with the names it is for.
fn read(path: &Path) -> io::Result<(Pair, Vec<String>)> {
    let bytes = files::bytes(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let names = after(NAMES).unwrap_or_default().split(' ').map(str::to_owned).collect();
    let until: u64 = after(UNTIL).and_then(|until| until.parse().ok()).unwrap_or(0);
    let chain = files::chain(&bytes).map_err(io::Error::other)?;
    let key = files::key(&bytes).map_err(io::Error::other)?;
    Ok((Pair { chain, key, renew_at: Some(until.saturating_sub(RENEW_BEFORE)) }, names))
}

fn make(state_dir: &Path, names: &[String]) -> io::Result<Pair> {
    let now = files::now();
    let (from, until) = (now.saturating_sub(SLOW_CLOCK), now + VALID);
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
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    // One for each process: two may start at once.
    let (path, aside) = (path(state_dir), path(state_dir).with_extension(std::process::id().to_string()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, &path)?;
    Ok(read(&path)?.0)
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // Three bytes are four letters, and lines have 64 of these.
    for line in der.chunks(48) {
        text += &BASE64.encode(line);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
