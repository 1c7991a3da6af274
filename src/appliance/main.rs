//! The `porthole-appliance` command: what an SD-card image does around the service. The command line and exit codes are
//! here; each subcommand is a room of its own.
#![forbid(unsafe_code)]

mod os_release;
#[cfg(test)]
mod power_cut;
mod probe;
mod release;
mod settings;
mod system;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use log::{LevelFilter, error};
use porthole::logging;

/// Settings and updates of Porthole on an SD-card image.
#[derive(Parser)]
#[command(name = "porthole-appliance", version, about, long_about = None, propagate_version = true)]
struct Command {
    #[command(subcommand)]
    subcommand: Room,

    /// How much to log: off, error, warn, info, debug or trace; PORTHOLE_LOG does the same
    #[arg(long, value_name = "LEVEL", global = true)]
    log: Option<LevelFilter>,
}

#[derive(Subcommand)]
enum Room {
    /// Choose the program that serves: that of the image, or one that was installed later
    Release(release::Arguments),
    /// Apply the settings that are on the card
    Settings(settings::Arguments),
    /// Install another system, kernel included, beside the one that runs
    System(system::Arguments),
}

fn main() -> ExitCode {
    let Command { subcommand, log } = Command::parse();
    logging::start(log);
    let done = match subcommand {
        Room::Release(arguments) => release::run(arguments).map_err(|error| error.to_string()),
        Room::Settings(arguments) => settings::run(arguments).map_err(|error| error.to_string()),
        Room::System(arguments) => system::run(arguments).map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            ExitCode::FAILURE
        }
    }
}
