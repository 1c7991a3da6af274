//! The chip that starts the board anew when nothing in it moves any more.

use crate::Lab;
use crate::pi::Pi;

/// The emulated chip bites as soon as it is armed, whatever time it was given, so that is what is seen.
pub fn it_is_armed(lab: &Lab) {
    let card = lab.card("");
    let mut pi = Pi::on_with(&card, None, "loglevel=6");
    pi.ended();
    let log = pi.log();
    assert!(log.contains("starting systemd"), "{log}");
    assert!(log.contains("hardware watchdog 'Broadcom BCM2835 Watchdog timer'"), "{log}");
    assert!(!log.contains("panic"), "{log}");
}
