//! What can be said on the command line instead of in the file. As typed; checked in [`super::resolve`].
#![forbid(unsafe_code)]

use std::path::PathBuf;

/// Flags that override the configuration file. Those about a camera concern the first one.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub struct Flags {
    /// Configuration file [default: /etc/porthole/porthole.toml, if there is one]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Board profile, as `porthole boards` lists them
    #[arg(long, value_name = "ID", global = true)]
    pub board: Option<String>,

    /// Where frames come from: auto, /dev/video0, pattern, exec:COMMAND or file:PATH
    #[arg(long, value_name = "SPEC", global = true)]
    pub source: Option<String>,

    /// Picture size; without it 1280x720, or what the camera has nearest to that
    #[arg(long, value_name = "WxH", global = true)]
    pub size: Option<String>,

    /// Frames a second
    #[arg(long, value_name = "N", global = true, allow_negative_numbers = true)]
    pub fps: Option<f64>,

    /// What the camera shall send: auto, mjpeg, yuyv, ...
    #[arg(long, value_name = "FORMAT", global = true)]
    pub format: Option<String>,

    /// JPEG quality where pictures are encoded here, 1 to 100
    #[arg(long, value_name = "N", global = true, allow_negative_numbers = true)]
    pub quality: Option<i64>,

    /// Seconds to keep the camera open after the last viewer has left
    #[arg(long, value_name = "SECONDS", global = true, allow_negative_numbers = true)]
    pub linger: Option<f64>,

    /// Where to serve: 0.0.0.0:8080 is any network, port 0 any free one, or unix:PATH; repeatable
    #[arg(long, value_name = "ADDR:PORT", global = true)]
    pub listen: Vec<String>,

    /// Let this user and root watch by this UNIX socket too, whatever others are asked for
    #[arg(long, value_name = "PATH", global = true)]
    pub local_socket: Option<PathBuf>,

    /// Serve HTTPS: self-signed (a certificate made here) or none; a configuration can name files
    #[arg(long, value_name = "MODE", global = true)]
    pub tls: Option<String>,

    /// Most viewers at a time
    #[arg(long, value_name = "N", global = true, allow_negative_numbers = true)]
    pub max_viewers: Option<i64>,

    /// Who may watch: token (whoever has the printed URL), password or none (everybody)
    #[arg(long, value_name = "MODE", global = true)]
    pub auth: Option<String>,

    /// Where the service keeps what must survive a restart
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,

    /// Warn of what this file says, while it is there: on the page, in /state, by the fault LED
    #[arg(long, value_name = "FILE", global = true)]
    pub warning_file: Option<PathBuf>,
}
