//! GPIO lines, driven inside and measured outside.

use crate::guest::Guest;
use support::until;

/// Proof of the measurement itself, without the service: the kernel's oldest interface drives a line.
pub fn a_line_can_be_seen_from_outside(guest: &Guest) {
    let line = "GPIO17";
    // " gpio-504 (GPIO17              |sysfs               ) out lo"
    let find = format!("sed -n 's/^ gpio-\\([0-9]*\\) *({line} .*/\\1/p' /sys/kernel/debug/gpio");
    let number = guest.run(&find).trim().to_owned();
    let folder = format!("/sys/class/gpio/gpio{number}");
    guest.run(&format!("echo {number} >/sys/class/gpio/export && echo out >{folder}/direction"));
    for _ in 0..3 {
        for (value, high) in [(1, true), (0, false)] {
            guest.run(&format!("echo {value} >{folder}/value"));
            until("the line has followed", || (guest.machine.is_high(line) == high).then_some(()));
            assert!(!guest.machine.is_high("GPIO27"), "another line moved too");
        }
    }
    guest.run(&format!("echo {number} >/sys/class/gpio/unexport"));
}
