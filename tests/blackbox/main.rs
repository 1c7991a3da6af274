//! The real program, from outside, as its users meet it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod controls;
mod delivery;
mod lifecycle;
mod page;
mod sources;
mod v4l2;
