//! Settings that are wrong.

use crate::config::CAMERA;
use crate::{Lab, Left};

pub fn a_broken_file_is_told_and_does_no_harm(lab: &Lab, _: Left) -> Left {
    let (mut pi, card) = lab.booted(&format!("{CAMERA}[[camera]\nwidth = \"wide\"\n"));
    // The defaults: the URL with the token is on the card, as there is no screen to print it on.
    let url = pi.until("the URL is told", "cat /boot/porthole-url.txt");
    let token = url.split_once("?token=").unwrap_or_else(|| panic!("no token in {url:?}")).1;
    let token: String = token.chars().take_while(char::is_ascii_alphanumeric).collect();
    let get = |path: &str| format!("timeout 60 wget -q -O - 'http://127.0.0.1{path}?token={token}'");
    pi.until("it serves by defaults", &format!("{} | head -c 3 | grep -q .", get("/snapshot")));
    let state = pi.run(&get("/state"));
    assert!(state.contains("\"warning\":") && state.contains("porthole.toml"), "{state}");
    pi.restart();
    let error = card.get("porthole-error.txt").expect("porthole-error.txt");
    assert!(error.contains("/boot/porthole.toml:11: "), "{error}");
    None
}
