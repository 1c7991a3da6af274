//! A machine that plays along with a test: LEDs that can be looked at, a clock that can be set, limits.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use support::fakecam::{Camera, environment};
use support::{Scratch, library, until};

pub const ROLES: [&str; 4] = ["power", "camera", "on-air", "fault"];

/// LEDs and a clock, for a program that they are preloaded into.
pub struct Machine {
    scratch: Scratch,
}

impl Machine {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        for role in ROLES {
            let led = scratch.path("leds").join(role);
            std::fs::create_dir_all(&led).unwrap();
            for (file, text) in [("max_brightness", "1"), ("brightness", "0"), ("trigger", "[none] timer")] {
                std::fs::write(led.join(file), text).unwrap();
            }
        }
        let machine = Self { scratch };
        machine.set_clock(0);
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// Preloads it, and `cameras`, into the command.
    pub fn join(&self, command: &mut Command, cameras: &[Camera]) {
        let mut environment = environment(cameras);
        environment[0].1.push(" ");
        environment[0].1.push(library("fakesys"));
        command.envs(environment);
        command.env("FAKESYS_LEDS", self.path("leds")).env("FAKESYS_CLOCK", self.path("clock"));
    }

    /// A configuration that drives all LEDs, and this.
    pub fn config(&self, rest: &str) -> PathBuf {
        let leds = ROLES.map(|role| format!("[[led]]\nrole = \"{role}\"\nline = \"led:{role}\"\n"));
        self.scratch.file("porthole.toml", format!("{rest}\n{}", leds.concat()))
    }

    /// The LEDs that are lit.
    pub fn lit(&self) -> Vec<&'static str> {
        let is_lit = |role: &&str| {
            let level = std::fs::read_to_string(self.path("leds").join(role).join("brightness"));
            level.is_ok_and(|level| level.trim() != "0")
        };
        ROLES.into_iter().filter(is_lit).collect()
    }

    /// Waits until these LEDs are lit and no others: their thread follows the status at a time of its own.
    #[track_caller]
    pub fn until_lit(&self, roles: &[&str]) {
        let what = format!("LEDs that are lit: {roles:?}");
        until(&what, || (self.lit() == roles).then_some(()));
    }

    /// Puts the wall clock wrong by so many seconds.
    pub fn set_clock(&self, wrong_by: i64) {
        self.scratch.file("clock", wrong_by.to_ne_bytes());
    }
}

/// Lets the program have no more than `most` of a resource of setrlimit(2).
pub fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    let set = move || match unsafe_setrlimit(resource, &limit) {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: between fork and exec there is one call to the kernel and nothing else.
    unsafe { command.pre_exec(set) };
}

fn unsafe_setrlimit(resource: libc::__rlimit_resource_t, limit: &libc::rlimit) -> i32 {
    // SAFETY: reads the struct it is given.
    unsafe { libc::setrlimit(resource, limit) }
}
