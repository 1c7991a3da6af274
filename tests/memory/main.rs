//! What frames cost: in memory, for the ring under load and for frames on their way from the camera to viewers of every kind, and in
//! calls of the kernel.
//!
//! One test at a time: each counts what the process allocates, or how much memory it has. That takes an allocator of its
//! own, so these tests are not in `blackbox`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod allocator;
mod calls;
mod delivery;
mod ring;
mod units;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test runs.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
