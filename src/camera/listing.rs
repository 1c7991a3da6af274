//! The video devices and what each can do, for people.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::controls::{Control, controls};
use super::devices::{ask, entries, is_raw_sensor, nodes};
use super::kernel::{Capability, NodeKind};
use super::negotiate::Offer;
use super::v4l2::survey;

/// Where udev puts names that stay the same: by the camera's own identity, and by the port it is plugged into.
const STABLE: [&str; 2] = ["/dev/v4l/by-id", "/dev/v4l/by-path"];

/// What is known of one video device.
#[derive(Debug)]
pub struct Listing {
    path: PathBuf,
    stable: Vec<PathBuf>,
    what: Result<Details, String>,
}

#[derive(Debug)]
struct Details {
    capability: Capability,
    offers: Vec<Offer>,
    others: Vec<[u8; 4]>,
    controls: Vec<Control>,
}

/// All video devices with what they can do.
pub fn list() -> Vec<Listing> {
    let links: Vec<(PathBuf, PathBuf)> = STABLE
        .iter()
        .flat_map(|folder| entries(Path::new(folder)))
        .filter_map(|link| Some((fs::canonicalize(&link).ok()?, link)))
        .collect();
    let listing = |path: PathBuf| {
        let mut stable: Vec<_> =
            links.iter().filter(|(node, _)| *node == path).map(|(_, link)| link.clone()).collect();
        stable.sort();
        Listing { what: details(&path).map_err(|error| error.to_string()), stable, path }
    };
    nodes().into_iter().map(listing).collect()
}

fn details(path: &Path) -> std::io::Result<Details> {
    let capability = ask(path, |device| device.capability())?;
    if capability.kind() != NodeKind::Capture {
        return Ok(Details { capability, offers: vec![], others: vec![], controls: vec![] });
    }
    // The rate plays no part in a list.
    let survey = survey(path, 30.0)?;
    let known = |code: &[u8; 4]| crate::frame::PixelFormat::from_fourcc(*code).is_some();
    let others = survey.fourccs.into_iter().filter(|code| !known(code)).collect();
    Ok(Details { capability, offers: survey.offers, others, controls: ask(path, controls)? })
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { capability, offers, others, controls } = match &self.what {
            Ok(details) => details,
            Err(error) => return writeln!(f, "{}  cannot be asked: {error}", self.path.display()),
        };
        let Capability { driver, card, bus, .. } = capability;
        writeln!(f, "{}  {card} ({driver}, {bus})", self.path.display())?;
        if capability.kind() != NodeKind::Capture {
            return writeln!(f, "  {}, not a camera", capability.kind().in_words());
        }
        for link in &self.stable {
            writeln!(f, "  {}", link.display())?;
        }
        for offer in offers {
            for size in &offer.sizes {
                let rates: Vec<String> =
                    size.rates.iter().map(|rate| format!("{:.4}", rate)).map(short).collect();
                let rates =
                    if rates.is_empty() { String::new() } else { format!(" at {} fps", rates.join(", ")) };
                writeln!(f, "  {:6} {}{rates}", offer.format.name(), size.extent)?;
            }
        }
        for code in others {
            let what =
                if is_raw_sensor(*code) { "raw sensor data, use exec:rpicam-vid" } else { "cannot be shown" };
            writeln!(f, "  {:6} {what}", String::from_utf8_lossy(code))?;
        }
        for control in controls {
            writeln!(f, "  {control}")?;
        }
        Ok(())
    }
}

/// A decimal number without trailing zeros.
fn short(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}
