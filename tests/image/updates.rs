//! New versions of the program, without flashing the card.

use crate::config::{CAMERA, OPEN, SERVES};
use crate::{Lab, Left};

const CHOSEN: &str = "readlink /run/porthole-appliance/porthole";

pub fn a_bad_one_is_taken_back_and_a_good_one_stays(lab: &Lab, left: Left) -> Left {
    let settings = format!("{OPEN}{CAMERA}");
    let (mut pi, card) = left.unwrap_or_else(|| lab.booted(&settings));
    pi.until("it serves", SERVES);
    assert_eq!(pi.run(CHOSEN).trim(), "/usr/bin/porthole");
    // Says what a good one says when it is asked, and serves nothing.
    pi.run("porthole-appliance release install /test/dud");
    pi.restart();

    card.put("porthole.toml", &settings);
    let mut pi = lab.boot(&card);
    pi.until("it is tried", &format!("{CHOSEN} | grep /state/release && pidof dud porthole"));
    assert_ne!(pi.outcome(SERVES).0, 0);
    pi.cut();

    let mut pi = lab.boot(&card);
    pi.until("what served before serves again", SERVES);
    assert_eq!(pi.run(CHOSEN).trim(), "/usr/bin/porthole");
    pi.run("porthole-appliance release install /usr/bin/porthole");
    pi.restart();

    let mut pi = lab.boot(&card);
    pi.until("it is permanent", "porthole-appliance release status | grep ^good:");
    assert!(pi.run(CHOSEN).starts_with("/state/release/"));
    Some((pi, card))
}
