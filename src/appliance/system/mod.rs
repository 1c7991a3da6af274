//! Updates of the whole system, without flashing the card again: two slots, each with a boot partition (the board's
//! firmware, kernel, initramfs) and a root file system. The partition table says which one is started (`table`).
//!
//! A new system is written into the slot that does not run, and is on trial at the next start. Its initramfs ends the
//! trial before anything else: every further start is one of the system before, until the new one has served a
//! picture. Each step is one sector that is written, so that the power may be cut at any point:
//!
//! | step | sector | a start after a cut, or after any failure from then on |
//! |---|---|---|
//! | a piece of the system is written and read back | spare slot | the system before |
//! | the tables for both outcomes are kept | 8, 9 | the system before |
//! | the trial is announced | 0 | the new system, once |
//! | the initramfs of the new system begins the trial (`scripts/appliance/init`) | 0 | the system before |
//! | it has served a picture | 0 | the new system |
//!
//! A system on trial that panics restarts after ten seconds (`panic=10`), one that hangs is ended by the watchdog, and one
//! that serves nothing restarts by itself (`appliance-system.service`). A kernel or firmware that does not reach its own
//! initramfs is not survived: Debian's kernel cannot tell the board's firmware to start something else once (`tryboot`), so
//! nothing ends the trial before.
//!
//! The programs that serve have slots of their own (`release`).
#![forbid(unsafe_code)]

mod bundle;
mod card;
mod error;
mod host;
mod install;
mod table;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use log::{info, warn};

use crate::probe;
use card::{Card, Place, Standing};
pub(crate) use error::SystemError;
use host::Host;

/// Time between two requests for a picture.
const RETRY: Duration = Duration::from_secs(1);

/// Arguments of `porthole-appliance system`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,

    /// Card with the systems [default: the one that the system was started from]
    #[arg(long, value_name = "DEVICE", requires = "booted_from", global = true)]
    card: Option<PathBuf>,

    /// First sector of the boot partition that the system was started from
    #[arg(long, value_name = "SECTOR", requires = "card", global = true)]
    booted_from: Option<u32>,

    /// Directory that has the device tree, the keys and the version of the system that runs
    #[arg(long, value_name = "DIR", default_value = "/", global = true)]
    root: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// Write a system into the spare slot, and put it on trial at the next start; the one that runs is not touched
    Install {
        /// The system, as scripts/image makes it; - is standard input
        file: PathBuf,
        /// Take it although the system that runs is newer
        #[arg(long)]
        allow_older: bool,
    },
    /// Ask the running service for a picture until it gives one, then make the system on trial permanent
    Confirm {
        /// Socket of the service: porthole's --local-socket
        #[arg(long, value_name = "PATH", default_value = "/run/porthole/local.sock")]
        socket: PathBuf,
        /// The program that has to serve
        #[arg(long, value_name = "FILE", default_value = "/run/porthole-appliance/porthole")]
        program: PathBuf,
        /// Give up after this time
        #[arg(long, value_name = "SECONDS")]
        within: Option<u64>,
    },
    /// Take back a trial that has not begun; one that has ends with a restart
    Discard,
    /// Show which system runs, and which one is started next
    Status,
}

/// Carries out the command.
///
/// # Errors
/// [`SystemError`] when that is not possible.
pub(crate) fn run(arguments: Arguments) -> Result<(), SystemError> {
    let Arguments { action, card, booted_from, root } = arguments;
    let place = match card.zip(booted_from) {
        Some((card, booted)) => Place { card, booted },
        None => Place::of(Path::new("/boot"))?,
    };
    let host = Host::of(&root);
    match action {
        Action::Install { file, allow_older } => {
            let mut from: Box<dyn BufRead> = match file.to_str() {
                Some("-") => Box::new(io::stdin().lock()),
                _ => {
                    let opened = File::open(&file).map_err(|cause| cause.to_string());
                    Box::new(BufReader::new(opened.map_err(SystemError::refused(&file))?))
                }
            };
            let mut card = Card::open_to_install(&place.card)?;
            install::install(&mut from, &file, &host, &mut card, place.booted, allow_older)
        }
        Action::Confirm { socket, program, within } => confirm(&place, &socket, &program, within),
        Action::Discard => discard(&place),
        Action::Status => status(&place, &host),
    }
}

/// Asks the service for a picture until it gives one, and makes the system on trial permanent then.
fn confirm(place: &Place, socket: &Path, program: &Path, within: Option<u64>) -> Result<(), SystemError> {
    let started = Instant::now();
    if Card::open_to_change(&place.card)?.standing(place.booted)? != Standing::OnTrial {
        info!("the system is not on trial");
        return Ok(());
    }
    loop {
        let reason = match probe::picture(socket, program) {
            Ok(()) => {
                Card::open_to_change(&place.card)?.make_permanent(place.booted)?;
                info!("the system has served a picture and is permanent");
                return Ok(());
            }
            Err(reason) => reason,
        };
        match within.filter(|&within| started.elapsed().as_secs() >= within) {
            Some(within) => return Err(SystemError::Unconfirmed { within, reason }),
            None => info!("the system is still on trial: {reason}"),
        }
        sleep(RETRY);
    }
}

fn discard(place: &Place) -> Result<(), SystemError> {
    let mut card = Card::open_to_change(&place.card)?;
    match card.standing(place.booted)? {
        Standing::BeforeTrial => {
            card.take_back(place.booted)?;
            info!("the system that runs is started again");
        }
        Standing::OnTrial => warn!("the system that runs is on trial: restart to return to the one before"),
        Standing::Permanent => info!("no system is on trial"),
    }
    Ok(())
}

fn status(place: &Place, host: &Host) -> Result<(), SystemError> {
    let next = match Card::open(&place.card)?.standing(place.booted)? {
        Standing::Permanent => "this system",
        Standing::BeforeTrial => "another system, on trial",
        Standing::OnTrial => "the system before; this one is on trial",
    };
    let made = host.made().unwrap_or_else(|| "unknown".into());
    let text = format!("running: {made}\nslot: {}\nnext start: {next}\n", place.booted);
    io::stdout().write_all(text.as_bytes()).map_err(SystemError::Output)
}
