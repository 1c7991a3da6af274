//! What lasts on the card, whatever happens to it.

use std::collections::HashMap;
use std::time::Duration;

use crate::card::Card;
use crate::config::{CAMERA, OPEN, SERVES};
use crate::pi::Pi;
use crate::{Lab, Left};

/// Files that `guest/write` writes to in turn.
const FILES: u64 = 16;
/// Longest that something is written before the power is cut.
const WRITING: Duration = Duration::from_secs(10);

pub fn a_state_partition_that_is_lost_or_damaged_is_made_again(lab: &Lab, left: Left) -> Left {
    let settings = format!("{OPEN}{CAMERA}");
    let (mut pi, card) = left.unwrap_or_else(|| lab.booted(&settings));
    let (first, length) = card.state();
    assert_eq!(first + length, std::fs::metadata(&card.path).unwrap().len(), "it has the rest of the card");
    pi.run("echo mine >/state/mine && sync");
    pi.cut();

    card.put("porthole.toml", &settings);
    card.lose_state();
    let mut pi = lab.boot(&card);
    pi.until("it serves", SERVES);
    assert_eq!(card.state(), (first, length));
    assert_eq!(
        pi.run("cat /run/porthole-appliance/state-made; ls /state/mine 2>/dev/null; true").trim(),
        "first start"
    );
    pi.run("echo mine >/state/mine && sync");
    pi.cut();

    // All superblocks that are tried, the journal and the tables there are: nothing is to be saved.
    let noise: Vec<u8> = (0..4 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for at in (0..64 << 20).step_by(8 << 20) {
        card.overwrite_state(at, &noise);
    }
    let mut pi = lab.boot(&card);
    pi.until("it serves", SERVES);
    assert!(pi.run("cat /run/porthole-appliance/state-made").contains("repaired"));
    pi.run("[ ! -e /state/mine ] && echo mine >/state/mine && grep ' /state ' /proc/mounts");
    Some((pi, card))
}

pub fn nothing_that_was_acknowledged_is_lost_when_the_power_is_cut(lab: &Lab, left: Left) -> Left {
    println!("        {} cuts with PORTHOLE_CUT_SEED={}", lab.cuts, lab.seed);
    let (pi, card) = left.unwrap_or_else(|| lab.booted(&format!("{OPEN}{CAMERA}")));
    let mut running = Some(pi);
    let mut random = Random(lab.seed);
    // The newest number that each file is known to hold.
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    let mut next = 1;
    for cut in 0..=lab.cuts {
        let mut pi = running.take().unwrap_or_else(|| lab.boot(&card));
        next = next.max(verify(&mut pi, &acknowledged));
        if cut > 0 {
            assert_eq!(
                pi.outcome("ls /run/porthole-appliance/state-made").0,
                1,
                "the state partition was given up"
            );
        }
        if cut == lab.cuts {
            // Once it need not be hurried: that all of it works.
            pi.until("it serves", SERVES);
            break;
        }
        pi.send(&format!("/test/write {next}"));
        // What the answer begins with; then one number a line.
        let mut lines = vec![pi.line()];
        lines.extend(pi.lines_for(WRITING.mul_f64(random.fraction())));
        pi.cut();
        let numbers: Vec<u64> = lines.iter().map(|line| line.parse().expect("a number")).collect();
        for &number in &numbers {
            acknowledged.insert(number % FILES, number);
            next = number + 1;
        }
        println!("        cut {}: {} records acknowledged", cut + 1, numbers.len());
        in_the_middle_of_a_start(lab, &card, &mut random, cut);
    }
    None
}

/// Cuts the power at any moment of a start, too, every fourth time.
fn in_the_middle_of_a_start(lab: &Lab, card: &Card, random: &mut Random, cut: u32) {
    if cut.is_multiple_of(4) {
        let mut pi = Pi::on(card, &lab.with());
        pi.lines_for(Duration::from_secs(30).mul_f64(random.fraction()));
        pi.cut();
    }
}

/// That every file holds what was acknowledged, or something newer, and all of it. Returns a number beyond all.
#[track_caller]
fn verify(pi: &mut Pi, acknowledged: &HashMap<u64, u64>) -> u64 {
    let listing = pi.run(
        "cd /state/written 2>/dev/null || exit 0
         for file in *; do
             case $file in *.new | '*') continue ;; esac
             read -r number long again <$file
             [ \"$number ${#long}\" = \"$again 4096\" ] && echo $file $number || echo broken $file
         done",
    );
    let mut beyond = 1;
    let mut held = HashMap::new();
    for line in listing.lines() {
        let (file, number) = line.split_once(' ').expect("two words");
        let file: u64 = file.parse().unwrap_or_else(|_| panic!("{line}\n{listing}"));
        let number: u64 = number.trim().parse().expect("a number");
        assert_eq!(number % FILES, file, "{listing}");
        held.insert(file, number);
        beyond = beyond.max(number + 1);
    }
    for (file, number) in acknowledged {
        assert!(held.get(file).is_some_and(|held| held >= number), "{number} was acknowledged: {listing}");
    }
    beyond
}

/// Numbers that a seed decides: splitmix64.
struct Random(u64);

impl Random {
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}
