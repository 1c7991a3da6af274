//! Board profiles: what the service knows of a single-board computer, as data.
//!
//! The profiles are files in `board/`, embedded at build time; the configuration may name another file of the same form. A
//! profile lists pins, lines and names. It switches nothing: an LED is used only if the configuration has it, and the profile
//! gives its line if the configuration does not.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use crate::document::{self, OneOrMore, toml_table};
use crate::led::{LedLine, LedRole};

/// All embedded profiles: the id and the text of the file.
const PROFILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// The profile of a machine that no other profile matches.
const GENERIC: &str = "generic";

/// The `compatible` property of the machine (Devicetree Specification, section 2.3.1). The first path is the stable one
/// (kernel documentation, ABI/testing/sysfs-firmware-ofw); it links to the second, which is visible also to a service with
/// `ProcSubset=pid` (systemd.exec(5)).
const COMPATIBLE: [&str; 2] = ["/proc/device-tree/compatible", "/sys/firmware/devicetree/base/compatible"];

/// A board.
#[derive(Clone, Debug)]
pub struct Board {
    id: String,
    profile: Profile,
    /// Default lines of the LED of each role; the first existing one is used.
    leds: BTreeMap<LedRole, Vec<LedLine>>,
}

toml_table! {
    /// The content of a profile.
    #[derive(Clone, Debug)]
    struct Profile {
        /// The product name.
        name: String,
        /// Strings in /proc/device-tree/compatible that identify this board.
        compatible: Option<Vec<String>>,
        /// Rust target of the usual operating system.
        target: Option<String>,
        /// How cameras are connected and used.
        camera: Option<String>,
        gpio: Option<Gpio>,
        leds: Option<BTreeMap<String, OneOrMore>>,
        onboard: Option<Onboard>,
    }
}

toml_table! {
    #[derive(Clone, Debug)]
    struct Gpio {
        /// Labels of the chips that have the lines of the header.
        chip: OneOrMore,
        /// Usable lines of the header, by pin.
        header: BTreeMap<String, String>,
    }
}

toml_table! {
    #[derive(Clone, Debug)]
    struct Onboard {
        /// The usable LED in /sys/class/leds; its name depends on the kernel.
        led: Option<OneOrMore>,
        /// The identity of the hardware watchdog.
        watchdog: Option<String>,
    }
}

impl Board {
    fn parse(id: &str, text: &str) -> Result<Self, String> {
        let profile: Profile =
            document::parse(text).map_err(|error| format!("line {}: {}", error.line(text), error.message))?;
        let mut leds = BTreeMap::new();
        for (role, lines) in profile.leds.iter().flatten() {
            let parsed: Result<LedRole, String> = role.parse();
            let role = parsed.map_err(|why| format!("[leds] {role}: {why}"))?;
            let lines: Result<Vec<LedLine>, String> = lines.0.iter().map(|line| line.parse()).collect();
            leds.insert(role, lines.map_err(|why| format!("[leds] {role}: {why}"))?);
        }
        Ok(Self { id: id.to_owned(), profile, leds })
    }

    /// The id in the configuration: the name of the file.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The product name.
    pub fn name(&self) -> &str {
        &self.profile.name
    }

    /// Default lines of the LED of a role, the most likely first.
    pub fn led(&self, role: LedRole) -> &[LedLine] {
        self.leds.get(&role).map_or(&[], Vec::as_slice)
    }

    fn is_recognised_by(&self, compatible: &[u8]) -> bool {
        let strings = compatible.split(|&byte| byte == 0);
        strings
            .into_iter()
            .any(|string| self.profile.compatible.iter().flatten().any(|own| own.as_bytes() == string))
    }
}

/// The board that the configuration names: `auto`, an id, or the path of a profile.
///
/// # Errors
/// A message that says what is allowed.
pub fn find(text: &str) -> Result<Board, String> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(this_machine());
    }
    if text.contains('/') {
        let profile = fs::read_to_string(text).map_err(|error| format!("cannot be read: {error}"))?;
        return Board::parse(text, &profile);
    }
    let known = || PROFILES.iter().map(|(id, _)| *id).collect::<Vec<_>>().join(", ");
    embedded(|id, _| id.eq_ignore_ascii_case(text))
        .next()
        .ok_or_else(|| format!("must be auto, the path of a profile, or one of {}", known()))
}

/// The embedded boards for whose id and text `is_wanted` is true. Others are not parsed.
fn embedded(is_wanted: impl Fn(&str, &str) -> bool) -> impl Iterator<Item = Board> {
    // The tests below check that every embedded profile can be parsed.
    let wanted = PROFILES.iter().filter(move |(id, text)| is_wanted(id, text));
    wanted.filter_map(|(id, text)| Board::parse(id, text).ok())
}

/// The board on which the program runs.
pub fn this_machine() -> Board {
    recognise(&COMPATIBLE.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default())
}

fn recognise(compatible: &[u8]) -> Board {
    let generic = || {
        Board::parse(GENERIC, "name = \"Linux machine\"").unwrap_or_else(|_| unreachable!("it is this text"))
    };
    // This runs at every start. Most profiles contain none of the strings and need not be parsed.
    let strings: Vec<&str> =
        compatible.split(|&byte| byte == 0).filter_map(|s| str::from_utf8(s).ok()).collect();
    let may_match = |text: &str| strings.iter().any(|string| !string.is_empty() && text.contains(string));
    let found = embedded(|_, text| may_match(text)).find(|board| board.is_recognised_by(compatible));
    found.or_else(|| embedded(|id, _| id == GENERIC).next()).unwrap_or_else(generic)
}

/// All boards, by id.
pub fn all() -> impl Iterator<Item = Board> {
    embedded(|_, _| true)
}

/// The whole profile, for people who connect LEDs.
impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile { name, compatible, target, camera, gpio, onboard, .. } = &self.profile;
        writeln!(f, "{} ({name})", self.id)?;
        let compatible =
            compatible.as_ref().map(|strings| strings.join(", ")).filter(|strings| !strings.is_empty());
        let led = onboard.as_ref().and_then(|onboard| Some(onboard.led.as_ref()?.0.join(" or ")));
        let watchdog = onboard.as_ref().and_then(|onboard| onboard.watchdog.clone());
        for (label, value) in [
            ("recognised by", &compatible),
            ("build target", target),
            ("cameras", camera),
            ("on-board LED", &led),
            ("watchdog", &watchdog),
        ] {
            value.iter().try_for_each(|value| writeln!(f, "  {label:13}  {value}"))?;
        }
        for (role, lines) in &self.leds {
            let lines: Vec<String> = lines.iter().map(|line| self.with_pin(line)).collect();
            writeln!(f, "  LED {role:9}  {}", lines.join(" or "))?;
        }
        if let Some(Gpio { chip, header }) = gpio {
            writeln!(f, "  GPIO lines on {}, by pin of the header:", chip.0.join(", "))?;
            let mut pins: Vec<_> = header.iter().collect();
            pins.sort_by_key(|(pin, _)| (pin.parse::<u32>().unwrap_or(u32::MAX), pin.as_str()));
            for (pin, line) in pins {
                writeln!(f, "    {pin:>4}  {line}")?;
            }
        }
        Ok(())
    }
}

impl Board {
    /// A line with its pin.
    fn with_pin(&self, line: &LedLine) -> String {
        let line = line.to_string();
        let header = self.profile.gpio.iter().flat_map(|gpio| &gpio.header);
        match header.into_iter().find(|(_, name)| **name == line) {
            Some((pin, _)) => format!("{line}, pin {pin}"),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_profile_can_be_parsed() {
        for (id, text) in PROFILES {
            Board::parse(id, text).unwrap_or_else(|error| panic!("board/{id}.toml: {error}"));
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/board")).unwrap();
        let files = files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "toml"));
        assert_eq!(all().count(), files.count());
        assert!(all().count() > 0);
    }

    #[test]
    fn every_board_but_the_generic_one_is_recognised_by_strings_of_its_own() {
        let mut seen = HashSet::new();
        for board in all() {
            let strings = board.profile.compatible.unwrap_or_default();
            assert!(!strings.is_empty() || board.id == GENERIC, "{} is recognised by nothing", board.id);
            for string in strings {
                assert!(seen.insert(string.clone()), "{string} is claimed twice, once by {}", board.id);
            }
        }
        assert!(seen.len() >= 12);
    }

    #[test]
    fn every_role_has_lines_of_its_own() {
        let mut checked = 0;
        for board in all().filter(|board| board.id != GENERIC) {
            let mut taken = HashSet::new();
            for role in LedRole::ALL {
                let lines = board.led(role);
                assert!(!lines.is_empty(), "{}: no LED for {role}", board.id);
                for line in lines {
                    assert!(taken.insert(line.to_string()), "{}: {line} is used twice", board.id);
                    let on_header =
                        |line| board.profile.gpio.iter().any(|gpio| gpio.header.values().any(|l| l == line));
                    assert!(
                        matches!(line, LedLine::Board(_)) || on_header(&line.to_string()),
                        "{}: {line}",
                        board.id
                    );
                    checked += 1;
                }
            }
            let lines: Vec<_> = board.profile.gpio.iter().flat_map(|gpio| gpio.header.values()).collect();
            let distinct: HashSet<_> = lines.iter().collect();
            assert_eq!(lines.len(), distinct.len(), "{}: a line is on two pins", board.id);
        }
        assert!(checked >= 48);
    }

    #[test]
    fn a_machine_is_recognised_by_any_of_its_strings() {
        assert_eq!(recognise(b"raspberrypi,4-model-b\0brcm,bcm2711\0").id, "rpi-4b");
        assert_eq!(
            recognise(b"vendor,new-carrier\0xunlong,orangepi-zero2\0allwinner,sun50i-h616\0").id,
            "orangepi-zero2"
        );
        for other in [&b""[..], b"linux,dummy-virt\0", b"raspberrypi,4-model\0", b"raspberrypi,4-model-bx\0"]
        {
            assert_eq!(recognise(other).id, GENERIC);
        }
    }

    #[test]
    fn a_profile_given_by_path_is_parsed_and_its_errors_are_reported() {
        let path = std::env::temp_dir().join(format!("porthole-board-{}.toml", std::process::id()));
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            find(path.to_str().unwrap())
        };
        let board = read("name = \"Mine\"\n[leds]\non-air = [\"GPIO5\", \"led:red\"]\n").unwrap();
        assert_eq!(
            (board.name(), board.led(LedRole::OnAir).len(), board.led(LedRole::Fault).len()),
            ("Mine", 2, 0)
        );
        assert!(
            read("name = \"Mine\"\n\ncolour = 1\n").unwrap_err().starts_with("line 3: unknown key `colour`")
        );
        assert!(
            read("name = \"Mine\"\n[leds]\ndisco = \"x\"\n")
                .unwrap_err()
                .starts_with("[leds] disco: must be one of")
        );
        fs::remove_file(&path).unwrap();
        assert!(find(path.to_str().unwrap()).unwrap_err().starts_with("cannot be read: "));
    }

    #[test]
    fn the_error_for_an_unknown_board_lists_the_known_ones() {
        assert!(find("no-such").unwrap_err().contains("generic, jetson-orin-nano"));
        assert_eq!(find("rpi-4b").unwrap().name(), "Raspberry Pi 4 Model B");
    }

    #[test]
    fn a_board_is_displayed_with_the_pins_of_its_leds() {
        let shown = find("rpi-4b").unwrap().to_string();
        for line in ["rpi-4b (Raspberry Pi 4 Model B)", "  LED on-air     GPIO17, pin 11", "      11  GPIO17"]
        {
            assert!(shown.lines().any(|shown| shown == line), "no {line:?} in\n{shown}");
        }
    }
}
