//! The SD-card image itself, booted on an emulated Raspberry Pi 3B: settings, pictures, LEDs, and what power cuts leave.
//!
//! `scripts/image --test` builds what this takes and calls it; on its own it does nothing. The image is the one that
//! people flash: kernel, initramfs and device tree come from its FAT partition, as the board's firmware would take them.
//! A second initramfs brings a remote control on the serial console and an emulated USB camera along.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod card;
mod confined;
mod lan;
mod lasting;
mod network;
mod pi;
mod serving;
mod settings;
mod updates;
mod watchdog;
mod wifi;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use card::Card;
use pi::{Pi, With};

/// What every test gets.
pub struct Lab {
    image: PathBuf,
    overlay: PathBuf,
    /// The program that is on the image, and one that is no good, both for the board.
    program: PathBuf,
    dud: PathBuf,
    /// How often the power is cut, and what decides when.
    cuts: u32,
    seed: u64,
}

impl Lab {
    /// A card with the image and these settings of the service.
    pub fn card(&self, porthole: &str) -> Card {
        let card = Card::new(&self.image);
        card.put("porthole.toml", porthole);
        card
    }

    pub fn boot(&self, card: &Card) -> Pi {
        Pi::boot(card, &self.with())
    }

    /// What is needed to talk to the system.
    pub fn with(&self) -> With<'_> {
        With { overlay: Some(&self.overlay), ..With::default() }
    }
}

type Test = (&'static str, fn(&Lab));

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        [$((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),*]
    };
}

const TESTS: &[Test] = &tests![
    serving::a_card_a_camera_and_nothing_else,
    serving::the_led_on_the_board_is_lit_while_it_serves,
    settings::a_broken_file_is_told_and_does_no_harm,
    network::it_is_found_by_its_name_and_takes_new_versions_over_ssh,
    updates::a_bad_one_is_taken_back_and_a_good_one_stays,
    confined::it_has_no_more_than_the_unit_says,
    watchdog::it_is_armed,
    wifi::it_joins_the_one_that_it_was_told_with_the_passphrase,
    lasting::a_state_partition_that_is_lost_or_damaged_is_made_again,
    lasting::nothing_that_was_acknowledged_is_lost_when_the_power_is_cut,
];

fn main() -> ExitCode {
    let path = |key: &str| std::env::var_os(key).map(PathBuf::from);
    let [image, overlay, program, dud] =
        ["", "_OVERLAY", "_PROGRAM", "_DUD"].map(|what| path(&format!("PORTHOLE_IMAGE{what}")));
    let (Some(image), Some(overlay), Some(program), Some(dud)) = (image, overlay, program, dud) else {
        println!("skipped: scripts/image --test runs these tests, on an emulated board");
        return ExitCode::SUCCESS;
    };
    let number = |key: &str| std::env::var(key).ok().map(|text| text.parse().expect("a number"));
    let lab = Lab {
        image,
        overlay,
        program,
        dud,
        cuts: number("PORTHOLE_CUTS").unwrap_or(3) as u32,
        seed: number("PORTHOLE_CUT_SEED").unwrap_or_else(fresh),
    };
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| test(&lab)));
        let seconds = began.elapsed().as_secs_f32();
        if result.is_ok() {
            passed += 1;
            println!("ok      {name} ({seconds:.0} s)");
        } else {
            failed += 1;
            println!("FAILED  {name} ({seconds:.0} s)");
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A seed that nobody has chosen.
fn fresh() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}
