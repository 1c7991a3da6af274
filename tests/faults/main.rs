//! Faults of every kind, played on purpose: nothing wedges the service, and what it counts is what happened.
//!
//! In a program of its own, as it takes a minute; `PORTHOLE_FAULT_SECONDS=600` makes it ten.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod camera;
mod machine;
mod ppoll;
mod system;
mod warning;
