//! Certificates and keys in files: PEM, as every tool writes it.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Most bytes of a file. Chains are a few thousand.
const MOST: u64 = 256 * 1024;

/// A certificate, with those that vouch for it behind it, and its key.
#[derive(Debug)]
pub(in crate::web) struct Pair {
    pub(in crate::web) chain: Vec<CertificateDer<'static>>,
    pub(in crate::web) key: PrivateKeyDer<'static>,
    /// When it must be made again, in seconds of the Unix epoch, if it is made here.
    pub(in crate::web) renew_at: Option<u64>,
}

impl Pair {
    /// The SHA-256 of the certificate, as browsers show it.
    pub(in crate::web) fn fingerprint(&self) -> String {
        let certificate = self.chain.first().map(|der| der.as_ref()).unwrap_or_default();
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }
}

/// What tells that a file is another one, or has been written to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::web) struct Stamp(Vec<Option<[i128; 5]>>);

impl Stamp {
    pub(in crate::web) fn of(paths: &[&Path]) -> Self {
        let one = |path: &&Path| {
            let meta = fs::metadata(path).ok()?;
            Some([
                meta.dev().into(),
                meta.ino().into(),
                meta.mtime().into(),
                meta.mtime_nsec().into(),
                meta.len().into(),
            ])
        };
        Self(paths.iter().map(one).collect())
    }
}

/// Now, in seconds of the Unix epoch.
pub(in crate::web) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads a certificate and its key, which may be in one file.
pub(in crate::web) fn read(certificate: &Path, key: &Path) -> Result<Pair, TlsError> {
    let bad = |path: &Path, why: String| TlsError::File { path: path.into(), why };
    let text = bytes(certificate).map_err(|error| bad(certificate, error.to_string()))?;
    let chain = chain(&text).map_err(|why| bad(certificate, why))?;
    let text = bytes(key).map_err(|error| bad(key, error.to_string()))?;
    let key = self::key(&text).map_err(|why| bad(key, why))?;
    Ok(Pair { chain, key, renew_at: None })
}

/// All of a file, if it is one and not too large.
pub(in crate::web) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    // Asked first: to open a pipe may wait for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The certificates in a PEM text.
pub(in crate::web) fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("holds no certificate; it must be PEM, with a line BEGIN CERTIFICATE".into()),
        Err(error) => Err(format!("is no sound PEM: {error}")),
    }
}

/// The first private key in a PEM text.
pub(in crate::web) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|_| {
        "holds no private key; it must be PEM, with a line BEGIN PRIVATE KEY and without a password".into()
    })
}
