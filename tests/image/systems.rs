//! Other systems, kernel included, without flashing the card: brought over SSH as people bring them, while the board
//! restarts as they make it restart.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::card::bytes;
use crate::lan::Lan;
use crate::network::{a_browser_gets_a_picture, flashed_with_a_key, options};
use crate::pi::{Pi, With};
use crate::{Lab, Left};
use support::netns::obstacle;
use support::tools::missing;
use support::{Scratch, finish};

/// What a deployment ends with: `scripts/deploy`.
const KEPT: i32 = 0;
const ROLLED_BACK: i32 = 2;
/// What the initramfs does first with a system on trial, and what it ends with: `scripts/appliance/init`.
const FOUND: &str = "say \"the system is on $system";
const ENDS: &str = "exec switch_root ";

pub fn bad_ones_go_back_and_a_good_one_stays(lab: &Lab, _: Left) -> Left {
    if let Some(why) = obstacle() {
        missing(&why);
        return None;
    }
    let lan = Lan::new();
    let (card, key) = flashed_with_a_key(lab);
    let with = With { lan: Some(&lan), ..lab.with() };
    let mut pi = Pi::boot(&card, &with);
    let address = lan.lease("garden");
    a_browser_gets_a_picture(&lan, address);
    let before = slot(&mut pi);
    let options = options(&card, &key);
    let deploy = |bundle: PathBuf| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy");
        let target = format!("root@{address}");
        let options = options.iter().flat_map(|option| ["--ssh-option", option]);
        let words: Vec<&str> =
            ["--system", bundle.to_str().unwrap()].into_iter().chain(options).chain([&*target]).collect();
        let began = Instant::now();
        let (code, said) = lan.run(script.to_str().unwrap(), &words);
        (code, String::from_utf8_lossy(&said).into_owned(), began.elapsed())
    };
    let scratch = Scratch::new();
    // A board that restarts is one that QEMU has ended; what its firmware starts then is in the first partition.
    let bring = |mut pi: Pi, bundle: PathBuf, tried: &dyn Fn() -> Pi| {
        std::thread::scope(|scope| {
            let deploying = scope.spawn(|| deploy(bundle));
            pi.ended();
            drop(pi);
            let pi = tried();
            let (code, said, took) = deploying.join().unwrap();
            (pi, code, said, took)
        })
    };
    let taken_back = |what: &str, pi: Pi, change: &str, at: &str, panics: bool| {
        let bundle = spoilt(lab, &scratch, what, change, at);
        let (mut pi, code, said, _) = bring(pi, bundle, &|| {
            let mut trial = Pi::on(&card, &with);
            trial.ended();
            assert_eq!(trial.log().contains("Kernel panic"), panics, "{what}: {}", trial.log());
            drop(trial);
            Pi::boot(&card, &with)
        });
        assert_eq!(code, ROLLED_BACK, "{what}: {said}\n{}", pi.journal());
        assert_eq!(slot(&mut pi), before, "{what}");
        a_browser_gets_a_picture(&lan, address);
        pi
    };
    let pi = taken_back("panics", pi, "echo c >/proc/sysrq-trigger", FOUND, true);
    let no_system = "dd if=/dev/zero of=$system bs=1M count=1 conv=notrunc,fsync";
    let pi = taken_back("has no root file system", pi, no_system, FOUND, false);
    let mute = "cp /root/test/dud /root/usr/bin/porthole\n\
                sed -i 's/--within 300/--within 5/' /root/etc/systemd/system/appliance-system.service";
    let pi = taken_back("serves nothing", pi, mute, ENDS, false);

    let good = lab.image.with_extension("system");
    let (mut pi, code, said, took) = bring(pi, good, &|| {
        let mut pi = Pi::boot(&card, &with);
        pi.until("it is permanent", "porthole-appliance system status | grep -x 'next start: this system'");
        pi
    });
    assert_eq!(code, KEPT, "{said}\n{}", pi.journal());
    println!("        a new system was there and permanent after {:.0} s", took.as_secs_f32());
    assert_ne!(slot(&mut pi), before);
    a_browser_gets_a_picture(&lan, address);
    // With the settings and the state of the one before.
    assert_eq!(pi.run("cat /proc/sys/kernel/hostname").trim(), "garden");
    assert_eq!(pi.outcome("ls /run/porthole-appliance/state-made").0, 1, "the state was made anew");
    assert!(
        card.get("network.toml").is_some_and(|text| text.contains("garden")),
        "the settings stay editable"
    );
    pi.restart();
    let mut pi = Pi::boot(&card, &with);
    assert_ne!(slot(&mut pi), before);
    a_browser_gets_a_picture(&lan, address);
    None
}

/// Where the system that runs is on the card.
fn slot(pi: &mut Pi) -> String {
    pi.run("porthole-appliance --log error system status | grep ^slot:")
}

/// The system of the image, signed and whole, whose initramfs does something before a line of its own.
fn spoilt(lab: &Lab, scratch: &Scratch, name: &str, change: &str, line: &str) -> PathBuf {
    let folder = scratch.path(name);
    fs::create_dir(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let init = fs::read_to_string(source.join("scripts/appliance/init")).unwrap();
    let (head, tail) = init.split_once(line).expect("the line");
    let spoilt = folder.join("init");
    fs::write(&spoilt, format!("{head}{change}\n{line}{tail}")).unwrap();
    done(Command::new("chmod").arg("755").arg(&spoilt));

    let parts = lab.image.parent().unwrap();
    let (fat, initrd) = (folder.join("fat"), folder.join("initrd"));
    fs::copy(parts.join("bundle.fat"), &fat).unwrap();
    done(Command::new("mcopy").arg("-i").arg(&fat).arg("::initrd").arg(&initrd));
    // A later archive's files take the place of an earlier one's; one that is not packed begins at a multiple of four.
    let archive = "echo init | cpio --quiet -o -H newc --owner=0:0 >more";
    done(Command::new("sh").args(["-c", archive]).current_dir(&folder));
    let mut file = OpenOptions::new().append(true).open(&initrd).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all(&vec![0; (length.next_multiple_of(4) - length) as usize]).unwrap();
    file.write_all(&bytes(&folder.join("more"))).unwrap();
    done(Command::new("mcopy").args(["-D", "o", "-i"]).arg(&fat).arg(&initrd).arg("::initrd"));

    let bundle = folder.join("bad.system");
    let mut command = Command::new(source.join("scripts/system-bundle"));
    command.arg("--key").arg(parts.join("tested.key")).args([
        "--version",
        "9.9.9",
        "--made",
        "20991231T000000Z",
    ]);
    command.args(["--arch", "arm64", "--board", "raspberrypi,3-model-b"]);
    done(command.arg(&fat).arg(parts.join("system.squashfs")).arg(&bundle));
    bundle
}

#[track_caller]
fn done(command: &mut Command) {
    let (code, out, error) = finish(command.stdin(Stdio::null()));
    assert_eq!(code, 0, "{command:?}: {out}{error}");
}
