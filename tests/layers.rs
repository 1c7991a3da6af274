//! The house rules that no compiler checks: which room may import which, where unsafe code may be, how large a file
//! may grow.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from the top down. A room may import those below it.
const ROOMS: [&str; 18] = [
    "main",
    "command",
    "passwd",
    "appliance",
    "lib",
    "logging",
    "service",
    "config",
    "board",
    "web",
    "camera",
    "jpeg",
    "led",
    "ring",
    "status",
    "document",
    "failpoint",
    "sync",
];
/// The bottom, which everybody may import and which imports nobody.
const VOCABULARY: &str = "frame";

/// The files that may hold unsafe code.
const UNSAFE: [&str; 7] = [
    "camera/source/process.rs",
    "camera/v4l2/controls.rs",
    "camera/v4l2/device_owner.rs",
    "camera/v4l2/ioctl.rs",
    "jpeg/yuv.rs",
    "web/backlog.rs",
    "web/handed.rs",
];
/// Parents of those, where forbidding would forbid it to the child too.
const PARENTS: [&str; 6] =
    ["lib.rs", "camera/mod.rs", "camera/source/mod.rs", "camera/v4l2/mod.rs", "jpeg/mod.rs", "web/mod.rs"];

/// Lines of a file before its tests. Beyond that it is two rooms in one.
const MOST_LINES: usize = 400;

struct File {
    path: String,
    room: String,
    text: String,
}

impl File {
    /// All but the tests at the end.
    fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests").next().unwrap()
    }
}

fn sources() -> Vec<File> {
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
    let file = |path: PathBuf| {
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let room = relative.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        File { room, text: fs::read_to_string(&path).unwrap(), path: relative }
    };
    let files: Vec<File> = paths.into_iter().map(file).collect();
    assert!(files.len() > 30, "only {} files found under {}", files.len(), root.display());
    files
}

/// How far down a room lies.
fn depth(room: &str) -> Option<usize> {
    if room == VOCABULARY { Some(ROOMS.len()) } else { ROOMS.iter().position(|r| *r == room) }
}

/// The rooms that a text names by `crate::`, and with the program's own name, as `main.rs` does.
fn imports(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for prefix in ["crate::", "porthole::"] {
        for rest in text.split(prefix).skip(1) {
            // `crate::{a, b::c}` or `crate::a`.
            let list = rest.strip_prefix('{').and_then(|list| list.split('}').next());
            let names = list.map_or_else(|| vec![rest], |list| list.split(',').collect());
            let name = |name: &str| {
                name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()
            };
            rooms.extend(names.into_iter().map(name));
        }
    }
    rooms.retain(|room| depth(room).is_some());
    rooms
}

#[test]
fn imports_go_one_way() {
    let mut checked = 0;
    for file in sources() {
        let own = depth(&file.room).unwrap_or_else(|| panic!("src/{} is in no room of the list", file.path));
        for import in imports(&file.text) {
            let other = depth(&import).unwrap();
            // Links in the crate's documentation go everywhere, and `lib.rs` imports nothing else.
            assert!(
                other > own || import == file.room || file.room == "lib",
                "src/{}: `{}` must not import `{import}`, which lies above it",
                file.path,
                file.room
            );
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} imports were found");
}

#[test]
fn the_reader_of_imports_reads_them() {
    assert_eq!(
        imports("use crate::web::Web;\nuse crate::{ring, status::Status};"),
        ["web", "ring", "status"]
    );
    assert_eq!(imports("porthole::config::load(x); crate::nothing::y"), ["config"]);
}

#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    for File { path, text, .. } in sources() {
        let forbids = text.contains("#![forbid(unsafe_code)]");
        let allows = text.contains("#![allow(unsafe_code)]");
        let listed = UNSAFE.contains(&path.as_str());
        assert_eq!(allows, listed, "src/{path}");
        assert!(
            forbids || listed || PARENTS.contains(&path.as_str()),
            "src/{path} does not forbid unsafe code"
        );
        assert!(listed || !text.contains("unsafe {"), "src/{path} holds unsafe code");
    }
}

#[test]
fn one_file_alone_knows_rscam() {
    let naming: Vec<String> = sources()
        .into_iter()
        .filter(|file| file.text.lines().any(|line| !line.trim().starts_with("//") && line.contains("rscam")))
        .map(|file| file.path)
        .collect();
    assert_eq!(naming, ["camera/v4l2/capture_device.rs"]);
}

#[test]
fn every_file_says_what_belongs_there_and_is_no_longer_than_it_should_be() {
    for file in sources() {
        assert!(file.text.starts_with("//! "), "src/{} does not say what belongs there", file.path);
        let lines = file.code().lines().count();
        assert!(lines <= MOST_LINES, "src/{} has {lines} lines before its tests", file.path);
    }
}
