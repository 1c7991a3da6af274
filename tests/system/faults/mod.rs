//! Faults of every kind, played on purpose: nothing wedges the service, and what it counts is what happened.
//!
//! The faults of cameras are played for a minute; `PORTHOLE_FAULT_SECONDS=600` makes it ten.

mod camera;
mod hanging_peer;
mod machine;
mod neighbours;
mod ppoll;
mod slow_disk;
mod system;
mod warning;
