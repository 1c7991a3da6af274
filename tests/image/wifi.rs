//! A board in somebody's Wi-Fi. The radios are the kernel's own, which hear each other and nothing else.

use crate::config::{PASSPHRASE, SECOND_PASSPHRASE, SECOND_WIFI, WIFI, confined, wifi};
use crate::pi::Pi;
use crate::{Lab, Left};

/// Succeeds once both have shown each other that they know the passphrase: Documentation/networking/operstates.rst.
const UP: &str = "grep -x up /sys/class/net/wlan0/operstate";
const ADDRESSED: &str = "ip addr show dev wlan0 | grep 192.168.88.20/24";

pub fn it_joins_the_one_that_it_was_told_with_the_passphrase(lab: &Lab, left: Left) -> Left {
    let (mut pi, card) = left.unwrap_or_else(|| {
        let card = lab.card("");
        card.put("network.toml", &wifi());
        (lab.boot(&card), card)
    });
    hear(&mut pi, "somebody else's passphrase");
    pi.until("it is turned away", "journalctl -b -u appliance-wifi | grep 'pre-shared key may be incorrect'");
    assert_ne!(pi.outcome(UP).0, 0, "without the passphrase");
    // The access point leaves that to others.
    let rules = pi.run("iw reg get");
    assert!(rules.contains("country DE:"), "the country counts before it has joined: {rules}");
    hear(&mut pi, PASSPHRASE);
    pi.until("it has joined", UP);
    pi.until("it has its address", ADDRESSED);
    let saves = "iw dev wlan0 get power_save";
    assert_eq!(pi.run(&format!("{saves}; iw dev wlan0 set power_save on; {saves}")), saving(["off", "on"]));
    pi.run("systemctl restart appliance-wifi");
    assert_eq!(pi.run(saves), saving(["off"]));
    pi.until("it has joined again", UP);
    assert!(!card.get("network.toml").expect("network.toml").contains(PASSPHRASE), "it is still on the card");
    pi.restart();

    // For the test after this one.
    card.put("porthole.toml", &confined());
    // With what is kept of the passphrase.
    let mut pi = lab.boot(&card);
    hear(&mut pi, PASSPHRASE);
    pi.until("it has joined again", UP);

    // Where the first is not to be had.
    hear_only(&mut pi, SECOND_WIFI, SECOND_PASSPHRASE, "SAE hidden");
    pi.until("it has joined the second", &format!("iw dev wlan0 link | grep 'SSID: {SECOND_WIFI}' && {UP}"));
    Some((pi, card))
}

/// What `iw` says of a radio that saves power, or does not.
fn saving<const N: usize>(states: [&str; N]) -> String {
    states.map(|state| format!("Power save: {state}\n")).concat()
}

/// Brings an access point of the first Wi-Fi within hearing, instead of the one that was there.
fn hear(pi: &mut Pi, passphrase: &str) {
    hear_only(pi, WIFI, passphrase, "WPA-PSK");
}

fn hear_only(pi: &mut Pi, name: &str, passphrase: &str, way: &str) {
    pi.run(&format!("/test/radio {} {} {way}", hex::encode(name), hex::encode(passphrase)));
}
