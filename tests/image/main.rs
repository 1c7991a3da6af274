//! The SD-card image itself, booted on an emulated Raspberry Pi 3B, and once on a 4B: settings, pictures, LEDs, and what power
//! cuts leave.
//!
//! `scripts/image --test` builds what this takes and calls it; on its own it does nothing. The image is the one that
//! people flash: kernel, initramfs and device tree come from its FAT partition, as the board's firmware would take them.
//! A second initramfs brings a remote control on the serial console and an emulated USB camera along.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod board;
mod card;
mod config;
mod confined;
mod lan;
mod lasting;
mod network;
mod pi;
mod serving;
mod settings;
mod systems;
mod updates;
mod watchdog;
mod wifi;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
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
    /// A QEMU that knows newer boards than that of Debian 12 does; `None` if none is to be had.
    newer_qemu: Option<String>,
    /// How often the power is cut, and what decides when.
    cuts: u32,
    seed: u64,
}

/// A board that a test has left switched on, with its card, for the test after it on the same card.
pub type Left = Option<(Pi, Card)>;

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

    /// A board with a new card with these settings of the service.
    pub fn booted(&self, porthole: &str) -> (Pi, Card) {
        let card = self.card(porthole);
        (self.boot(&card), card)
    }

    /// What is needed to talk to the system.
    pub fn with(&self) -> With<'_> {
        With { overlay: Some(&self.overlay), ..With::default() }
    }
}

/// A test takes what the one before it on the same card has left, and leaves the same to the next. Without that, because
/// it runs alone or the one before it failed, it makes a card of its own.
type Test = (&'static str, fn(&Lab, Left) -> Left);

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),*]
    };
}

/// The tests that share a card, in the order of its life. Booting is most of what a test costs.
const CARDS: &[&[Test]] = &[
    tests![
        serving::a_card_a_camera_and_nothing_else,
        updates::a_bad_one_is_taken_back_and_a_good_one_stays,
        lasting::a_state_partition_that_is_lost_or_damaged_is_made_again,
        lasting::nothing_that_was_acknowledged_is_lost_when_the_power_is_cut,
    ],
    tests![network::it_is_found_by_its_name_and_takes_new_versions_over_ssh],
    tests![systems::bad_ones_go_back_and_a_good_one_stays],
    tests![
        serving::the_led_on_the_board_is_lit_while_it_serves,
        wifi::it_joins_the_one_that_it_was_told_with_the_passphrase,
        confined::it_has_no_more_than_the_unit_says,
    ],
    tests![serving::a_raspberry_pi_4_serves_its_camera_and_lights_its_led],
    tests![settings::a_broken_file_is_told_and_does_no_harm],
    tests![watchdog::it_is_armed],
];

/// Boards that are emulated at a time. An emulated boot keeps little more than one processor busy.
const BOARDS: usize = 2;

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
        newer_qemu: std::env::var("PORTHOLE_IMAGE_QEMU").ok().filter(|path| !path.is_empty()),
        cuts: number("PORTHOLE_CUTS").unwrap_or(3) as u32,
        seed: number("PORTHOLE_CUT_SEED").unwrap_or_else(fresh),
    };
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (next, passed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(tests) = CARDS.get(next.fetch_add(1, Relaxed)) {
            let mut left = None;
            for (name, test) in tests.iter().filter(|(name, _)| chosen(name)) {
                let began = Instant::now();
                let result = catch_unwind(AssertUnwindSafe(|| test(&lab, left.take())));
                let seconds = began.elapsed().as_secs_f32();
                let (word, count) = if result.is_ok() { ("ok     ", &passed) } else { ("FAILED ", &failed) };
                count.fetch_add(1, Relaxed);
                println!("{word} {name} ({seconds:.0} s)");
                left = result.unwrap_or_default();
            }
        }
    };
    // Emulators end with the thread that started them.
    std::thread::scope(|scope| (0..BOARDS).for_each(|_| drop(scope.spawn(work))));
    let (passed, failed) = (passed.into_inner(), failed.into_inner());
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A seed that nobody has chosen.
fn fresh() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}
