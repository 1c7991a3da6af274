//! An SD card: a copy of the image on one of 512 MiB, and what any PC can do with it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Scratch, finish};

/// A power of two, as the emulated reader wants it.
const BYTES: u64 = 512 << 20;
const SECTOR: u64 = 512;
/// Entries of the first and the third partition in the table at the card's beginning.
const FIRST: u64 = 446;
const THIRD: u64 = 446 + 2 * 16;

pub struct Card {
    pub path: PathBuf,
    scratch: Scratch,
}

impl Card {
    /// A card with the image on it, never booted.
    pub fn new(image: &Path) -> Self {
        let scratch = Scratch::new();
        let path = scratch.path("card.img");
        done(Command::new("cp").arg("--sparse=always").args([image, &path]));
        Self::of(scratch, path)
    }

    /// A card as people make it, with what they say to `scripts/flash`, and a password.
    pub fn flashed(image: &Path, said: &[&str], password: &str) -> Self {
        let scratch = Scratch::new();
        let path = scratch.path("card.img");
        let flash = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/flash");
        let mut command = Command::new(flash);
        command.arg(&path).arg("--image").arg(image).arg("--yes").args(said);
        done(command.env("PORTHOLE_PASSWORD", password));
        Self::of(scratch, path)
    }

    fn of(scratch: Scratch, path: PathBuf) -> Self {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(BYTES).unwrap();
        Self { path, scratch }
    }

    /// A folder for what belongs to this card's tests.
    pub fn folder(&self) -> &Scratch {
        &self.scratch
    }

    /// The partition that the firmware starts and any PC can read, as mtools call it.
    fn fat(&self) -> String {
        let (first, _) = self.partition(FIRST);
        format!("{}@@{first}", self.path.display())
    }

    /// Writes a file where settings are.
    #[track_caller]
    pub fn put(&self, name: &str, content: &str) {
        let file = self.scratch.file("put", content);
        done(Command::new("mcopy").args(["-D", "o", "-i", &self.fat()]).arg(file).arg(format!("::{name}")));
    }

    /// Takes a file from where settings are, if it is there.
    pub fn get(&self, name: &str) -> Option<String> {
        let (code, out, _) = finish(
            Command::new("mtype").args(["-i", &self.fat()]).arg(format!("::{name}")).stdin(Stdio::null()),
        );
        (code == 0).then_some(out)
    }

    /// Takes a file of the boot partition out, for whoever plays the part of the firmware.
    pub fn take(&self, name: &str) -> PathBuf {
        let to = self.scratch.path(name);
        done(
            Command::new("mcopy")
                .args(["-n", "-D", "o", "-i", &self.fat()])
                .arg(format!("::{name}"))
                .arg(&to),
        );
        to
    }

    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.path).unwrap()
    }

    /// First byte and length of the state partition.
    #[track_caller]
    pub fn state(&self) -> (u64, u64) {
        self.partition(THIRD)
    }

    /// First byte and length of the partition with this entry.
    #[track_caller]
    fn partition(&self, at: u64) -> (u64, u64) {
        let mut entry = [0; 16];
        self.open().read_exact_at(&mut entry, at).unwrap();
        let number = |at: usize| u64::from(u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()));
        (number(8) * SECTOR, number(12) * SECTOR)
    }

    /// Overwrites a part of the state partition.
    pub fn overwrite_state(&self, at: u64, bytes: &[u8]) {
        let (first, length) = self.state();
        assert!(length > at + bytes.len() as u64, "there is a state partition: {length}");
        self.open().write_all_at(bytes, first + at).unwrap();
    }

    /// Forgets that there is a state partition.
    pub fn lose_state(&self) {
        self.open().write_all_at(&[0; 16], THIRD).unwrap();
    }
}

#[track_caller]
fn done(command: &mut Command) {
    let (code, out, error) = finish(command.stdin(Stdio::null()));
    assert_eq!(code, 0, "{command:?}: {out}{error}");
}

/// Bytes of a file.
pub fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}
