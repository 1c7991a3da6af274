//! From the first start of a card to a picture, with what its settings say.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::board::RASPBERRY_PI_4B;
use crate::card::Card;
use crate::config::{CAMERA, PASSWORD, PASSWORD_IN_URL, wifi};
use crate::pi::{DEADLINE, Pi, With, wait};
use crate::{Lab, Left};
use support::picture::Stamp;
use support::tools::missing;

const POWER: u32 = 23;
const ON_AIR: u32 = 17;

/// Fetches a path of the service with the password, within the system.
fn get(path: &str) -> String {
    format!("timeout 60 wget -q -O - 'http://127.0.0.1{path}?token={PASSWORD_IN_URL}'")
}

/// A picture of the camera's, by a client in the system.
#[track_caller]
fn snapshot(pi: &mut Pi) -> Stamp {
    let text =
        pi.until("there is a picture", &format!("{} >/tmp/picture && base64 /tmp/picture", get("/snapshot")));
    let text: String = text.split_whitespace().collect();
    Stamp::of(&BASE64_STANDARD.decode(text.as_bytes()).expect("base64"))
}

pub fn a_card_a_camera_and_nothing_else(lab: &Lab, _: Left) -> Left {
    let card = Card::flashed(&lab.image, &["--hostname", "garden"], PASSWORD);
    card.put("porthole.toml", CAMERA);
    assert!(card.get("network.toml").expect("network.toml").contains(PASSWORD), "it is to be applied");
    let mut pi = lab.boot(&card);
    let first = snapshot(&mut pi);
    println!(
        "        the first picture of a new card was there {:.0} s after power on",
        pi.age().as_secs_f32()
    );
    println!("{}", stages(&mut pi));
    assert_eq!(pi.run("cat /etc/hostname /proc/sys/kernel/hostname").lines().last(), Some("garden"));
    // As the program from outside sees it: lit while it serves, and nobody is watching.
    wait("the power LED is lit", DEADLINE, || pi.is_high(POWER).then_some(()));
    wait("the privacy light is dark", DEADLINE, || (!pi.is_high(ON_AIR)).then_some(()));
    pi.run(&format!("{} >/tmp/stream & echo $! >/tmp/pid", get("/stream")));
    wait("the privacy light is lit", DEADLINE, || pi.is_high(ON_AIR).then_some(()));
    pi.until("there are frames", "[ $(grep -ac '^Content-Length' /tmp/stream) -ge 5 ]");
    assert!(pi.is_high(ON_AIR) && pi.is_high(POWER), "dark while somebody watches");
    pi.run("kill $(cat /tmp/pid); rm /tmp/stream");
    wait("the privacy light is dark again", DEADLINE, || (!pi.is_high(ON_AIR)).then_some(()));
    assert!(snapshot(&mut pi).number > first.number, "always the same picture");
    assert!(
        !pi.outcome("wget -q -O /dev/null http://127.0.0.1/snapshot").1.is_empty(),
        "without the password"
    );
    assert!(!card.get("network.toml").expect("network.toml").contains("secret"), "it is still on the card");
    assert_eq!(card.get("porthole-error.txt"), None);
    assert_ne!(pi.outcome("pidof dropbear").0, 0, "SSH, and nobody gave a key");
    // Read-only, but for memory: nothing of it is there after the next start.
    pi.run("echo mine >/etc/mine");
    assert_eq!(pi.run("touch /boot/mine 2>/dev/null || echo refused").trim(), "refused");
    let (id, held) = (pi.run("cat /etc/machine-id"), pi.run("ls /state/private/porthole"));
    pi.restart();

    let mut pi = lab.boot(&card);
    snapshot(&mut pi);
    println!("        and that of the next start {:.0} s after power on", pi.age().as_secs_f32());
    println!("{}", stages(&mut pi));
    assert_eq!(pi.run("cat /etc/machine-id"), id);
    assert_eq!(pi.run("ls /state/private/porthole"), held);
    assert_eq!(pi.run("cat /proc/sys/kernel/hostname").trim(), "garden");
    assert_eq!(pi.outcome("ls /etc/mine /run/porthole-appliance/state-made").0, 1, "of the start before");
    Some((pi, card))
}

/// Where the 3B has a chip that is not emulated, the Zero 2 W, which is the same otherwise, has its green LED at a pin, and
/// lit when that is low.
pub fn the_led_on_the_board_is_lit_while_it_serves(lab: &Lab, _: Left) -> Left {
    const ACT: u32 = 29;
    let card = lab.card("");
    // For the test after this one, which takes it at the first start too.
    card.put("network.toml", &wifi());
    let mut pi = Pi::boot(&card, &With { tree: Some("bcm2837-rpi-zero-2-w.dtb"), ..lab.with() });
    // At the first start, when nothing has waited for udev, and by nobody but the service.
    let lit = "cd /sys/class/leds/ACT && grep -v '^0' brightness && grep '^.none.' trigger";
    pi.until("it is the service's", lit);
    wait("it is lit", DEADLINE, || (!pi.is_high(ACT)).then_some(()));
    pi.run("systemctl stop porthole");
    wait("it is dark", DEADLINE, || pi.is_high(ACT).then_some(()));
    pi.run("systemctl start porthole");
    wait("it is lit again", DEADLINE, || (!pi.is_high(ACT)).then_some(()));
    Some((pi, card))
}

/// Kernel, device tree and board file of a 4B, whose green LED is at GPIO42 and lit when that is high.
pub fn a_raspberry_pi_4_serves_its_camera_and_lights_its_led(lab: &Lab, _: Left) -> Left {
    const ACT: u32 = 42;
    let Some(qemu) = &lab.newer_qemu else {
        missing("QEMU 9 or newer, which emulates a Raspberry Pi 4");
        return None;
    };
    let card = Card::flashed(&lab.image, &["--hostname", "garden"], PASSWORD);
    // The LEDs of the board file.
    card.put("porthole.toml", "[[camera]]\nwidth = 640\nheight = 480\nfps = 5\nlinger_s = 0\n");
    let mut pi = Pi::boot(&card, &With { board: &RASPBERRY_PI_4B, qemu, ..lab.with() });
    let first = snapshot(&mut pi);
    assert!(snapshot(&mut pi).number > first.number, "always the same picture");
    let state = pi.run(&get("/state"));
    assert!(state.contains("\"board\":\"rpi-4b\""), "{state}");
    wait("it is lit", DEADLINE, || pi.is_high(ACT).then_some(()));
    pi.run("systemctl stop porthole");
    wait("it is dark", DEADLINE, || (!pi.is_high(ACT)).then_some(()));
    None
}

/// When what was done, by the guest's clock.
fn stages(pi: &mut Pi) -> String {
    let lines = pi.run(
        "journalctl -b --no-pager -o short-monotonic |
         grep -E 'appliance: |running in system mode|(Starting|Started|Finished) (appliance-|porthole|systemd-net)|porthole: open'",
    );
    lines.lines().fold(String::new(), |all, line| all + "        " + line.trim() + "\n")
}
