//! Power cuts, for unit tests: every state in which a disk can be, from the steps that `porthole::storage` logs.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use log::{LevelFilter, Log, Metadata, Record};

/// What a disk holds: content by path below the root of the test.
pub(crate) type Disk = BTreeMap<PathBuf, Vec<u8>>;

/// A step, with the content that the file had after it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    step: String,
    path: PathBuf,
    content: Vec<u8>,
}

thread_local! {
    static CHANGES: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
}

/// Takes the place of the log.
struct Recorder;

impl Log for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "porthole::storage"
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        let (step, path) = line.split_once(' ').unwrap();
        let content = if step == "Write" { fs::read(path).unwrap() } else { Vec::new() };
        let change = Change { step: step.into(), path: path.into(), content };
        CHANGES.with_borrow_mut(|all| all.push(change));
    }

    fn flush(&self) {}
}

/// All changes by this thread since the last call; none before the first one.
pub(crate) fn changes() -> Vec<Change> {
    let _ = log::set_logger(&Recorder);
    log::set_max_level(LevelFilter::Trace);
    CHANGES.take()
}

/// Every state of the disk when the power is cut after these changes: of those that were not synchronised any may be
/// there, and any part of a file's content.
pub(crate) fn disks(changes: &[Change], root: &Path) -> Vec<Disk> {
    let (mut disk, mut pending) = (Disk::new(), Vec::new());
    for change in changes {
        let is_settled = |earlier: &Change| match change.step.as_str() {
            "Sync" => earlier.step == "Write" && earlier.path == change.path,
            "SyncFolder" => earlier.step == "Rename" && earlier.path.parent() == Some(&change.path),
            _ => false,
        };
        let (settled, left) = pending.into_iter().partition::<Vec<Change>, _>(is_settled);
        pending = left;
        settled.iter().for_each(|change| apply(&mut disk, change, usize::MAX, root));
        if ["Write", "Rename"].contains(&change.step.as_str()) {
            pending.push(change.clone());
        }
    }
    let mut all = vec![disk];
    for change in &pending {
        // None of it, all of it, and of a file nothing but its name, or half.
        let parts = match change.step.as_str() {
            "Write" => vec![0, change.content.len() / 2, usize::MAX],
            _ => vec![usize::MAX],
        };
        for mut disk in all.clone() {
            let before = disk.clone();
            for part in &parts {
                disk.clone_from(&before);
                apply(&mut disk, change, *part, root);
                all.push(disk.clone());
            }
        }
    }
    all
}

fn apply(disk: &mut Disk, change: &Change, part: usize, root: &Path) {
    let name = change.path.strip_prefix(root).unwrap().to_owned();
    match change.step.as_str() {
        "Write" => drop(disk.insert(name, change.content[..part.min(change.content.len())].to_vec())),
        "Rename" => {
            let mut aside = name.clone().into_os_string();
            aside.push(".new");
            let content = disk.remove(Path::new(&aside)).unwrap_or_default();
            disk.insert(name, content);
        }
        step => unreachable!("{step} changes nothing"),
    }
}

#[cfg(test)]
mod tests {
    use porthole::storage;

    use super::*;

    #[test]
    fn a_file_that_is_replaced_is_old_or_new_wherever_the_power_is_cut() {
        let root = std::env::temp_dir().join(format!("porthole-power-cut-{}", std::process::id()));
        let file = root.join("file");
        let old = b"the old content, which is longer than the new".as_slice();
        let new = b"the new content".as_slice();
        changes();
        storage::replace(&file, 0o600, old).unwrap();
        let before = changes();
        storage::replace(&file, 0o600, new).unwrap();
        let all = [before.clone(), changes()].concat();
        let mut checked = 0;
        for cut in before.len()..=all.len() {
            for disk in disks(&all[..cut], &root) {
                let content = disk.get(Path::new("file")).map(Vec::as_slice);
                let is_whole = content == Some(new) || (content == Some(old) && cut < all.len());
                assert!(is_whole, "after {:?}: {disk:?}", &all[..cut]);
                // With the power back, what is left does not stand in the way.
                for (name, content) in &disk {
                    fs::write(root.join(name), content).unwrap();
                }
                storage::replace(&file, 0o600, b"third").unwrap();
                assert_eq!(fs::read(&file).unwrap(), b"third");
                assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
                checked += 1;
            }
        }
        fs::remove_dir_all(root).unwrap();
        assert!(checked >= 8, "only {checked} cuts");
    }
}
