//! Which file of a crate imports which: paths are read from the tokens of every file and followed through re-exports to
//! the file that defines what they name.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The crates whose sources lie in one tree: the file at the root, and the name others import it by.
const ROOTS: [(&str, Option<&str>); 3] =
    [("lib.rs", Some("porthole")), ("main.rs", None), ("appliance/main.rs", None)];
/// Re-exports of re-exports are followed this far.
const MOST_HOPS: usize = 8;

/// A path as it is written, split at `::`.
type Words = Vec<String>;

/// One file, as far as its imports go. Its unit tests are left out.
#[derive(Debug)]
pub(crate) struct Source {
    /// Below `src`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The types it defines, at whatever depth.
    pub(crate) types: BTreeSet<String>,
    /// The macros it defines, which its crate's root exports.
    macros: BTreeSet<String>,
    /// Every identifier in its code.
    pub(crate) words: BTreeSet<String>,
    /// The module it is: a root's number, then the names below it.
    module: (usize, Words),
    /// Names that `use` brings in, with the path behind each.
    imported: BTreeMap<String, Words>,
    /// Those of them that others may use by this module's name.
    exported: BTreeSet<String>,
    /// Paths of at least two words in its code, `use` left out.
    paths: BTreeSet<Words>,
    /// How often each identifier stands outside of `use`.
    counts: BTreeMap<String, usize>,
}

impl Source {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            types: BTreeSet::new(),
            macros: BTreeSet::new(),
            words: BTreeSet::new(),
            module: module_of(path),
            imported: BTreeMap::new(),
            exported: BTreeSet::new(),
            paths: BTreeSet::new(),
            counts: BTreeMap::new(),
        };
        source.walk(
            &TokenStream::from_str(text)
                .unwrap_or_else(|error| panic!("src/{path}: {error}"))
                .into_iter()
                .collect::<Vec<_>>(),
        );
        source
    }

    fn walk(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        let mut is_public = false;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(word) if word == "pub" => {
                    is_public = true;
                    self.words.insert("pub".into());
                    // `pub(super)`.
                    if matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
                    {
                        at += 1;
                    }
                    at += 1;
                    continue;
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end = tokens[at..]
                        .iter()
                        .position(|token| is_sign(token, ';'))
                        .map_or(tokens.len(), |n| at + n);
                    self.import(&tokens[at + 1..end], &Vec::new(), is_public);
                    at = end;
                }
                TokenTree::Ident(word) if word == "mod" && is_word(tokens.get(at + 1), "tests") => at += 2,
                TokenTree::Ident(word) if word == "macro_rules" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 2) {
                        self.macros.insert(name.to_string());
                    }
                    at += 2;
                }
                TokenTree::Ident(word) => {
                    let kind = word.to_string();
                    if let ("struct" | "enum" | "trait" | "type", Some(TokenTree::Ident(name))) =
                        (kind.as_str(), tokens.get(at + 1))
                    {
                        // `type` inside of an `impl` or trait is an associated one, mostly of a fixed name.
                        if kind != "type" || is_public {
                            self.types.insert(name.to_string());
                        }
                    }
                    at += self.path(&tokens[at..]) - 1;
                }
                TokenTree::Group(group) => self.walk(&group.stream().into_iter().collect::<Vec<_>>()),
                _ => {}
            }
            is_public = false;
            at += 1;
        }
    }

    /// Takes the path that `tokens` begin with; how many of them it is.
    fn path(&mut self, tokens: &[TokenTree]) -> usize {
        let mut words = Vec::new();
        let mut at = 0;
        while let Some(TokenTree::Ident(word)) = tokens.get(at) {
            words.push(word.to_string());
            if !is_separator(tokens, at + 1) {
                at += 1;
                break;
            }
            at += 3;
        }
        *self.counts.entry(words[0].clone()).or_default() += 1;
        self.words.extend(words.iter().cloned());
        if words.len() > 1 {
            self.paths.insert(words);
        }
        at
    }

    /// Takes what stands behind `use`.
    fn import(&mut self, tokens: &[TokenTree], before: &Words, is_public: bool) {
        let mut words = before.clone();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(word) if word == "as" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                        return self.bring_in(name.to_string(), words, is_public);
                    }
                }
                TokenTree::Ident(word) => words.push(word.to_string()),
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    inner.split(|token| is_sign(token, ',')).filter(|one| !one.is_empty()).for_each(|one| {
                        self.import(one, &words, is_public);
                    });
                    return;
                }
                _ => {}
            }
            at += 1;
        }
        if words.last().is_some_and(|last| last == "self") && words.len() > 1 {
            words.pop();
        }
        if let Some(name) = words.last().cloned() {
            self.bring_in(name, words, is_public);
        }
    }

    fn bring_in(&mut self, name: String, path: Words, is_public: bool) {
        self.words.extend(path.iter().cloned());
        if is_public {
            self.exported.insert(name.clone());
        }
        // `use x as _` brings several under one name.
        let name = if name == "_" { path.join("::") } else { name };
        self.imported.insert(name, path);
    }
}

fn is_sign(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    tokens.get(at).is_some_and(|token| is_sign(token, ':'))
        && tokens.get(at + 1).is_some_and(|token| is_sign(token, ':'))
        && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_)))
}

/// The module that a file is, by its path.
fn module_of(path: &str) -> (usize, Words) {
    if let Some(root) = ROOTS.iter().position(|(root, _)| *root == path) {
        return (root, Vec::new());
    }
    let root = if path.starts_with("appliance/") {
        2
    } else {
        usize::from(["passwd.rs", "title.rs"].contains(&path))
    };
    let below = path.strip_prefix("appliance/").filter(|_| root == 2).unwrap_or(path);
    // What stands in for a folder where a feature is missing is the same module.
    let below = below.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/absent");
    (root, below.split('/').map(str::to_owned).collect())
}

/// All files, and which module each is.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) sources: Vec<Source>,
    modules: BTreeMap<(usize, Words), usize>,
}

impl Tree {
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let mut modules = BTreeMap::new();
        for (index, source) in sources.iter().enumerate() {
            if !source.path.ends_with("/absent.rs") {
                modules.insert(source.module.clone(), index);
            }
        }
        Self { sources, modules }
    }

    /// From file to file, with what the first takes from the second.
    pub(crate) fn edges(&self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let mut edges: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for source in &self.sources {
            // A re-export alone is a sign on the door: what this module does not use itself, it does not depend on.
            let used = source
                .imported
                .iter()
                .filter(|(name, _)| !source.exported.contains(*name) || source.counts.contains_key(*name));
            for path in used.map(|(_, path)| path).chain(&source.paths) {
                let Some(target) = self.resolve(source, path, MOST_HOPS) else { continue };
                let target = &self.sources[target];
                if target.path != source.path {
                    let name = path.last().cloned().unwrap_or_default();
                    edges.entry((source.path.clone(), target.path.clone())).or_default().insert(name);
                }
            }
        }
        edges
    }

    /// The file that defines what `path` names in `source`; `None` for what is outside of this tree, and for a folder's
    /// name alone.
    fn resolve(&self, source: &Source, path: &[String], hops: usize) -> Option<usize> {
        let (root, own) = &source.module;
        let (mut root, mut module) = (*root, own.clone());
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (module, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                let child = |name: &str| [module.clone(), vec![name.to_owned()]].concat();
                if let Some(lib) = ROOTS.iter().position(|(_, name)| *name == Some(first)) {
                    (root, module, rest) = (lib, Vec::new(), &path[1..]);
                } else if !self.modules.contains_key(&(root, child(first))) {
                    // A name that was brought in.
                    let behind =
                        source.imported.get(first).filter(|behind| hops > 0 && behind.as_slice() != path)?;
                    let whole: Words = behind.iter().chain(&path[1..]).cloned().collect();
                    return self.resolve(source, &whole, hops - 1);
                }
            }
        }
        self.descend((root, module), rest, hops)
    }

    fn descend(&self, (root, mut module): (usize, Words), mut rest: &[String], hops: usize) -> Option<usize> {
        while let Some(word) = rest.first() {
            let below = [module.clone(), vec![word.clone()]].concat();
            if !self.modules.contains_key(&(root, below.clone())) {
                break;
            }
            (module, rest) = (below, &rest[1..]);
        }
        let index = *self.modules.get(&(root, module.clone()))?;
        let file = &self.sources[index];
        let Some(word) = rest.first() else {
            let is_folder = file.path.ends_with("mod.rs");
            return (!is_folder).then_some(index);
        };
        if module.is_empty()
            && let Some(definer) = self.sources.iter().position(|source| source.macros.contains(word))
        {
            return Some(definer);
        }
        match file.imported.get(word) {
            Some(behind) if hops > 0 => {
                let whole: Words = behind.iter().chain(&rest[1..]).cloned().collect();
                self.resolve(file, &whole, hops - 1)
            }
            _ => Some(index),
        }
    }
}

/// The circles in a set of arrows: every group of files of which each reaches each.
pub(crate) fn circles<'a>(edges: impl Iterator<Item = &'a (String, String)>) -> Vec<BTreeSet<String>> {
    let mut to: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, other) in edges {
        to.entry(from).or_default().insert(other);
    }
    let reached = |start: &'a str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(file) = open.pop() {
            for next in to.get(file).into_iter().flatten() {
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<&str>> = to.keys().map(|file| (*file, reached(file))).collect();
    let mut found: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (file, reach) in &all {
        let circle: BTreeSet<String> = reach
            .iter()
            .filter(|other| all.get(*other).is_some_and(|back| back.contains(file)))
            .map(|other| (*other).to_owned())
            .collect();
        if reach.contains(file) {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(files: &[(&str, &str)]) -> Vec<(String, String)> {
        Tree::new(files.iter().map(|(path, text)| Source::read(path, text)).collect())
            .edges()
            .into_keys()
            .collect()
    }

    fn pair(from: &str, to: &str) -> (String, String) {
        (from.into(), to.into())
    }

    #[test]
    fn paths_lead_to_the_file_that_defines() {
        let found = edges(&[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod one; mod two; pub use one::{One, Other as Another};"),
            (
                "a/one.rs",
                "use super::two; use super::super::b; fn f() { two::g(); b::h() } #[cfg(test)] mod tests { use crate::main::X; }",
            ),
            ("a/two.rs", "pub(super) fn g() {}"),
            ("b.rs", "use crate::a::Another; pub fn h() { x! { let y = crate::a::two::z; } }"),
            ("main.rs", "mod passwd; use porthole::a::One; fn main() { passwd::read() }"),
            ("passwd.rs", "use std::fs;"),
        ]);
        let expected = [
            pair("a/one.rs", "a/two.rs"),
            pair("a/one.rs", "b.rs"),
            pair("b.rs", "a/one.rs"),
            pair("b.rs", "a/two.rs"),
            pair("main.rs", "a/one.rs"),
            pair("main.rs", "passwd.rs"),
        ];
        assert_eq!(found, expected);
        let circles = circles(found.iter());
        assert_eq!(circles, [BTreeSet::from(["a/one.rs".to_owned(), "b.rs".to_owned()])]);
    }

    #[test]
    fn a_parent_and_its_child_can_be_a_circle() {
        let child = ("a/one.rs", "use super::Shared;");
        let sign = edges(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod one; pub use one::One; pub struct Shared;"),
            child,
        ]);
        assert_eq!(sign, [pair("a/one.rs", "a/mod.rs")], "a re-export is no use");
        let user = edges(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod one; use one::One; pub struct Shared(One);"),
            child,
        ]);
        assert_eq!(circles(user.iter()).len(), 1);
    }
}
