//! What it costs to publish a camera to a broker, and to show it from there: the edge beside one viewer by WebSocket, the
//! delay through broker and front end beside a direct viewer, and what front ends take for a delivered frame, with one, two
//! and four of them.
//!
//! With `--check` it fails where a ratio is not what it should be.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod readers;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use readers::Readers;
use support::broker::Broker;
use support::fakecam::{Camera, Table, environment, now_ns};
use support::http::send;
use support::picture::Stamp;
use support::ws::Client;
use support::{Porthole, Scratch, cpu_of, until};

const NODE: &str = "/dev/video90";
const FPS: u32 = 30;
const MEASURED: Duration = Duration::from_secs(3);
/// Measurements of each, in turn. The least of them counts: what disturbs only ever adds.
const ROUNDS: usize = 3;
/// CPU of the edge for a captured frame, beside that with one viewer by WebSocket.
const EDGE_AT_MOST: f64 = 1.5;
/// CPU of front ends for a delivered frame, beside that of a single one.
const MORE_FRONT_ENDS_AT_MOST: f64 = 1.1;
/// Viewers of each front end: so many that a machine that is mostly idle does not make the first ones dear.
const VIEWERS: usize = 50;
const DELAYS: usize = 300;

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let broker = Broker::mosquitto(&scratch, "allow_anonymous true").expect("mosquitto");
    let edge = edge(&scratch, &table, &broker);
    let source = format!("mqtt://{}/porthole/bench/camera", broker.address);
    let front_end = || Porthole::start(&["--source", &source, "--linger", "0", "--max-viewers", "128"]);
    let one = front_end();
    println!("MJPEG 1280x720 at {FPS}, mosquitto");

    let (mut direct, mut published, mut at_broker) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        direct = direct.min(captured(&edge, &edge, None).0);
        let (at_edge, broker) = captured(&edge, &one, Some(&broker));
        (published, at_broker) = (published.min(at_edge), at_broker.min(broker));
    }
    let ratio = published / direct;
    println!(
        "edge, CPU a captured frame: {direct:.0} us with one viewer, {published:.0} us published: {ratio:.2} (at most {EDGE_AT_MOST})"
    );
    println!("broker, CPU a frame for one front end: {at_broker:.0} us");
    let mut good = ratio <= EDGE_AT_MOST;

    for (name, service) in [("direct viewer", &edge), ("through broker and front end", &one)] {
        let (p50, p99, error) = delays(service);
        println!(
            "{name}: delay p50 {p50:.2} ms, p99 {p99:.2} ms; what the viewer is told is off by {error:.3} ms at most"
        );
    }

    let services: Vec<Porthole> = std::iter::once(one).chain((1..4).map(|_| front_end())).collect();
    let numbers = [1, 2, 4];
    let mut costs = numbers.map(|_| f64::MAX);
    for _ in 0..ROUNDS {
        for (cost, number) in costs.iter_mut().zip(numbers) {
            *cost = cost.min(delivered(&services[..number]));
        }
    }
    for (cost, number) in costs.iter().zip(numbers) {
        let ratio = cost / costs[0];
        good &= ratio <= MORE_FRONT_ENDS_AT_MOST;
        println!(
            "front ends with {VIEWERS} viewers each, {number}: CPU a delivered frame {cost:.1} us: {ratio:.2} (at most {MORE_FRONT_ENDS_AT_MOST})"
        );
    }
    if check && !good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn edge(scratch: &Scratch, table: &Table, broker: &Broker) -> Porthole {
    let camera = Camera::new(NODE, table).with("formats", format!("MJPG:1280x720@{FPS}"));
    let config = format!(
        "[mqtt]\nurl = \"mqtt://{}\"\ntopic = \"porthole/bench\"\n[[camera]]\nsource = \"{NODE}\"\nlinger_s = 0\n",
        broker.address
    );
    let config = scratch.file("edge.toml", config);
    let mut command = support::porthole();
    command.envs(environment(&[camera])).args([
        "--listen",
        "127.0.0.1:0",
        "--config",
        config.to_str().unwrap(),
    ]);
    Porthole::spawn(&mut command)
}

/// Reads the frames of one viewer for as long as it lives.
struct Viewer {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Viewer {
    fn start(service: &Porthole) -> Self {
        let mut client = Client::porthole(service.address, "/ws");
        client.acknowledged();
        let is_over = Arc::<AtomicBool>::default();
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !over.load(Relaxed) {
                client.acknowledged();
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Microseconds of CPU of the edge and of the broker for each frame that is captured, while one viewer is at `service`.
fn captured(edge: &Porthole, service: &Porthole, broker: Option<&Broker>) -> (f64, f64) {
    let viewer = Viewer::start(service);
    let frames = || edge.camera()["frames"].as_u64().unwrap();
    let began = frames();
    until("it runs", || (frames() > began + u64::from(FPS)).then_some(()));
    let of_broker = || broker.map_or(Duration::ZERO, |broker| cpu_of(broker.pid()));
    let (cpu, at_broker, before) = (cpu_of(edge.pid()), of_broker(), frames());
    std::thread::sleep(MEASURED);
    let (cpu, at_broker, frames) = (cpu_of(edge.pid()) - cpu, of_broker() - at_broker, frames() - before);
    drop(viewer);
    edge.until_camera_is("idle");
    let each = |time: Duration| time.as_secs_f64() * 1e6 / frames as f64;
    (each(cpu), each(at_broker))
}

/// Median and 99th percentile of the delay of one viewer in milliseconds, and how far the delay that is shown is off.
fn delays(service: &Porthole) -> (f64, f64, f64) {
    let mut client = Client::porthole(service.address, "/ws");
    // The clocks are compared by then.
    (0..FPS).for_each(|_| drop(client.acknowledged()));
    let (mut delays, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..DELAYS {
        let frame = client.acknowledged();
        let now = now_ns();
        let truly = (now - Stamp::of(&frame.jpeg).monotonic_ns) as f64 / 1e6;
        delays.push(truly);
        errors.push((truly - (now as f64 / 1e6 - frame.captured_at as f64 / 1e3)).abs());
    }
    delays.sort_by(f64::total_cmp);
    let at = |share: usize| delays[DELAYS * share / 100];
    (at(50), at(99), errors.into_iter().fold(0.0, f64::max))
}

/// Frames that the viewers of its camera were sent who are there.
fn sent(service: &Porthole) -> u64 {
    let camera = service.camera();
    let viewers = camera["viewers"].as_array().unwrap();
    viewers.iter().map(|viewer| viewer["sent"].as_u64().unwrap()).sum()
}

/// Microseconds of CPU that front ends take for each frame that a viewer gets.
fn delivered(services: &[Porthole]) -> f64 {
    let connect = |service: &Porthole| send(service.address, "GET", "/stream", &[]);
    let streams =
        services.iter().flat_map(|service| (0..VIEWERS).map(|_| connect(service)).collect::<Vec<_>>());
    let clients = Readers::start(streams.collect());
    let sent = || services.iter().map(sent).sum::<u64>();
    let cpu = || services.iter().map(|service| cpu_of(service.pid())).sum::<Duration>();
    let enough = u64::from(FPS) * (VIEWERS * services.len()) as u64;
    until("they have had some frames", || (sent() > enough).then_some(()));
    let (before, frames) = (cpu(), sent());
    std::thread::sleep(MEASURED);
    let (cpu, frames) = (cpu() - before, sent() - frames);
    assert!(clients.bytes() > 0);
    drop(clients);
    for service in services {
        service.until_camera_is("idle");
    }
    cpu.as_secs_f64() * 1e6 / frames as f64
}
