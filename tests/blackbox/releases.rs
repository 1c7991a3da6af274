//! The program on an SD-card image, updated without reflashing: tried, confirmed, taken back, whatever is brought and
//! whenever the power is cut.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::tools::program;
use support::{Porthole, Scratch, fake_disk, finish, porthole};

use crate::appliance::appliance;

/// An appliance that is switched off.
struct Appliance {
    scratch: Scratch,
    /// A program to be brought.
    release: PathBuf,
}

impl Appliance {
    /// `None` where no program can be made to be brought.
    fn new() -> Option<Self> {
        let strip = program("strip", "binutils")?;
        let scratch = Scratch::new();
        let (state, release) = (scratch.path("state"), scratch.path("release"));
        fs::create_dir_all(state).unwrap();
        // The one under test, without what a debugger reads: it is copied often.
        let (code, _, error) =
            finish(Command::new(strip).arg("-o").arg(&release).arg(env!("CARGO_BIN_EXE_porthole")));
        assert_eq!(code, 0, "{error}");
        Some(Self { scratch, release })
    }

    /// Another program, which does the same.
    fn another(&self, name: &str) -> PathBuf {
        let mut bytes = fs::read(&self.release).unwrap();
        // Behind its end nobody looks.
        bytes.extend(name.as_bytes());
        let path = self.scratch.file(name, bytes);
        fs::set_permissions(&path, self.release.metadata().unwrap().permissions()).unwrap();
        path
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = appliance();
        command.stdin(Stdio::null());
        command.arg("release").args(words);
        for (flag, name) in [("--state", "state"), ("--run", "run"), ("--factory", "factory")] {
            command.arg(flag).arg(self.scratch.path(name));
        }
        command
    }

    /// Exit code and what it says: first its output, then its log.
    fn release(&self, words: &[&str]) -> (i32, String) {
        let (code, out, log) = finish(&mut self.command(words));
        (code, out + &log)
    }

    #[track_caller]
    fn does(&self, words: &[&str]) -> String {
        let (code, said) = self.release(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }

    /// Does `words`, and its power is cut at the step of this number: false if there are not as many.
    fn is_cut_at(&self, words: &[&str], step: usize) -> bool {
        let mut command = self.command(words);
        fake_disk(&mut command, "FAKEDISK_CUT", &step.to_string(), &self.scratch.path("state"));
        let (code, _, log) = finish(&mut command);
        assert!(code == 0 || code == 99, "{code}: {log}");
        code != 0
    }

    #[track_caller]
    fn install(&self, program: &Path) {
        self.does(&["install", program.to_str().unwrap()]);
    }

    /// What is linked; the name below its folder.
    fn chosen(&self) -> String {
        let link = fs::read_link(self.scratch.path("run/porthole-appliance/porthole")).unwrap();
        let name = link.strip_prefix(self.scratch.path("")).unwrap();
        assert!(
            link == self.scratch.path("factory") || link.exists(),
            "nothing is linked: {}",
            link.display()
        );
        name.to_str().unwrap().to_owned()
    }

    /// What is chosen at the next boot.
    #[track_caller]
    fn boot(&self) -> String {
        let _ = fs::remove_dir_all(self.scratch.path("run"));
        self.does(&["choose"]);
        self.chosen()
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path("local.sock")
    }

    /// Starts what is chosen, as the unit does: with a password, which nobody here knows.
    #[track_caller]
    fn start(&self, program: &Path, arguments: &[&str]) -> Porthole {
        // As in the rest of the tests, of this environment it gets nothing that it would listen to.
        let environment = porthole();
        let mut command = Command::new(program);
        for (key, value) in environment.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.args(["--listen", "127.0.0.1:0", "--auth", "token", "--state-dir"]);
        command.arg(self.scratch.path("private")).arg("--local-socket").arg(self.socket());
        Porthole::spawn(command.args(arguments))
    }

    fn confirm(&self, within: &str) -> (i32, String) {
        self.release(&["confirm", "--within", within, "--socket", self.socket().to_str().unwrap()])
    }

    /// What lies in the slots.
    fn files(&self) -> Vec<String> {
        let folders = ["a", "b"].map(|slot| self.scratch.path(&format!("state/release/{slot}")));
        let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                path.strip_prefix(self.scratch.path("state/release")).unwrap().to_str().unwrap().to_owned()
            })
            .collect();
        names.sort();
        names
    }
}

const PATTERN: [&str; 4] = ["--source", "pattern", "--size", "320x240"];

#[test]
fn a_release_is_tried_serves_a_picture_and_is_permanent() {
    let Some(appliance) = Appliance::new() else { return };
    fs::copy(&appliance.release, appliance.scratch.path("factory")).unwrap();
    assert_eq!(appliance.boot(), "factory");
    assert!(appliance.does(&["confirm"]).contains("nothing is on trial"));
    let link = appliance.scratch.path("run/porthole-appliance/porthole");
    let mut before = appliance.start(&link, &PATTERN);
    appliance.install(&appliance.another("new"));
    assert_eq!(appliance.chosen(), "factory", "it was not to be touched");
    assert!(appliance.does(&["status"]).contains("next: slot a, version "));
    appliance.does(&["choose"]);
    assert_eq!(appliance.chosen(), "state/release/a/porthole");
    assert!(appliance.does(&["status"]).contains("trial: slot a, version "));

    // What serves is still the one before, and its pictures are none of the new one's.
    let (code, said) = appliance.confirm("0");
    let why = format!("{} serves, not ", appliance.scratch.path("factory").display());
    assert!(code == 1 && said.contains(&why) && said.contains("restart porthole"), "{said}");
    assert_eq!(before.stop(), Some(0));

    let _new = appliance.start(&link, &PATTERN);
    let (code, said) = appliance.confirm("60");
    assert!(code == 0 && said.contains("slot a, version ") && said.contains("is permanent"), "{said}");
    assert!(appliance.does(&["status"]).contains("good: slot a, version "));
    for _ in 0..2 {
        assert_eq!(appliance.boot(), "state/release/a/porthole");
    }
}

#[test]
fn a_release_that_serves_no_picture_goes_back_at_the_next_boot() {
    let Some(appliance) = Appliance::new() else { return };
    appliance.install(&appliance.another("new"));
    assert_eq!(appliance.boot(), "state/release/a/porthole");
    let (code, said) = appliance.confirm("0");
    assert!(
        code == 1 && said.contains("slot a is not confirmed within 0 s: ") && said.contains("local.sock"),
        "{said}"
    );
    let link = appliance.scratch.path("run/porthole-appliance/porthole");
    let _service = appliance.start(&link, &["--source", "exec:exit 1"]);
    let (code, said) = appliance.confirm("0");
    assert!(code == 1 && said.contains("the request for a picture is answered 503: "), "{said}");
    let said = appliance.does(&["status"]);
    assert!(said.contains("trial: slot a"), "{said}");
    assert_eq!(appliance.boot(), "factory");
    assert_eq!(appliance.boot(), "factory");
}

#[test]
fn a_trial_can_be_taken_back_at_once() {
    let Some(appliance) = Appliance::new() else { return };
    appliance.install(&appliance.release);
    assert_eq!(appliance.boot(), "state/release/a/porthole");
    let said = appliance.does(&["discard"]);
    assert!(said.contains("slot a, version ") && said.contains(" is discarded"), "{said}");
    assert_eq!([appliance.chosen(), appliance.boot()], ["factory", "factory"]);
}

#[test]
fn what_is_no_program_for_this_machine_or_configuration_is_not_taken() {
    let Some(appliance) = Appliance::new() else { return };
    let scratch = &appliance.scratch;
    let bytes = fs::read(&appliance.release).unwrap();
    let foreign = [&bytes[..18], &[0xf3, 0], &bytes[20..]].concat();
    let half = &bytes[..bytes.len() / 2];
    let (shell, echo) = ("#!/bin/sh\necho porthole 1.0\n".as_bytes(), fs::read("/bin/true").unwrap());
    let cases: [(&str, &[u8], &str); 5] = [
        ("shell", shell, "it is not a program"),
        ("empty", b"", "it is not a program"),
        ("foreign", &foreign, "it is a program for machine 243 of the ELF standard, and this machine is "),
        ("half", half, "not taken: "),
        ("other", &echo, "it is not a porthole: its version is "),
    ];
    for (name, content, why) in cases {
        let path = scratch.file(name, content);
        let (code, said) = appliance.release(&["install", path.to_str().unwrap()]);
        assert!(code == 1 && said.contains(&format!("{} is not taken: ", path.display())), "{name}: {said}");
        assert!(said.contains(why), "{name}: {said}");
        assert_eq!(appliance.files(), [""; 0], "{name}");
    }
    let (code, said) = appliance.release(&["install", scratch.path("nowhere").to_str().unwrap()]);
    assert!(code == 1 && said.contains("nowhere is not taken: No such file"), "{said}");
    fs::create_dir_all(scratch.path("run/porthole-appliance")).unwrap();
    scratch.file("run/porthole-appliance/porthole.toml", "[servr]\n");
    let (code, said) = appliance.release(&["install", appliance.release.to_str().unwrap()]);
    let why = "porthole.toml:1: `[servr]`: unknown key";
    assert!(
        code == 1 && said.contains("does not accept this configuration: ") && said.contains(why),
        "{said}"
    );
    assert_eq!(appliance.boot(), "factory");
}

#[test]
fn what_did_not_come_whole_is_not_taken() {
    let Some(appliance) = Appliance::new() else { return };
    let Some(b2sum) = program("b2sum", "coreutils") else { return };
    let (_, sum, _) = finish(Command::new(b2sum).arg(&appliance.release));
    let bytes = fs::read(&appliance.release).unwrap();
    let send = |bytes: &[u8]| {
        let mut command = appliance.command(&["install", "-", "--sum", sum.split(' ').next().unwrap()]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let ended = child.wait_with_output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let half = bytes.len() / 2;
    let (code, said) = send(&bytes[..half]);
    let why = format!("- is not taken: the {half} bytes that arrived are not those that were sent");
    assert!(code == Some(1) && said.contains(&why), "{said}");
    assert_eq!(appliance.files(), [""; 0]);
    let (code, said) = send(&bytes);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(appliance.boot(), "state/release/a/porthole");
}

#[test]
fn a_release_that_is_spoilt_gives_way_to_the_one_before_it() {
    let Some(appliance) = Appliance::new() else { return };
    let link = appliance.scratch.path("run/porthole-appliance/porthole");
    for name in ["one", "two"] {
        appliance.install(&appliance.another(name));
        appliance.boot();
        let mut service = appliance.start(&link, &PATTERN);
        let (code, said) = appliance.confirm("60");
        assert_eq!(code, 0, "{said}");
        service.stop();
    }
    assert_eq!(appliance.boot(), "state/release/b/porthole");
    let spoil = |slot: &str| {
        let path = appliance.scratch.path(&format!("state/release/{slot}/porthole"));
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    spoil("b");
    assert_eq!(appliance.boot(), "state/release/a/porthole");
    spoil("a");
    assert_eq!(appliance.boot(), "factory");
    // Nor can nothing, or nonsense, on the state partition keep a boot from ending well.
    appliance.scratch.file("state/release/state.json", "{\"good\": 7}");
    assert_eq!(appliance.boot(), "factory");
    fs::remove_dir_all(appliance.scratch.path("state")).unwrap();
    assert_eq!(appliance.boot(), "factory");
}

#[test]
fn wherever_it_is_cut_short_something_is_chosen_and_the_next_time_it_works() {
    let Some(appliance) = Appliance::new() else { return };
    let new = appliance.another("new");
    let install = ["install", new.to_str().unwrap()];
    let mut steps = 1;
    while appliance.is_cut_at(&install, steps) {
        let chosen = appliance.boot();
        let taken = chosen == "state/release/a/porthole";
        assert!(chosen == "factory" || taken, "{chosen}");
        if taken {
            assert!(
                fs::read(appliance.scratch.path(&chosen)).unwrap() == fs::read(&new).unwrap(),
                "step {steps}"
            );
            assert_eq!(appliance.boot(), "factory");
        }
        steps += 1;
    }
    assert!(steps > 8, "only {steps} steps");
    for step in 1..=4 {
        appliance.install(&new);
        let _ = fs::remove_dir_all(appliance.scratch.path("run"));
        assert!(appliance.is_cut_at(&["choose"], step), "step {step}");
        let (first, second) = (appliance.boot(), appliance.boot());
        assert!(first == "factory" || first == "state/release/a/porthole", "{first}");
        assert_eq!(second, "factory");
    }
    appliance.install(&new);
    assert_eq!(appliance.boot(), "state/release/a/porthole");
}

#[test]
fn two_releases_at_once_do_not_mix() {
    let Some(appliance) = Appliance::new() else { return };
    let mut slow = appliance.command(&["install", "-"]);
    let mut slow = slow.stdin(Stdio::piped()).spawn().unwrap();
    let mut sent = slow.stdin.take().unwrap();
    let bytes = fs::read(&appliance.release).unwrap();
    // More than a pipe holds: it has begun to read.
    sent.write_all(&bytes[..bytes.len() / 2]).unwrap();
    let (code, said) = appliance.release(&["install", appliance.release.to_str().unwrap()]);
    assert!(
        code == 1 && said.contains("another release is being installed: wait until that is done"),
        "{said}"
    );
    sent.write_all(&bytes[bytes.len() / 2..]).unwrap();
    drop(sent);
    assert!(slow.wait().unwrap().success());
    assert_eq!(appliance.boot(), "state/release/a/porthole");
}
