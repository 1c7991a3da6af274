//! Viewers of every kind come and go, faults come and go, and what the service takes of the machine stays the same.
//!
//! `scripts/soak MINUTES` runs it with the release build; `cargo test` for half a minute with whatever it builds. From
//! time to time everybody leaves, and memory, descriptors and threads are looked at: after the first minute and at the
//! end they must be the same.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod plot;
mod viewers;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use support::fakecam::{Camera, Table, environment};
use support::{Porthole, Scratch, descriptors, porthole, proc_status, until};
use viewers::{CAMERAS, Viewers};

/// How long, if nothing is said.
const MINUTES: f64 = 0.5;
/// From one look to the next, for the plot.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Everybody leaves after so long.
const BUSY: Duration = Duration::from_secs(8);
/// Most that memory may differ between the first minute and the end.
const TOLERANCE: f64 = 0.02;
/// The same of a run shorter than [`LONG`], of which the first part has not seen all that can come together.
const TOLERANCE_OF_SHORT: f64 = 0.1;
/// Steps from the first minute to the end that are told of.
const STEPS: usize = 6;
/// A run that is long enough to tell, in minutes.
const LONG: f64 = 10.0;
/// While it warms up the house is this full, so that memory has been as much as it will be.
const FULL_HOUSE: u64 = 16;
/// And later this.
const CROWD: u64 = 8;
/// Times at rest whose median counts: the kernel counts memory in steps, and not at once.
const AT_REST: usize = 3;

/// Has the C library give memory back to the kernel when it is freed, so that what is kept shows. Otherwise it is what
/// the fake cameras used at some time that shows: they live in the same process, in threads of their own.
const GIVE_BACK: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "8192"), ("MALLOC_TRIM_THRESHOLD_", "8192")];

/// What the process takes at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// All that is in memory.
    pub rss_kb: u64,
    /// What the process has written: heap, stacks, rings. The rest is code, read from the disk.
    pub own_kb: u64,
    pub descriptors: u64,
    pub threads: u64,
    /// Nobody watches, and every camera is closed.
    pub is_quiet: bool,
}

fn look(service: &Porthole, begun: Instant, is_quiet: bool) -> Sample {
    let pid = service.pid();
    Sample {
        at: begun.elapsed().as_secs_f64(),
        rss_kb: proc_status(pid, "VmRSS"),
        own_kb: proc_status(pid, "RssAnon") + proc_status(pid, "RssShmem"),
        descriptors: descriptors(pid) as u64,
        threads: proc_status(pid, "Threads"),
        is_quiet,
    }
}

/// The middle one of each figure.
fn median(samples: &[Sample]) -> Sample {
    let middle = |figure: fn(&Sample) -> u64| {
        let mut all: Vec<u64> = samples.iter().map(figure).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    Sample {
        at: samples[samples.len() / 2].at,
        rss_kb: middle(|s| s.rss_kb),
        own_kb: middle(|s| s.own_kb),
        descriptors: middle(|s| s.descriptors),
        threads: middle(|s| s.threads),
        is_quiet: true,
    }
}

/// Waits until nobody is there and every camera is closed.
fn until_quiet(service: &Porthole) {
    until("all is quiet", || {
        let state = service.state();
        let cameras = state["cameras"].as_array().unwrap();
        let quiet = |camera: &serde_json::Value| {
            let h264 = &camera["h264"];
            let is_idle = h264["encoder"].is_null() && h264["decoded"] == false;
            camera["state"] == "idle" && camera["viewers"].as_array().unwrap().is_empty() && is_idle
        };
        cameras.iter().all(quiet).then_some(())
    });
    // The request just made has a connection of its own, which goes a moment later, and the thread that waited for a
    // driver a second later. What does not go in half a minute stays.
    let mut last = None;
    let give_up = Instant::now() + Duration::from_secs(30);
    while Instant::now() < give_up {
        let now = (descriptors(service.pid()), proc_status(service.pid(), "Threads"));
        // Main, and for each camera one that captures and one for H.264.
        if last.replace(now) == Some(now) && now.1 <= 1 + 2 * CAMERAS.len() as u64 {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let minutes = arguments.next().map_or(Ok(MINUTES), |word| word.parse());
    let Ok(minutes) = minutes else {
        // What `cargo test NAME` is given, which is no test in here.
        return;
    };
    let plot = arguments.next().map(PathBuf::from);
    let whole = Duration::from_secs_f64(minutes * 60.0);
    // Of a short run the first third stands for the first minute.
    let warm = Duration::from_secs(60).min(whole / 3);

    let scratch = Scratch::new();
    let tables: Vec<Table> =
        CAMERAS.iter().map(|name| Table::create(scratch.path(&format!("table-{name}"))).unwrap()).collect();
    let cameras: Vec<Camera> = ["MJPG", "YUYV", "H264"]
        .iter()
        .zip(&tables)
        .enumerate()
        .map(|(i, (format, table))| {
            let camera = Camera::new(&format!("/dev/video9{i}"), table).with("card", format!("Camera_{i}"));
            camera.with("bus", format!("usb-{i}")).with("formats", format!("{format}:640x480@15"))
        })
        .collect();
    let mut config = "[server]\nmax_viewers = 16\nprogress_timeout_s = 2\n".to_owned();
    for (i, name) in CAMERAS.iter().enumerate() {
        config +=
            &format!("[[camera]]\nname = \"{name}\"\nsource = \"/dev/video{}\"\nlinger_s = 0.5\n", 90 + i);
    }
    let config = scratch.file("porthole.toml", config);
    let mut command = porthole();
    command.envs(environment(&cameras)).envs(GIVE_BACK);
    let mut service = Porthole::spawn(command.args(["--listen", "127.0.0.1:0", "--config"]).arg(config));

    let (begun, over) = (Instant::now(), AtomicBool::new(false));
    let samples = Mutex::new(Vec::new());
    let viewers = Viewers::new(service.address);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                samples.lock().unwrap().push(look(&service, begun, false));
                std::thread::sleep(LOOK_EVERY);
            }
        });
        while begun.elapsed() < whole {
            let size = if begun.elapsed() < warm { FULL_HOUSE } else { CROWD };
            viewers.watches_for(BUSY, size, &tables);
            until_quiet(&service);
            samples.lock().unwrap().push(look(&service, begun, true));
        }
        over.store(true, Relaxed);
    });
    let state = service.state();
    assert_eq!(service.stop(), Some(0), "{}", service.log());

    let mut samples = samples.into_inner().unwrap();
    samples.sort_by(|a, b| a.at.total_cmp(&b.at));
    let quiet: Vec<Sample> = samples.iter().copied().filter(|sample| sample.is_quiet).collect();
    let from = quiet.iter().position(|s| s.at >= warm.as_secs_f64()).unwrap_or(0);
    let quiet = &quiet[from..];
    // From the first minute to the end, in equal steps.
    let places = quiet.len().saturating_sub(AT_REST);
    let steps: Vec<Sample> = (0..=STEPS)
        .map(|step| places * step / STEPS)
        .map(|place| median(&quiet[place..quiet.len().min(place + AT_REST)]))
        .collect();
    let [first, .., last] = steps[..] else { panic!("{STEPS} steps") };
    let counted = |key: &str| -> u64 {
        state["cameras"].as_array().unwrap().iter().map(|camera| camera[key].as_u64().unwrap()).sum()
    };
    println!(
        "{minutes} minutes: {viewers}, {} frames captured, cameras reopened {} times",
        counted("frames"),
        counted("reopens")
    );
    println!(
        "| at rest, minutes | memory kB | written by it kB | descriptors | threads |\n|---|---|---|---|---|"
    );
    for Sample { at, rss_kb, own_kb, descriptors, threads, .. } in &steps {
        println!("| {:.1} | {rss_kb} | {own_kb} | {descriptors} | {threads} |", at / 60.0);
    }
    if let Some(path) = plot {
        std::fs::write(&path, plot::draw(&samples)).unwrap();
        println!("drawn to {}", path.display());
    }
    assert!(!viewers.pictures().contains(&0) && counted("reopens") > 0, "nothing has happened");
    let grown = last.rss_kb as f64 / first.rss_kb as f64 - 1.0;
    let tolerance = if minutes < LONG { TOLERANCE_OF_SHORT } else { TOLERANCE };
    assert!(grown.abs() <= tolerance, "memory differs by {:.1} %", grown * 100.0);
    assert_eq!(
        (last.descriptors, last.threads),
        (first.descriptors, first.threads),
        "descriptors and threads"
    );
}
