//! What can be fuzzed: each target takes any bytes, and panics when the program does what it must never do.

use crate::{camera, config, h264, jpeg, live, mp4, mqtt, web};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// All targets, by the name of their archive in `tests/corpora`.
pub const ALL: [(&str, Target); 18] = [
    ("challenge", camera::challenge),
    ("config", config::run),
    ("encode", jpeg::encode),
    ("h264_sps", h264::sps),
    ("h264_splitter", h264::splitter),
    ("h264_units", h264::units),
    ("http", web::http),
    ("inbound", web::inbound),
    ("jpeg", jpeg::pass),
    ("live", live::run),
    ("mp4", mp4::mp4),
    ("mqtt_packets", mqtt::packets),
    ("mqtt_set", mqtt::set),
    ("mqtt_watch", mqtt::watch),
    ("multipart", camera::multipart),
    ("pickle", camera::pickle),
    ("porthole_v1", web::porthole_v1),
    ("splitter", camera::splitter),
];

/// The target of this name.
///
/// # Panics
/// If there is none.
pub const fn named(name: &str) -> Target {
    let mut i = 0;
    while !same(ALL[i].0.as_bytes(), name.as_bytes()) {
        i += 1;
    }
    ALL[i].1
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    match (a, b) {
        ([], []) => true,
        ([a, rest_a @ ..], [b, rest_b @ ..]) => *a == *b && same(rest_a, rest_b),
        _ => false,
    }
}

/// Cuts a stream into pieces of sizes that look random and follow from `seed`. Seed 0 gives it whole.
pub struct Cuts(u32);

impl Cuts {
    pub fn new(seed: u8) -> Self {
        Self(seed.into())
    }

    /// The size of the next piece, of `room` at most.
    pub fn next(&mut self, room: usize) -> usize {
        if self.0 == 0 {
            return room;
        }
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) | 1;
        // Mostly a few bytes, now and then a lot.
        let bits = self.0 >> 29;
        let size = 1 + (self.0 >> 16 & ((2 << bits) - 1)) as usize;
        size.min(room)
    }
}
