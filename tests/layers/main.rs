//! The house rules that no compiler checks: which room may import which, no circle of files, one name for one type,
//! where unsafe code may be, how large a file may grow.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imports::{Source, Tree};

mod imports;

/// For each folder its rooms, from the top down: a room may import those below it. Files directly in `src` are rooms too,
/// and a folder's `mod.rs` stands above its rooms.
const ROOMS: [(&str, &[&str]); 2] = [
    (
        "",
        &[
            "main",
            "health",
            "passwd",
            "title",
            "appliance",
            "lib",
            "manual",
            "command",
            "testing",
            "logging",
            "service",
            "config",
            "board",
            "publisher",
            "announced",
            "web",
            "camera",
            "jpeg",
            "led",
            "ring",
            "mp4",
            "h264",
            "status",
            "mqtt",
            "client",
            "websocket",
            "tcp_info",
            "document",
            "storage",
            "escape",
            "failpoint",
            "sync",
            "frame",
        ],
    ),
    (
        "web",
        &[
            "connection",
            "router",
            "route",
            "page",
            "api",
            "server_state",
            "stream",
            "access",
            "response",
            "server",
        ],
    ),
];

/// The files that may hold unsafe code.
const UNSAFE: [&str; 13] = [
    "camera/source/process.rs",
    "camera/v4l2/buffer_ioctls.rs",
    "camera/v4l2/controls.rs",
    "camera/v4l2/device_owner.rs",
    "camera/v4l2/format_ioctls.rs",
    "camera/v4l2/input_ioctls.rs",
    "camera/v4l2/ioctl.rs",
    "camera/v4l2/timing_ioctls.rs",
    "h264/software/decoder_library.rs",
    "h264/software/encoder_library.rs",
    "jpeg/yuv.rs",
    "tcp_info.rs",
    "web/server/socket_activation.rs",
];

/// Names that the standard library's prelude and its best-known modules give to something else.
const TAKEN_NAMES: [&str; 12] = [
    "Box", "Duration", "File", "Instant", "Option", "Path", "PathBuf", "Result", "Sized", "String", "Vec",
    "Error",
];

/// Lines of a file before its tests. A longer file holds two rooms.
const MOST_LINES: usize = 400;

fn tree() -> Tree {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                false => {}
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap();
        Source::read(relative, &fs::read_to_string(path).unwrap())
    };
    let tree = Tree::new(paths.iter().map(read).collect());
    assert!(tree.sources.len() > 30, "only {} files found under {}", tree.sources.len(), root.display());
    tree
}

/// Where a file stands in a folder: the index of its room, and that room's name. `None` for files elsewhere and the
/// folder's own `mod.rs`.
fn room<'a>(folder: &str, rooms: &[&str], file: &'a str) -> Option<(usize, &'a str)> {
    let inside = if folder.is_empty() { file } else { file.strip_prefix(folder)?.strip_prefix('/')? };
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    if name == "mod" {
        return None;
    }
    let at = rooms.iter().position(|room| *room == name);
    Some((at.unwrap_or_else(|| panic!("src/{file} is in no room of the list for {folder:?}")), name))
}

#[test]
fn imports_go_one_way() {
    let tree = tree();
    let edges = tree.edges();
    assert!(edges.len() > 200, "only {} imports were found", edges.len());
    for (folder, rooms) in ROOMS {
        for (from, to) in edges.keys() {
            let (Some((own, name)), Some((other, imported))) =
                (room(folder, rooms, from), room(folder, rooms, to))
            else {
                continue;
            };
            // The crate's documentation links everywhere, and `lib.rs` imports nothing.
            assert!(
                other >= own || name == "lib",
                "src/{from} must not import src/{to} ({:?}): `{imported}` lies above `{name}`",
                edges[&(from.clone(), to.clone())]
            );
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let edges = tree().edges();
    let circles: Vec<String> = imports::circles(edges.keys())
        .into_iter()
        .map(|circle| {
            let inside = |(from, to): &(&String, &String)| circle.contains(*from) && circle.contains(*to);
            let ties = edges.iter().filter(|((from, to), _)| inside(&(from, to)));
            let lines = ties.map(|((from, to), names)| {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("  {from} -> {to}: {}\n", names.join(", "))
            });
            lines.collect()
        })
        .collect();
    assert!(circles.is_empty(), "{} circles of files:\n{}", circles.len(), circles.join("\n"));
}

#[test]
fn a_type_name_stands_for_one_thing() {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let tree = tree();
    // The second program is a crate of its own.
    for source in tree.sources.iter().filter(|source| !source.path.starts_with("appliance/")) {
        for name in &source.types {
            seen.entry(name.clone()).or_default().insert(source.path.clone());
        }
    }
    let shadowing: Vec<&String> = seen.keys().filter(|name| TAKEN_NAMES.contains(&name.as_str())).collect();
    assert!(shadowing.is_empty(), "the standard library has other types of these names: {shadowing:?}");
    let doubled: Vec<String> = seen
        .iter()
        .filter(|(_, files)| files.len() > 1)
        // The variant without TLS stands in for the other file.
        .filter(|(_, files)| !files.iter().any(|file| file.ends_with("absent.rs")))
        .map(|(name, files)| format!("{name}: {files:?}"))
        .collect();
    assert!(doubled.is_empty(), "names with several meanings:\n{}", doubled.join("\n"));
}

#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    let tree = tree();
    for source in &tree.sources {
        let path = source.path.as_str();
        let forbids = source.text.contains("#![forbid(unsafe_code)]");
        let allows = source.text.contains("#![allow(unsafe_code)]");
        let listed = UNSAFE.contains(&path);
        // Where a folder's `mod.rs` forbids unsafe code, it forbids it to its children too.
        let is_parent = UNSAFE.iter().any(|file| {
            path == "lib.rs"
                || path.strip_suffix("mod.rs").is_some_and(|folder| file.starts_with(folder) && *file != path)
        });
        assert_eq!(allows, listed, "src/{path}");
        assert!(forbids || listed || is_parent, "src/{path} does not forbid unsafe code");
        assert!(listed || !source.text.contains("unsafe {"), "src/{path} holds unsafe code");
    }
}

#[test]
fn one_file_alone_knows_rscam() {
    let naming: Vec<String> = tree()
        .sources
        .into_iter()
        .filter(|source| source.words.contains("rscam"))
        .map(|source| source.path)
        .collect();
    assert_eq!(naming, ["camera/v4l2/capture_device.rs"]);
}

#[test]
fn every_file_says_what_belongs_there_and_is_no_longer_than_it_should_be() {
    for source in tree().sources {
        assert!(source.text.starts_with("//! "), "src/{} does not say what belongs there", source.path);
        let lines = source.text.split("\n#[cfg(test)]\nmod tests").next().unwrap().lines().count();
        assert!(lines <= MOST_LINES, "src/{} has {lines} lines before its tests", source.path);
    }
}
