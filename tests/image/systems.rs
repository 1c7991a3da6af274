//! Other systems, kernel included, without flashing the card: brought over SSH as people bring them, while the board
//! restarts as they make it restart.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::card::{Card, bytes};
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
/// Seconds until it is clear which system the board has kept. An emulated processor takes its time.
const WAIT_S: &str = "3600";
/// What the initramfs does once a trial has begun, and what it ends with: `scripts/appliance/init`.
const FOUND: &str = "say \"the system is on $system";
const ENDS: &str = "exec switch_root ";
/// Sectors of the card that tables are in, the type of its fourth partition, and the one that marks a trial:
/// `src/appliance/system/table.rs`.
const TABLE: u64 = 0;
const BACK: u64 = 8 * 512;
const TYPE: usize = 446 + 3 * 16 + 4;
const TRIAL: u8 = 0x7f;

pub fn bad_ones_go_back_and_a_good_one_stays(lab: &Lab, _: Left) -> Left {
    if let Some(why) = obstacle() {
        missing(&why);
        return None;
    }
    let lan = Lan::new();
    let (card, key) = flashed_with_a_key(lab);
    let with = With { lan: Some(&lan), ..lab.with() };
    let scratch = Scratch::new();
    let mut pi = Pi::boot(&card, &with);
    let address = lan.lease("garden");
    a_browser_gets_a_picture(&lan, address);
    let first = slot(&mut pi);
    let options = options(&card, &key);
    let deploy = |bundle: &Path| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy");
        let target = format!("root@{address}");
        let options = options.iter().flat_map(|option| ["--ssh-option", option]);
        let words = ["--wait", WAIT_S, "--system", bundle.to_str().unwrap()]
            .into_iter()
            .chain(options)
            .chain([&*target]);
        let (code, said) = lan.run(script.to_str().unwrap(), &words.collect::<Vec<_>>());
        (code, String::from_utf8_lossy(&said).into_owned())
    };
    // A board that restarts is one that QEMU has ended.
    let bring = |mut pi: Pi, bundle: &Path, restarted: &dyn Fn() -> Pi| {
        std::thread::scope(|scope| {
            let deploying = scope.spawn(|| deploy(bundle));
            pi.ended();
            drop(pi);
            let pi = restarted();
            let (code, said) = deploying.join().unwrap();
            (pi, code, said)
        })
    };

    // It starts, and finds nothing behind its boot partition.
    let bundle = hollow(lab, &scratch);
    let (mut pi, code, said) = bring(pi, &bundle, &|| {
        fill(lab, &card, &["bundle.fat"]);
        let log = tried_in_vain(&card, &with);
        assert!(!log.contains("Kernel panic") && !log.contains("starting systemd"), "{log}");
        Pi::boot(&card, &with)
    });
    assert_eq!(code, ROLLED_BACK, "{said}\n{}", pi.journal());
    assert_eq!(slot(&mut pi), first);
    a_browser_gets_a_picture(&lan, address);

    let (mut pi, code, said) = bring(pi, &bundle, &|| {
        fill(lab, &card, &["bundle.fat", "system.squashfs"]);
        let mut pi = Pi::boot(&card, &with);
        pi.until("it is permanent", "porthole-appliance system status | grep -x 'next start: this system'");
        pi
    });
    assert_eq!(code, KEPT, "{said}\n{}", pi.journal());
    let second = slot(&mut pi);
    assert_ne!(second, first);
    a_browser_gets_a_picture(&lan, address);
    // With the settings and the state of the one before.
    assert_eq!(pi.run("cat /proc/sys/kernel/hostname").trim(), "garden");
    assert_eq!(pi.outcome("ls /run/porthole-appliance/state-made").0, 1, "the state was made anew");
    assert!(
        card.get("network.toml").is_some_and(|text| text.contains("garden")),
        "the settings stay editable"
    );
    pi.restart();

    // The system before, as if it had been brought again.
    let before = table(&card, BACK);
    let mute = "cp /root/test/dud /root/usr/bin/porthole\n\
                sed -i 's/--within 300/--within 5/' /root/etc/systemd/system/appliance-system.service";
    for (panics, change, line) in [(true, "echo c >/proc/sysrq-trigger", FOUND), (false, mute, ENDS)] {
        announce(&card, before);
        spoil(&card, change, line);
        let log = tried_in_vain(&card, &with);
        assert!(
            log.contains("Kernel panic") == panics && log.contains("starting systemd") != panics,
            "{log}"
        );
        let mut pi = Pi::boot(&card, &with);
        assert_eq!(slot(&mut pi), second);
        a_browser_gets_a_picture(&lan, address);
        pi.restart();
    }
    None
}

/// Where the system that runs is on the card.
fn slot(pi: &mut Pi) -> String {
    pi.run("porthole-appliance --log error system status | grep ^slot:")
}

/// Starts what is on trial, until it restarts the board; what it said meanwhile.
fn tried_in_vain(card: &Card, with: &With) -> String {
    let with = With { kernel: "loglevel=7", lan: with.lan, overlay: with.overlay, ..With::default() };
    let mut trial = Pi::on(card, &with);
    trial.ended();
    let log = trial.log();
    assert!(log.contains("a trial begins"), "{log}");
    log
}

/// A system of the usual size with next to nothing in it, signed: an emulated adapter takes minutes for a whole one.
fn hollow(lab: &Lab, scratch: &Scratch) -> PathBuf {
    let parts = lab.image.parent().unwrap();
    let (boot, system) = (scratch.path("boot"), scratch.file("nothing", vec![b'x'; 1 << 20]));
    File::create(&boot).unwrap().set_len(fs::metadata(parts.join("bundle.fat")).unwrap().len()).unwrap();
    let bundle = scratch.path("hollow.system");
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/system-bundle"));
    command.arg("--key").arg(parts.join("tested.key")).args([
        "--version",
        "9.9.9",
        "--made",
        "20991231T000000Z",
    ]);
    command.args(["--arch", "arm64", "--board", "raspberrypi,3-model-b"]);
    done(command.arg(boot).arg(system).arg(&bundle));
    bundle
}

/// Puts these parts of the image, one behind the other, into the slot that is started.
fn fill(lab: &Lab, card: &Card, parts: &[&str]) {
    let folder = lab.image.parent().unwrap();
    let content: Vec<u8> = parts.iter().flat_map(|part| bytes(&folder.join(part))).collect();
    open(card).write_all_at(&content, first_partition(card)).unwrap();
}

/// A table of the card's.
fn table(card: &Card, at: u64) -> [u8; 512] {
    let mut table = [0; 512];
    open(card).read_exact_at(&mut table, at).unwrap();
    table
}

/// Announces a trial of the slot that `other` starts, as installing a system into it does.
fn announce(card: &Card, mut other: [u8; 512]) {
    let file = open(card);
    file.write_all_at(&table(card, TABLE), BACK).unwrap();
    other[TYPE] = TRIAL;
    file.write_all_at(&other, TABLE).unwrap();
}

/// Has the initramfs of the slot that is started do something before a line of its own.
fn spoil(card: &Card, change: &str, line: &str) {
    let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/appliance/init");
    let init = fs::read_to_string(init).unwrap();
    let (head, tail) = init.split_once(line).expect("the line");
    let scratch = Scratch::new();
    let spoilt = scratch.file("init", format!("{head}{change}\n{line}{tail}"));
    done(Command::new("chmod").arg("755").arg(&spoilt));
    let (initrd, fat) =
        (scratch.path("initrd"), format!("{}@@{}", card.path.display(), first_partition(card)));
    done(Command::new("mcopy").args(["-i", &fat, "::initrd"]).arg(&initrd));
    // A later archive's files take the place of an earlier one's; one that is not packed begins at a multiple of four.
    let archive = "echo init | cpio --quiet -o -H newc --owner=0:0 >more";
    done(Command::new("sh").args(["-c", archive]).current_dir(scratch.path("")));
    let mut file = OpenOptions::new().append(true).open(&initrd).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all(&vec![0; (length.next_multiple_of(4) - length) as usize]).unwrap();
    file.write_all(&bytes(&scratch.path("more"))).unwrap();
    done(Command::new("mcopy").args(["-D", "o", "-i", &fat]).arg(&initrd).arg("::initrd"));
}

fn open(card: &Card) -> File {
    OpenOptions::new().read(true).write(true).open(&card.path).unwrap()
}

/// First byte of the partition that the firmware starts.
fn first_partition(card: &Card) -> u64 {
    let mut first = [0; 4];
    open(card).read_exact_at(&mut first, 446 + 8).unwrap();
    u64::from(u32::from_le_bytes(first)) * 512
}

#[track_caller]
fn done(command: &mut Command) {
    let (code, out, error) = finish(command.stdin(Stdio::null()));
    assert_eq!(code, 0, "{command:?}: {out}{error}");
}
