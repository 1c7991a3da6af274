//! Board profiles: what a single-board computer is, as data. One file each in `board/`, embedded at build time.
#![forbid(unsafe_code)]

use serde::Deserialize;

/// Every profile: its id and the text of its file.
const PROFILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// A board.
#[derive(Clone, Debug)]
pub struct Board {
    id: &'static str,
    profile: Profile,
}

/// A profile's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    /// What people call it.
    name: String,
}

impl Board {
    /// Its name in the configuration: the name of its file.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.profile.name
    }
}

/// The board with this id.
///
/// # Errors
/// A message with the ids there are.
pub fn find(id: &str) -> Result<Board, String> {
    let known = || all().map(|board| board.id).collect::<Vec<_>>().join(", ");
    all().find(|board| board.id == id).ok_or_else(|| format!("must be one of {}", known()))
}

/// All boards, by id.
pub fn all() -> impl Iterator<Item = Board> {
    // A profile that cannot be read is found by the test below, before it can be embedded anywhere.
    PROFILES.iter().filter_map(|&(id, text)| Some(Board { id, profile: toml::from_str(text).ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_can_be_read() {
        for (id, text) in PROFILES {
            toml::from_str::<Profile>(text).unwrap_or_else(|error| panic!("board/{id}.toml: {error}"));
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/board")).unwrap();
        let files = files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "toml"));
        assert_eq!(all().count(), files.count());
    }

    #[test]
    fn an_unknown_board_is_answered_with_those_there_are() {
        assert!(find("no-such").unwrap_err().contains("generic"));
        assert_eq!(find("generic").unwrap().name(), "Generic Linux machine");
    }
}
