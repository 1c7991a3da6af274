//! The whole system on an SD-card image, updated without flashing the card again: signed, tried, confirmed, taken back,
//! whatever is brought and whenever the power is cut. The card is a file, and the board's firmware and the initramfs are
//! played: the first partition is what is started, and the trial is begun by the shell function of the initramfs.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::tools::program;
use support::{Porthole, Scratch, fake_disk, finish, porthole, source_tree};

use crate::appliance::appliance;

const MIB: usize = 1 << 20;
const SECTOR: u64 = 512;
/// First sectors of the two slots and of the state, and sectors of a slot, as `scripts/image` and the first start of a card
/// have them.
const FIRST: u32 = 8192;
const SLOT: u32 = 262_144;
const SECOND: u32 = FIRST + SLOT;
const STATE: u32 = SECOND + SLOT;
/// The date of the system that runs, of an older and of a newer one.
const HERE: &str = "20261101T000000Z";
const OLDER: &str = "20261031T235959Z";
const NEWER: &str = "20261122T120000Z";
const BOARD: &str = "raspberrypi,3-model-b";

/// What this machine is, as Debian calls it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// A board with a card in it, switched off.
struct Board {
    scratch: Scratch,
    /// The slot that was started last.
    booted: u32,
}

/// A system to be brought.
struct Bundle {
    path: PathBuf,
    boot: Vec<u8>,
    system: Vec<u8>,
}

impl Board {
    /// `None` where nothing can be signed.
    fn new() -> Option<Self> {
        let minisign = program("minisign", "minisign")?;
        let scratch = Scratch::new();
        for name in ["own", "other"] {
            let mut command = Command::new(&minisign);
            command.args(["-G", "-W", "-s"]).arg(scratch.path(&format!("{name}.key")));
            let (code, _, error) = finish(command.arg("-p").arg(scratch.path(&format!("{name}.pub"))));
            assert_eq!(code, 0, "{error}");
        }
        let root = |name: &str| scratch.path(&format!("root/{name}"));
        for folder in ["usr/share/porthole-appliance", "etc", "proc/device-tree"] {
            fs::create_dir_all(root(folder)).unwrap();
        }
        fs::copy(scratch.path("own.pub"), root("usr/share/porthole-appliance/system.pub")).unwrap();
        fs::write(root("etc/os-release"), format!("ID=porthole\nIMAGE_VERSION={HERE}\n")).unwrap();
        fs::write(root("proc/device-tree/compatible"), format!("{BOARD}\0brcm,bcm2837\0")).unwrap();
        let this = Self { scratch, booted: FIRST };
        let card = File::create(this.card()).unwrap();
        card.set_len((u64::from(STATE) + 8192) * SECTOR).unwrap();
        this.partition(&[(0x0c, FIRST, SLOT / 2), (0x83, FIRST + SLOT / 2, 49_152), (0x83, STATE, 8192)]);
        this.put(3, (0xda, SECOND, SLOT));
        card.write_all_at(b"the system before", u64::from(FIRST) * SECTOR).unwrap();
        Some(this)
    }

    fn card(&self) -> PathBuf {
        self.scratch.path("card")
    }

    fn partition(&self, partitions: &[(u8, u32, u32)]) {
        let card = OpenOptions::new().write(true).open(self.card()).unwrap();
        card.write_all_at(&[0x55, 0xaa], 510).unwrap();
        partitions.iter().enumerate().for_each(|(at, partition)| self.put(at as u64, *partition));
    }

    fn put(&self, at: u64, (kind, first, sectors): (u8, u32, u32)) {
        let entry = [&[0, 0, 0, 0, kind, 0, 0, 0][..], &first.to_le_bytes(), &sectors.to_le_bytes()].concat();
        let card = OpenOptions::new().write(true).open(self.card()).unwrap();
        card.write_all_at(&entry, 446 + 16 * at).unwrap();
    }

    fn read(&self, sector: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        File::open(self.card()).unwrap().read_exact_at(&mut bytes, u64::from(sector) * SECTOR).unwrap();
        bytes
    }

    /// Makes a system with this name in it.
    fn bundle(&self, name: &str, made: &str, more: &[&str]) -> Bundle {
        let fill = |what: &str, length: usize| -> Vec<u8> {
            format!("{what} of {name} ").into_bytes().into_iter().cycle().take(length).collect()
        };
        // With a piece of nothing in it, and pieces that are not whole.
        let boot = [fill("boot", MIB), vec![0; MIB], fill("more", MIB / 2)].concat();
        let system = fill("system", MIB + 4096);
        let paths = [self.scratch.file("boot", &boot), self.scratch.file("system", &system)];
        Bundle { path: self.signed(name, made, more, &paths), boot, system }
    }

    /// Signs a system of these two parts.
    fn signed(&self, name: &str, made: &str, more: &[&str], parts: &[PathBuf; 2]) -> PathBuf {
        let path = self.scratch.path(name);
        let mut command = Command::new(source_tree().join("scripts/system-bundle"));
        command.args(["--version", "0.1.0", "--made", made]);
        for (flag, value) in [("--key", "own.key"), ("--arch", ARCHITECTURE), ("--board", BOARD)] {
            let given = more.iter().position(|word| *word == flag).map(|at| more[at + 1]);
            let value = given.unwrap_or(value);
            command.arg(flag);
            if flag == "--key" {
                command.arg(self.scratch.path(value))
            } else {
                command.arg(value)
            };
        }
        let (code, _, error) = finish(command.args(parts).arg(&path));
        assert_eq!(code, 0, "{error}");
        path
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = appliance();
        command.stdin(Stdio::null()).arg("system").args(words).arg("--root").arg(self.scratch.path("root"));
        command.arg("--card").arg(self.card()).args(["--booted-from", &self.booted.to_string()]);
        command
    }

    fn system(&self, words: &[&str]) -> (i32, String) {
        let (code, out, log) = finish(&mut self.command(words));
        (code, out + &log)
    }

    fn install(&self, bundle: &Bundle, more: &[&str]) -> (i32, String) {
        self.system(&[&["install", bundle.path.to_str().unwrap()], more].concat())
    }

    #[track_caller]
    fn takes(&self, bundle: &Bundle) {
        let (code, said) = self.install(bundle, &[]);
        assert!(code == 0 && said.contains("is on trial at the next start"), "{said}");
    }

    /// Not taken, for this reason, and nothing on the card is changed.
    #[track_caller]
    fn refuses(&self, bundle: &Bundle, why: &str) {
        let before = self.fingerprint();
        let (code, said) = self.install(bundle, &[]);
        let all = format!("{} is not taken: {why}", bundle.path.display());
        assert!(code == 1 && said.contains(&all), "not {all:?}: {said}");
        assert!(self.fingerprint() == before, "the card was changed");
    }

    /// What any write to the card changes: its tables, the spare slot, and when it was written to.
    fn fingerprint(&self) -> (Vec<u8>, Vec<u8>, std::time::SystemTime) {
        let written = fs::metadata(self.card()).unwrap().modified().unwrap();
        (self.read(0, 16 * 512), self.read(SECOND, 4 * MIB), written)
    }

    fn is_cut_at(&self, words: &[&str], step: usize) -> bool {
        let mut command = self.command(words);
        fake_disk(&mut command, "FAKEDISK_CUT", &step.to_string(), &self.card());
        let (code, _, log) = finish(&mut command);
        assert!(code == 0 || code == 99, "{code}: {log}");
        code != 0
    }

    fn status(&self) -> String {
        let (code, said) = self.system(&["status"]);
        assert_eq!(code, 0, "{said}");
        said
    }

    /// What the firmware starts.
    fn first_partition(&self) -> u32 {
        u32::from_le_bytes(self.read(0, 512)[454..458].try_into().unwrap())
    }

    /// The function of the initramfs that begins a trial.
    fn initramfs(&self) -> Command {
        let init = fs::read_to_string(source_tree().join("scripts/appliance/init")).unwrap();
        let function =
            init.split("\nbegin_trial() {").nth(1).expect("begin_trial").split("\n}\n").next().unwrap();
        let script =
            format!("begin_trial() {{{function}\n}}\nsay() {{ echo \"$*\"; }}\ncard=$1 begin_trial\n");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "init"]).arg(self.card()).stdin(Stdio::null());
        command
    }

    /// Switches it on: the slot that is started.
    fn start(&mut self) -> u32 {
        self.booted = self.first_partition();
        let is_trial = self.read(0, 512)[498] == 0x7f;
        let (code, out, error) = finish(&mut self.initramfs());
        assert_eq!((code, &*out, &*error), (0, if is_trial { "a trial begins\n" } else { "" }, ""));
        self.booted
    }

    /// Switches it on, and it serves until it has confirmed itself.
    fn serve_and_confirm(&self) {
        let _service = self.serve();
        let (code, said) = self.confirm("60");
        assert!(code == 0 && said.contains("has served a picture and is permanent"), "{said}");
    }

    fn serve(&self) -> Porthole {
        let mut command = porthole();
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--source",
            "pattern",
            "--size",
            "320x240",
            "--local-socket",
        ]);
        Porthole::spawn(command.arg(self.scratch.path("local.sock")))
    }

    fn confirm_words(&self, within: &str) -> Vec<String> {
        let socket = self.scratch.path("local.sock");
        ["confirm", "--within", within, "--program", env!("CARGO_BIN_EXE_porthole"), "--socket"]
            .into_iter()
            .chain(socket.to_str())
            .map(ToOwned::to_owned)
            .collect()
    }

    fn confirm(&self, within: &str) -> (i32, String) {
        let words = self.confirm_words(within);
        self.system(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A slot holds all of a system, and the table finds its parts.
    #[track_caller]
    fn holds(&self, slot: u32, bundle: &Bundle) {
        let boot_sectors = (bundle.boot.len() as u64 / SECTOR) as u32;
        assert!(self.read(slot, bundle.boot.len()) == bundle.boot, "the boot partition");
        assert!(self.read(slot + boot_sectors, bundle.system.len()) == bundle.system, "the system");
    }

    #[track_caller]
    fn system_before_is_untouched(&self) {
        assert_eq!(self.read(FIRST, 17), b"the system before");
    }
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn a_system_is_tried_serves_a_picture_and_is_permanent_and_the_next_takes_the_other_slot() {
    let Some(mut board) = Board::new() else { return };
    assert_eq!(board.start(), FIRST);
    assert_eq!(board.status(), format!("running: {HERE}\nslot: {FIRST}\nnext start: this system\n"));
    let one = board.bundle("one", NEWER, &[]);
    board.takes(&one);
    assert!(board.status().ends_with("next start: another system, on trial\n"));
    board.holds(SECOND, &one);
    board.system_before_is_untouched();

    assert_eq!(board.start(), SECOND);
    let said = board.status();
    assert!(said.ends_with("next start: the system before; this one is on trial\n"), "{said}");
    // It is the one that would be overwritten.
    let (code, said) = board.install(&one, &[]);
    assert!(code == 1 && said.contains("the system that runs is on trial: wait until "), "{said}");
    board.serve_and_confirm();
    assert_eq!([board.start(), board.start()], [SECOND, SECOND]);
    assert_eq!(board.status(), format!("running: {HERE}\nslot: {SECOND}\nnext start: this system\n"));
    let (code, said) = board.confirm("0");
    assert!(code == 0 && said.contains("the system is not on trial"), "{said}");

    let two = board.bundle("two", NEWER, &[]);
    board.takes(&two);
    board.holds(SECOND, &one);
    assert_eq!(board.start(), FIRST);
    board.holds(FIRST, &two);
    board.serve_and_confirm();
    assert_eq!([board.start(), board.start()], [FIRST, FIRST]);
    // The state partition was nobody's business.
    assert_eq!(
        board.read(0, 512)[478..494],
        [&[0, 0, 0, 0, 0x83, 0, 0, 0][..], &STATE.to_le_bytes(), &8192u32.to_le_bytes()].concat()
    );
}

#[test]
fn a_system_that_serves_nothing_or_starts_no_further_is_tried_once() {
    let Some(mut board) = Board::new() else { return };
    let bundle = board.bundle("bad", NEWER, &[]);
    board.takes(&bundle);
    assert_eq!(board.start(), SECOND);
    // Nothing answers, which its unit restarts the board for; a panic and the watchdog do the same.
    let (code, said) = board.confirm("0");
    assert!(code == 1 && said.contains("the system on trial is not confirmed within 0 s: "), "{said}");
    assert_eq!([board.start(), board.start()], [FIRST, FIRST]);
    board.system_before_is_untouched();
    assert!(board.status().ends_with("next start: this system\n"));
    // Nor does it stand in the way of the next one.
    board.takes(&bundle);
    assert_eq!(board.start(), SECOND);
}

#[test]
fn a_trial_is_taken_back_before_it_begins_and_another_system_takes_its_place() {
    let Some(mut board) = Board::new() else { return };
    let (one, two) = (board.bundle("one", NEWER, &[]), board.bundle("two", NEWER, &[]));
    board.takes(&one);
    let (code, said) = board.system(&["discard"]);
    assert!(code == 0 && said.contains("the system that runs is started again"), "{said}");
    assert_eq!(board.start(), FIRST);
    let (code, said) = board.system(&["discard"]);
    assert!(code == 0 && said.contains("no system is on trial"), "{said}");
    board.takes(&one);
    board.takes(&two);
    board.holds(SECOND, &two);
    assert_eq!([board.start(), board.start()], [SECOND, FIRST]);
}

#[test]
fn what_is_not_signed_for_this_card_and_this_board_is_refused_before_anything_is_written() {
    let Some(board) = Board::new() else { return };
    let good = board.bundle("good", NEWER, &[]);
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(&good.path).unwrap();
        change(&mut bytes);
        Bundle { path: board.scratch.file(name, &bytes), boot: Vec::new(), system: Vec::new() }
    };
    board.refuses(
        &board.bundle("unknown", NEWER, &["--key", "other.key"]),
        "it is signed with a key that this card",
    );
    let version = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(5).position(|window| window == b"0.1.0").unwrap();
        bytes[at] = b'9';
    };
    board.refuses(&changed("changed", &version), "its signature is wrong (");
    board.refuses(&changed("begun", &|bytes| bytes.truncate(300)), "it ends too early: send it again");
    let first = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(7).position(|window| window == b"boot of").unwrap();
        bytes[at] ^= 1;
    };
    board.refuses(&changed("content", &first), "its content is not what was signed: send it again");
    let image = board.scratch.file("image", vec![0; MIB]);
    board.refuses(
        &Bundle { path: image, boot: Vec::new(), system: Vec::new() },
        "it is no system for an SD card: ",
    );
    let elsewhere = board.bundle("elsewhere", NEWER, &["--board", "raspberrypi,4-model-b"]);
    board.refuses(&elsewhere, &format!("it is for raspberrypi,4-model-b, and this board is {BOARD}: "));
    let foreign = board.bundle("foreign", NEWER, &["--arch", "riscv64"]);
    board.refuses(&foreign, &format!("it is for riscv64, and this machine is {ARCHITECTURE}: "));
    let older = board.bundle("older", OLDER, &[]);
    board.refuses(
        &older,
        &format!("it is of {OLDER}, and the system that runs is newer, of {HERE}: --allow-older "),
    );
    let (code, said) = board.install(&older, &["--allow-older"]);
    assert_eq!(code, 0, "{said}");

    fs::remove_file(board.scratch.path("root/usr/share/porthole-appliance/system.pub")).unwrap();
    board.refuses(&good, "this card knows no key, so that it takes no systems: flash it again");
}

#[test]
fn a_system_that_comes_in_part_or_to_a_card_that_fails_leaves_what_runs() {
    let Some(mut board) = Board::new() else { return };
    let good = board.bundle("good", NEWER, &[]);
    let whole = fs::read(&good.path).unwrap();
    let half =
        Bundle { path: board.scratch.file("half", &whole[..whole.len() - 1]), boot: vec![], system: vec![] };
    let (code, said) = board.install(&half, &[]);
    assert!(code == 1 && said.contains("half is not taken: it ends too early: send it again"), "{said}");
    assert_eq!([board.start(), board.start()], [FIRST, FIRST]);
    let failing = |variable: &str, order: &str| {
        let mut command = board.command(&["install", good.path.to_str().unwrap()]);
        fake_disk(&mut command, variable, order, &board.card());
        let (code, _, log) = finish(&mut command);
        (code, log)
    };
    for (variable, order, why) in [
        ("FAKEDISK_FAIL", "full", "No space left on device (os error 28); there is no room there"),
        ("FAKEDISK_FAIL", "broken", "Input/output error (os error 5); the card may be worn out"),
        (
            "FAKEDISK_LIE",
            "0",
            "it does not give back what was written; the card may be worn out: take another one",
        ),
    ] {
        let (code, said) = failing(variable, order);
        assert!(code == 1 && said.contains(why), "{order}: {said}");
        assert_eq!(board.first_partition(), FIRST, "{order}");
    }
    board.system_before_is_untouched();
    board.takes(&good);
    assert_eq!([board.start(), board.start()], [SECOND, FIRST]);
}

#[test]
fn a_system_that_is_larger_than_a_slot_is_not_begun() {
    let Some(board) = Board::new() else { return };
    board.takes(&board.bundle("good", NEWER, &[]));
    let parts = ["boot", "system"].map(|name| board.scratch.path(name));
    // As much as a slot holds, and a piece.
    File::create(&parts[0]).unwrap().set_len(u64::from(SLOT) * SECTOR).unwrap();
    let path = board.signed("large", NEWER, &[], &parts);
    let large = Bundle { path, boot: Vec::new(), system: Vec::new() };
    board.refuses(&large, "the card has no room for it: flash it again with the new image");
    assert!(board.status().ends_with("next start: another system, on trial\n"));
}

#[test]
fn a_card_without_room_for_two_systems_is_to_be_flashed_again() {
    let Some(board) = Board::new() else { return };
    let good = board.bundle("good", NEWER, &[]);
    board.put(3, (0, 0, 0));
    let before = board.fingerprint();
    let (code, said) = board.install(&good, &[]);
    assert!(code == 1 && said.contains("this card has room for one system only; flash it again"), "{said}");
    assert!(board.fingerprint() == before, "the card was changed");
    let (code, said) = board.system(&["status"]);
    assert!(code == 1 && said.contains("flash it again"), "{said}");
}

#[test]
fn wherever_the_power_is_cut_a_whole_system_is_started_and_the_next_time_it_works() {
    let Some(mut board) = Board::new() else { return };
    let bundle = board.bundle("new", NEWER, &[]);
    let install = ["install", bundle.path.to_str().unwrap()];
    let mut step = 1;
    while board.is_cut_at(&install, step) {
        let first = board.start();
        if first == SECOND {
            board.holds(SECOND, &bundle);
            assert_eq!(board.start(), FIRST, "step {step}");
        }
        assert_eq!(board.booted, FIRST, "step {step}");
        board.system_before_is_untouched();
        step += 1;
    }
    // Five pieces, and three tables; each is written, and synchronised.
    assert!(step > 10, "only {step} steps");

    // The trial begins once the initramfs has said so on the card, whenever its power is cut.
    let mut step = 1;
    loop {
        board.takes(&bundle);
        let mut initramfs = board.initramfs();
        fake_disk(&mut initramfs, "FAKEDISK_CUT", &step.to_string(), &board.card());
        finish(&mut initramfs);
        let first = board.start();
        assert!(first == FIRST || (first == SECOND && board.start() == FIRST), "step {step}");
        if first == FIRST {
            break;
        }
        step += 1;
    }
    assert!(step >= 3, "only {step} steps");

    // Confirmed or not: what runs after a cut can be confirmed or was.
    let mut step = 1;
    loop {
        board.takes(&bundle);
        assert_eq!(board.start(), SECOND);
        let service = board.serve();
        let is_cut = board.is_cut_at(&words(&board.confirm_words("60")), step);
        drop(service);
        let first = board.start();
        assert!(is_cut || first == SECOND, "step {step}");
        assert_eq!(board.start(), first, "step {step}");
        if first == SECOND {
            break;
        }
        step += 1;
    }
    assert!(step >= 2, "only {step} steps");
    board.holds(SECOND, &bundle);
}

#[test]
fn two_systems_at_once_do_not_mix() {
    let Some(board) = Board::new() else { return };
    let bundle = board.bundle("new", NEWER, &[]);
    let bytes = fs::read(&bundle.path).unwrap();
    let mut slow = board.command(&["install", "-"]);
    let mut slow = slow.stdin(Stdio::piped()).spawn().unwrap();
    let mut sent = slow.stdin.take().unwrap();
    // More than a pipe holds: it has begun to read.
    std::io::Write::write_all(&mut sent, &bytes[..bytes.len() / 2]).unwrap();
    for words in [&["install", bundle.path.to_str().unwrap()][..], &["status"]] {
        let (code, said) = board.system(words);
        assert!(
            code == 1 && said.contains("another system is being installed: wait until that is done"),
            "{said}"
        );
    }
    std::io::Write::write_all(&mut sent, &bytes[bytes.len() / 2..]).unwrap();
    drop(sent);
    assert!(slow.wait().unwrap().success());
    board.holds(SECOND, &bundle);
}

#[test]
fn a_card_that_it_was_not_started_from_is_left_alone() {
    let Some(mut board) = Board::new() else { return };
    let bundle = board.bundle("new", NEWER, &[]);
    board.booted = 2048;
    let (code, said) = board.install(&bundle, &[]);
    assert!(code == 1 && said.contains("the system that runs is not on this card: "), "{said}");
    let nowhere = Path::new("/nonexistent/card");
    let mut command = appliance();
    command.args(["system", "status", "--booted-from", "8192", "--card"]).arg(nowhere).stdin(Stdio::null());
    let (code, _, log) = finish(&mut command);
    assert!(code == 1 && log.contains("/nonexistent/card: No such file or directory"), "{log}");
    assert!(log.contains("name the card with --card"), "{log}");
}
