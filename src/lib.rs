//! Porthole: a camera service for single-board computers that sends the newest frame to every viewer with low latency.
//!
//! The command is in `src/main.rs`; everything it does is in this library. The package `porthole-appliance` in
//! `src/appliance/` does what an SD-card image needs around the service, and is installed only on such images.
//!
//! Most modules are private. Build this documentation with them:
//! `cargo doc --no-deps --document-private-items --open`.
//!
//! The chapters for users, from installation to the threat model, are in [`manual`].
//!
//! # How a frame travels
//! ```text
//!  source ─────▶ capture thread ─────▶ jpeg ────────────▶ ring ─────▶ viewer tasks ─▶ sockets
//!  V4L2, exec,   deadline, reopen,     pass through or    newest frame is announced (Notify)
//!  file, pattern publish step          encode, into a     and leased, not copied
//!                     │                free slot             │
//!                     └────────── status (plain data) ◀──────┘
//!                                   └─▶ LEDs, /state, /metrics, service manager (read only)
//! ```
//! Data goes in one direction. A camera knows only one thing of its viewers: how many there are.
//!
//! # Rooms
//! A room is a top-level module. It imports only rooms below it in this list; `tests/layers` checks that.
//!
//! | room | what belongs there |
//! |---|---|
//! | [`manual`] | the manual's chapters for users; no code |
//! | [`command`] | the command line and its help |
//! | [`testing`] | what tests use beside the public interface |
//! | [`logging`] | the log: one line per message, repeats limited |
//! | [`service`] | the composition root: builds the parts, runs them, stops them in reverse order |
//! | [`config`] | from the configuration file and flags to the checked settings of each part |
//! | [`board`] | board profiles: what is known of a single-board computer, as data |
//! | [`publisher`] | cameras published to an MQTT broker |
//! | [`announced`] | cameras that an MQTT broker announces, which come and go |
//! | [`web`] | the web server: connections, access, the API, frames to viewers |
//! | [`camera`] | sources of pictures, and the capture thread that publishes their frames |
//! | [`jpeg`] | from the picture of a source to one valid JPEG |
//! | [`led`] | status LEDs: what each one shows, and how its line is set |
//! | [`ring`] | the fixed set of frame slots between a camera and its viewers |
//! | [`h264`] | H.264: byte streams, access units in the form in which they are kept and sent |
//! | [`mp4`] | Live fragmented MP4: what stands before the access units |
//! | [`status`] | the status of the service as plain data |
//! | [`mqtt`] | MQTT as the edge and the front end share it: a session with a broker, the names of topics |
//! | [`client`] | connections to other machines: names, addresses, TCP, TLS, and what identifies either side |
//! | [`websocket`] | WebSocket as a server and a client share it: framing, the frames of `porthole.v1` |
//! | [`tcp_info`] | what the kernel tells of a TCP connection |
//! | [`document`] | TOML files, read key by key |
//! | [`storage`] | files that survive a power cut |
//! | [`escape`] | text of others, without control characters for terminals and logs |
//! | [`failpoint`] | places at which a test can make the program panic; empty in a release |
//! | [`mod@sync`] | locks that survive a panic |
//! | [`frame`] | plain values that every room uses: resolution, pixel format, timestamp |
//!
//! # Threads and tasks
//! | name | number | waits for | ends when |
//! |---|---|---|---|
//! | main | 1 | the network, timers, signals: all tasks run here | the service has stopped |
//! | `camera NAME` | 1 per camera | its source, a deadline, or its waker | its waker is stopped |
//! | `h264 NAME` | 1 per camera, unless `h264 = "off"` | pictures to encode, a second node, a viewer | its waker is stopped |
//! | `encoder` | up to 3 per camera that is encoded, on several processors | strips of a picture | its camera's thread ends |
//! | `leds` | 1 if there are LEDs | a change of status, the next step of a pattern | it is dropped, after the cameras |
//! | task: web | 1 | connections | [`service`] stops it |
//! | task: notifier | 1 per camera | the newest frame, for all waiting viewers | the web ends |
//! | task: connection | 1 per client | its socket, the newest frame | its client disconnects, or the web ends |
//! | task: publisher | 1 if a broker is configured, 4 more per camera | the broker, the newest frame, a change of status | [`service`] stops it |
//! | task: announced cameras | 1 per broker whose cameras are shown, 1 more per camera | the broker, a camera's thread | [`service`] stops it |
//! | task: service manager | 1 | a change of status, the interval of the watchdog | it is aborted at the end |
//!
//! # Terms
//! A **source** delivers pictures: a V4L2 device, a command, a file. A **picture** is what a source delivers; a **frame** is the JPEG
//! made from it. A **subscription** is a viewer's place at a ring; a **lease** keeps one slot unchanged while its frame is sent. A
//! camera is **wanted** while it has a subscription, and for the linger time after the last one; otherwise its source is closed.
//!
//! # Guarantees
//! - Publishing a frame never waits, never allocates, never fails ([`ring`] proves it).
//! - After each write a viewer gets the newest frame. Frames that it was too slow for are counted, not queued.
//! - A viewer that reads nothing is disconnected at its deadline. New frames do not extend the deadline.
//! - Every wait can be ended from outside, and the whole service stops within one deadline ([`service`]).
//! - No input from a client, a camera, a file or the configuration causes a panic.
#[cfg(feature = "mqtt")]
pub mod announced;
pub mod board;
pub mod camera;
pub mod client;
pub mod command;
pub mod config;
pub mod document;
pub mod escape;
pub mod failpoint;
pub mod frame;
pub mod h264;
pub mod jpeg;
pub mod led;
pub mod logging;
pub mod manual;
pub mod mp4;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "mqtt")]
pub mod publisher;
pub mod ring;
pub mod service;
pub mod status;
pub mod storage;
pub mod sync;
mod tcp_info;
#[doc(hidden)]
pub mod testing;
pub mod web;
pub mod websocket;
