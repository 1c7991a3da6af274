//! A board in somebody's network: the address that it is given, the name that it goes by, the time, and what comes to it
//! over SSH.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::card::Card;
use crate::config::{CAMERA, PASSWORD, PASSWORD_IN_URL};
use crate::lan::Lan;
use crate::pi::{Pi, With};
use crate::{Lab, Left};
use support::netns::obstacle;
use support::picture::Stamp;
use support::tools::missing;

/// What a deployment ends with: `scripts/deploy`.
const SERVES: i32 = 0;
const ROLLED_BACK: i32 = 2;
/// Seconds that a new version has to serve a picture. An emulated processor takes its time; a bad one never will.
const WAIT_FOR_GOOD_S: &str = "600";
const WAIT_FOR_BAD_S: &str = "10";

pub fn it_is_found_by_its_name_and_takes_new_versions_over_ssh(lab: &Lab, _: Left) -> Left {
    if let Some(why) = obstacle() {
        missing(&why);
        return None;
    }
    let lan = Lan::new();
    let (card, key) = flashed_with_a_key(lab);
    let mut pi = Pi::boot(&card, &With { lan: Some(&lan), ..lab.with() });
    let address = lan.lease("garden");
    assert_eq!(lan.lookup("garden"), address);
    a_browser_gets_a_picture(&lan, address);
    the_time_is_right(&mut pi);

    let log_in = |more: &[&str]| {
        let target = format!("root@{address}");
        lan.run("ssh", &[&["-o", "BatchMode=yes"], more, &[&target, "true"]].concat())
    };
    let options = options(&card, &key);
    let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
    let (code, said) = log_in(&options);
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&said));
    let (code, said) = log_in(&[&["-o", "PubkeyAuthentication=no"], &options[..]].concat());
    assert_ne!(code, 0, "without the key");
    assert!(String::from_utf8_lossy(&said).contains("Permission denied (publickey)"), "{said:?}");

    let deploy = |program: &Path, wait_s: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy");
        let options = options.iter().map(|&word| if word == "-o" { "--ssh-option" } else { word });
        let words = ["--wait", wait_s, "--program", program.to_str().unwrap()];
        let target = format!("root@{address}");
        let words: Vec<&str> = words.into_iter().chain(options).chain([&*target]).collect();
        let (code, said) = lan.run(script.to_str().unwrap(), &words);
        (code, String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = deploy(&lab.dud, WAIT_FOR_BAD_S);
    assert_eq!(code, ROLLED_BACK, "{said}\n{}", pi.journal());
    a_browser_gets_a_picture(&lan, address);
    let (code, said) = deploy(&lab.program, WAIT_FOR_GOOD_S);
    assert_eq!(code, SERVES, "{said}\n{}", pi.journal());
    a_browser_gets_a_picture(&lan, address);
    assert!(pi.run("readlink /run/porthole-appliance/porthole").starts_with("/state/release/"));
    None
}

/// A card for whoever has the key, and the key.
pub fn flashed_with_a_key(lab: &Lab) -> (Card, String) {
    let scratch = support::Scratch::new();
    let key = scratch.path("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "me@pc", "-f"])
        .arg(&key)
        .status();
    assert!(made.expect("ssh-keygen").success());
    let public = key.with_extension("pub");
    let card =
        Card::flashed(&lab.image, &["--hostname", "garden", "--ssh-key", public.to_str().unwrap()], PASSWORD);
    card.put("porthole.toml", CAMERA);
    // For as long as there is the card.
    let kept = card.folder().path("key");
    fs::copy(&key, &kept).unwrap();
    (card, kept.display().to_string())
}

/// For ssh: this key and no other, and a memory of hosts that is nobody else's.
pub fn options(card: &Card, key: &str) -> [String; 5] {
    [
        format!("IdentityFile={key}"),
        "IdentitiesOnly=yes".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        format!("UserKnownHostsFile={}", card.folder().path("hosts").display()),
        // An emulated processor takes its time over signatures.
        "ConnectTimeout=120".to_owned(),
    ]
}

#[track_caller]
pub fn a_browser_gets_a_picture(lan: &Lan, address: Ipv4Addr) {
    let resolve = format!("garden.local:80:{address}");
    let url = format!("http://garden.local/snapshot?token={PASSWORD_IN_URL}");
    let (code, picture) =
        lan.run("curl", &["-sSf", "--retry", "60", "--retry-all-errors", "--resolve", &resolve, &url]);
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&picture));
    Stamp::of(&picture);
}

/// The board has no clock that goes on without power.
#[track_caller]
fn the_time_is_right(pi: &mut Pi) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    pi.until("the clock is right", &format!("[ $(date +%s) -ge {} ]", now() - 5));
    let told: u64 = pi.run("date +%s").trim().parse().expect("seconds");
    assert!(told <= now() + 5, "{told}");
}
