//! What it costs to relay a camera of another machine, beside the same number of viewers on a camera of this machine whose
//! JPEGs are passed on. The same clients and pictures of the same size, in one run, in alternation.
//!
//! With `--check` it fails where a ratio is not what it should be.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod readers;
use std::process::ExitCode;
use std::time::Duration;

use readers::Readers;
use support::fakecam::{Camera, Table};
use support::http::send;
use support::{Porthole, Scratch, cpu_of, until};

const FPS: u32 = 30;
const MEASURED: Duration = Duration::from_secs(3);
/// Measurements of each, in turn. The least of them counts: what disturbs only ever adds.
const ROUNDS: usize = 3;
const AT_MOST: f64 = 1.3;
/// Bytes that a frame has at least.
const LEAST_BYTES: u64 = 20_000;

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", format!("MJPG:1280x720@{FPS}"));
    let direct = Porthole::with_cameras(&[camera], &["--source", "/dev/video90", "--max-viewers", "128"]);
    let relay = |url: String| Porthole::start(&["--source", &url, "--max-viewers", "128"]);
    let relays = [
        ("http", relay(format!("http://{}/stream", direct.address))),
        ("ws", relay(format!("ws://{}/ws", direct.address))),
    ];
    println!("CPU a delivered frame, MJPEG 1280x720 at {FPS}");
    println!("source   viewers     camera      relay   ratio (at most {AT_MOST})");
    let mut good = true;
    for (name, relay) in &relays {
        for viewers in [10, 50] {
            let (mut camera, mut ours) = (f64::MAX, f64::MAX);
            for _ in 0..ROUNDS {
                camera = camera.min(measure(&direct, viewers));
                ours = ours.min(measure(relay, viewers));
            }
            let ratio = ours / camera;
            good &= ratio <= AT_MOST;
            println!("{name:<8} {viewers:>7} {camera:>7.1} us {ours:>7.1} us   {ratio:.3}");
        }
    }
    if check && !good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Microseconds of CPU that the service takes for each frame that a viewer gets.
fn measure(service: &Porthole, viewers: usize) -> f64 {
    let clients =
        Readers::start((0..viewers).map(|_| send(service.address, "GET", "/stream", &[])).collect());
    let sent = || -> u64 {
        let camera = service.camera();
        let viewers = camera["viewers"].as_array().unwrap();
        viewers.iter().map(|viewer| viewer["sent"].as_u64().unwrap()).sum()
    };
    until("they have had some frames", || {
        (clients.bytes() >= 10 * viewers as u64 * LEAST_BYTES).then_some(())
    });
    let (cpu, frames) = (cpu_of(service.pid()), sent());
    std::thread::sleep(MEASURED);
    let (cpu, frames) = (cpu_of(service.pid()) - cpu, sent() - frames);
    drop(clients);
    until("they have left", || service.camera()["viewers"].as_array().unwrap().is_empty().then_some(()));
    cpu.as_secs_f64() * 1e6 / frames as f64
}
