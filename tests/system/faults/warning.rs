//! What the system around the service warns of: told wherever somebody looks, and not for longer than it lasts.

use std::fs;

use support::http::get;
use support::{Porthole, porthole, until};

use super::machine::Machine;
use crate::turns::{Group, turn};

/// Waits until the fault LED is lit, or dark.
fn until_fault_led_is(machine: &Machine, lit: bool) {
    until(&format!("the fault LED is lit: {lit}"), || {
        (machine.lit().contains(&"fault") == lit).then_some(())
    });
}

#[test]
fn a_warning_is_told_by_the_led_the_state_and_the_log_while_its_file_is_there() {
    let _turn = turn(Group::Faults);
    let machine = Machine::new();
    let file = machine.path("fault");
    let mut command = porthole();
    machine.join(&mut command, &[]);
    command.args(["--listen", "127.0.0.1:0", "--source", "pattern", "--config"]).arg(machine.config(""));
    let service = Porthole::spawn(command.arg("--warning-file").arg(&file));
    let warning = || service.state()["warning"].clone();
    let led = || {
        let leds = service.state()["leds"].as_array().unwrap().clone();
        leds.iter().find(|led| led["role"] == "fault").unwrap()["pattern"].clone()
    };
    let until_warning = |expected: serde_json::Value| {
        until(&format!("{expected} is what it warns of"), || (warning() == expected).then_some(()));
    };
    until("it serves", || (service.state()["leds"][0]["pattern"] == "on").then_some(()));
    assert_eq!((warning(), led()), (serde_json::Value::Null, "off".into()));

    fs::write(&file, "network.toml:3: ssid = \"\": must be of 1 to 32 bytes\nporthole.toml: is gone\n")
        .unwrap();
    until_warning("network.toml:3: ssid = \"\": must be of 1 to 32 bytes\nporthole.toml: is gone".into());
    assert_eq!(led(), "blink");
    for _ in 0..2 {
        until_fault_led_is(&machine, true);
        until_fault_led_is(&machine, false);
    }
    // Frames come all the same, and so it is well.
    assert_eq!(get(service.address, "/snapshot").status, 200);
    assert_eq!(get(service.address, "/healthz").status, 200);

    fs::remove_file(&file).unwrap();
    until_warning(serde_json::Value::Null);
    assert_eq!(led(), "off");
    until_fault_led_is(&machine, false);
    service.until_logged(&format!("porthole: info: {} was removed; its warning is over", file.display()));
    let log = service.log();
    let said =
        "porthole: warn: network.toml:3: ssid = \"\": must be of 1 to 32 bytes; porthole.toml: is gone";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

#[test]
fn whatever_lies_where_the_warning_should_be_is_told_and_waited_for_by_nobody() {
    let _turn = turn(Group::Faults);
    let machine = Machine::new();
    let file = machine.path("fault");
    let path = file.display();
    let service = Porthole::start(&["--source", "pattern", "--warning-file", file.to_str().unwrap()]);
    let until_told = |expected: String| {
        until(&expected, || (service.state()["warning"] == expected.as_str()).then_some(()));
    };
    fs::write(&file, "\n").unwrap();
    until_told(format!("{path} is empty; it should hold the text of a warning"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    until_told(format!("{path}: not a file; its warning cannot be shown"));
    fs::remove_dir(&file).unwrap();
    // Nobody writes to it: to open it would take for ever.
    let fifo = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    until("a FIFO takes the place", || fs::metadata(&file).is_ok().then_some(()));
    let before = service.state()["uptime_s"].as_f64().unwrap();
    until("it looked since", || (service.state()["uptime_s"].as_f64().unwrap() > before + 2.0).then_some(()));
    until_told(format!("{path}: not a file; its warning cannot be shown"));
    fs::remove_file(&file).unwrap();
    fs::write(&file, [&b"x\xff"[..], &[b'y'; 10_000]].concat()).unwrap();
    until_told(format!("x\u{fffd}{}", "y".repeat(4094)));
}

#[test]
fn a_warning_in_a_folder_that_is_made_later_or_replaced_is_told() {
    let _turn = turn(Group::Faults);
    let machine = Machine::new();
    let folder = machine.path("run/later");
    let file = folder.join("fault");
    let service = Porthole::start(&["--source", "pattern", "--warning-file", file.to_str().unwrap()]);
    let until_told = |expected: serde_json::Value| {
        until(&format!("{expected} is what it warns of"), || {
            (service.state()["warning"] == expected).then_some(())
        });
    };
    until_told(serde_json::Value::Null);
    fs::create_dir_all(&folder).unwrap();
    fs::write(&file, "one").unwrap();
    until_told("one".into());
    // A link or a mount in the folder's place is another folder; what is written to the old one is nobody's business.
    let old = machine.path("run/old");
    fs::rename(&folder, &old).unwrap();
    until_told(serde_json::Value::Null);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("fault.new"), "two").unwrap();
    fs::rename(folder.join("fault.new"), &file).unwrap();
    until_told("two".into());
    fs::write(old.join("fault"), "three").unwrap();
    fs::remove_dir_all(&folder).unwrap();
    until_told(serde_json::Value::Null);
}
