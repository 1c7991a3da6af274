//! The targets of [`targets`], driven by libFuzzer. `scripts/fuzz` builds and runs it.
#![no_main]

mod camera;
mod config;
mod h264;
mod jpeg;
mod live;
mod memory;
mod mp4;
mod mqtt;
mod targets;
mod web;

use libfuzzer_sys::fuzz_target;

/// The one that this program is named after. Chosen when it is built: what the others reach is left out then, and need
/// not be looked at after each run.
const TARGET: targets::Target = targets::named(env!("CARGO_BIN_NAME"));

fuzz_target!(|data: &[u8]| TARGET(data));
