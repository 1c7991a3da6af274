//! What the system that runs says of itself: os-release(5).
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

/// The version of the image that the system is from, if it says one.
pub(crate) fn image_version(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("IMAGE_VERSION="))?;
    Some(version.trim_matches('"').to_owned())
}
