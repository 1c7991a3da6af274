//! Brokers that are away, killed, frozen: nobody at the cameras notices, nothing grows, and frames come again by themselves.

use std::time::{Duration, Instant};

use support::fakecam::Setting;
use support::tools::free_port;
use support::ws::Client;
use support::{Porthole, Scratch, descriptors, proc_status, until};

use crate::mqtt::{LIVE, Rig, metric, watch};

const ANYBODY: &str = "allow_anonymous true";
/// Resident memory that comes and goes, in kB.
const RSS_SLACK_KB: u64 = 3 * 1024;

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
    let (mut usual, mut sequence) = (0, viewer.acknowledged().sequence);
    for _ in 0..200 {
        let frame = viewer.acknowledged();
        usual += frame.sequence - sequence - 1;
        sequence = frame.sequence;
    }
    let (before, skipped) = (rss(&service), metric(&service, "skipped_total"));
    rig.broker.signal(libc::SIGSTOP);
    let (mut longest, mut last, mut most_rss, mut most_backlog) = (Duration::ZERO, Instant::now(), 0, 0.0f64);
    let mut missed = 0;
    // Longer than until it is given up and called again.
    for n in 0..600u32 {
        let frame = viewer.acknowledged();
        longest = longest.max(last.elapsed());
        last = Instant::now();
        missed += frame.sequence - sequence - 1;
        sequence = frame.sequence;
        if n % 30 == 0 {
            most_rss = most_rss.max(rss(&service));
            most_backlog = most_backlog.max(metric(&service, "backlog_bytes"));
            last = Instant::now();
        }
    }
    assert!(longest < Duration::from_secs(2), "the viewer waited {longest:?}");
    assert!(missed < 60 + 6 * usual, "{missed} of 600 missed, {usual} of 200 before");
    assert!(metric(&service, "skipped_total") > skipped + 100.0, "frames are skipped");
    assert!(most_rss < before + RSS_SLACK_KB, "{before} kB grew to {most_rss}");
    assert!(most_backlog > 0.0 && most_backlog < 450_000.0, "at most two frames: {most_backlog}");
    rig.broker.signal(libc::SIGCONT);
    let mut listener = rig.listener();
    let at = Instant::now();
    until("a new frame", || (listener.message_to(LIVE).at > at).then_some(()));
    until("it is connected", || service.state()["mqtt"]["connected"].as_str().map(drop));
}
