//! The real program while something is wrong: faults of cameras and of the system, hostile clients, slow links.
//!
//! These tests take minutes and some measure time, so they are not in `blackbox`. [`turns`] decides which of them run at
//! the same time. One group: `cargo test --test system -- faults::`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod attacks;
mod faults;
mod links;
mod turns;
