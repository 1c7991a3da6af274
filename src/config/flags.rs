//! Flags of the command line that override the configuration file, as typed. The room's other files check them. A flag
//! that sets a key has its help from the table of keys.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::keys::flag_help;

/// Flags that override the configuration file. Those about a camera concern the first one.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
#[allow(missing_docs, reason = "the help of each flag says what it is")]
pub struct Flags {
    /// Configuration file [default: /etc/porthole/porthole.toml, if there is one]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    #[arg(long, value_name = "ID", global = true, help = flag_help("--board"))]
    pub board: Option<String>,

    #[arg(long, value_name = "SPEC", global = true, help = flag_help("--source"))]
    pub source: Option<String>,

    /// Picture size [default: 1280x720, or the nearest that the camera has]
    #[arg(long, value_name = "WxH", global = true)]
    pub size: Option<String>,

    #[arg(long, value_name = "N", global = true, allow_negative_numbers = true, help = flag_help("--fps"))]
    pub fps: Option<f64>,

    #[arg(long, value_name = "FORMAT", global = true, help = flag_help("--format"))]
    pub format: Option<String>,

    #[arg(long, value_name = "N", global = true, allow_negative_numbers = true, help = flag_help("--quality"))]
    pub quality: Option<i64>,

    #[arg(long, value_name = "SECONDS", global = true, allow_negative_numbers = true, help = flag_help("--linger"))]
    pub linger: Option<f64>,

    #[arg(long, value_name = "ADDR:PORT", global = true, help = flag_help("--listen"))]
    pub listen: Vec<String>,

    /// Serve this user and root at this UNIX socket too, without authentication
    #[arg(long, value_name = "PATH", global = true)]
    pub local_socket: Option<PathBuf>,

    /// HTTPS: self-signed (with a certificate made here) or none; the file can name a certificate
    #[arg(long, value_name = "MODE", global = true)]
    pub tls: Option<String>,

    #[arg(long, value_name = "N", global = true, allow_negative_numbers = true, help = flag_help("--max-viewers"))]
    pub max_viewers: Option<i64>,

    #[arg(long, value_name = "MODE", global = true, help = flag_help("--auth"))]
    pub auth: Option<String>,

    #[arg(long, value_name = "DIR", global = true, help = flag_help("--state-dir"))]
    pub state_dir: Option<PathBuf>,

    /// While this file is there, show its text as a warning: page, /state, fault LED
    #[arg(long, value_name = "FILE", global = true)]
    pub warning_file: Option<PathBuf>,
}
