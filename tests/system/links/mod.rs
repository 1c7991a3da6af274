//! Viewers behind links that cannot take the whole stream: what they see is new all the same, and nobody else notices.
//!
//! The links are network namespaces with a token bucket, which takes root; without, each test says so and is passed
//! over.

mod network;
mod page;
mod relay;
mod scene;
mod stalls;
mod video;
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use network::{Network, fast};
use stalls::Stalls;
use support::Porthole;
use support::fakecam::now_ns;
use support::http::{Multipart, get};
use support::netns::obstacle;
use support::picture::decode;
use support::prometheus::Exposition;
#[cfg(feature = "tls")]
use support::tls::encrypted;
use support::tls::{ClientStream, plain};
use support::ws::Client;

use crate::turns::{Group, turn};

/// Frames a second.
const FPS: u32 = 30;
const CAMERA: &str = "[[camera]]\nsource = \"pattern\"\nwidth = 640\nheight = 480\nfps = 30\n";
/// What Ethernet, IP and TCP headers add to what they carry.
const OVERHEAD: f64 = 1514.0 / 1448.0;

/// One frame as a viewer got it.
struct Arrival {
    /// The number it shows.
    number: u32,
    bytes: usize,
    /// Microseconds of the clock that capture times are of.
    at: u64,
}

/// Something that takes frames.
trait Frames: Send {
    fn next(&mut self) -> (u64, Vec<u8>);
}

/// How the service is spoken to, and what it is told of that.
#[derive(Clone, Copy)]
struct Way {
    config: &'static str,
    connect: fn(SocketAddr) -> Box<dyn ClientStream>,
}

const PLAIN: Way = Way { config: "", connect: plain };
/// By which records of TLS might pile up where the service does not see them.
#[cfg(feature = "tls")]
const ENCRYPTED: Way = Way { config: "[tls]\nself_signed = true\n", connect: encrypted };

impl Way {
    /// A viewer who acknowledges what it gets.
    fn porthole(self, address: SocketAddr) -> Client {
        let headers = [("Sec-WebSocket-Protocol", "porthole.v1")];
        Client::over((self.connect)(address), address, "/ws", &headers).unwrap()
    }
}

fn now() -> u64 {
    now_ns() / 1000
}

struct WebSocket(Client);

impl Frames for WebSocket {
    fn next(&mut self) -> (u64, Vec<u8>) {
        let frame = self.0.acknowledged();
        (now(), frame.jpeg)
    }
}

struct Bare(Client);

impl Frames for Bare {
    fn next(&mut self) -> (u64, Vec<u8>) {
        let jpeg = self.0.binary();
        (now(), jpeg)
    }
}

struct Stream(Multipart);

impl Frames for Stream {
    fn next(&mut self) -> (u64, Vec<u8>) {
        let (_, jpeg) = self.0.part();
        (now(), jpeg)
    }
}

/// What a viewer saw for whom the link is fast enough.
#[derive(Default)]
struct Beside {
    /// When each picture was captured.
    captured: HashMap<u32, u64>,
    /// When each was captured, and when it came.
    seen: Vec<(u64, u64)>,
    skipped: u64,
}

/// Watches until told to stop.
fn watch_fast(way: Way, address: SocketAddr, stop: &AtomicBool) -> Beside {
    let mut client = way.porthole(address);
    let (mut beside, mut frames) = (Beside::default(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let frame = client.acknowledged();
        beside.seen.push((frame.captured_at, now()));
        beside.skipped += u64::from(frame.skipped);
        frames.push((frame.captured_at, frame.jpeg));
    }
    // Known by what they show: other viewers get no header that tells a number.
    let numbered = frames.into_iter().map(|(at, jpeg)| (decode(&jpeg).pattern_number(), at));
    beside.captured.extend(numbered);
    beside
}

/// Bytes a second of the whole stream.
fn rate_of_stream(way: Way, address: SocketAddr) -> f64 {
    let mut client = way.porthole(address);
    let sizes: Vec<usize> = (0..20).map(|_| client.acknowledged().jpeg.len()).collect();
    sizes.iter().sum::<usize>() as f64 / sizes.len() as f64 * f64::from(FPS)
}

fn percentile<T: Copy + Ord>(values: &mut [T], percent: usize) -> T {
    values.sort_unstable();
    values[(values.len() * percent).div_ceil(100) - 1]
}

/// How somebody begins to watch.
type Open = fn(Way, SocketAddr) -> Box<dyn Frames>;

/// Times a bound is tried that a busy machine can break. What is wrong with the service breaks it every time.
const ATTEMPTS: usize = 3;

/// Watches for `seconds` over a link that takes one `part`th of the stream; a second viewer watches past it.
fn frames_stay_new(way: Way, part: u32, seconds: u64, open: Open) {
    let _turn = turn(Group::Links);
    if let Some(why) = obstacle() {
        return println!("skipped: {why}");
    }
    let network = Network::new();
    let service = network.serve(&format!("{}{CAMERA}", way.config));
    let mut broken = String::new();
    for _ in 0..ATTEMPTS {
        match network.at_client(|| attempt(&network, &service, way, part, seconds, open)) {
            Ok(()) => return,
            Err(how) => broken = how,
        }
        println!("{broken}");
    }
    panic!("{ATTEMPTS} times, the last: {broken}");
}

fn attempt(
    network: &Network,
    service: &Porthole,
    way: Way,
    part: u32,
    seconds: u64,
    open: Open,
) -> Result<(), String> {
    let rate = rate_of_stream(way, fast(service)) / f64::from(part);
    network.shape(rate as u32);
    let stop = AtomicBool::new(false);
    let ((arrivals, beside), stalls) = Stalls::during(|| {
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| watch_fast(way, fast(service), &stop));
            let arrivals = {
                let _stop = StopWhenDropped(&stop);
                watch_slow(open(way, service.address).as_mut(), Duration::from_secs(seconds))
            };
            (arrivals, beside.join().unwrap())
        })
    });
    let Beside { captured, seen, skipped } = beside;
    // How old a picture was, but for the time that nobody on this machine could have done anything for it.
    let age = |captured: u64, at: u64| (at - captured).saturating_sub(stalls.within(captured, at));

    let frame_us = 1_000_000 / u64::from(FPS);
    let mut beyond: Vec<i64> = Vec::new();
    for &Arrival { number, bytes, at } in &arrivals {
        let Some(&captured) = captured.get(&number) else { continue };
        let transfer_us = (bytes as f64 * OVERHEAD / rate * 1e6) as u64;
        beyond.push(age(captured, at) as i64 - (2 * frame_us + transfer_us) as i64);
    }
    let takes = f64::from(FPS) / f64::from(part) * seconds as f64;
    let known = beyond.len();
    if (known as f64) < takes * 0.7 {
        return Err(format!("only {known} frames came where the link takes {takes:.0}"));
    }
    let (p50, p99) = (percentile(&mut beyond, 50), percentile(&mut beyond, 99));
    println!("{known} frames of {takes:.0}, half of them within {p50} us of the bound, 99 % within {p99} us");
    if p99 > 0 {
        return Err(format!(
            "frames came {p99} us later than two frame times and their transfer: {beyond:?}"
        ));
    }
    let mut ages: Vec<u64> = seen.iter().map(|&(captured, at)| age(captured, at)).collect();
    let p99 = percentile(&mut ages, 99);
    if p99 > 2 * frame_us {
        return Err(format!("beside it, frames were {p99} us old"));
    }
    let all = ages.len() as u64;
    let unmade = stalls.within(0, u64::MAX) / frame_us;
    if skipped > all / 50 + unmade {
        return Err(format!("beside it, {skipped} were skipped of {all}, and {unmade} were the machine's"));
    }
    Ok(())
}

/// Tells others to stop, whichever way this ends.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn watch_slow(frames: &mut dyn Frames, time: Duration) -> Vec<Arrival> {
    // The first second is the link's to be found out about.
    let from = Instant::now() + Duration::from_secs(1);
    let mut raw = Vec::new();
    while Instant::now() < from + time {
        let frame = frames.next();
        if Instant::now() >= from {
            raw.push(frame);
        }
    }
    // Looked at afterwards, as looking takes time too.
    let arrival = |(at, jpeg): (u64, Vec<u8>)| Arrival {
        number: decode(&jpeg).pattern_number(),
        bytes: jpeg.len(),
        at,
    };
    raw.into_iter().map(arrival).collect()
}

fn websocket(way: Way, address: SocketAddr) -> Box<dyn Frames> {
    Box::new(WebSocket(way.porthole(address)))
}

fn bare(way: Way, address: SocketAddr) -> Box<dyn Frames> {
    Box::new(Bare(Client::over((way.connect)(address), address, "/ws", &[]).unwrap()))
}

fn stream(way: Way, address: SocketAddr) -> Box<dyn Frames> {
    let mut wire = (way.connect)(address);
    write!(wire, "GET /stream HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    Box::new(Stream(Multipart::over(wire)))
}

#[test]
fn a_quarter_of_the_rate_by_websocket() {
    frames_stay_new(PLAIN, 4, 14, websocket);
}

#[test]
fn a_quarter_of_the_rate_by_websocket_without_acknowledgements() {
    frames_stay_new(PLAIN, 4, 14, bare);
}

#[test]
fn a_quarter_of_the_rate_by_mjpeg() {
    frames_stay_new(PLAIN, 4, 14, stream);
}

#[test]
fn a_tenth_of_the_rate_by_websocket() {
    frames_stay_new(PLAIN, 10, 14, websocket);
}

#[test]
fn a_tenth_of_the_rate_by_mjpeg() {
    frames_stay_new(PLAIN, 10, 14, stream);
}

#[cfg(feature = "tls")]
#[test]
fn a_quarter_of_the_rate_by_encrypted_websocket_without_acknowledgements() {
    frames_stay_new(ENCRYPTED, 4, 14, bare);
}

#[cfg(feature = "tls")]
#[test]
fn a_tenth_of_the_rate_by_encrypted_websocket() {
    frames_stay_new(ENCRYPTED, 10, 14, websocket);
}

#[cfg(feature = "tls")]
#[test]
fn a_tenth_of_the_rate_by_encrypted_mjpeg() {
    frames_stay_new(ENCRYPTED, 10, 14, stream);
}

/// From this machine itself nobody is counted by address, so this takes another.
#[test]
fn one_address_cannot_have_everything() {
    let _turn = turn(Group::Links);
    if let Some(why) = obstacle() {
        return println!("skipped: {why}");
    }
    let network = Network::new();
    let limits = "[limits]\nviewers_per_address = 2\nconnections_per_address = 5\n";
    let service = network.serve(&format!("{limits}{CAMERA}"));
    network.at_client(|| {
        let address = fast(&service);
        let counted = |name, labels: &[(&str, &str)]| {
            Exposition::parse(&get(address, "/metrics").text()).value(name, labels)
        };
        let mut viewers = [PLAIN.porthole(address), PLAIN.porthole(address)];
        assert_eq!(Client::connect(address, "/ws", &[]).err(), Some(503));
        let refused = get(address, "/snapshot");
        assert_eq!(refused.status, 503);
        let why =
            "your address has all of its 2 viewer places; raise limits.viewers_per_address to allow more\n";
        assert_eq!(refused.text(), why);
        assert_eq!(counted("porthole_viewers_refused_total", &[]), 2.0);

        let idle: Vec<_> = (0..3).map(|_| plain(address)).collect();
        let refused = get(address, "/healthz");
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
        let why =
            "your address has all of its 5 connections; raise limits.connections_per_address to allow more\n";
        assert_eq!(refused.text(), why);
        // Whoever comes by the other cable comes from another address, which has its own.
        assert_eq!(get(service.address, "/healthz").status, 200);
        viewers.iter_mut().for_each(|viewer| drop(viewer.acknowledged()));
        drop(idle);
        support::until("there is room again", || (get(address, "/healthz").status == 200).then_some(()));
        let limit = ("limit", "connections_per_address");
        assert!(counted("porthole_connections_turned_away_total", &[limit]) >= 1.0);
        viewers.iter_mut().for_each(|viewer| drop(viewer.acknowledged()));
    });
}
