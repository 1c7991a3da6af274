//! The chip that starts the board anew when nothing in it moves any more.

use crate::pi::{Pi, With};
use crate::{Lab, Left};

/// The emulated chip bites as soon as it is armed, whatever time it was given, so that is what is seen: the board starts
/// anew soon after systemd has begun, and neither a panic nor anybody inside has asked for that. Everything else is
/// tested with an overlay that leaves the chip alone, and does not end so.
pub fn it_is_armed(lab: &Lab, _: Left) -> Left {
    let card = lab.card("");
    let mut pi = Pi::on(&card, &With { kernel: "loglevel=7", ..With::default() });
    pi.ended();
    let log = pi.log();
    assert!(log.contains("starting systemd"), "{log}");
    assert!(!log.contains("panic -") && !log.contains("reboot: "), "{log}");
    None
}
