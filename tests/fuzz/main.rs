//! Replays what fuzzing found worth keeping: every input in `tests/corpora` goes through the same functions again, and
//! must neither panic nor break what each of them guarantees. `scripts/fuzz` searches for more, and packs the archives.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod camera;
mod config;
mod h264;
mod jpeg;
mod live;
mod memory;
mod mp4;
mod mqtt;
mod targets;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use porthole::document;
use support::{Scratch, finish, source_tree};

/// Bytes that all corpora have together at most: they are run with every `cargo test`.
const MAX_BYTES: usize = 1 << 20;

fn corpora() -> PathBuf {
    source_tree().join("tests/corpora")
}

/// The inputs of a target, by name.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let (archive, scratch) = (corpora().join(format!("{target}.tar.gz")), Scratch::new());
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--file"]).arg(archive).arg("--directory").arg(scratch.path(""));
    let (code, _, error) = finish(&mut tar);
    assert_eq!(code, 0, "{target}: {error}");
    let file = |path: PathBuf| (path.file_name().unwrap().display().to_string(), fs::read(&path).unwrap());
    fs::read_dir(scratch.path("")).unwrap().map(|entry| file(entry.unwrap().path())).collect()
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
    for (input, bytes) in inputs {
        let survived = std::panic::catch_unwind(|| target(&bytes));
        assert!(survived.is_ok() && PANICS.load(Relaxed) == 0, "{name}: {input}");
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
fn h264_sps_replayed() {
    replay("h264_sps");
}

#[test]
fn h264_splitter_replayed() {
    replay("h264_splitter");
}

#[test]
fn h264_units_replayed() {
    replay("h264_units");
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
fn challenge_replayed() {
    replay("challenge");
}

#[test]
fn live_replayed() {
    replay("live");
}

#[test]
fn mqtt_packets_replayed() {
    replay("mqtt_packets");
}

#[test]
fn mqtt_set_replayed() {
    replay("mqtt_set");
}

#[test]
fn mqtt_watch_replayed() {
    replay("mqtt_watch");
}

#[test]
fn multipart_replayed() {
    replay("multipart");
}

#[test]
fn mp4_replayed() {
    replay("mp4");
}

#[test]
fn pickle_replayed() {
    replay("pickle");
}

#[test]
fn porthole_v1_replayed() {
    replay("porthole_v1");
}

#[test]
fn splitter_replayed() {
    replay("splitter");
}

/// Inputs that the fuzzer has tried at least with each target.
const EXECUTIONS: i64 = 10_000_000;

#[test]
fn every_target_has_a_corpus_and_a_record_of_enough_inputs() {
    let path = source_tree().join("tests/fuzz/record.toml");
    let records: BTreeMap<String, BTreeMap<String, i64>> =
        document::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let targets: BTreeSet<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(records.keys().map(String::as_str).collect::<BTreeSet<_>>(), targets);
    let archives = fs::read_dir(corpora()).unwrap();
    let archives: BTreeSet<String> =
        archives.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(archives, targets.iter().map(|name| format!("{name}.tar.gz")).collect());
    for (name, record) in &records {
        assert!(record["executions"] >= EXECUTIONS && record["edges"] > 0, "{name}");
    }
    let bytes: usize =
        targets.iter().flat_map(|name| corpus(name).into_values()).map(|input| input.len()).sum();
    assert!(
        bytes < MAX_BYTES,
        "{bytes} bytes of corpora; pack them again with: scripts/fuzz --minimise TARGET"
    );
}
