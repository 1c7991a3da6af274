//! The documentation: links lead somewhere, every chapter is shown, and the reference names all that the service tells.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use support::http::{Multipart, get};
use support::{Porthole, source_tree};

/// A Markdown file, as far as its links go.
struct Document {
    path: PathBuf,
    links: Vec<String>,
    /// Labels that links use, and labels that are defined.
    used: BTreeSet<String>,
    defined: BTreeSet<String>,
}

/// Every Markdown file of the source tree, by its path below the root.
fn documents() -> Vec<Document> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => walk(root, &path, found),
                false if path.extension().is_some_and(|e| e == "md") => found.push(path),
                false => {}
            }
        }
    }
    let root = source_tree();
    let mut paths = vec![PathBuf::from("README.md")];
    for folder in [".github", "board", "cross", "scripts", "src", "tests"] {
        walk(root, Path::new(folder), &mut paths);
    }
    paths.into_iter().map(|path| read(root, path)).collect()
}

fn read(root: &Path, path: PathBuf) -> Document {
    let text = without_code(&fs::read_to_string(root.join(&path)).unwrap());
    let (mut links, mut used, mut defined) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let up_to = |rest: &str, end: char| rest.split(end).next().unwrap().to_owned();
    links.extend(text.split("](").skip(1).map(|rest| up_to(rest, ')')));
    links.extend(text.split("<img src=\"").skip(1).map(|rest| up_to(rest, '"')));
    used.extend(text.split("][").skip(1).map(|rest| up_to(rest, ']')));
    for line in text.lines() {
        if let Some((label, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            defined.insert(label.to_owned());
            links.push(target.to_owned());
        }
    }
    Document { path, links, used, defined }
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

/// The text without blocks and spans of code, in which brackets are no links.
fn without_code(text: &str) -> String {
    let mut kept = String::new();
    for line in prose(text) {
        // Spans of code are every second part.
        kept.extend(line.split('`').enumerate().map(|(n, part)| if n % 2 == 0 { part } else { "code" }));
        kept.push('\n');
    }
    kept
}

/// The anchors of a document's headings, as forges and rustdoc make them.
fn anchors(root: &Path, path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(root.join(path)).unwrap();
    let headings = prose(&text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    let letter = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    headings.map(|heading| heading.trim().chars().filter_map(letter).collect()).collect()
}

/// The path without `.` and `..`, `None` if it leaves the tree.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => plain.pop().then_some(())?,
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    Some(plain)
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let root = source_tree();
    let mut checked = 0;
    for Document { path, links, used, defined } in documents() {
        assert_eq!(used, defined, "{}: labels used and labels defined", path.display());
        for link in links {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((&*link, None), |(f, a)| (f, Some(a)));
            let target = match file {
                "" => Some(path.clone()),
                _ => plain(&path.parent().unwrap().join(file)),
            };
            let target =
                target.unwrap_or_else(|| panic!("{}: {link} leaves the source tree", path.display()));
            assert!(
                root.join(&target).exists(),
                "{}: {link}: there is no {}",
                path.display(),
                target.display()
            );
            if let Some(anchor) = anchor {
                let anchors = anchors(root, &target);
                assert!(anchors.contains(anchor), "{}: {link}: the headings are {anchors:?}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} links were found");
}

#[test]
fn the_checker_of_links_finds_them() {
    let text = without_code("# A\n`[no](x)` [yes](b.md#c)\n```\n[no](y)\n```\n[text][label]\n");
    assert_eq!(text, "# A\ncode [yes](b.md#c)\n[text][label]\n");
    assert_eq!(plain(Path::new("src/manual/../../README.md")), Some(PathBuf::from("README.md")));
    assert_eq!(plain(Path::new("src/../../README.md")), None);
}

#[test]
fn the_readme_is_short_and_leads_to_every_chapter() {
    let root = source_tree();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.lines().count() <= 250, "{} lines", readme.lines().count());
    let shown = fs::read_to_string(root.join("src/manual.rs")).unwrap();
    let mut chapters = 0;
    for Document { path, .. } in documents().iter().filter(|document| document.path.starts_with("src/manual"))
    {
        assert!(readme.contains(&format!("({})", path.display())), "no link to {}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(shown.contains(&format!("{name:?}")), "src/manual.rs does not show {name}");
        chapters += 1;
    }
    assert!(chapters >= 10, "only {chapters} chapters");
}

/// The reference of the HTTP interface.
fn reference() -> String {
    fs::read_to_string(source_tree().join("src/manual/http.md")).unwrap()
}

#[test]
fn every_metric_is_in_the_manual() {
    let service = Porthole::start(&["--source", "pattern", "--size", "320x240"]);
    let text = get(service.address, "/metrics").text();
    let reference = reference();
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.len() > 30, "{text}");
    for family in families {
        let name = family.split(' ').next().unwrap();
        assert!(reference.contains(&format!("`{name}`")), "the manual says nothing of {name}");
    }
}

#[test]
fn every_key_of_the_state_is_in_the_manual() {
    fn check(value: &Value, reference: &str, checked: &mut usize) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let is_named =
                        [format!("`{key}`"), format!("`{key}[]`")].iter().any(|k| reference.contains(k));
                    assert!(is_named, "the manual says nothing of {key}");
                    *checked += 1;
                    check(value, reference, checked);
                }
            }
            Value::Array(all) => all.iter().for_each(|value| check(value, reference, checked)),
            _ => {}
        }
    }
    let service = Porthole::start(&["--source", "pattern", "--size", "320x240"]);
    // One viewer, so that there is an entry for it.
    let mut viewer = Multipart::open(service.address, "/stream");
    viewer.part();
    let mut checked = 0;
    check(&service.state(), &reference(), &mut checked);
    assert!(checked > 40, "only {checked} keys");
}
