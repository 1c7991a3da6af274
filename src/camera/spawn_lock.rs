//! Keeps the descriptors of video devices out of child processes.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard};

use crate::sync::lock;

/// Held while a video device is opened and while a child process is spawned.
///
/// rscam opens devices without O_CLOEXEC. The flag is set right after, and a child that is spawned in between would inherit
/// the descriptor and keep the device busy.
pub(super) fn spawn_lock() -> MutexGuard<'static, ()> {
    static SPAWN: Mutex<()> = Mutex::new(());
    lock(&SPAWN)
}
