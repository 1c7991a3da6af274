//! Writes a system into the spare slot and puts it on trial: everything is checked before it is written, and read back
//! before it counts.
#![forbid(unsafe_code)]

use std::io::{self, BufRead};
use std::path::Path;

use log::info;

use super::bundle::{self, Content, PIECE};
use super::card::{Card, Standing};
use super::error::SystemError;
use super::host::Host;
use super::table::SECTOR;

/// Installs the system that is read from `from`, which is called `name`.
pub(super) fn install(
    from: &mut dyn BufRead,
    name: &Path,
    host: &Host,
    card: &mut Card,
    booted: u32,
    may_be_older: bool,
) -> Result<(), SystemError> {
    let refused = SystemError::refused(name);
    let manifest = bundle::open(from, &host.keys()).map_err(&refused)?;
    host.check(&manifest, may_be_older).map_err(&refused)?;
    if !manifest.fits() {
        return Err(refused("the card has no room for it: flash it again with the new image".into()));
    }
    match card.standing(booted)? {
        Standing::Permanent => {}
        Standing::BeforeTrial => card.take_back(booted)?,
        Standing::OnTrial => return Err(SystemError::OnTrial),
    }
    let boot = u64::from(card.table()?.spare());
    let system = boot + manifest.boot.sectors();
    write(from, &manifest.boot, boot, name, card)?;
    write(from, &manifest.system, system, name, card)?;
    card.settle().map_err(SystemError::card(card.path()))?;
    verify(&manifest.boot, boot, card)?;
    verify(&manifest.system, system, card)?;
    // It fits, so that this is less than a slot has.
    card.begin_trial(manifest.boot.sectors() as u32)?;
    info!("the system of {}, version {}, is on trial at the next start", manifest.made, manifest.version);
    Ok(())
}

fn write(
    from: &mut dyn BufRead,
    content: &Content,
    first: u64,
    name: &Path,
    card: &mut Card,
) -> Result<(), SystemError> {
    let (mut buffer, mut at) = (vec![0; PIECE], first);
    for (length, sum) in content.pieces() {
        let piece = &mut buffer[..length];
        bundle::read_piece(from, sum, piece).map_err(SystemError::refused(name))?;
        card.write(at, piece).map_err(SystemError::card(card.path()))?;
        at += (length / SECTOR) as u64;
    }
    Ok(())
}

/// Checks that the card gives back what was written.
fn verify(content: &Content, first: u64, card: &mut Card) -> Result<(), SystemError> {
    let (mut buffer, mut at) = (vec![0; PIECE], first);
    for (length, sum) in content.pieces() {
        let piece = &mut buffer[..length];
        card.read(at, piece).map_err(SystemError::card(card.path()))?;
        if !bundle::is_piece(piece, sum) {
            let cause = io::Error::other("it does not give back what was written");
            return Err(SystemError::card(card.path())(cause));
        }
        at += (length / SECTOR) as u64;
    }
    Ok(())
}
