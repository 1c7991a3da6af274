//! `scripts/flash`: what is written to which card, what is refused, and that nothing half written passes for a card that
//! works. A card is a file here; that it is a disk is what `lsblk` says, first in the path.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::tools::program;
use support::{Scratch, fake_disk, finish, source_tree, until};

const PASSPHRASE: &str = "radio \"waves\" \\ more";
const PASSWORD: &str = "for eyes that look";
/// Where the FAT partition begins and ends, and the end of the image, in bytes.
const FAT: std::ops::Range<usize> = 1 << 20..9 << 20;
const END: usize = 12 << 20;

/// A workshop with an image to write, as small as can be.
struct Workshop {
    scratch: Scratch,
}

impl Workshop {
    /// None where the tools are missing.
    fn new() -> Option<Self> {
        program("mcopy", "mtools")?;
        let scratch = Scratch::new();
        let folders = "/usr/sbin:/sbin";
        let path = std::env::var("PATH").unwrap_or_default();
        let mut image: Vec<u8> =
            (0..END as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        image[FAT].fill(0);
        // The partition table: one entry, of FAT.
        image[446..512].fill(0);
        image[450] = 0x0e;
        image[454..458].copy_from_slice(&((FAT.start / 512) as u32).to_le_bytes());
        image[458..462].copy_from_slice(&((FAT.len() / 512) as u32).to_le_bytes());
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        let file = scratch.file("porthole.img", image);
        let made = finish(
            Command::new("mkfs.vfat")
                .args(["-F", "16", "-s", "1", "-n", "PORTHOLE", "--offset", "2048"])
                .arg(&file)
                .arg("8192")
                .env("PATH", format!("{path}:{folders}")),
        );
        assert_eq!(made.0, 0, "{}; Debian has mkfs.vfat in dosfstools", made.2);
        let workshop = Self { scratch };
        for name in ["network.toml", "porthole.toml"] {
            let shipped = source_tree().join("scripts/appliance").join(name);
            let copied = finish(Command::new("mcopy").arg("-i").arg(fat(&file)).arg(shipped).arg("::"));
            assert_eq!(copied.0, 0, "{}", copied.2);
        }
        Some(workshop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(source_tree().join("scripts/flash"));
        for secret in
            ["PORTHOLE_PASSWORD", "PORTHOLE_ADMIN_PASSWORD", "PORTHOLE_WIFI_PASSPHRASE", "LD_PRELOAD"]
        {
            command.env_remove(secret);
        }
        command.arg(self.path(target)).arg("--image").arg(self.path("porthole.img")).stdin(Stdio::null());
        command
    }

    /// Has `lsblk` say this of the file `sdz`, which is a card of as many bytes as the image.
    fn say(&self, command: &mut Command, lines: &str) {
        let folder = self.path("bin");
        fs::create_dir_all(&folder).unwrap();
        let disk = self.path("sdz");
        if !disk.exists() {
            fs::write(&disk, vec![0xff; END]).unwrap();
        }
        let lines = lines.replace("SDZ", disk.to_str().unwrap());
        let script = format!(
            "#!/bin/sh\ncase $* in *{}) cat <<'END'\n{lines}\nEND\n;; *) exit 32 ;; esac\n",
            disk.display()
        );
        let program = self.scratch.file("bin/lsblk", script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.display()));
    }

    /// A file of the card.
    fn on_card(&self, target: &str, name: &str) -> String {
        let mut mtype = Command::new("mtype");
        let (code, text, error) =
            finish(mtype.arg("-i").arg(fat(&self.path(target))).arg(format!("::/{name}")));
        assert_eq!(code, 0, "{error}");
        text
    }

    /// Whether what is beside the settings is on the card as in the image.
    fn is_written(&self, target: &str) -> bool {
        let (image, card) =
            (fs::read(self.path("porthole.img")).unwrap(), fs::read(self.path(target)).unwrap());
        card.len() == END && image[..FAT.start] == card[..FAT.start] && image[FAT.end..] == card[FAT.end..]
    }
}

/// The FAT partition of an image, for mtools.
fn fat(image: &Path) -> String {
    format!("{}@@{}", image.display(), FAT.start)
}

/// What lsblk says of a card.
const CARD: &str = "NAME=\"SDZ\" TYPE=\"disk\" SIZE=\"12582912\" RM=\"1\" HOTPLUG=\"1\" RO=\"0\" MODEL=\"Card\\x20Reader\" MOUNTPOINT=\"\"";

#[test]
fn what_is_said_is_in_force_at_the_first_start() {
    let Some(workshop) = Workshop::new() else { return };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILBDFfrirOnMyArsZETkAF5kJWaoaWk8WSyH7g9ngch me@laptop";
    let file = workshop.scratch.file("id.pub", format!("{key}\n"));
    let secret = workshop.scratch.file("password", format!("{PASSWORD}\n"));
    let mut command = workshop.command("card.img");
    command.args(["--hostname", "Kitchen", "--wifi", "Küche \"5\"", "--wifi-country", "de", "--wifi-hidden"]);
    command.args([
        "--address",
        "192.168.1.20/24",
        "--gateway",
        "192.168.1.1",
        "--dns",
        "192.168.1.1",
        "--dns",
        "9.9.9.9",
    ]);
    command.arg("--ssh-key").arg(&file).arg("--ssh-key").arg(&file).arg("--password-file").arg(secret);
    let (code, out, error) = finish(command.env("PORTHOLE_WIFI_PASSPHRASE", PASSPHRASE));
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("\n    http://kitchen.local/\n") && !out.contains("password"), "{out}");
    assert!(
        ![&out, &error].iter().any(|text| text.contains(PASSWORD) || text.contains(PASSPHRASE)),
        "{out}{error}"
    );
    assert!(workshop.is_written("card.img"));

    for folder in ["boot", "state", "run"] {
        fs::create_dir(workshop.path(folder)).unwrap();
    }
    for name in ["network.toml", "porthole.toml"] {
        workshop.scratch.file(&format!("boot/{name}"), workshop.on_card("card.img", name));
    }
    let mut settings = crate::appliance::appliance();
    settings.arg("settings");
    for folder in ["boot", "state", "run"] {
        settings.arg(format!("--{folder}")).arg(workshop.path(folder));
    }
    let (code, _, log) = finish(&mut settings);
    assert!(code == 0 && log.contains("settings: applied, 0 faults"), "{log}");
    let run = |name: &str| fs::read_to_string(workshop.path("run").join(name)).unwrap();
    assert_eq!(run("porthole-appliance/hostname"), "kitchen\n");
    assert_eq!(run("porthole-appliance/authorized_keys"), format!("{key}\n{key}\n"));
    let wpa = run("porthole-appliance/wpa_supplicant.conf");
    // Küche "5"
    assert!(wpa.contains("ssid=4bc3bc63686520223522\n\tscan_ssid=1\n") && wpa.contains("psk="), "{wpa}");
    let wifi = run("systemd/network/20-wifi.network");
    assert!(wifi.contains("Address=192.168.1.20/24\nDNS=192.168.1.1\nDNS=9.9.9.9\n"), "{wifi}");
    assert!(run("systemd/network/10-ethernet.network").contains("DHCP=yes"));
    // Whoever edits it later finds the examples that were not used.
    assert!(fs::read_to_string(workshop.path("boot/network.toml")).unwrap().contains("\n#admin_password = "));
}

#[test]
fn without_a_password_one_is_made_and_shown_unless_everybody_may_watch() {
    let Some(workshop) = Workshop::new() else { return };
    let (code, out, error) = finish(&mut workshop.command("card.img"));
    assert_eq!(code, 0, "{error}");
    let password = out.lines().last().unwrap().trim();
    let groups: Vec<&str> = password.split('-').collect();
    let is_legible = |c: char| "abcdefghijkmnpqrstuvwxyz23456789".contains(c);
    assert!(
        groups.len() == 3 && groups.iter().all(|group| group.len() == 4 && group.chars().all(is_legible)),
        "{out}"
    );
    assert!(!error.contains(password), "{error}");
    let network = workshop.on_card("card.img", "network.toml");
    assert!(network.contains(&format!("\npassword = \"{password}\"\n")), "{network}");
    assert!(out.contains("\n    http://porthole.local/\n"), "{out}");
    assert_ne!(finish(&mut workshop.command("other.img")).1.lines().last().unwrap().trim(), password);
    let (code, out, error) = finish(workshop.command("open.img").arg("--open"));
    assert!(code == 0 && !out.contains("password"), "{out}{error}");
    assert!(workshop.on_card("open.img", "porthole.toml").contains("\n[auth]\nmode = \"none\"\n"));
    assert!(!workshop.on_card("open.img", "network.toml").contains("\npassword = "));
}

#[test]
fn what_is_no_card_is_refused_with_the_reason_and_not_touched() {
    let Some(workshop) = Workshop::new() else { return };
    let part = |place: &str| {
        format!(
            "{CARD}\nNAME=\"SDZ1\" TYPE=\"part\" SIZE=\"9\" RM=\"1\" HOTPLUG=\"1\" RO=\"0\" MODEL=\"\" MOUNTPOINT=\"{place}\""
        )
    };
    let built_in = CARD.replace("RM=\"1\" HOTPLUG=\"1\"", "RM=\"0\" HOTPLUG=\"0\"");
    for (lines, expected, flag) in [
        (
            CARD.replace("\"disk\"", "\"part\""),
            "is no whole disk but of the kind part: name the disk it is on",
            None,
        ),
        (CARD.replace("\"disk\"", "\"loop\""), "is no whole disk but of the kind loop", None),
        (part("/"), "is the disk that this machine runs from", None),
        (part("/boot/efi"), "is the disk that this machine runs from", None),
        (part("[SWAP]"), "is the disk that this machine runs from", None),
        (
            part("/media/me/PORTHOLE"),
            "1 at /media/me/PORTHOLE; unmount it, or say --even-if-mounted",
            Some("--even-if-mounted"),
        ),
        (
            built_in,
            "(Card Reader, 12.6MB) cannot be taken out, so it is no card; say --even-if-not-removable",
            Some("--even-if-not-removable"),
        ),
        (CARD.replace("RO=\"0\"", "RO=\"1\""), "is read-only: look at the card's lock switch", None),
        (
            CARD.replace("12582912", "8000000"),
            "holds 8.0MB, and the image takes 12.6MB: take a larger card",
            None,
        ),
    ] {
        let mut command = workshop.command("sdz");
        workshop.say(&mut command, &lines);
        let (code, _, error) = finish(command.arg("--yes"));
        assert!(code == 1 && error.contains(expected) && error.lines().count() == 1, "{lines}: {error}");
        assert!(fs::read(workshop.path("sdz")).unwrap().iter().all(|&byte| byte == 0xff), "written: {lines}");
        if let Some(flag) = flag {
            let (code, _, error) = finish(command.arg(flag));
            assert!(code == 0 && workshop.is_written("sdz"), "{flag}: {error}");
            fs::remove_file(workshop.path("sdz")).unwrap();
        }
    }
    fs::create_dir(workshop.path("folder.img")).unwrap();
    for (target, expected) in [
        ("/dev/no-such-disk", "there is no disk /dev/no-such-disk; lsblk lists those there are"),
        ("/dev/null", "there is no disk /dev/null"),
        ("card", "is neither a disk nor a file that ends with .img"),
        ("folder.img", "is neither a disk nor a file that ends with .img"),
        ("porthole.img", "is the image itself"),
    ] {
        let (code, _, error) = finish(workshop.command(target).arg("--yes"));
        assert!(code == 1 && error.contains(expected), "{target}: {error}");
    }
    let mut command = workshop.command("card.img");
    let (code, _, error) = finish(command.arg("--image").arg(source_tree().join("README.md")));
    assert!(code == 1 && error.contains("README.md: is no image of an SD card with Porthole"), "{error}");
    let (code, _, error) = finish(workshop.command("card.img").args(["--image", "/nowhere.img"]));
    assert!(code == 1 && error.contains("there is no such image; scripts/image makes one"), "{error}");
}

#[test]
fn what_will_not_do_is_said_before_anything_is_written() {
    let Some(workshop) = Workshop::new() else { return };
    let short = workshop.scratch.file("short", "1234567\n");
    let short = short.to_str().unwrap();
    for (arguments, expected) in [
        (&["--hostname", "a.b"][..], "--hostname a.b: must be 1 to 63 letters, digits and -"),
        (&["--password-file", short], "a password must have at least 8 characters; nothing is written"),
        (&["--password-file", "/nowhere"], "/nowhere: cannot be read; it should hold the password"),
        (&["--wifi", "a"], "--wifi-country : must be the two letters of the country it is in"),
        (&["--wifi", "a", "--wifi-country", "DE"], "the Wi-Fi's passphrase must be of 8 to 63 characters"),
        (
            &["--wifi", "a", "--wifi-country", "DE", "--wifi-passphrase-file", short],
            "must be of 8 to 63 characters",
        ),
        (&["--wifi-country", "DE"], "something is said of a Wi-Fi, and not its name: add --wifi NAME"),
        (&["--gateway", "10.0.0.1"], "--gateway 10.0.0.1: needs --address beside it"),
        (&["--address", "10.0.0.2"], "must have the length of its prefix, as 192.168.1.20/24"),
        (&["--ssh-key", short], "short: is no public key; its name ends with .pub"),
        (&["--open", "--admin-password-file", short], "a password must have at least 8"),
        (&["--password", "hunter2"], "what is --password? See --help"),
        (&["--hostname"], "--hostname needs a value"),
        (&["other.img"], "one at a time"),
    ] {
        let (code, _, error) = finish(workshop.command("card.img").args(arguments));
        assert!(code == 1 && error.contains(expected), "{arguments:?}: {error}");
        assert!(!error.contains("1234567") && !workshop.path("card.img").exists(), "{arguments:?}: {error}");
    }
    let mut command = workshop.command("sdz");
    workshop.say(&mut command, CARD);
    let (code, _, error) = finish(&mut command);
    assert!(code == 1 && error.contains(": Card Reader, 12.6MB\n"), "{error}");
    assert!(error.ends_with("flash: nobody is here to be asked; say --yes to have it written\n"), "{error}");
    assert!(fs::read(workshop.path("sdz")).unwrap().iter().all(|&byte| byte == 0xff));
}

#[test]
fn a_card_that_fails_or_lies_is_told_from_one_that_works() {
    let Some(workshop) = Workshop::new() else { return };
    for (variable, order, expected) in [
        ("FAKEDISK_FAIL", "full", "No space left on device"),
        ("FAKEDISK_FAIL", "full", "it could not be written: "),
        ("FAKEDISK_FAIL", "broken", "it could not be written: "),
        (
            "FAKEDISK_LIE",
            "",
            "it does not hold what was written: the card is worn or false, take another one: ",
        ),
    ] {
        let mut command = workshop.command("sdz");
        workshop.say(&mut command, CARD);
        fake_disk(&mut command, variable, order, &workshop.path("sdz"));
        let (code, out, error) = finish(command.arg("--yes"));
        assert!(code == 1 && error.contains(expected), "{order}: {error}");
        assert!(error.contains("is written in part and will not work; run this again"), "{order}: {error}");
        assert_eq!(out, "", "{order}: it passes for one that works");
    }
}

#[test]
fn an_end_while_it_writes_is_told_and_no_secret_is_in_sight_meanwhile() {
    let Some(workshop) = Workshop::new() else { return };
    let mut command = workshop.command("sdz");
    workshop.say(&mut command, CARD);
    fake_disk(&mut command, "FAKEDISK_FAIL", "stuck", &workshop.path("sdz"));
    command.args(["--yes", "--wifi", "a", "--wifi-country", "DE"]);
    command.env("PORTHOLE_WIFI_PASSPHRASE", PASSPHRASE).env("PORTHOLE_PASSWORD", PASSWORD);
    let mut flash = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = format!("of={}", workshop.path("sdz").display());
    let others = || {
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        processes.filter_map(|path| Some((fs::read(path.join("cmdline")).ok()?, path))).collect::<Vec<_>>()
    };
    let contains =
        |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let writer = until("it writes", || {
        others().into_iter().find(|(line, _)| contains(line, &output)).map(|(_, path)| path)
    });
    for (line, path) in others() {
        let line_is_clean = !contains(&line, PASSPHRASE) && !contains(&line, PASSWORD);
        assert!(line_is_clean, "{}: {}", path.display(), String::from_utf8_lossy(&line));
    }
    let environment = fs::read(writer.join("environ")).unwrap();
    assert!(!contains(&environment, PASSPHRASE) && !contains(&environment, PASSWORD));
    // SAFETY: the child has not been waited for, so its number is still its own.
    unsafe { libc::kill(flash.id() as i32, libc::SIGTERM) };
    until("it ends", || flash.try_wait().unwrap());
    let ended = flash.wait_with_output().unwrap();
    let error = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{error}");
    assert!(
        error.contains("interrupted while it was written: ")
            && error.contains("will not work; run this again"),
        "{error}"
    );
    until("what wrote has ended", || (!writer.join("fd").exists()).then_some(()));
}

#[test]
fn on_a_terminal_it_asks_for_what_is_not_said_and_shows_how_far_it_is() {
    let Some(workshop) = Workshop::new() else { return };
    let Some(script) = program("script", "bsdutils") else { return };
    let mut flash = workshop.command("sdz");
    workshop.say(&mut flash, CARD);
    let line = format!(
        "{} {} --image {}",
        source_tree().join("scripts/flash").display(),
        workshop.path("sdz").display(),
        workshop.path("porthole.img").display()
    );
    let mut command = Command::new(script);
    let path = flash.get_envs().find(|(key, _)| *key == "PATH").unwrap().1.unwrap().to_owned();
    command.args(["-qec", &line, "/dev/null"]).env("PATH", path).env_remove("LD_PRELOAD");
    let answer = |answers: &str| {
        let mut terminal = Command::new(command.get_program());
        terminal.args(command.get_args());
        command.get_envs().for_each(|(key, value)| match value {
            Some(value) => drop(terminal.env(key, value)),
            None => drop(terminal.env_remove(key)),
        });
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let settings = format!("kitchen\nHome\nde\n{PASSPHRASE}\n{PASSWORD}\n\n");
    let (code, shown) = answer(&format!("{settings}no\n"));
    assert!(code == Some(1) && shown.contains("nothing is written"), "{shown}");
    assert!(fs::read(workshop.path("sdz")).unwrap().iter().all(|&byte| byte == 0xff));
    let (code, shown) = answer(&format!("{settings}yes\n"));
    assert_eq!(code, Some(0), "{shown}");
    for words in [
        "Everything on it will be lost: ",
        "Card Reader, 12.6MB",
        "writing   [####",
        "verifying [####",
        "] 100 %",
        "http://kitchen.local/",
    ] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    let network = workshop.on_card("sdz", "network.toml");
    for line in [
        "hostname = \"kitchen\"",
        "country = \"DE\"",
        "ssid = \"Home\"",
        &format!("password = \"{PASSWORD}\""),
    ] {
        assert!(network.lines().any(|written| written == line), "no {line} in {network}");
    }
    assert!(workshop.is_written("sdz"));
}
