//! Settings on an appliance's card: what they come to, what is said of those that are wrong, and that neither a power cut
//! nor a card that fails costs more than it must.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use support::http::request;
use support::{Porthole, Scratch, fake_disk, finish, porthole, source_tree};

use crate::appliance::{appliance, program};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILBDFfrirOnMyArsZETkAF5kJWaoaWk8WSyH7g9ngch me@laptop";
const PASSPHRASE: &str = "radio waves & more";
const PASSWORD: &str = "only for looking";
const ADMIN: &str = "for looking & more";

/// Everything that can be said, as Notepad writes it.
fn everything() -> String {
    let lines = [
        "hostname = \"Kitchen\"",
        &format!("password = \"{PASSWORD}\""),
        &format!("admin_password = \"{ADMIN}\"   # nobody else's"),
        &format!("ssh_key = \"{KEY}\""),
        "[wifi]",
        "country = \"de\"",
        "ssid = \"Küche\"",
        &format!("passphrase = \"{PASSPHRASE}\""),
        "[ethernet]",
        "address = \"192.168.1.20/24\"",
        "gateway = \"192.168.1.1\"",
        "dns = [\"192.168.1.1\", \"9.9.9.9\"]",
        "",
    ];
    format!("\u{feff}{}", lines.join("\r\n"))
}

/// A card in an appliance.
struct Appliance(Scratch);

impl Appliance {
    fn new() -> Self {
        let scratch = Scratch::new();
        ["boot", "state", "run"].iter().for_each(|name| fs::create_dir(scratch.path(name)).unwrap());
        Self(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// Writes a file on the card.
    fn card(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.0.file(&format!("boot/{name}"), content)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read(self.path(name)).ok().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn command(&self) -> Command {
        let mut command = appliance();
        command.args(["settings", "--board", "rpi-4b"]);
        for name in ["boot", "state", "run"] {
            command.arg(format!("--{name}")).arg(self.path(name));
        }
        command
    }

    /// Applies the settings, as at a boot; what was logged.
    #[track_caller]
    fn boot(&self) -> String {
        // What was in /run is gone.
        fs::remove_dir_all(self.path("run")).unwrap();
        fs::create_dir(self.path("run")).unwrap();
        let (code, out, log) = finish(&mut self.command());
        assert_eq!((code, out.as_str()), (0, ""), "{log}");
        self.without_names(&log)
    }

    /// The same with a disk that does what `variable` orders of the folder `name`; the exit code and what was logged.
    #[track_caller]
    fn boot_with(&self, variable: &str, order: &str, name: &str) -> (i32, String) {
        let mut command = self.command();
        fake_disk(&mut command, variable, order, &self.path(name));
        let (code, _, log) = finish(&mut command);
        (code, self.without_names(&log))
    }

    /// Without the paths of this test.
    fn without_names(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.path("").display()).replace("//", "/"), "/")
    }

    /// What porthole-error.txt says is wrong.
    fn report(&self) -> Option<String> {
        self.read("boot/porthole-error.txt").map(|text| self.without_names(&text))
    }

    /// A file of the state, whatever is in it.
    fn state(&self, name: &str) -> String {
        self.read(&format!("state/{name}")).unwrap_or_default()
    }

    /// Starts the service with what it is given.
    #[track_caller]
    fn service(&self) -> Porthole {
        let mut command = porthole();
        command.args(["--board", "rpi-4b", "--listen", "127.0.0.1:0", "--source", "pattern", "--config"]);
        command.arg(self.path("run/porthole-appliance/porthole.toml"));
        Porthole::spawn(command.arg("--state-dir").arg(self.path("state/private/porthole")))
    }

    /// That it may look, and turn controls, with these passwords.
    #[track_caller]
    fn serves(&self, passwords: [&str; 2]) {
        let service = self.service();
        for (password, role) in passwords.iter().zip(["viewer", "admin"]) {
            let bearer = format!("Bearer {password}");
            let answer = request(service.address, "GET", "/state", &[("Authorization", &bearer)]);
            assert_eq!(answer.status, 200, "as {role}");
            assert!(
                answer.header("porthole-access").unwrap().contains(role),
                "{:?}",
                answer.header("porthole-access")
            );
        }
        assert_eq!(request(service.address, "GET", "/state", &[]).status, 401);
    }
}

#[test]
fn a_card_as_it_is_delivered_is_right_and_says_where_the_picture_is() {
    let appliance = Appliance::new();
    for name in ["network.toml", "porthole.toml"] {
        let shipped = fs::read_to_string(source_tree().join("scripts/appliance").join(name)).unwrap();
        appliance.card(name, shipped);
    }
    let log = appliance.boot();
    assert_eq!(log, "porthole: info: settings: applied, 0 faults\n");
    assert_eq!(appliance.report(), None);
    assert_eq!(appliance.read("run/porthole-appliance/fault"), None);
    let ethernet = appliance.read("run/systemd/network/10-ethernet.network").unwrap();
    assert!(ethernet.contains("DHCP=yes\n") && ethernet.contains("MulticastDNS=yes\n"), "{ethernet}");
    for name in [
        "systemd/network/20-wifi.network",
        "porthole-appliance/authorized_keys",
        "porthole-appliance/hostname",
    ] {
        assert_eq!(appliance.read(&format!("run/{name}")), None, "{name}");
    }
    let config = appliance.read("run/porthole-appliance/porthole.toml").unwrap();
    assert!(config.contains("listen = \"0.0.0.0:80\"") && config.matches("[[led]]").count() == 4, "{config}");
    let token = appliance.state("private/porthole/token");
    let url = appliance.read("boot/porthole-url.txt").unwrap();
    assert_eq!(url, format!("http://porthole.local/?token={}\r\n", token.trim()));
    appliance.serves_token(token.trim());
}

impl Appliance {
    #[track_caller]
    fn serves_token(&self, token: &str) {
        let mut command = porthole();
        command.args(["--board", "rpi-4b", "--listen", "127.0.0.1:0", "--auth", "token", "--config"]);
        command.arg(self.path("run/porthole-appliance/porthole.toml"));
        let service = Porthole::spawn(command.arg("--state-dir").arg(self.path("state/private/porthole")));
        let bearer = format!("Bearer {token}");
        assert_eq!(request(service.address, "GET", "/state", &[("Authorization", &bearer)]).status, 200);
    }
}

/// The examples in the files of the image, with the # before them gone.
#[test]
fn the_examples_on_the_card_are_right() {
    let appliance = Appliance::new();
    for name in ["network.toml", "porthole.toml"] {
        let shipped = fs::read_to_string(source_tree().join("scripts/appliance").join(name)).unwrap();
        let lines = shipped.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => rest,
            _ => line,
        });
        // Of what excludes each other the first, and what stands for a value replaced by one.
        let examples: String =
            lines.filter(|line| !line.starts_with("open = ")).map(|line| format!("{line}\n")).collect();
        let examples =
            examples.replace("ssh-ed25519 AAAA... me@laptop", KEY).replace("\"...\"", "\"eight or more\"");
        appliance.card(name, examples);
    }
    appliance.boot();
    assert_eq!(appliance.report(), None);
    let wifi = appliance.read("run/systemd/network/20-wifi.network").unwrap();
    assert!(wifi.contains("Type=wlan"), "{wifi}");
    // It says that everybody may watch.
    assert_eq!(appliance.read("boot/porthole-url.txt").unwrap(), "http://porthole.local/\r\n");
}

#[test]
fn all_that_can_be_said_is_applied_and_no_secret_stays_on_the_card() {
    let appliance = Appliance::new();
    let old = appliance.card("network.toml", everything());
    // Another name for the place where it lies.
    fs::hard_link(&old, appliance.path("place")).unwrap();
    let log = appliance.boot();
    assert_eq!(appliance.report(), None);
    let run = |name: &str| appliance.read(&format!("run/{name}")).unwrap();
    assert_eq!(run("porthole-appliance/hostname"), "kitchen\n");
    assert_eq!(run("porthole-appliance/authorized_keys"), format!("{KEY}\n"));
    let wpa = run("porthole-appliance/wpa_supplicant.conf");
    assert!(wpa.starts_with("country=DE\nnetwork={\n\tssid=4bc3bc636865\n"), "{wpa}");
    let mode = |name: &str| fs::metadata(appliance.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("run/porthole-appliance/wpa_supplicant.conf"), 0o600);
    assert_eq!((mode("state/settings/network.toml"), mode("state/private")), (0o600, 0o700));
    let ethernet = run("systemd/network/10-ethernet.network");
    assert!(ethernet.contains("Address=192.168.1.20/24\nDNS=192.168.1.1\nDNS=9.9.9.9\n"), "{ethernet}");
    assert_eq!(appliance.read("boot/porthole-url.txt").unwrap(), "http://kitchen.local/\r\n");

    let remark = |key: &str| {
        format!(
            "# {key} = \"...\"   # has been applied and taken out of this file; write it again to change it"
        )
    };
    let expected = everything()
        .trim_start_matches('\u{feff}')
        .replace(&format!("password = \"{PASSWORD}\""), &remark("password"))
        .replace(&format!("admin_password = \"{ADMIN}\"   # nobody else's"), &remark("admin_password"))
        .replace(&format!("passphrase = \"{PASSPHRASE}\""), &remark("passphrase"));
    let card = appliance.read("boot/network.toml").unwrap();
    assert_eq!(card, expected);
    let place = fs::read(appliance.path("place")).unwrap();
    assert!(
        place.len() == everything().len() && place.iter().all(|&byte| byte == 0),
        "it is still there to be found"
    );
    let all = finish(
        Command::new("grep")
            .arg("-raE")
            .arg(format!("{PASSPHRASE}|{PASSWORD}|{ADMIN}"))
            .arg(appliance.path("")),
    );
    assert_eq!(all.1, "", "a secret as it was written");
    assert!(!log.contains(PASSWORD) && !log.contains(PASSPHRASE), "{log}");
    appliance.serves([PASSWORD, ADMIN]);

    // A second time: the same, and nothing is written.
    for name in ["boot", "state"] {
        assert_eq!(
            appliance.boot_with("FAKEDISK_CUT", "1", name).0,
            0,
            "something in {name} was changed again"
        );
    }
    appliance.boot();
    assert_eq!(run("porthole-appliance/wpa_supplicant.conf"), wpa);
    appliance.serves([PASSWORD, ADMIN]);
}

#[test]
fn what_is_wrong_is_told_with_line_value_and_remedy_and_everything_at_once() {
    let long = format!("ssid = \"{}\"", "x".repeat(33));
    let wifi = |line: &str| format!("[wifi]\ncountry = \"DE\"\nssid = \"a\"\n{line}\n");
    for (text, expected) in [
        (
            "hostnam = \"a\"".to_owned(),
            "1: `hostnam`: unknown key `hostnam`, expected one of `hostname`, `password`",
        ),
        ("[wlan]".into(), "1: `[wlan]`: unknown key `wlan`, expected one of"),
        ("hostname = 5".into(), "1: `hostname`: is number 5, expected text in quotes"),
        (
            "\nhostname = \"a.b\"".into(),
            "2: hostname = \"a.b\": must be 1 to 63 letters, digits and -, not at the ends",
        ),
        ("hostname = kitchen".into(), "1: `hostname`: string values must be quoted"),
        ("password = \"short\"".into(), "1: password = ***: a password must have at least 8 characters"),
        ("password = 12345678".into(), "1: `password`: must be text in quotes"),
        ("admin_password = [\"12345678\"]".into(), "1: `admin_password`: must be text in quotes"),
        ("password = hunter2222".into(), "1: `password`: string values must be quoted"),
        ("password = \"hunter2222".into(), "1: `password`: invalid basic string, expected `\"`"),
        ("ssh_key = \"ssh-rsa x\"".into(), "1: ssh_key = \"ssh-rsa x\": must be a public key on one line"),
        ("[wifi]".into(), "1: [wifi] = ...: needs the network's name: add ssid = \"...\""),
        (
            "[wifi]\ncountry = \"DE\"\nssid = \"\"\nopen = true".into(),
            "3: ssid = \"\": must be of 1 to 32 bytes",
        ),
        (format!("[wifi]\ncountry = \"DE\"\n{long}\nopen = true"), "3: ssid = \"xxxxx"),
        (
            "[wifi]\nssid = \"a\"\nopen = true".into(),
            "2: ssid = \"a\": needs beside it the country it is in: add country",
        ),
        (
            "[wifi]\nssid = \"a\"\ncountry = \"Germany\"\nopen = true".into(),
            "3: country = \"Germany\": must be the two letters",
        ),
        (
            wifi(""),
            "3: ssid = \"a\": needs its passphrase beside it: add passphrase = \"...\", or open = true",
        ),
        (wifi("passphrase = \"seven77\""), "4: passphrase = ***: must be 8 to 63 letters, digits and signs"),
        (wifi("passphrase = 12345678"), "4: `passphrase`: must be text in quotes"),
        (wifi("open = true\npassphrase = \"12345678\""), "4: open = true: and a passphrase cannot both be"),
        (
            "wifi = { country = \"DE\", ssid = \"a\", passphrase = \"12345678\" }".into(),
            "1: passphrase = ***: must stand on a line of its own, from which it can be taken",
        ),
        (wifi("wpa3 = true\nopen = true"), "4: wpa3 = true: and open = true cannot both be"),
        (
            wifi(&format!("wpa3 = true\npassphrase = \"{}\"", "ab".repeat(32))),
            "5: passphrase = ***: must be 8 to 63 letters, digits and signs of a US keyboard; with wpa3 = true",
        ),
        (
            "[second_wifi]\nssid = \"b\"\nopen = true".into(),
            "1: [second_wifi] = ...: is joined where the first is not to be had",
        ),
        (wifi("open = true\n[second_wifi]"), "5: [second_wifi] = ...: needs the network's name"),
        (wifi("open = true\n[second_wifi]\nssid = \"b\""), "6: ssid = \"b\": needs its passphrase beside it"),
        (
            "[ethernet]\naddress = \"192.168.1.20\"".into(),
            "2: address = \"192.168.1.20\": \"192.168.1.20\" must be an address and",
        ),
        (
            "[ethernet]\naddress = \"10.0.0.2/24\"\ngateway = \"10.0.1.1\"".into(),
            "3: gateway = \"10.0.1.1\": \"10.0.1.1\" is not in the network of address",
        ),
        ("[ethernet]\ngateway = \"10.0.1.1\"".into(), "2: gateway = \"10.0.1.1\": needs address beside it"),
        (
            "[ethernet]\ndns = \"dns.example\"".into(),
            "2: dns = \"dns.example\": \"dns.example\" is no address",
        ),
    ] {
        let appliance = Appliance::new();
        appliance.card("network.toml", &text);
        let log = appliance.boot();
        let expected = format!("/boot/network.toml:{expected}");
        let report = appliance.report().expect(&text);
        assert!(
            report.lines().any(|line| line.starts_with(&expected)),
            "{text:?} gave\n{report}, not\n{expected}"
        );
        assert!(log.starts_with(&format!("porthole: warn: {expected}")), "{log}");
        assert!(report.contains("\r\nIn force instead: the defaults.\r\n"), "{report}");
        let fault = appliance.without_names(&appliance.read("run/porthole-appliance/fault").unwrap());
        assert!(fault.starts_with(&expected), "{fault}");
        for secret in ["12345678", "hunter2222", "seven77", "short\""] {
            assert!(
                ![&report, &log, &fault].iter().any(|text| text.contains(secret)),
                "{report}{log}{fault}"
            );
        }
        // It comes up all the same, and what is wrong stays to be corrected.
        assert!(appliance.read("run/systemd/network/10-ethernet.network").unwrap().contains("DHCP=yes"));
        assert_eq!(appliance.read("boot/network.toml").unwrap(), text);
    }
    let appliance = Appliance::new();
    appliance.card(
        "network.toml",
        "hostname = \"-\"\npassword = \"x\"\n[wifi]\nssid = \"\"\n[ethernet]\ndns = \"x\"\n",
    );
    let (_, errors) = (appliance.boot(), appliance.report().unwrap());
    assert_eq!(errors.matches("/boot/network.toml:").count(), 5, "{errors}");
}

#[test]
fn files_that_are_no_text_or_have_another_name_are_told() {
    let appliance = Appliance::new();
    appliance.card("network.toml", b"hostname = \"a\"\n[wifi]\nssid = \"K\xfcche\"\n");
    appliance.boot();
    assert!(
        appliance.report().unwrap().contains("/boot/network.toml:3: is no UTF-8: save the file as UTF-8\r\n")
    );
    // As Notepad saves "Unicode".
    let utf16: Vec<u8> =
        "\u{feff}hostname = \"kitchen\"\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    appliance.card("network.toml", utf16);
    appliance.boot();
    assert_eq!(
        (appliance.report(), appliance.read("run/porthole-appliance/hostname").unwrap()),
        (None, "kitchen\n".into())
    );
    fs::rename(appliance.path("boot/network.toml"), appliance.path("boot/network.toml.txt")).unwrap();
    appliance.boot();
    let report = appliance.report().unwrap();
    assert!(
        report.contains("/boot/network.toml.txt: is not read: rename it to /boot/network.toml, without .txt"),
        "{report}"
    );
    appliance.card("network.toml", vec![b'#'; 70_000]);
    appliance.boot();
    assert!(
        appliance
            .report()
            .unwrap()
            .contains("/boot/network.toml: is larger than 64 KiB; write the file anew")
    );
    assert_eq!(
        appliance.read("run/porthole-appliance/hostname").unwrap(),
        "kitchen\n",
        "what was right last"
    );
}

#[test]
fn a_broken_file_leaves_in_force_what_was_right_last_and_a_corrected_one_clears_the_fault() {
    let appliance = Appliance::new();
    appliance.card("network.toml", everything());
    appliance.card("porthole.toml", "[server]\nlisten = \"0.0.0.0:8080\"\n");
    appliance.boot();
    let run = |name: &str| appliance.read(&format!("run/{name}")).unwrap();
    let names = [
        "porthole-appliance/wpa_supplicant.conf",
        "systemd/network/10-ethernet.network",
        "porthole-appliance/porthole.toml",
    ];
    let good = names.map(run);
    assert_eq!(appliance.read("boot/porthole-url.txt").unwrap(), "http://kitchen.local:8080/\r\n");

    appliance.card("network.toml", "[wifi]\nssid = \"b\"\n");
    appliance.card("porthole.toml", "[[camera]]\nquality = 101\n");
    appliance.boot();
    let report = appliance.report().unwrap();
    for line in [
        "/boot/network.toml:2: ssid = \"b\": needs its passphrase beside it",
        "/boot/porthole.toml:2: quality = 101: must be 1 to 100\r\nIn force instead: what this file said when it was right last.\r\n",
    ] {
        assert!(report.contains(line), "{report}");
    }
    assert_eq!(names.map(run), good);
    appliance.serves([PASSWORD, ADMIN]);

    // Both are gone, as a card may lose them.
    fs::remove_file(appliance.path("boot/network.toml")).unwrap();
    fs::remove_file(appliance.path("boot/porthole.toml")).unwrap();
    appliance.boot();
    assert_eq!((appliance.report(), names.map(run)), (None, good));

    // Both are there and empty: as on the first day, but for the passwords, which are taken away by saying so.
    appliance.card("network.toml", "");
    appliance.card("porthole.toml", "");
    appliance.boot();
    assert_eq!(appliance.report(), None);
    assert!(run(names[1]).contains("DHCP=yes") && run(names[2]).contains("0.0.0.0:80\""));
    assert!(
        !appliance.path("run").join(names[0]).exists()
            && !appliance.state("settings/network.toml").contains("psk")
    );
    appliance.serves([PASSWORD, ADMIN]);
    appliance.card("network.toml", "password = \"\"\nadmin_password = \"\"\n");
    appliance.boot();
    assert!(appliance.read("boot/porthole-url.txt").unwrap().starts_with("http://porthole.local/?token="));
}

#[test]
fn a_second_wifi_and_one_with_wpa3_are_joined_and_their_passphrases_leave_the_card() {
    let appliance = Appliance::new();
    let conf = || appliance.read("run/porthole-appliance/wpa_supplicant.conf").unwrap();
    let file = |first: &str, second: &str| {
        format!(
            "[wifi]\ncountry = \"DE\"\nssid = \"IEEE\"\n{first}\n[second_wifi]\nssid = \"b\"\nwpa3 = true\n{second}\n"
        )
    };
    appliance.card("network.toml", file("passphrase = \"password\"", "passphrase = \"a secret of ten\""));
    appliance.boot();
    assert_eq!(appliance.report(), None);
    let both = conf();
    let psk = both.find("psk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e\n");
    let sae = both.find("sae_password=6120736563726574206f662074656e\n");
    assert!(psk.is_some() && psk < sae && both.contains("priority=1\n"), "{both}");
    let card = appliance.read("boot/network.toml").unwrap();
    for secret in ["\"password\"", "a secret of ten"] {
        assert!(!card.contains(secret) && card.contains("[second_wifi]"), "{card}");
    }

    // What is kept opens both, and each by its own way only.
    appliance.card("network.toml", file("", ""));
    appliance.boot();
    assert_eq!(appliance.report(), None);
    assert_eq!(conf(), both);
    appliance.card("network.toml", file("wpa3 = true", ""));
    appliance.boot();
    assert!(appliance.report().unwrap().contains("3: ssid = \"IEEE\": needs its passphrase beside it"));
    assert_eq!(conf(), both, "what was right last");
}

#[test]
fn a_passphrase_that_was_taken_off_the_card_goes_on_opening_its_network_and_no_other() {
    let appliance = Appliance::new();
    let wifi = |ssid: &str, more: &str| format!("[wifi]\ncountry = \"DE\"\nssid = \"{ssid}\"\n{more}\n");
    let conf = || appliance.read("run/porthole-appliance/wpa_supplicant.conf").unwrap();
    appliance.card("network.toml", wifi("IEEE", "passphrase = \"password\""));
    appliance.boot();
    // IEEE 802.11-2016, annex J.4.2.
    let key = "psk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e\n";
    assert!(conf().contains(key), "{}", conf());
    appliance.card("network.toml", wifi("IEEE", "hidden = true"));
    appliance.boot();
    assert!(conf().contains(key) && conf().contains("scan_ssid=1"), "{}", conf());
    appliance.card("network.toml", wifi("other", ""));
    appliance.boot();
    assert!(appliance.report().unwrap().contains("3: ssid = \"other\": needs its passphrase beside it"));
    assert!(conf().contains(key), "what was right last");
    appliance.card("network.toml", wifi("other", "open = true"));
    appliance.boot();
    assert!(conf().contains("key_mgmt=NONE") && !conf().contains("psk"), "{}", conf());
    assert!(
        !appliance.state("settings/network.toml").contains("f42c6f"),
        "a key that opens nothing any more"
    );
}

#[test]
fn one_password_is_for_everything_until_the_controls_have_their_own() {
    let appliance = Appliance::new();
    appliance.card("network.toml", format!("password = \"{PASSWORD}\"\n"));
    appliance.boot();
    appliance.serves_admin(PASSWORD);
    appliance.card("network.toml", format!("admin_password = \"{ADMIN}\"\n"));
    appliance.boot();
    appliance.serves([PASSWORD, ADMIN]);
    appliance.card("network.toml", "password = \"another one\"\n");
    appliance.boot();
    appliance.serves(["another one", ADMIN]);
}

impl Appliance {
    #[track_caller]
    fn serves_admin(&self, password: &str) {
        let service = self.service();
        let bearer = format!("Bearer {password}");
        let answer = request(service.address, "GET", "/state", &[("Authorization", &bearer)]);
        assert!(
            answer.header("porthole-access").is_some_and(|access| access.contains("admin")),
            "{}",
            answer.status
        );
    }
}

#[test]
fn the_configuration_of_the_service_is_completed_and_checked_where_it_stands() {
    let appliance = Appliance::new();
    let config = || appliance.read("run/porthole-appliance/porthole.toml").unwrap();
    let url = || appliance.read("boot/porthole-url.txt").unwrap();
    let text = "board = \"rpi-4b\"\n[server]\nmax_viewers = 3\nstate_dir = \"/srv\"\n[tls]\nself_signed = true\n\
                [[led]]\nrole = \"fault\"\n[auth]\nmode = \"none\"\n";
    appliance.card("porthole.toml", text);
    appliance.boot();
    assert_eq!(appliance.report(), None);
    let (text, url_then) = (config(), url());
    assert!(
        text.contains("listen = [\"0.0.0.0:443\", \"0.0.0.0:80\"]") && text.contains("max_viewers = 3"),
        "{text}"
    );
    assert!(text.matches("[[led]]").count() == 1 && !text.contains("state_dir"), "{text}");
    assert_eq!(url_then, "https://porthole.local/\r\n");
    // A password that is asked for, and nobody set.
    appliance.card("porthole.toml", "\n[auth]\nmode = \"password\"\n");
    appliance.boot();
    let report = appliance.report().unwrap();
    assert!(report.contains("/boot/porthole.toml:3: mode = \"password\": needs a password"), "{report}");
    appliance.card("porthole.toml", "[[camera]]\nsource = \"auto\n");
    appliance.boot();
    assert!(
        appliance
            .report()
            .unwrap()
            .contains("/boot/porthole.toml:2: `source = \"auto`: invalid basic string")
    );
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_and_leaves_whole_files() {
    let before = everything();
    let mut cuts = 0;
    for name in ["boot", "state"] {
        for n in 1.. {
            let appliance = Appliance::new();
            appliance.card("network.toml", &before);
            appliance.card("porthole.toml", "[server]\nmax_viewers = 3\n");
            let (code, log) = appliance.boot_with("FAKEDISK_CUT", &n.to_string(), name);
            if code == 0 {
                break;
            }
            assert_eq!(code, 99, "{log}");
            cuts += 1;
            let card = appliance.read("boot/network.toml").expect("network.toml is gone");
            let is_clean =
                card.contains("# passphrase = \"...\"   # has been applied") && !card.contains(PASSPHRASE);
            assert!(card == before || is_clean, "cut {n} of {name}: {card}");
            // With the power back.
            appliance.boot();
            assert_eq!(appliance.report(), None, "cut {n} of {name}");
            let kept = appliance.state("settings/network.toml");
            assert!(
                kept.contains("passphrase = \"") && !kept.contains(PASSPHRASE),
                "cut {n} of {name}: {kept}"
            );
            let card = appliance.read("boot/network.toml").unwrap();
            assert!(!card.contains(PASSPHRASE) && !card.contains(PASSWORD), "cut {n} of {name}: {card}");
            let passwords = appliance.state("private/porthole/passwords.toml");
            assert_eq!(passwords.matches("$argon2id$").count(), 2, "cut {n} of {name}: {passwords}");
            assert!(appliance.read("run/porthole-appliance/wpa_supplicant.conf").unwrap().contains("psk="));
        }
    }
    assert!(cuts > 20, "only {cuts} points were tried");
}

#[test]
fn a_card_or_a_state_that_cannot_be_written_costs_no_start() {
    for (order, name, path, why) in [
        (
            "read-only",
            "boot",
            "/boot/network.toml: ",
            "Read-only file system (os error 30); the card cannot be written",
        ),
        (
            "full",
            "boot",
            "/boot/network.toml: ",
            "No space left on device (os error 28); the card cannot be written",
        ),
        (
            "read-only",
            "state",
            "/state/private/porthole/passwords.toml: ",
            "a password cannot be kept and counts until",
        ),
        (
            "full",
            "state",
            "/state/settings/network.toml: ",
            "what this file says cannot be kept and counts until",
        ),
        (
            "broken",
            "state",
            "/state/private/porthole/passwords.toml: ",
            "a password cannot be kept and counts until",
        ),
    ] {
        let appliance = Appliance::new();
        appliance.card("network.toml", everything());
        let (code, log) = appliance.boot_with("FAKEDISK_FAIL", order, name);
        assert_eq!(code, 0, "{log}");
        let fault = appliance.without_names(&appliance.read("run/porthole-appliance/fault").unwrap());
        let told = fault.lines().any(|line| line.starts_with(path) && line.contains(why));
        assert!(told, "{order} {name}: {fault}");
        // All of it is in force, and the secrets are not lost.
        assert!(appliance.read("run/porthole-appliance/wpa_supplicant.conf").unwrap().contains("psk="));
        appliance.serves([PASSWORD, ADMIN]);
        let is_on_card = appliance.read("boot/network.toml").unwrap().contains(PASSPHRASE);
        assert!(is_on_card, "{order} {name}: taken off the card, and kept nowhere");
        // When it can be written again, nothing is left of the fault.
        appliance.boot();
        assert_eq!(appliance.report(), None, "{order} {name}");
        assert!(!appliance.read("boot/network.toml").unwrap().contains(PASSPHRASE));
        appliance.serves([PASSWORD, ADMIN]);
    }
}

#[test]
fn only_a_system_that_cannot_be_told_is_an_error() {
    let appliance = Appliance::new();
    let (code, log) = appliance.boot_with("FAKEDISK_FAIL", "full", "run");
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains(
            "/run/porthole-appliance/porthole.toml: No space left on device (os error 28); without it"
        ),
        "{log}"
    );
}

#[test]
fn a_service_that_cannot_be_told_keeps_nobody_from_the_network() {
    let appliance = Appliance::new();
    appliance.card("network.toml", everything());
    // No file of passwords, and none can be put there.
    fs::create_dir_all(appliance.path("state/private/porthole/passwords.toml")).unwrap();
    let (code, log) = appliance.boot_with("FAKEDISK_FAIL", "read-only", "state");
    let told = "porthole: error: /state/private/porthole/passwords.toml: Is a directory";
    assert!(code == 1 && log.lines().last().unwrap().starts_with(told), "{log}");
    let fault = appliance.without_names(&appliance.read("run/porthole-appliance/fault").unwrap());
    assert!(
        fault.lines().last().unwrap().starts_with("/state/private/porthole/passwords.toml: Is a"),
        "{fault}"
    );
    assert!(appliance.read("run/porthole-appliance/wpa_supplicant.conf").unwrap().contains("psk="));
    assert!(appliance.read("run/systemd/network/10-ethernet.network").unwrap().contains("192.168.1.20/24"));
    assert!(appliance.read("boot/network.toml").unwrap().contains(PASSPHRASE));
}

#[test]
fn what_was_kept_and_is_damaged_is_put_aside() {
    let appliance = Appliance::new();
    appliance.card("network.toml", everything());
    appliance.boot();
    let damage = |name: &str| fs::write(appliance.path("state").join(name), b"\0\xff\0").unwrap();
    damage("settings/network.toml");
    damage("private/porthole/passwords.toml");
    let log = appliance.boot();
    let report = appliance.report().unwrap();
    for (file, remedy) in [
        ("/state/settings/network.toml: is no text", "write it into the files on the card again"),
        (
            "/state/private/porthole/passwords.toml: stream did not contain valid UTF-8",
            "write the passwords into network.toml again",
        ),
    ] {
        let line =
            report.lines().find(|line| line.starts_with(file)).unwrap_or_else(|| panic!("{report}{log}"));
        assert!(line.contains("was put aside, and what it held is lost") && line.ends_with(remedy), "{line}");
    }
    assert!(report.contains("ssid = \"Küche\": needs its passphrase beside it"), "{report}");
    appliance.card("network.toml", everything());
    appliance.boot();
    assert_eq!(appliance.report(), None);
    appliance.serves([PASSWORD, ADMIN]);
}

#[test]
fn secrets_stay_on_the_card_where_no_state_is_mounted_to_keep_them() {
    // As on a machine that is no appliance: /state is a folder at most.
    let appliance = Appliance::new();
    appliance.card("network.toml", everything());
    // A root of its own, of memory as an appliance's is, with this machine's programs.
    let script = "set -e; cd \"$1\"; shift; mkdir -p root; mount -t tmpfs none root; cd root
        mkdir proc state run
        for folder in /*; do
            name=${folder#/}
            if [ -L $folder ]; then
                ln -s $(readlink $folder) $name
            elif [ -d $folder ] && [ ! -e $name ]; then
                mkdir $name
                mount --rbind $folder $name
            fi
        done
        mount --rbind /proc proc
        exec chroot . \"$@\"";
    let apart = |command: &[&str]| {
        let mut shell = Command::new("unshare");
        shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        finish(shell.arg(appliance.path("")).args(command).env_remove("LD_PRELOAD"))
    };
    if apart(&["true"]).0 != 0 {
        return eprintln!("skipped: this machine lets nobody mount anything");
    }
    let (program, boot) = (program().to_str().unwrap(), appliance.path("boot"));
    let (code, _, log) = apart(&[program, "settings", "--board", "rpi-4b", "--boot", boot.to_str().unwrap()]);
    assert_eq!(code, 0, "{log}");
    let told = "porthole: warn: /state: no file system is mounted there; what is set cannot be kept and counts until";
    assert!(log.starts_with(told), "{log}");
    assert!(appliance.report().unwrap().contains("/state: no file system is mounted there"));
    assert!(appliance.read("boot/network.toml").unwrap().contains(PASSPHRASE));
}

/// As the image mounts it. In a mount namespace of its own, which not every machine allows.
#[test]
fn a_card_that_is_mounted_read_only_is_writable_for_that_moment_alone() {
    let namespace = ["--user", "--map-root-user", "--mount"];
    let appliance = Appliance::new();
    let mounts = "cd \"$1\" && mount -t tmpfs -o nosuid,nodev none boot && mount -o remount,ro boot && mount -o remount,rw boot";
    let probe = finish(
        Command::new("unshare").args(namespace).args(["sh", "-c", mounts, "sh"]).arg(appliance.path("")),
    );
    if probe.0 != 0 {
        return eprintln!("skipped: this machine lets nobody mount anything");
    }
    appliance.0.file("network.toml", everything());
    let script = "set -e; cd \"$1\"; shift
        mount -t tmpfs -o nosuid,nodev none boot
        cp network.toml boot
        mount -o remount,ro boot
        \"$@\"
        grep ' /.*/boot tmpfs ' /proc/mounts
        cat boot/network.toml";
    let command = appliance.command();
    let mut shell = Command::new("unshare");
    shell.args(namespace).args(["sh", "-c", script, "sh"]).arg(appliance.path(""));
    shell.arg(command.get_program()).args(command.get_args()).env_remove("LD_PRELOAD");
    let (code, out, error) = finish(&mut shell);
    assert_eq!(code, 0, "{error}");
    let options = out.lines().next().unwrap().split(' ').nth(3).unwrap();
    assert!(options.starts_with("ro,nosuid,nodev"), "{options}");
    assert!(
        out.contains("# passphrase = \"...\"   # has been applied") && !out.contains(PASSPHRASE),
        "{out}"
    );
    assert!(error.contains("settings: applied, 0 faults"), "{error}");
}
