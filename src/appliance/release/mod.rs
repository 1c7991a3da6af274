//! Updates of the program: the factory's in the read-only image, and two slots for releases that were installed later.
//!
//! A new release goes to the slot that is not in use and is on trial: it is chosen for one boot, and from then on only if
//! it has served a picture. The power may be cut at any point. The next choice is then the good release, or the new one
//! for its trial, and the factory's if neither is whole. Releases belong to the system that they were installed under:
//! another one (`system`) serves by its own program.
#![forbid(unsafe_code)]

mod candidate;
mod choice;
mod error;
mod slots;
mod trial;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::os_release;
use choice::{Places, choose};
pub(crate) use error::ReleaseError;
use slots::{Release, Slots};
use trial::install;

/// Arguments of `porthole-appliance release`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    places: Places,
}

#[derive(Subcommand)]
enum Action {
    /// Put a program on trial, from the next `choose` on; the one that runs is not touched
    Install {
        /// The program; - is standard input
        file: PathBuf,
        /// The checksum that `b2sum` shows where the program comes from; any other is refused
        #[arg(long, value_name = "HEX")]
        sum: Option<String>,
    },
    /// Link the program that is to serve: at each boot, before porthole is started
    Choose,
    /// Ask the running service for a picture until it gives one, then make the release on trial permanent
    Confirm {
        /// Socket of the service: porthole's --local-socket
        #[arg(long, value_name = "PATH", default_value = "/run/porthole/local.sock")]
        socket: PathBuf,
        /// Give up, and leave the release on trial, after this time
        #[arg(long, value_name = "SECONDS")]
        within: Option<u64>,
    },
    /// Discard the release on trial, and link the one that served before
    Discard,
    /// Show which release serves, which one is good and which one is on trial
    Status,
}

/// Carries out the command.
///
/// # Errors
/// [`ReleaseError`] when that is not possible.
pub(crate) fn run(Arguments { action, places }: Arguments) -> Result<(), ReleaseError> {
    let slots = slots(&places);
    match action {
        Action::Install { file, sum } => {
            let state_dir = places.state.join("private/porthole");
            let configuration = places.configuration();
            let arguments = [configuration.as_path(), state_dir.as_path()];
            let arguments = Some(&arguments).filter(|_| configuration.exists());
            install(&slots, &file, sum.as_deref(), |path| candidate::version(path, arguments))
        }
        Action::Choose => choose(&slots, &places),
        Action::Confirm { socket, within } => trial::confirm(&slots, &socket, within),
        Action::Discard => run_discard(&slots, &places),
        Action::Status => status(&slots, &places),
    }
}

fn slots(places: &Places) -> Slots {
    Slots::of(&places.state, &os_release::image_version(&places.os_release).unwrap_or_default())
}

fn run_discard(slots: &Slots, places: &Places) -> Result<(), ReleaseError> {
    trial::discard(slots)?;
    choose(slots, places)
}

fn status(slots: &Slots, places: &Places) -> Result<(), ReleaseError> {
    let table = slots.read()?;
    let chosen = fs::read_link(places.link());
    let chosen =
        chosen.map_or_else(|_| "nothing is chosen yet".into(), |program| program.display().to_string());
    let mut text = format!("chosen: {chosen}\n");
    let trial = if table.begun { "trial" } else { "next" };
    for (what, release) in [("good", &table.good), ("fallback", &table.fallback), (trial, &table.trial)] {
        if let Some(Release { slot, sum, version }) = release {
            text += &format!("{what}: slot {slot}, version {version}, {:.16}\n", sum);
        }
    }
    io::stdout().write_all(text.as_bytes()).map_err(ReleaseError::Output)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::power_cut::{Change, Disk, changes, disks};
    use slots::{Release, Slot, SlotTable};
    use trial::{begun, make_permanent};

    const FACTORY: &str = "factory";

    /// A machine: its state partition, and what it forgets when it boots.
    struct Machine {
        root: PathBuf,
        places: Places,
        slots: Slots,
    }

    impl Machine {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("porthole-release-{}-{count}", std::process::id()));
            let places = Places {
                state: root.join("state"),
                run: root.join("run"),
                factory: root.join(FACTORY),
                os_release: root.join("os-release"),
            };
            fs::create_dir_all(&places.state).unwrap();
            fs::write(&places.factory, FACTORY).unwrap();
            Self { slots: slots(&places), places, root }
        }

        /// One whose state partition holds these files, as the power was cut.
        fn with(disk: &Disk) -> Self {
            let machine = Self::new();
            machine.slots.create().unwrap();
            for (path, content) in disk {
                fs::write(machine.root.join(path), content).unwrap();
            }
            machine
        }

        fn install(&self, content: &str) {
            let file = self.root.join("installed");
            fs::write(&file, content).unwrap();
            install(&self.slots, &file, None, |_| Ok("1.2.3".into())).unwrap();
        }

        /// What is chosen, now or again; it is whole.
        fn choose(&self) -> String {
            choose(&self.slots, &self.places).unwrap();
            fs::read_to_string(self.places.link()).unwrap()
        }

        fn boot(&self) -> String {
            let _ = fs::remove_dir_all(&self.places.run);
            self.choose()
        }

        /// What is on trial has served.
        fn confirm(&self) {
            let trial = begun(&self.slots.read().unwrap()).unwrap();
            make_permanent(&self.slots, &trial).unwrap();
        }

        fn damage(&self, slot: &str) {
            fs::write(self.places.state.join("release").join(slot).join("porthole"), "damaged").unwrap();
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn a_trial_serves_once_and_only_what_was_confirmed_serves_again() {
        let machine = Machine::new();
        assert_eq!(machine.boot(), FACTORY);
        machine.install("one");
        assert_eq!(machine.boot(), "one");
        assert_eq!(machine.choose(), "one", "a trial ends with a choice in the same boot");
        assert_eq!(machine.boot(), FACTORY);
        machine.install("two");
        assert_eq!(machine.choose(), "two");
        machine.confirm();
        machine.install("three");
        assert_eq!(machine.boot(), "three");
        run_discard(&machine.slots, &machine.places).unwrap();
        assert_eq!(fs::read_to_string(machine.places.link()).unwrap(), "two");
        assert_eq!(machine.boot(), "two");
        machine.install("four");
        // Another before its trial takes its place.
        machine.install("five");
        assert_eq!(machine.boot(), "five");
        machine.confirm();
        assert_eq!([machine.boot(), machine.boot()], ["five", "five"]);
    }

    #[test]
    fn a_damaged_release_gives_way_to_the_one_before_it() {
        let machine = Machine::new();
        for content in ["one", "two"] {
            machine.install(content);
            machine.boot();
            machine.confirm();
        }
        machine.damage("b");
        assert_eq!([machine.boot(), machine.boot()], ["one", "one"]);
        machine.install("three");
        machine.damage("b");
        assert_eq!(machine.boot(), "one", "a damaged trial");
        machine.damage("a");
        assert_eq!(machine.boot(), FACTORY);
        machine.install("four");
        assert_eq!(machine.boot(), "four");
        machine.confirm();
        fs::write(machine.places.state.join("release/state.json"), "{\"good\": {").unwrap();
        assert_eq!(machine.boot(), FACTORY);
        machine.install("five");
        assert_eq!(machine.boot(), "five");
    }

    #[test]
    fn another_system_serves_by_its_own_program_and_the_one_before_by_its_release() {
        let mut machine = Machine::new();
        machine.install("one");
        machine.boot();
        machine.confirm();
        assert_eq!(machine.boot(), "one");
        let start = |machine: &mut Machine, system: &str| {
            fs::write(&machine.places.os_release, format!("ID=porthole\nIMAGE_VERSION=\"{system}\"\n"))
                .unwrap();
            machine.slots = slots(&machine.places);
            machine.boot()
        };
        assert_eq!(start(&mut machine, "second"), FACTORY);
        assert_eq!(begun(&machine.slots.read().unwrap()), None, "nothing waits for a picture of the release");
        assert_eq!(start(&mut machine, ""), "one");
        start(&mut machine, "second");
        machine.install("two");
        assert_eq!(machine.boot(), "two");
        machine.confirm();
        assert_eq!(start(&mut machine, "second"), "two");
        assert_eq!(start(&mut machine, "third"), FACTORY);
    }

    #[test]
    fn a_new_release_is_never_written_over_the_one_that_serves() {
        for slot in [Slot::A, Slot::B] {
            let good = Release { slot, sum: String::new(), version: String::new() };
            let trial = Release {
                slot: SlotTable { good: Some(good.clone()), ..SlotTable::default() }.spare(),
                ..good.clone()
            };
            let mut table =
                SlotTable { good: Some(good.clone()), trial: Some(trial), ..SlotTable::default() };
            assert_ne!(table.spare(), slot);
            table.confirm();
            assert_eq!((table.spare(), table.fallback), (slot, Some(good)));
        }
    }

    #[test]
    fn the_power_may_be_cut_at_any_point() {
        let machine = Machine::new();
        machine.slots.create().unwrap();
        changes();
        let mut done = Vec::new();
        // After each of these: what was done until then, what a boot gives from then on, and what the one after it.
        let mut marks = vec![(0, FACTORY, FACTORY)];
        let mut at = |done: &mut Vec<Change>, first, second| {
            done.extend(changes());
            marks.push((done.len(), first, second));
        };
        machine.install("one");
        at(&mut done, "one", FACTORY);
        machine.boot();
        at(&mut done, FACTORY, FACTORY);
        machine.confirm();
        at(&mut done, "one", "one");
        machine.install("two");
        at(&mut done, "two", "one");
        machine.boot();
        at(&mut done, "one", "one");
        machine.confirm();
        at(&mut done, "two", "two");
        machine.install("three");
        at(&mut done, "three", "two");
        machine.boot();
        at(&mut done, "two", "two");
        machine.boot();
        at(&mut done, "two", "two");
        machine.install("four");
        at(&mut done, "four", "two");
        run_discard(&machine.slots, &machine.places).unwrap();
        at(&mut done, "two", "two");
        let mut cuts = 0;
        for (before, after) in marks.iter().zip(&marks[1..]) {
            for cut in before.0..=after.0 {
                for disk in disks(&done[..cut], &machine.root) {
                    let allowed = if cut == after.0 { vec![after] } else { vec![before, after] };
                    let boots = Machine::with(&disk);
                    let (first, second) = (boots.boot(), boots.boot());
                    let found = allowed.iter().any(|(_, a, b)| (*a, *b) == (&first, &second));
                    assert!(found, "{first}, then {second}, not {allowed:?}: {disk:?}");
                    assert_eq!(boots.boot(), second);
                    cuts += 1;
                }
            }
        }
        assert!(done.len() > 50 && cuts > 100, "{} steps, {cuts} cuts", done.len());
    }
}
