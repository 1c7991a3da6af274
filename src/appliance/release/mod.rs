//! Which program serves: the factory's in the read-only image, or one that was brought later.
//!
//! A new one goes to the slot that is not in use and is on trial: it is chosen once, and from then on only if it has
//! shown that it serves a picture. The power may be cut at any point; what is chosen then is what was good, or the new
//! one for its trial, and the factory's if neither can be.
#![forbid(unsafe_code)]

mod ask;
mod candidate;
mod slots;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use log::{info, warn};
use nix::fcntl::FlockArg;

use crate::disk;
use slots::{Release, Slots, State, sum};

/// No program is larger. There must be room for three on the smallest card.
const MOST_BYTES: u64 = 64 << 20;
/// How soon a picture is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// What `porthole-appliance release` is told.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,

    #[command(flatten)]
    places: Places,
}

/// Where everything is.
#[derive(Args)]
struct Places {
    /// What lasts from boot to boot
    #[arg(long, value_name = "DIR", default_value = "/state", global = true)]
    state: PathBuf,

    /// What lasts until the next boot
    #[arg(long, value_name = "DIR", default_value = "/run", global = true)]
    run: PathBuf,

    /// The program of the image
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/porthole", global = true)]
    factory: PathBuf,
}

impl Places {
    /// What this room has until the next boot.
    fn own(&self, name: &str) -> PathBuf {
        self.run.join("porthole-appliance").join(name)
    }

    /// What the service manager starts: a link to what was chosen.
    fn link(&self) -> PathBuf {
        self.own("porthole")
    }

    /// Says which trial has begun in this boot.
    fn mark(&self) -> PathBuf {
        self.own("trial")
    }
}

#[derive(Subcommand)]
enum Verb {
    /// Put a program on trial, from the next `choose` on; what runs is not touched
    Install {
        /// The program; - is standard input
        file: PathBuf,
        /// What `b2sum` says of it where it comes from; refused if it is not that
        #[arg(long, value_name = "HEX")]
        sum: Option<String>,
    },
    /// Link what is to serve: at each boot, before porthole is started
    Choose,
    /// Ask the running service for a picture until it gives one, then make what is on trial permanent
    Confirm {
        /// Where it is asked: porthole's --local-socket
        #[arg(long, value_name = "PATH", default_value = "/run/porthole/local.sock")]
        socket: PathBuf,
        /// Give up, and leave it on trial, after so many seconds
        #[arg(long, value_name = "SECONDS")]
        within: Option<u64>,
    },
    /// Take back what is on trial, and link what served before
    Discard,
    /// Show what serves, what is good and what is on trial
    Status,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// What was brought is not to be put on trial.
    #[error("{} is not taken: {why}", path.display())]
    Refused {
        /// What was brought.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another command holds the slots.
    #[error("another release is being installed: wait until that is done")]
    Busy,
    /// A file cannot be read or written.
    #[error("{}: {source}{remedy}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What to do about it.
        remedy: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file that says which slot counts for what is broken.
    #[error("{}: {why}; the factory's program serves until another is installed", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There was no picture in time.
    #[error("slot {slot} is not confirmed within {within} s: {why}")]
    Unconfirmed {
        /// Where the program is.
        slot: String,
        /// Seconds.
        within: u64,
        /// What was in the way at last.
        why: String,
    },
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

impl ReleaseError {
    fn disk(path: &Path, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::StorageFull => "; there is no room on the state partition",
            io::ErrorKind::ReadOnlyFilesystem => "; the state partition could not be opened for writing",
            io::ErrorKind::PermissionDenied => "; this takes root",
            _ => "",
        };
        Self::Disk { path: path.into(), remedy, source }
    }
}

/// Does what it is told.
///
/// # Errors
/// [`ReleaseError`] when that cannot be done.
pub(crate) fn run(Arguments { verb, places }: Arguments) -> Result<(), ReleaseError> {
    let slots = Slots::of(&places.state);
    match verb {
        Verb::Install { file, sum } => {
            let state_dir = places.state.join("private/porthole");
            let configuration = places.own("porthole.toml");
            let arguments = [configuration.as_path(), state_dir.as_path()];
            let arguments = Some(&arguments).filter(|_| configuration.exists());
            install(&slots, &file, sum.as_deref(), |path| candidate::version(path, arguments))
        }
        Verb::Choose => choose(&slots, &places),
        Verb::Confirm { socket, within } => confirm(&slots, &socket, within),
        Verb::Discard => discard(&slots, &places),
        Verb::Status => status(&slots, &places),
    }
}

/// Puts the program in `file` on trial; `judge` says its version, or why it is not to be taken.
fn install(
    slots: &Slots,
    file: &Path,
    promised: Option<&str>,
    judge: impl FnOnce(&Path) -> Result<String, String>,
) -> Result<(), ReleaseError> {
    slots.make()?;
    let _lock = slots.lock(FlockArg::LockExclusiveNonblock)?;
    // One that cannot be read names nothing that is to be spared.
    let mut state = slots.read().unwrap_or_else(|why| {
        warn!("{why}");
        State::default()
    });
    let slot = state.spare();
    let program = slots.program(slot);
    let aside = disk::aside(&program);
    let brought = bring(file, &aside, promised, judge);
    let (sum, version) = brought.inspect_err(|_| drop(fs::remove_file(&aside)))?;
    // What the slot has held counts no more before it is replaced.
    if state.forget(slot) {
        slots.commit(&state)?;
    }
    disk::rename(&program).map_err(|cause| ReleaseError::disk(&program, cause))?;
    info!("slot {slot} has version {version} now, on trial from the next choice on");
    state.trial = Some(Release { slot, sum, version });
    state.begun = false;
    slots.commit(&state)
}

/// Writes the program aside and judges it; its checksum and version.
fn bring(
    file: &Path,
    aside: &Path,
    promised: Option<&str>,
    judge: impl FnOnce(&Path) -> Result<String, String>,
) -> Result<(String, String), ReleaseError> {
    let refused = |why| ReleaseError::Refused { path: file.into(), why };
    let mut from: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file).map_err(|cause| refused(cause.to_string()))?),
    };
    let bytes = disk::write(aside, 0o755, &mut from, MOST_BYTES).map_err(|cause| match cause.kind() {
        io::ErrorKind::FileTooLarge => refused(format!("it is larger than {MOST_BYTES} bytes")),
        _ => ReleaseError::disk(aside, cause),
    })?;
    let sum = sum(aside).map_err(|cause| ReleaseError::disk(aside, cause))?;
    if promised.is_some_and(|promised| promised != sum) {
        return Err(refused(format!("the {bytes} bytes that came are not those that were sent")));
    }
    let version = judge(aside).map_err(refused)?;
    Ok((sum, version))
}

/// Links what is to serve. That is done whatever is wrong with the slots.
fn choose(slots: &Slots, places: &Places) -> Result<(), ReleaseError> {
    let chosen = chosen(slots, &places.mark()).unwrap_or_else(|why| {
        warn!("{why}");
        None
    });
    let program = chosen.unwrap_or_else(|| places.factory.clone());
    info!("what serves is {}", program.display());
    let link = places.link();
    let aside = disk::aside(&link);
    let relink = || {
        link.parent().map_or(Ok(()), fs::create_dir_all)?;
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(&program, &aside)?;
        fs::rename(&aside, &link)
    };
    relink().map_err(|cause| ReleaseError::disk(&link, cause))
}

/// The program that is to serve, unless that is the factory's.
fn chosen(slots: &Slots, mark: &Path) -> Result<Option<PathBuf>, ReleaseError> {
    let Some(_lock) = slots.lock(FlockArg::LockExclusive)? else { return Ok(None) };
    let mut state = slots.read()?;
    if let Some(trial) = state.trial.clone()
        && on_trial(slots, &mut state, &trial, mark)
    {
        return Ok(Some(slots.program(trial.slot)));
    }
    while let Some(good) = state.good.clone() {
        if slots.is_whole(&good) {
            return Ok(Some(slots.program(good.slot)));
        }
        warn!("slot {} does not hold what was brought there: it serves no more", good.slot);
        state.good = state.fallback.take();
        keep(slots, &state);
    }
    Ok(None)
}

/// Whether what is on trial is to serve in this boot, which `mark` tells from those before.
fn on_trial(slots: &Slots, state: &mut State, trial: &Release, mark: &Path) -> bool {
    let Release { slot, sum, version } = trial;
    if state.begun && fs::read_to_string(mark).is_ok_and(|marked| marked == *sum) {
        return true;
    }
    let why_not = match (state.begun, slots.is_whole(trial)) {
        (true, _) => "was tried and served no picture",
        (false, false) => "is not what was brought there",
        (false, true) => {
            state.begun = true;
            // Never tried twice: so not at all, where it cannot be kept that it was.
            match slots.commit(state) {
                Ok(()) => {
                    let marked =
                        mark.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(mark, sum));
                    if let Err(cause) = marked {
                        warn!("{}: {cause}; the trial ends with the next choice", mark.display());
                    }
                    info!("slot {slot}, version {version}, is on trial");
                    return true;
                }
                Err(why) => {
                    warn!("slot {slot}, version {version}, cannot be tried: {why}");
                    state.begun = false;
                    return false;
                }
            }
        }
    };
    warn!("slot {slot}, version {version}, {why_not}: back to what served before");
    state.discard();
    keep(slots, state);
    false
}

/// Commits what the next choice would find out again.
fn keep(slots: &Slots, state: &State) {
    if let Err(why) = slots.commit(state) {
        warn!("{why}");
    }
}

fn confirm(slots: &Slots, socket: &Path, within: Option<u64>) -> Result<(), ReleaseError> {
    let started = Instant::now();
    loop {
        let Some(trial) = begun(&slots.read()?) else {
            info!("nothing is on trial");
            return Ok(());
        };
        match ask::picture(socket, &slots.program(trial.slot)) {
            Ok(()) => return make_permanent(slots, &trial),
            Err(why) => match within.filter(|&within| started.elapsed().as_secs() >= within) {
                Some(within) => {
                    return Err(ReleaseError::Unconfirmed { slot: trial.slot.to_string(), within, why });
                }
                None => info!("slot {} is still on trial: {why}", trial.slot),
            },
        }
        sleep(AGAIN);
    }
}

fn begun(state: &State) -> Option<Release> {
    state.trial.clone().filter(|_| state.begun)
}

fn make_permanent(slots: &Slots, trial: &Release) -> Result<(), ReleaseError> {
    let _lock = slots.lock(FlockArg::LockExclusive)?;
    let mut state = slots.read()?;
    // Somebody else was faster, or has taken it back.
    if begun(&state).as_ref() == Some(trial) {
        state.confirm();
        slots.commit(&state)?;
        info!("slot {}, version {}, has served a picture and is permanent", trial.slot, trial.version);
    }
    Ok(())
}

fn discard(slots: &Slots, places: &Places) -> Result<(), ReleaseError> {
    if let Some(_lock) = slots.lock(FlockArg::LockExclusive)? {
        let mut state = slots.read()?;
        if let Some(trial) = state.trial.clone() {
            state.discard();
            slots.commit(&state)?;
            info!("slot {}, version {}, is taken back", trial.slot, trial.version);
        }
    }
    choose(slots, places)
}

fn status(slots: &Slots, places: &Places) -> Result<(), ReleaseError> {
    let state = slots.read()?;
    let runs = fs::read_link(places.link());
    let runs = runs.map_or_else(|_| "nothing is chosen yet".into(), |program| program.display().to_string());
    let mut text = format!("chosen: {runs}\n");
    let trial = if state.begun { "trial" } else { "next" };
    for (what, release) in [("good", &state.good), ("fallback", &state.fallback), (trial, &state.trial)] {
        if let Some(Release { slot, sum, version }) = release {
            text += &format!("{what}: slot {slot}, version {version}, {:.16}\n", sum);
        }
    }
    io::stdout().write_all(text.as_bytes()).map_err(ReleaseError::Output)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::disk::Did;
    use crate::disk::recorder::{self, Done};

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
            let places =
                Places { state: root.join("state"), run: root.join("run"), factory: root.join(FACTORY) };
            fs::create_dir_all(&places.state).unwrap();
            fs::write(&places.factory, FACTORY).unwrap();
            Self { slots: Slots::of(&places.state), places, root }
        }

        /// One whose state partition holds these files, as the power was cut.
        fn with(disk: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
            let machine = Self::new();
            machine.slots.make().unwrap();
            for (path, content) in disk {
                fs::write(machine.root.join(path), content).unwrap();
            }
            machine
        }

        fn install(&self, content: &str) {
            let file = self.root.join("brought");
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

        fn spoil(&self, slot: &str) {
            fs::write(self.places.state.join("release").join(slot).join("porthole"), "spoilt").unwrap();
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
        discard(&machine.slots, &machine.places).unwrap();
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
    fn what_is_not_whole_serves_no_more_but_the_one_before_it_does() {
        let machine = Machine::new();
        for content in ["one", "two"] {
            machine.install(content);
            machine.boot();
            machine.confirm();
        }
        machine.spoil("b");
        assert_eq!([machine.boot(), machine.boot()], ["one", "one"]);
        machine.install("three");
        machine.spoil("b");
        assert_eq!(machine.boot(), "one", "a spoilt trial");
        machine.spoil("a");
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
    fn a_new_release_is_never_written_over_the_one_that_serves() {
        for slot in [slots::Slot::A, slots::Slot::B] {
            let good = Release { slot, sum: String::new(), version: String::new() };
            let trial = Release {
                slot: State { good: Some(good.clone()), ..State::default() }.spare(),
                ..good.clone()
            };
            let mut state = State { good: Some(good.clone()), trial: Some(trial), ..State::default() };
            assert_ne!(state.spare(), slot);
            state.confirm();
            assert_eq!((state.spare(), state.fallback), (slot, Some(good)));
        }
    }

    /// Every state that the disk can be in if the power is cut when this was done: of what was not synchronised, any part
    /// may be there, and of a file any part of its content.
    fn disks(done: &[Done], root: &Path) -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
        let (mut disk, mut pending) = (BTreeMap::new(), Vec::new());
        let within = |path: &Path| path.strip_prefix(root).unwrap().to_owned();
        for (what, path, content) in done {
            let applies = |(pending, at, _): &Done| match what {
                Did::Sync => *pending == Did::Write && at == path,
                Did::SyncFolder => *pending == Did::Rename && at.parent() == Some(path),
                Did::Write | Did::Rename => false,
            };
            let (settled, left) = pending.into_iter().partition::<Vec<Done>, _>(applies);
            pending = left;
            settled.iter().for_each(|done| apply(&mut disk, done, usize::MAX, &within));
            if matches!(what, Did::Write | Did::Rename) {
                pending.push((*what, path.clone(), content.clone()));
            }
        }
        let mut all = vec![disk];
        for done in &pending {
            // None of it, all of it, and of a file nothing but its name, or half.
            let parts =
                if done.0 == Did::Write { vec![0, done.2.len() / 2, usize::MAX] } else { vec![usize::MAX] };
            let also = all
                .clone()
                .into_iter()
                .flat_map(|disk| parts.iter().map(move |&part| (disk.clone(), part)).collect::<Vec<_>>());
            let also = also.map(|(mut disk, part)| {
                apply(&mut disk, done, part, &within);
                disk
            });
            all.extend(also.collect::<Vec<_>>());
        }
        all
    }

    fn apply(
        disk: &mut BTreeMap<PathBuf, Vec<u8>>,
        (what, path, content): &Done,
        part: usize,
        within: &impl Fn(&Path) -> PathBuf,
    ) {
        let (name, aside) = (within(path), within(&disk::aside(path)));
        match what {
            Did::Write => drop(disk.insert(name, content[..part.min(content.len())].to_vec())),
            Did::Rename => {
                let content = disk.remove(&aside).unwrap_or_default();
                disk.insert(name, content);
            }
            Did::Sync | Did::SyncFolder => {}
        }
    }

    #[test]
    fn the_power_may_be_cut_at_any_point() {
        let machine = Machine::new();
        machine.slots.make().unwrap();
        recorder::take();
        let mut done = Vec::new();
        // After each of these: what was done until then, what a boot gives from then on, and what the one after it.
        let mut marks = vec![(0, FACTORY, FACTORY)];
        let mut at = |done: &mut Vec<Done>, first, second| {
            done.extend(recorder::take());
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
        discard(&machine.slots, &machine.places).unwrap();
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
