//! Replays what fuzzing found worth keeping: every input in `tests/corpora` goes through the same functions again, and
//! must neither panic nor break what each of them promises. `scripts/fuzz` looks for more.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod camera;
mod config;
mod jpeg;
mod memory;
mod targets;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use porthole::document;

/// Bytes that all corpora have together at most.
const SIZE: usize = 1 << 20;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora")
}

/// The inputs of a target, by name.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(corpora().join(target)).unwrap();
    let file = |path: PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    files.map(|entry| file(entry.unwrap().path())).collect()
}

fn replay(name: &str) {
    let target = targets::named(name);
    // Tasks keep panics to themselves.
    static PANICS: AtomicU32 = AtomicU32::new(0);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Relaxed);
        usual(panic);
    }));
    let inputs = corpus(name);
    assert!(inputs.len() > 10, "only {} inputs for {name}", inputs.len());
    for (path, input) in inputs {
        let survived = std::panic::catch_unwind(|| target(&input));
        assert!(survived.is_ok() && PANICS.load(Relaxed) == 0, "{path}");
    }
}

#[test]
fn config_replayed() {
    replay("config");
}

#[test]
fn encode_replayed() {
    replay("encode");
}

#[test]
fn http_replayed() {
    replay("http");
}

#[test]
fn inbound_replayed() {
    replay("inbound");
}

#[test]
fn jpeg_replayed() {
    replay("jpeg");
}

#[test]
fn splitter_replayed() {
    replay("splitter");
}

/// Inputs that each target is to have been tried with.
const EXECUTIONS: i64 = 10_000_000;

#[test]
fn the_record_is_about_what_is_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/record.toml");
    let records: BTreeMap<String, BTreeMap<String, i64>> =
        document::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let targets: BTreeSet<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    let recorded: BTreeSet<&str> = records.keys().map(String::as_str).collect();
    let folders: BTreeSet<String> =
        fs::read_dir(corpora()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(recorded, targets);
    assert_eq!(folders.iter().map(String::as_str).collect::<BTreeSet<&str>>(), targets);
    let mut all = 0;
    for (name, record) in &records {
        let inputs = corpus(name);
        let bytes: usize = inputs.values().map(Vec::len).sum();
        // Branches of the program that its corpus reaches, as libFuzzer counts them, and inputs tried.
        assert!(record["executions"] >= EXECUTIONS && record["edges"] > 0, "{name}");
        let recorded = (record["inputs"] as usize, record["bytes"] as usize);
        assert_eq!((inputs.len(), bytes, record.len()), (recorded.0, recorded.1, 4), "{name}");
        all += bytes;
    }
    assert!(all < SIZE, "{all} bytes of corpora");
}
