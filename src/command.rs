//! The command line as clap knows it: what can be said, and the help that teaches it. The manual page and the shell
//! completions are made of the same.
#![forbid(unsafe_code)]

use crate::config::Flags;
use crate::led::Role;
use crate::web::UserRole;
use clap::{Parser, Subcommand};
use log::LevelFilter;

/// What stands below the flags.
const AFTER: &str = "\
Examples:
  porthole                                 serve the first camera to this machine, at http://127.0.0.1:8080/
  porthole --listen 0.0.0.0:8080           serve the network; the URL printed holds the token
  porthole --source pattern                serve a test picture; no camera is needed
  porthole --source /dev/video0 --size 640x480 --fps 15
  porthole --source 'exec:rpicam-vid -t 0 -n --codec mjpeg -o -'
                                           serve a CSI camera of a Raspberry Pi
  porthole cameras                         what is connected, and what it offers
  porthole passwd                          ask for a password instead of a token
  porthole check                           what is in force, and where each value came from

Pictures for other programs: /stream, /snapshot, /ws; figures: /state, /metrics.

Exit codes: 0 stopped as told, 1 configuration wrong, 2 could not start, 3 stopped by a fault.";

/// A camera in any browser on the network, live.
#[derive(Parser)]
#[command(name = "porthole", version, about, long_about = None, propagate_version = true)]
#[command(after_help = AFTER)]
pub struct Command {
    /// What to do; [`Verb::Run`] if nothing is said.
    #[command(subcommand)]
    pub verb: Option<Verb>,

    /// What the command line configures.
    #[command(flatten)]
    pub flags: Flags,

    /// How much to log: off, error, warn, info, debug or trace; PORTHOLE_LOG does the same
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log: Option<LevelFilter>,
}

/// What the program can do.
#[derive(Subcommand)]
pub enum Verb {
    /// Serve the camera (the default)
    Run,
    /// List cameras with their stable names, formats, sizes, rates and controls
    Cameras,
    /// List board profiles, marking this machine; with an id, show one with its pins
    Boards {
        /// A board's id
        id: Option<String>,
    },
    /// Switch the LED of a role, to try out its wire
    Led {
        /// power, camera, on-air or fault
        role: Role,
        /// on and blink last until Ctrl-C; off ends at once
        #[arg(value_parser = ["on", "off", "blink"])]
        what: String,
    },
    /// Set a password, so that it is asked for
    ///
    /// Asks for it twice on a terminal, or reads one line of standard input. Its hash is kept in passwords.toml in the
    /// state directory of --state-dir or the configuration; porthole must be restarted to know it.
    Passwd {
        /// viewer sees, admin changes the camera's controls too
        #[arg(default_value = "admin")]
        role: UserRole,
        /// Print the hash for the configuration file, and keep nothing
        #[arg(long)]
        print: bool,
    },
    /// Check the configuration and show every value with where it came from
    Check,
}
