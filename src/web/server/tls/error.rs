//! Why TLS cannot be set up.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

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
