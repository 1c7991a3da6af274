//! The `porthole-appliance` command: what an SD-card image does around the service. Command line and exit codes; each
//! verb is a room of its own.
#![forbid(unsafe_code)]

mod disk;
mod release;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use log::{LevelFilter, error};
use porthole::logging;

/// What an SD-card image does around Porthole.
#[derive(Parser)]
#[command(name = "porthole-appliance", version, about, long_about = None, propagate_version = true)]
struct Command {
    #[command(subcommand)]
    verb: Verb,

    /// How much to log: off, error, warn, info, debug or trace; PORTHOLE_LOG does the same
    #[arg(long, value_name = "LEVEL", global = true)]
    log: Option<LevelFilter>,
}

#[derive(Subcommand)]
enum Verb {
    /// Which program serves: the factory's, or one that was brought later
    Release(release::Arguments),
    /// Apply the settings that are on the card
    Settings(settings::Arguments),
}

fn main() -> ExitCode {
    let Command { verb, log } = Command::parse();
    logging::start(log);
    let done = match verb {
        Verb::Release(arguments) => release::run(arguments).map_err(|why| why.to_string()),
        Verb::Settings(arguments) => settings::run(arguments).map_err(|why| why.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why}");
            ExitCode::FAILURE
        }
    }
}
