//! Fail points: places at which a test can make the program panic, to check how it recovers or ends.
//!
//! `PORTHOLE_PANIC=NAME@N` in the environment panics the `N`th time that the fail point `NAME` is passed. Release builds
//! contain no fail points.
#![forbid(unsafe_code)]

/// Passes the fail point `name`.
///
/// # Panics
/// If `PORTHOLE_PANIC` selects this pass.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    static SELECTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);

    let selected = SELECTED.get_or_init(|| {
        let text = std::env::var("PORTHOLE_PANIC").ok()?;
        let (name, pass) = text.split_once('@')?;
        Some((name.to_owned(), pass.parse().ok()?))
    });
    let Some((wanted, pass)) = selected else { return };
    if wanted == name && PASSES.fetch_add(1, Relaxed) + 1 == *pass {
        panic!("{name}: a test asked for this");
    }
}

/// Passes the fail point `name`; does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn pass(_name: &str) {}
