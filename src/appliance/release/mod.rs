//! Which program serves: the factory's in the read-only image, or one that was brought later.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What `porthole-appliance release` is told.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,

    /// What lasts from boot to boot
    #[arg(long, value_name = "DIR", default_value = "/state", global = true)]
    state: PathBuf,

    /// What lasts until the next boot
    #[arg(long, value_name = "DIR", default_value = "/run", global = true)]
    run: PathBuf,

    /// The program of the image
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/porthole", global = true)]
    factory: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Show what runs
    Status,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Does what it is told.
///
/// # Errors
/// [`ReleaseError`] when that cannot be done.
pub(crate) fn run(arguments: Arguments) -> Result<(), ReleaseError> {
    let Arguments { verb, run, factory, .. } = arguments;
    match verb {
        Verb::Status => {
            let chosen = fs::read_link(run.join("porthole-appliance/porthole"));
            let chosen = chosen.as_deref().unwrap_or(&factory).display();
            writeln!(io::stdout(), "program: {chosen}").map_err(ReleaseError::Output)
        }
    }
}
