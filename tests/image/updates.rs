//! New versions of the program, without flashing the card.

use crate::Lab;
use crate::serving::CAMERA;

const CHOSEN: &str = "readlink /run/porthole-appliance/porthole";
const SERVES: &str = "timeout 60 wget -q -O - http://127.0.0.1/healthz";

pub fn a_bad_one_is_taken_back_and_a_good_one_stays(lab: &Lab) {
    let card = lab.card(&format!("[auth]\nmode = \"none\"\n{CAMERA}"));
    let mut pi = lab.boot(&card);
    pi.until("it serves", SERVES);
    assert_eq!(pi.run(CHOSEN).trim(), "/usr/bin/porthole");
    // Says what a good one says when it is asked, and serves nothing.
    pi.run("porthole-appliance release install /test/dud");
    pi.restart();

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
}
