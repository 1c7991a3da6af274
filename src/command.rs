//! The command line and its help. The manual page porthole(1) and the shell completions are made from it. Flags that set
//! a configuration key are in [`Flags`].
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use log::LevelFilter;

use crate::config::Flags;
use crate::led::LedRole;
use crate::web::UserRole;

/// The help below the flags.
const AFTER_HELP: &str = "\
Examples:
  porthole                                 serve the first camera to this machine, at http://127.0.0.1:8080/
  porthole --listen 0.0.0.0:8080           serve the network; the printed URL has the token
  porthole --source pattern                serve a test picture; no camera is needed
  porthole --source /dev/video0 --size 640x480 --fps 15
  porthole --source rpicam                 serve a Raspberry Pi's own camera
  porthole cameras                         list the cameras that are connected
  porthole passwd                          require a password instead of a token
  porthole check                           show every value in force and its origin
  porthole health                          ask the running service whether it can give frames

For other programs: pictures at /stream, /snapshot and /ws, figures at /state and /metrics.
The keys of the configuration file: man porthole.toml

Exit codes: 0 stopped as told, 1 configuration wrong, 2 could not start, 3 stopped by a fault.";

/// A camera in any browser on the network, live.
#[derive(Parser)]
#[command(name = "porthole", version, about, long_about = None, propagate_version = true)]
#[command(after_help = AFTER_HELP)]
pub struct Command {
    /// What to do; [`Action::Run`] without a subcommand.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Flags that override the configuration file.
    #[command(flatten)]
    pub flags: Flags,

    /// How much to log: off, error, warn, info, debug or trace; PORTHOLE_LOG does the same
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log: Option<LevelFilter>,
}

/// What the program can do.
#[derive(Subcommand)]
pub enum Action {
    /// Serve the camera (the default)
    Run,
    /// List cameras with their stable names, formats, sizes, rates and controls
    Cameras,
    /// List board profiles, marking this machine; with an id, show one with its pins
    Boards {
        /// A board's id
        id: Option<String>,
    },
    /// Switch the LED of a role, to try its line
    Led {
        /// power, camera, on-air or fault
        role: LedRole,
        /// on and blink last until Ctrl-C; off ends at once
        #[arg(value_name = "STATE", value_parser = ["on", "off", "blink"], ignore_case = true)]
        state: String,
    },
    /// Set a password, which is required from the next start on
    ///
    /// Asks for it twice on a terminal, otherwise reads one line of standard input. The file passwords.toml in the state
    /// directory keeps its hash.
    Passwd {
        /// viewer may watch, admin may also change the camera's controls
        #[arg(default_value = "admin")]
        role: UserRole,
        /// Print the hash for the configuration file instead of keeping it
        #[arg(long)]
        print: bool,
    },
    /// Check the configuration, and show every value in force with its origin
    Check,
    /// Ask the running service whether it can give frames; ends with 0 if so, else with 1 and the reason
    ///
    /// Takes the flags and the configuration file of the service, and finds it by them. A camera that rests is healthy.
    Health,
}
