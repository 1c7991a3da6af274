//! Board profiles: what a single-board computer is, as data. One file each in `board/`, embedded at build time; a file
//! of the same form elsewhere can be named instead.
//!
//! A profile knows pins, lines and names. It drives nothing: LEDs are lit only if the configuration asks for them, and
//! a profile then says which lines they are on, unless the configuration does.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;

use crate::document::{self, DeValue, DocumentError, FromToml, OneOrMore, TableReader};
use crate::led::{LedLine, Role};

/// Every profile: its id and the text of its file.
const PROFILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// The profile of a machine that no other describes.
const GENERIC: &str = "generic";

/// Where the kernel shows what the machine is compatible with (Devicetree Specification, section 2.3.1). The first is
/// the one to rely on (kernel documentation, ABI/testing/sysfs-firmware-ofw); it leads to the second, which is there
/// also for a service whose /proc shows processes only (`ProcSubset=pid` of systemd.exec(5)).
const COMPATIBLE: [&str; 2] = ["/proc/device-tree/compatible", "/sys/firmware/devicetree/base/compatible"];

/// A board.
#[derive(Clone, Debug)]
pub struct Board {
    id: String,
    profile: Profile,
    /// What drives the LED of each role where the configuration does not say; the first there is counts.
    leds: BTreeMap<Role, Vec<LedLine>>,
}

/// A profile's file.
#[derive(Clone, Debug)]
struct Profile {
    /// What people call it.
    name: String,
    /// Strings in /proc/device-tree/compatible that only this board has.
    compatible: Vec<String>,
    /// Rust target of the operating system people run on it.
    target: Option<String>,
    /// How cameras are used on it.
    camera: Option<String>,
    gpio: Option<Gpio>,
    leds: BTreeMap<String, OneOrMore>,
    onboard: Option<Onboard>,
}

impl FromToml for Profile {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let mut table = TableReader::new(value, span)?;
        let profile = Self {
            name: table.required("name")?,
            compatible: table.optional("compatible")?.unwrap_or_default(),
            target: table.optional("target")?,
            camera: table.optional("camera")?,
            gpio: table.optional("gpio")?,
            leds: table.optional("leds")?.unwrap_or_default(),
            onboard: table.optional("onboard")?,
        };
        table.finish()?;
        Ok(profile)
    }
}

#[derive(Clone, Debug)]
struct Gpio {
    /// Labels of the chips that carry the header's lines.
    chip: OneOrMore,
    /// Lines on the header that are free for use, by pin.
    header: BTreeMap<String, String>,
}

impl FromToml for Gpio {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let mut table = TableReader::new(value, span)?;
        let gpio = Self { chip: table.required("chip")?, header: table.required("header")? };
        table.finish()?;
        Ok(gpio)
    }
}

#[derive(Clone, Debug)]
struct Onboard {
    /// The LED in /sys/class/leds that may be used; names differ between kernels.
    led: Option<OneOrMore>,
    /// What the hardware watchdog calls itself.
    watchdog: Option<String>,
}

impl FromToml for Onboard {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let mut table = TableReader::new(value, span)?;
        let onboard = Self { led: table.optional("led")?, watchdog: table.optional("watchdog")? };
        table.finish()?;
        Ok(onboard)
    }
}

impl Board {
    fn parse(id: &str, text: &str) -> Result<Self, String> {
        let profile: Profile =
            document::parse(text).map_err(|error| format!("line {}: {}", error.line(text), error.message))?;
        let mut leds = BTreeMap::new();
        for (role, lines) in &profile.leds {
            let parsed: Result<Role, String> = role.parse();
            let role = parsed.map_err(|why| format!("[leds] {role}: {why}"))?;
            let lines: Result<Vec<LedLine>, String> = lines.0.iter().map(|line| line.parse()).collect();
            leds.insert(role, lines.map_err(|why| format!("[leds] {role}: {why}"))?);
        }
        Ok(Self { id: id.to_owned(), profile, leds })
    }

    /// Its name in the configuration: the name of its file.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.profile.name
    }

    /// The lines that the LED of a role may be on where the configuration names none, most likely first.
    pub fn led(&self, role: Role) -> &[LedLine] {
        self.leds.get(&role).map_or(&[], Vec::as_slice)
    }

    fn is_recognised_by(&self, compatible: &[u8]) -> bool {
        let strings = compatible.split(|&byte| byte == 0);
        strings.into_iter().any(|string| self.profile.compatible.iter().any(|own| own.as_bytes() == string))
    }
}

/// The board for what the configuration says: `auto`, an id, or the path of a profile.
///
/// # Errors
/// A message that says what would be right.
pub fn find(text: &str) -> Result<Board, String> {
    if text == "auto" {
        return Ok(this_machine());
    }
    if text.contains('/') {
        let profile = fs::read_to_string(text).map_err(|error| format!("cannot be read: {error}"))?;
        return Board::parse(text, &profile);
    }
    let known = || PROFILES.iter().map(|(id, _)| *id).collect::<Vec<_>>().join(", ");
    embedded(|id, _| id == text)
        .next()
        .ok_or_else(|| format!("must be auto, the path of a profile, or one of {}", known()))
}

/// The embedded boards that are wanted, by their id and text; others are not read.
fn embedded(is_wanted: impl Fn(&str, &str) -> bool) -> impl Iterator<Item = Board> {
    // A profile that cannot be read is found by the tests below, before it can be embedded anywhere.
    let wanted = PROFILES.iter().filter(move |(id, text)| is_wanted(id, text));
    wanted.filter_map(|(id, text)| Board::parse(id, text).ok())
}

/// The board this runs on, as far as any profile knows it.
pub fn this_machine() -> Board {
    recognise(&COMPATIBLE.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default())
}

fn recognise(compatible: &[u8]) -> Board {
    let generic = || {
        Board::parse(GENERIC, "name = \"Linux machine\"").unwrap_or_else(|_| unreachable!("it is this text"))
    };
    // Every start comes by here; few profiles hold one of the strings, and most need not be read.
    let strings: Vec<&str> =
        compatible.split(|&byte| byte == 0).filter_map(|s| str::from_utf8(s).ok()).collect();
    let may_be = |text: &str| strings.iter().any(|string| !string.is_empty() && text.contains(string));
    let found = embedded(|_, text| may_be(text)).find(|board| board.is_recognised_by(compatible));
    found.or_else(|| embedded(|id, _| id == GENERIC).next()).unwrap_or_else(generic)
}

/// All boards, by id.
pub fn all() -> impl Iterator<Item = Board> {
    embedded(|_, _| true)
}

/// Everything about it, for somebody with a soldering iron.
impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile { name, compatible, target, camera, gpio, onboard, .. } = &self.profile;
        writeln!(f, "{} ({name})", self.id)?;
        if !compatible.is_empty() {
            writeln!(f, "  recognised by  {}", compatible.join(", "))?;
        }
        for (label, value) in [("build target", target), ("cameras", camera)] {
            if let Some(value) = value {
                writeln!(f, "  {label:13}  {value}")?;
            }
        }
        if let Some(Onboard { led, watchdog }) = onboard {
            if let Some(led) = led {
                writeln!(f, "  on-board LED   {}", led.0.join(" or "))?;
            }
            if let Some(watchdog) = watchdog {
                writeln!(f, "  watchdog       {watchdog}")?;
            }
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
    /// A line, with the pin it is on.
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
    fn every_profile_can_be_read() {
        for (id, text) in PROFILES {
            Board::parse(id, text).unwrap_or_else(|error| panic!("board/{id}.toml: {error}"));
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/board")).unwrap();
        let files = files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "toml"));
        assert_eq!(all().count(), files.count());
    }

    #[test]
    fn no_two_boards_are_recognised_by_the_same_and_all_but_one_by_something() {
        let mut seen = HashSet::new();
        for board in all() {
            let strings = &board.profile.compatible;
            assert!(!strings.is_empty() || board.id == GENERIC, "{} is recognised by nothing", board.id);
            for string in strings {
                assert!(seen.insert(string.clone()), "{string} is claimed twice, once by {}", board.id);
            }
        }
        assert!(seen.len() >= 12);
    }

    #[test]
    fn every_role_has_a_line_of_its_own() {
        let mut checked = 0;
        for board in all().filter(|board| board.id != GENERIC) {
            let mut taken = HashSet::new();
            for role in Role::ALL {
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
    fn a_profile_of_ones_own_is_read_and_its_mistakes_are_named() {
        let path = std::env::temp_dir().join(format!("porthole-board-{}.toml", std::process::id()));
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            find(path.to_str().unwrap())
        };
        let board = read("name = \"Mine\"\n[leds]\non-air = [\"GPIO5\", \"led:red\"]\n").unwrap();
        assert_eq!(
            (board.name(), board.led(Role::OnAir).len(), board.led(Role::Fault).len()),
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
    fn an_unknown_board_is_answered_with_those_there_are() {
        assert!(find("no-such").unwrap_err().contains("generic, jetson-orin-nano"));
        assert_eq!(find("rpi-4b").unwrap().name(), "Raspberry Pi 4 Model B");
    }

    #[test]
    fn a_board_shows_where_its_leds_go() {
        let shown = find("rpi-4b").unwrap().to_string();
        for line in ["rpi-4b (Raspberry Pi 4 Model B)", "  LED on-air     GPIO17, pin 11", "      11  GPIO17"]
        {
            assert!(shown.lines().any(|shown| shown == line), "no {line:?} in\n{shown}");
        }
    }
}
