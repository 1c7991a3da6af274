//! Brokers that are away, killed, frozen: nobody at the cameras notices, nothing grows, and frames come again by themselves.

use std::time::{Duration, Instant};

use support::fakecam::Setting;
use support::tools::free_port;
use support::ws::Client;
use support::{Porthole, Scratch, descriptors, proc_status, until};

use crate::mqtt::{LIVE, Rig, metric, watch};

const ANYBODY: &str = "allow_anonymous true";
/// Resident memory that comes and goes with connections, in kB.
const RSS_SLACK_KB: u64 = 3 * 1024;
/// The same while nothing but frames comes and goes.
const FLAT_KB: u64 = 1024;
/// Time for which a broker is stopped.
const STOPPED: Duration = Duration::from_secs(30);

fn rss(service: &Porthole) -> u64 {
    proc_status(service.pid(), "VmRSS")
}

#[test]
fn a_broker_that_is_away_at_the_start_is_no_error() {
    let port = free_port();
    let scratch = Scratch::new();
    let text = format!("[[camera]]\nsource = \"pattern\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n");
    let mut service = Porthole::configured(&scratch, &text);
    service.until_logged("connection refused; check that a broker runs there, and the port");
    Client::porthole(service.address, "/ws").acknowledged();
    let error = until("the state tells", || service.state()["mqtt"]["error"].as_str().map(str::to_owned));
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    assert_eq!(service.log().matches("connection refused").count(), 1, "{}", service.log());
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn frames_come_within_two_seconds_of_a_broker_that_was_killed_and_nothing_grows() {
    let Some(mut rig) = Rig::new(ANYBODY) else { return };
    let service = rig.publish("");
    let mut grown = vec![];
    for round in 0..6 {
        let mut listener = rig.listener();
        watch(&mut listener, "a", 120.0);
        until("frames", || {
            watch(&mut listener, "a", 120.0);
            listener.message_within(Duration::from_millis(200)).filter(|message| message.topic == LIVE)
        });
        grown.push((rss(&service), descriptors(service.pid())));
        rig.broker.kill();
        until("it is noticed", || (metric(&service, "connected") == 0.0).then_some(()));
        rig.broker.restart();
        until("mosquitto listens", || std::net::TcpStream::connect(rig.broker.address).ok());
        let back = Instant::now();
        // The watch of before goes on.
        listener = rig.listener();
        listener.message_to(LIVE);
        let took = back.elapsed();
        assert!(took < Duration::from_secs(2), "round {round}: live after {took:?}");
    }
    assert_eq!(metric(&service, "reconnects_total"), 6.0);
    let (first, last) = (grown[1], grown[grown.len() - 1]);
    assert!(last.0 < first.0 + RSS_SLACK_KB && last.1 <= first.1 + 1, "{grown:?}");
}

#[test]
fn the_last_will_of_a_service_that_is_killed_is_offline() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let (mut listener, service) = (rig.listener(), rig.publish(""));
    assert_eq!(listener.message_to("porthole/edge/status").payload, b"online");
    service.signal(libc::SIGKILL);
    assert_eq!(listener.message_to("porthole/edge/status").payload, b"offline");
}

/// What a viewer sees for a while, and what the service takes meanwhile.
#[derive(Debug, Default)]
struct Seen {
    frames: u32,
    missed: u32,
    longest: Duration,
    most_rss: u64,
    most_backlog: f64,
}

fn look(viewer: &mut Client, service: &Porthole, time: Duration) -> Seen {
    let (mut seen, began) = (Seen::default(), Instant::now());
    let (mut last, mut sequence) = (began, viewer.acknowledged().sequence);
    while began.elapsed() < time {
        let frame = viewer.acknowledged();
        seen.longest = seen.longest.max(last.elapsed());
        last = Instant::now();
        seen.missed += frame.sequence - sequence - 1;
        sequence = frame.sequence;
        seen.frames += 1;
        if seen.frames.is_multiple_of(30) {
            seen.most_rss = seen.most_rss.max(rss(service));
            seen.most_backlog = seen.most_backlog.max(metric(service, "backlog_bytes"));
            last = Instant::now();
        }
    }
    seen
}

#[test]
fn a_broker_that_stops_reading_costs_nobody_anything() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    rig.table.set(Setting::FrameBytes, 200_000);
    let (mut listener, service) = (rig.listener(), rig.publish(""));
    until("frames", || {
        watch(&mut listener, "a", 300.0);
        listener.message_within(Duration::from_millis(200)).filter(|message| message.topic == LIVE)
    });
    let mut viewer = Client::porthole(service.address, "/ws");
    // A busy machine delays everybody.
    let usual = look(&mut viewer, &service, STOPPED / 3);
    let skipped = metric(&service, "skipped_total");
    rig.broker.signal(libc::SIGSTOP);
    // Longer than until it is given up and called again.
    let seen = look(&mut viewer, &service, STOPPED);
    let longest = (2 * usual.longest + Duration::from_millis(500)).min(Duration::from_secs(2));
    assert!(seen.longest < longest, "{seen:?}, before: {usual:?}");
    // Twice as many in three times the time, and some more.
    assert!(seen.missed < 6 * usual.missed + 30, "{seen:?}, before: {usual:?}");
    let now_skipped = metric(&service, "skipped_total") - skipped;
    assert!(now_skipped > f64::from(seen.frames) / 2.0, "{now_skipped} frames are skipped: {seen:?}");
    assert!(seen.most_rss < usual.most_rss + FLAT_KB, "{seen:?}, before: {usual:?}");
    assert!(seen.most_backlog > 0.0 && seen.most_backlog < 420_000.0, "more than two frames: {seen:?}");
    rig.broker.signal(libc::SIGCONT);
    let mut listener = rig.listener();
    let at = Instant::now();
    until("a new frame", || (listener.message_to(LIVE).at > at).then_some(()));
    until("it is connected", || service.state()["mqtt"]["connected"].as_str().map(drop));
}
