//! The LEDs, wired as on a Raspberry Pi and measured outside.

use std::time::{Duration, Instant};

use crate::guest::{Guest, Service, UsbCamera};
use support::http::get;
use support::until;
use support::ws::Client;

/// What they are wired to the profile of the board says.
const WIRES: &str = "[[led]]\nrole = \"power\"\n[[led]]\nrole = \"camera\"\n\
                     [[led]]\nrole = \"on-air\"\n[[led]]\nrole = \"fault\"\n";
/// The line of ACT, which is an LED of the kernel's own.
const POWER: &str = "GPIO25";
const CAMERA: &str = "GPIO27";
const ON_AIR: &str = "GPIO17";
const FAULT: &str = "GPIO22";
/// A flash is dark for less than this before the next, and for more after the last.
const PAUSE: Duration = Duration::from_millis(800);

fn usb(node: &str) -> String {
    format!("[[camera]]\nsource = \"{node}\"\nwidth = 640\nheight = 480\nfps = 15\nlinger_s = 0\n")
}

/// A service with LEDs at a camera that is plugged in.
fn serve<'a>(guest: &'a Guest, camera: &UsbCamera<'a>, more: &str) -> Service<'a> {
    guest.serve_on("rpi-4b", &format!("{}{more}{WIRES}", usb(&camera.plug())))
}

/// Which of power, camera and on-air are lit, as a word.
fn lit(guest: &Guest) -> String {
    let lit = [(POWER, "power"), (CAMERA, "camera"), (ON_AIR, "on-air")]
        .map(|(line, name)| guest.machine.is_high(line).then_some(name));
    lit.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn until_lit(guest: &Guest, expected: &str) {
    until(&format!("lit are just: {expected}"), || (lit(guest) == expected).then_some(()));
}

#[track_caller]
fn until_level(guest: &Guest, line: &str, high: bool) {
    until(&format!("{line} is {high}"), || (guest.machine.is_high(line) == high).then_some(()));
}

/// Counts the flashes from one pause to the next.
fn flashes(guest: &Guest, line: &str) -> usize {
    let (mut count, mut was_lit, mut dark_since) = (None, true, Instant::now());
    until("it pauses, flashes and pauses", || {
        let is_lit = guest.machine.is_high(line);
        if was_lit && !is_lit {
            dark_since = Instant::now();
        }
        if is_lit && !was_lit {
            count = count.map(|n| n + 1);
        }
        was_lit = is_lit;
        let pauses = !is_lit && dark_since.elapsed() > PAUSE;
        match count {
            None if pauses => count = Some(0),
            Some(n) if pauses && n > 0 => return Some(n),
            _ => {}
        }
        None
    })
}

/// An emulated processor may be late with a step, but not always.
#[track_caller]
fn until_it_counts(guest: &Guest, n: usize) {
    until(&format!("it counts {n}"), || (flashes(guest, FAULT) == n).then_some(()));
}

pub fn they_follow_the_audience(guest: &Guest) {
    let camera = guest.isochronous();
    until_lit(guest, "");
    let service = serve(guest, &camera, "");
    until_lit(guest, "power");
    let first = service.viewer();
    first.first();
    assert!(guest.machine.is_high(ON_AIR), "somebody has a picture, and nobody can see that");
    until_lit(guest, "power camera on-air");
    let second = service.viewer();
    second.first();
    drop(first);
    second.watch(10, (640, 480));
    assert_eq!(lit(guest), "power camera on-air", "one is still there");
    drop(second);
    until_level(guest, ON_AIR, false);
    assert_eq!(service.video_descriptors(), 0, "dark, with the camera open");
    assert_eq!(camera.status().get("streaming"), 0, "dark, with the camera on");
    until_lit(guest, "power");
    assert!(!guest.machine.is_high(FAULT));
}

pub fn a_snapshot_is_on_air_too(guest: &Guest) {
    let camera = guest.isochronous();
    // Half a second of frames that are held back: enough to be seen.
    let service = serve(guest, &camera, "skip_first = 8\n");
    until_lit(guest, "power");
    let address = service.address;
    let snapshot = std::thread::spawn(move || get(address, "/snapshot").status);
    until_level(guest, ON_AIR, true);
    assert!(!snapshot.is_finished(), "it was lit after the picture was taken");
    assert_eq!(snapshot.join().unwrap(), 200);
    until_lit(guest, "power");
    assert_eq!(service.video_descriptors(), 0);
}

pub fn a_fault_is_counted_by_its_cause(guest: &Guest) {
    let camera = guest.isochronous();
    let service = serve(guest, &camera, "");
    let viewer = service.viewer();
    viewer.first();
    until_lit(guest, "power camera on-air");
    camera.unplug();
    service.until_camera_is("lost");
    until_lit(guest, "power");
    until_it_counts(guest, 1);
    camera.plug();
    viewer.watch(3, (640, 480));
    until_lit(guest, "power camera on-air");
    until_level(guest, FAULT, false);
    camera.tell("stall");
    service.until_camera_is("stalled");
    until_it_counts(guest, 2);
    camera.tell("resume");
    viewer.watch(3, (640, 480));
    until_lit(guest, "power camera on-air");
    drop(viewer);

    let config = format!("{}{WIRES}", usb(&camera.metadata_node()));
    let service = guest.serve_on("rpi-4b", &config);
    let _viewer = service.viewer();
    service.until_camera_is("unsupported");
    until_it_counts(guest, 3);
    assert_eq!(lit(guest), "power");
}

pub fn a_stop_leaves_them_dark(guest: &Guest) {
    let camera = guest.isochronous();
    let service = guest.by_hand("root", &format!("{}{WIRES}", usb(&camera.plug())));
    let viewer = service.viewer();
    viewer.first();
    until_lit(guest, "power camera on-air");
    guest.run(&format!("kill {}", service.pid));
    assert_eq!(service.ended(), 0);
    assert_eq!(lit(guest), "");
    drop(viewer);
    // Told twice, as it takes its time to stop: a command that will not end.
    let source = "exec:trap '' TERM; while :; do sleep 1; done";
    let service = guest.by_hand("root", &format!("[[camera]]\nsource = \"{source}\"\n{WIRES}"));
    let _client = Client::porthole(service.address, "/ws");
    until_level(guest, ON_AIR, true);
    let gone = format!("kill {pid} 2>/dev/null; [ ! -e /proc/{pid} ]", pid = service.pid);
    until("it has been told to stop at once", || guest.attempt(&gone).then_some(()));
    assert!(matches!(service.ended(), 0 | 3), "{}", service.log());
    assert_eq!(lit(guest), "");
    assert!(!guest.machine.is_high(FAULT));
}

pub fn the_privacy_light_is_dark_after_a_kill(guest: &Guest) {
    let camera = guest.isochronous();
    let service = serve(guest, &camera, "");
    let viewer = service.viewer();
    viewer.first();
    until_lit(guest, "power camera on-air");
    // Not to be started again: what makes it dark is what is run after the end.
    guest.run(&format!("rm /run/porthole.toml; kill -9 {}", service.pid));
    until_level(guest, ON_AIR, false);
    assert_eq!(guest.run("tail -n 1 /run/porthole.exits").trim(), "137");
    // The kernel has given the camera back, and the lines: they can be had, and keep their levels until then.
    until("the camera is off", || (camera.status().get("streaming") == 0).then_some(()));
    assert_eq!(lit(guest), "power camera");
    for role in ["power", "camera"] {
        guest.run(&format!("porthole led {role} off --config /run/porthole.last"));
    }
    assert_eq!(lit(guest), "");
}

pub fn a_wire_can_be_tried_out(guest: &Guest) {
    guest.run(&format!("printf 'board = \"rpi-4b\"\\n{}' >/run/wires", WIRES.replace('\n', "\\n")));
    let led = "porthole --config /run/wires led fault";
    let pid = guest.run(&format!("{led} on >/run/led.log 2>&1 & echo $!"));
    until_level(guest, FAULT, true);
    let (busy, why) = guest.outcome(&format!("{led} off"));
    assert_eq!(busy, 2);
    assert!(
        why.contains("GPIO22 is in use by porthole fault; stop that, or wire the LED to another"),
        "{why}"
    );
    guest.run(&format!("kill {pid}"));
    until_level(guest, FAULT, false);
    assert_eq!(
        guest.run("cat /run/led.log"),
        "fault on GPIO22: on; Ctrl-C ends it\nporthole: info: SIGTERM: stopping\n"
    );
    let pid = guest.run(&format!("{led} blink >/dev/null 2>&1 & echo $!"));
    for level in [true, false, true, false] {
        until_level(guest, FAULT, level);
    }
    guest.run(&format!("kill {pid}"));
}

pub fn a_line_that_cannot_be_had_is_told_apart(guest: &Guest) {
    guest.run("chmod 600 /dev/gpiochip0");
    let config = |line: &str, required| {
        format!("[[led]]\nrole = \"on-air\"\nline = \"{line}\"\nrequired = {required}\n")
    };
    let vivid = format!(
        "[[camera]]\nsource = \"{}\"\nwidth = 640\nheight = 480\nlinger_s = 0\n",
        guest.vivid().expect("vivid's node")
    );
    for (user, line, expected) in [
        ("root", POWER, "GPIO25 is in use by ACT; stop that, or wire the LED to another line"),
        (
            "root",
            "GPIO99",
            "there is no line GPIO99 (on 9030000.pl061); `gpioinfo` lists the lines there are",
        ),
        (
            "root",
            "9030000.pl061:8",
            "there is no line 9030000.pl061:8 (on 9030000.pl061 with 8 lines); `gpioinfo` lists",
        ),
        (
            "root",
            "pinctrl-rp1:17",
            "there is no GPIO chip pinctrl-rp1, only 9030000.pl061; `gpiodetect` lists the chips there are",
        ),
        (
            "nobody",
            "GPIO17",
            "GPIO17: /dev/gpiochip0 may not be used by this user; add it to the group that owns it, usually `gpio`",
        ),
    ] {
        guest.run(&format!("cat >/run/wires <<'END'\n{}END", config(line, false)));
        let (code, why) =
            guest.outcome(&format!("su {user} -c 'porthole --config /run/wires led on-air off'"));
        assert_eq!(code, 2, "{why}");
        assert!(why.contains(expected), "{user}, {line}: {why}");
        if user == "root" {
            let service = guest.serve(&format!("{vivid}{}", config(line, false)));
            service.viewer().first();
            let shown = service.state()["leds"][0]["pattern"].as_str().unwrap().to_owned();
            assert!(shown.starts_with(&format!("cannot be had: {expected}")), "{shown}");
            assert!(service.log().contains(&format!("led on-air: {expected}")), "{}", service.log());
        }
        guest.run(&format!("cat >/run/wires <<'END'\n{vivid}{}END", config(line, true)));
        let (code, why) =
            guest.outcome(&format!("su {user} -c 'porthole --config /run/wires --listen 127.0.0.1:8082'"));
        assert_eq!(code, 2, "{why}");
        assert!(
            why.contains(expected) && why.contains("or set required = false to run without it"),
            "{user}, {line}: {why}"
        );
    }
}

pub fn the_packaged_user_has_all_it_needs_and_no_more(guest: &Guest) {
    guest.run(
        "printf 'g video -\\nu porthole -\\nm porthole video\\nm porthole gpio\\n' >/etc/sysusers.d/user.conf
         systemd-sysusers
         chmod 600 /dev/gpiochip0
         /lib/systemd/systemd-udevd --daemon --resolve-names=late
         udevadm trigger --action=add --subsystem-match=gpio --subsystem-match=leds \
         --subsystem-match=video4linux && udevadm settle",
    );
    let camera = guest.isochronous();
    camera.plug();
    let link = "/dev/v4l/by-id/usb-Porthole_Test_Camera_TEST0000-video-index0";
    until("udev has seen the camera", || guest.attempt(&format!("[ -e {link} ]")).then_some(()));
    let service = guest.by_hand("porthole", &format!("{}{WIRES}", usb(link)));
    let own = guest.run(&format!("awk '/^(Uid|CapEff):/ {{ print $2 }}' /proc/{}/status", service.pid));
    assert!(!own.starts_with("0\n") && own.ends_with("0000000000000000\n"), "it runs as root: {own}");
    until_lit(guest, "power");
    let viewer = service.viewer();
    viewer.watch(3, (640, 480));
    until_lit(guest, "power camera on-air");
    guest.run(&format!("kill {}; udevadm control --exit", service.pid));
    assert_eq!(service.ended(), 0);
    assert_eq!(lit(guest), "");
    let owners =
        guest.run("cd /dev; stat -c '%G %a' gpiochip0 video0; stat -c %G /sys/class/leds/ACT/brightness");
    assert_eq!(owners, "gpio 660\nvideo 660\ngpio\n");
}

pub fn an_led_of_the_board_is_taken_over_and_given_back(guest: &Guest) {
    let trigger =
        || guest.run("sed 's/.*\\[\\(.*\\)\\].*/\\1/' /sys/class/leds/ACT/trigger").trim().to_owned();
    guest.run("echo heartbeat >/sys/class/leds/ACT/trigger");
    assert_eq!(trigger(), "heartbeat");
    let vivid = guest.vivid().expect("vivid's node");
    let service = guest.serve(&format!(
        "[[camera]]\nsource = \"{vivid}\"\nwidth = 640\nheight = 480\nlinger_s = 0\n\
         [[led]]\nrole = \"on-air\"\nline = \"led:ACT\"\n\
         [[led]]\nrole = \"power\"\nline = \"GPIO5\"\nactive_low = true\n"
    ));
    assert_eq!((trigger().as_str(), guest.machine.is_high(POWER)), ("none", false));
    // Lit by a low level.
    until_level(guest, "GPIO5", false);
    let viewer = service.viewer();
    viewer.first();
    until_level(guest, POWER, true);
    drop(viewer);
    until_level(guest, POWER, false);
    guest.run(&format!("rm /run/porthole.toml; kill {}", service.pid));
    until("it beats again", || (trigger() == "heartbeat" && guest.machine.is_high(POWER)).then_some(()));
    assert!(guest.machine.is_high("GPIO5"), "lit, as this one is by a low level");
}
