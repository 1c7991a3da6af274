//! Points at which a test can make the program panic, to see that it recovers or ends as it should.
//!
//! `PORTHOLE_PANIC=NAME@N` in the environment panics at the `N`th pass of the point of that name. Nothing of it is in
//! a release: there a point is nothing at all.
#![forbid(unsafe_code)]

/// A point that is passed now.
///
/// # Panics
/// If a test asked for it.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);

    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("PORTHOLE_PANIC").ok()?;
        let (name, pass) = text.split_once('@')?;
        Some((name.to_owned(), pass.parse().ok()?))
    });
    let Some((wanted, pass)) = asked else { return };
    if wanted == name && PASSES.fetch_add(1, Relaxed) + 1 == *pass {
        panic!("{name}: a test asked for this");
    }
}

/// A point that is passed now.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn pass(_name: &str) {}
