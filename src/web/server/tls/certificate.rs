//! Certificates and private keys in PEM files.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;

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
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileStamps(Vec<Option<[i128; 5]>>);

impl FileStamps {
    pub(super) fn of(paths: &[&Path]) -> Self {
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

/// The current time, in seconds since the Unix epoch.
pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads a certificate and its key, which may be in one file.
pub(super) fn read(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
    let bad = |path: &Path, why: String| TlsError::File { path: path.into(), why };
    let text = read_file(certificate).map_err(|error| bad(certificate, error.to_string()))?;
    let chain = chain(&text).map_err(|why| bad(certificate, why))?;
    let text = read_file(key).map_err(|error| bad(key, error.to_string()))?;
    let key = self::key(&text).map_err(|why| bad(key, why))?;
    Ok(Certificate { chain, key, renew_at: None })
}

/// Reads a regular file, up to [`MAX_BYTES`].
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Checked first, as opening a pipe may block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The certificates in a PEM text.
pub(super) fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("holds no certificate; it must be PEM, with a line BEGIN CERTIFICATE".into()),
        Err(error) => Err(format!("is not valid PEM: {error}")),
    }
}

/// The first private key in a PEM text.
pub(super) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|_| {
        "holds no private key; it must be PEM, with a line BEGIN PRIVATE KEY and without a password".into()
    })
}
