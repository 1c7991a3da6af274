//! What the service's unit allows it, and the programs that it starts, is all that the kernel lets them have.

use crate::config::confined;
use crate::pi::Pi;
use crate::{Lab, Left};

const STATE: &str = "wget -q -O - http://127.0.0.1/state";
const GROUP: &str = "/sys/fs/cgroup/system.slice/porthole.service";

pub fn it_has_no_more_than_the_unit_says(lab: &Lab, left: Left) -> Left {
    let (mut pi, _card) = left.unwrap_or_else(|| lab.booted(&confined()));
    serves(&mut pi);
    let process = pi.run("pidof porthole");

    // Devices: whoever is root there, and allowed every file, has cameras and LEDs, and not the card.
    let mut open = |device: &str| pi.outcome(&format!("{} : <{device}", joined())).1;
    for device in ["/dev/video0", "/dev/gpiochip0", "/dev/null"] {
        assert_eq!(open(device), "", "{device}");
    }
    for device in ["/dev/mmcblk0", "/dev/mem", "/dev/ttyS1"] {
        assert!(open(device).contains("Operation not permitted"), "{device}: {}", open(device));
    }
    assert_eq!(pi.outcome(": </dev/mmcblk0").1, "", "nobody may have the card");

    // Memory: the program that grew is ended alone, and started again.
    ask(&mut pi, "greedy");
    pi.until("it is ended twice", &format!("[ $(sed -n 's/^oom_kill //p' {GROUP}/memory.events) -ge 2 ]"));
    pi.until("that is told", &format!("{STATE} | grep 'was killed (signal 9), as the kernel does'"));
    serves(&mut pi);

    // Processes: what cannot be started is not, and all that was goes with the one who started it.
    ask(&mut pi, "fertile");
    pi.until("there are no more", &format!("[ $(sed -n 's/^max //p' {GROUP}/pids.events) -ge 1 ]"));
    serves(&mut pi);
    stop_asking(&mut pi);
    pi.until("they are gone", &format!("[ $(cat {GROUP}/pids.current) -lt 20 ]"));

    assert_eq!(pi.run("pidof porthole"), process, "it was started again");
    pi.run("systemctl is-active porthole");
    None
}

/// What a shell runs after this is confined as the service is, but for its user.
fn joined() -> String {
    format!("echo $$ >{GROUP}/cgroup.procs;")
}

/// Asks for the pictures of a camera that has none.
fn ask(pi: &mut Pi, camera: &str) {
    stop_asking(pi);
    pi.run(&format!("wget -q -O /dev/null http://127.0.0.1/cameras/{camera}/stream & echo $! >/tmp/asking"));
}

fn stop_asking(pi: &mut Pi) {
    pi.outcome("kill $(cat /tmp/asking)");
}

/// There is a picture of the USB camera.
#[track_caller]
fn serves(pi: &mut Pi) {
    pi.until(
        "there is a picture",
        "timeout 60 wget -q -O - http://127.0.0.1/snapshot | head -c 3 | grep -q .",
    );
}
