//! What the release build costs before it does anything clever: bytes on disk, memory with one viewer, time from exec
//! to the first frame served. Printed, not asserted: machines differ.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::time::{Duration, Instant};

use support::http::Multipart;
use support::ws::Client;
use support::{Porthole, Scratch, proc_status};

/// Starts counted; the fastest is what the program itself takes, the median what a busy machine makes of it.
const STARTS: usize = 21;

fn main() {
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_porthole")).unwrap().len();
    println!("binary, stripped                        {:>8.2} MB", size as f64 / 1e6);

    let service = Porthole::start(&["--source", "pattern", "--size", "1280x720"]);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..90 {
        client.acknowledged();
    }
    let (all, own) = (proc_status(service.pid(), "VmRSS"), proc_status(service.pid(), "RssAnon"));
    println!("memory, one viewer of pattern 1280x720  {:>8.2} MB (of its own {:.2} MB)", mb(all), mb(own));
    drop((client, service));

    let scratch = Scratch::new();
    let file = scratch.file("clip.mjpeg", picture());
    let source = format!("file:{}", file.display());
    let mut times: Vec<Duration> = (0..STARTS).map(|_| first_frame(&source)).collect();
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "exec to first frame served, file:       {:>8.2} ms (fastest {:.2}, slowest {:.2}, of {STARTS})",
        ms(times[STARTS / 2]),
        ms(times[0]),
        ms(times[STARTS - 1])
    );
}

fn mb(kilobytes: u64) -> f64 {
    kilobytes as f64 * 1024.0 / 1e6
}

fn first_frame(source: &str) -> Duration {
    let started = Instant::now();
    let service = Porthole::start(&["--source", source]);
    Multipart::open(service.address, "/stream").part();
    started.elapsed()
}

/// A picture of about the size that a camera sends.
fn picture() -> Vec<u8> {
    let (width, height) = (1280u16, 720u16);
    let pixels: Vec<u8> = (0..u32::from(width) * u32::from(height))
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as u8 * 4 + 60)
        .collect();
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 60)
        .encode(&pixels, width, height, jpeg_encoder::ColorType::Luma)
        .unwrap();
    jpeg
}
