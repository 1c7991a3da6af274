//! Porthole: a camera service for single-board computers. **The newest frame, to everyone, now.**
//!
//! The command is in `src/main.rs`; everything it does is here. The package `porthole-appliance` in `src/appliance/` does
//! what an SD-card image needs around it, and is on such images only.
//!
//! The chapters for users, from installation to the threat model, are in [`manual`].
//!
//! # How a frame travels
//! ```text
//! V4L2 mmap queue ─▶ capture thread ─▶ jpeg (pass through | encode) ─▶ ring ─▶ viewer tasks ─▶ sockets
//!  (the raw ring)     deadline, reopen    from the mapped buffer         │  newest is announced (watch),
//!                          │              straight into a free slot      │  payload is leased
//!                          └────────── status (plain data) ◀─────────────┘
//!                                        └─▶ leds, /state, /metrics, service manager   (observers only)
//! ```
//! One direction. The one thing that goes back is presence: whether anybody watches.
//!
//! # The rooms
//! Imports go down this list only; `tests/layers.rs` sees to it.
//!
//! | room | what belongs there |
//! |---|---|
//! | [`manual`] | chapters for users; no code |
//! | [`command`] | the command line as clap knows it |
//! | [`testing`] | what tests use beside the public interface |
//! | [`logging`] | one line an event, and how few of them |
//! | [`service`] | the composition root: builds the stages, runs them, stops them in reverse |
//! | [`config`] | from what the operator wrote to each stage's checked settings |
//! | [`board`] | what a single-board computer is, as data |
//! | [`web`] | who may connect, what they ask for, frames to those who watch |
//! | [`camera`] | where frames come from, and the thread that fetches them |
//! | [`jpeg`] | from whatever a camera gives to one sound JPEG |
//! | [`led`] | status LEDs: what each shows, and the wires they are on |
//! | [`ring`] | the fixed set of slots between a camera and its viewers |
//! | [`status`] | what the service does, as plain data for observers |
//! | [`document`] | TOML files, read key by key |
//! | [`storage`] | files that survive a power cut |
//! | [`failpoint`] | where a test can make it panic; nothing in a release |
//! | [`frame`] | the vocabulary: what a frame is, how big, in which format, when |
//!
//! # Threads and tasks
//! | name | how many | waits for | ends when |
//! |---|---|---|---|
//! | main | 1 | the network, timers, signals: all tasks run here | the service has stopped |
//! | `camera NAME` | 1 a camera | its source or its bell, always with a way out | told by its bell |
//! | `encoder` | up to 3 a camera that is encoded, where there are processors for them | strips of a picture | dropped with its camera's |
//! | `leds` | 1, if there are any | a change of status, the next step of a signal | dropped, after the cameras |
//! | task: web | 1 | connections | told by [`service`] |
//! | task: notifier | 1 a camera | the newest frame, for all who wait for it | the web ends |
//! | task: connection | 1 a client | its socket, the newest frame | its client leaves, or the web ends |
//! | task: service manager | 1 | a change of status, the watchdog's rhythm | dropped at the end |
//!
//! # Words
//! A **source** is what frames come from. A **subscription** is a viewer's place at a ring, a **lease** its hold on one slot
//! while that is written out. **Presence** is at least one subscription taken, or one within the linger time; without it the
//! source is closed. A **picture** is what a source gives; a **frame** is the JPEG made of it.
//!
//! # What always holds
//! - Publishing a frame never waits, never allocates, never fails ([`ring`] says why).
//! - After each write a viewer takes the newest frame; what it was too slow for is counted, not queued.
//! - A viewer that takes nothing is dropped at its deadline, which new frames do not move.
//! - Every wait can be ended from outside, and the whole service stops within one deadline ([`service`]).
//! - Nothing that a peer, a camera, a file or an operator sends is worth a panic.
pub mod board;
pub mod camera;
pub mod command;
pub mod config;
pub mod document;
pub mod failpoint;
pub mod frame;
pub mod jpeg;
pub mod led;
pub mod logging;
pub mod manual;
pub mod ring;
pub mod service;
pub mod status;
pub mod storage;
pub mod sync;
#[doc(hidden)]
pub mod testing;
pub mod web;
