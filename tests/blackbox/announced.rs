//! Cameras that a broker announces: they come, are shown, and go, while the service runs.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use support::broker::Broker;
use support::engine::Engine;
use support::http::get;
use support::mqtt::Session;
use support::prometheus::Exposition;
use support::ws::Client;
use support::{Porthole, Scratch, descriptors, run, until};

use crate::mqtt::ANYBODY;
use crate::page_engines::until_words;

/// A machine named `host` that publishes these cameras.
fn edge(scratch: &Scratch, broker: &Broker, host: &str, cameras: &[&str]) -> Porthole {
    let cameras: String = cameras
        .iter()
        .map(|name| format!("[[camera]]\nname = \"{name}\"\nsource = \"pattern\"\nwidth = 320\nheight = 240\nlinger_s = 0\n"))
        .collect();
    let mqtt = format!("[mqtt]\nurl = \"mqtt://{}\"\ntopic = \"porthole/{host}\"\n", broker.address);
    Porthole::configured(scratch, &(cameras + &mqtt))
}

fn section(broker: SocketAddr, filter: &str) -> String {
    format!("[[camera]]\nname = \"*\"\nsource = \"mqtt://{broker}/{filter}\"\nlinger_s = 0\n")
}

/// Shows all cameras of the broker.
fn front_end(scratch: &Scratch, broker: &Broker, more: &str) -> Porthole {
    Porthole::configured(scratch, &(section(broker.address, "porthole/+/+") + more))
}

fn names(service: &Porthole) -> Vec<String> {
    let state = service.state();
    let cameras = state["cameras"].as_array().unwrap().iter();
    cameras.map(|camera| camera["name"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn until_names(service: &Porthole, wanted: &[&str]) {
    until(&format!("there are {wanted:?}"), || (names(service) == wanted).then_some(()));
}

fn announced(service: &Porthole) -> Value {
    service.state()["announced"][0].clone()
}

fn threads(service: &Porthole) -> usize {
    fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap().count()
}

#[test]
fn cameras_are_shown_while_they_are_announced() {
    let scratch = [Scratch::new(), Scratch::new(), Scratch::new()];
    let Some(broker) = Broker::mosquitto(&scratch[0], ANYBODY) else { return };
    let service = front_end(&scratch[0], &broker, "");
    until("it is connected", || announced(&service)["connected"].is_string().then_some(()));
    assert_eq!(names(&service), Vec::<String>::new());
    assert_eq!(get(service.address, "/").status, 200, "the page is there before a camera");
    assert_eq!(get(service.address, "/healthz").status, 200);
    let answer = get(service.address, "/snapshot");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("no broker has announced a camera yet"), "{}", answer.text());

    let gate = edge(&scratch[1], &broker, "gate", &["front", "back"]);
    let yard = edge(&scratch[2], &broker, "yard", &["cam"]);
    until("three cameras are there", || (names(&service).len() == 3).then_some(()));
    let mut sorted = names(&service);
    sorted.sort();
    let all = ["gate-back", "gate-front", "yard-cam"];
    assert_eq!(sorted, all);
    assert_eq!(gate.state()["cameras"][0]["on_air"], false, "nobody watches");
    let mut viewers = all.map(|name| Client::porthole(service.address, &format!("/cameras/{name}/ws")));
    for viewer in &mut viewers {
        for _ in 0..5 {
            assert_eq!(viewer.acknowledged().width, 320);
        }
    }
    let metrics = || Exposition::parse(&get(service.address, "/metrics").text());
    assert!(
        metrics().value("porthole_sent_frames_total", &[("camera", "yard-cam"), ("kind", "porthole.v1")])
            >= 5.0
    );

    // A machine that goes takes its cameras with it, and no others.
    drop(yard);
    until("yard-cam is gone", || (names(&service).len() == 2).then_some(()));
    let [back, front, yard] = &mut viewers;
    // It is given what was on its way before.
    while yard.try_read().is_ok_and(|message| !message.is_close()) {}
    for viewer in [front, back] {
        assert_eq!(viewer.acknowledged().height, 240);
    }
    assert_eq!(get(service.address, "/cameras/yard-cam/snapshot").status, 404);
    let told = announced(&service);
    assert_eq!((&told["added"], &told["removed"], &told["error"]), (&json!(3), &json!(1), &Value::Null));
    let source = format!("mqtt://{}/porthole/+/+", broker.address);
    assert_eq!(metrics().value("porthole_announced_added_total", &[("source", &source)]), 3.0);
    drop(gate);
}

#[test]
fn a_camera_that_is_taken_out_of_the_configuration_is_taken_back() {
    let scratch = [Scratch::new(), Scratch::new(), Scratch::new()];
    let Some(broker) = Broker::mosquitto(&scratch[0], ANYBODY) else { return };
    let service = front_end(&scratch[0], &broker, "");
    let gate = edge(&scratch[1], &broker, "gate", &["front", "back"]);
    until("both are there", || (names(&service).len() == 2).then_some(()));
    drop(gate);
    let gate = edge(&scratch[2], &broker, "gate", &["front"]);
    until_names(&service, &["gate-front"]);
    gate.until_logged("camera back: is not configured any more");
    // What the broker keeps for those that come later.
    let mut late = Session::connect(broker.address, "late");
    assert!(late.subscribe("porthole/gate/+/state"));
    assert_eq!(late.message().topic, "porthole/gate/front/state");
}

#[test]
fn cameras_stay_while_the_broker_is_away_and_those_that_went_meanwhile_go_after_it() {
    let scratch = [Scratch::new(), Scratch::new()];
    let store = Scratch::new();
    let kept =
        format!("{ANYBODY}\npersistence true\npersistence_location {}/\nuser root", store.path("").display());
    let Some(mut broker) = Broker::mosquitto(&scratch[0], &kept) else { return };
    let mut other = Session::connect(broker.address, "other");
    other.retain("porthole/old/status", b"online");
    other.retain("porthole/old/cam/state", b"{}");
    let service = front_end(&scratch[0], &broker, "");
    let gate = edge(&scratch[1], &broker, "gate", &["front"]);
    until("both are there", || (names(&service).len() == 2).then_some(()));
    broker.kill();
    until("it is seen", || announced(&service)["connected"].is_null().then_some(()));
    assert_eq!(names(&service).len(), 2);
    // Without its store it knows of nobody; the machine that is there publishes again.
    for entry in fs::read_dir(store.path("")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    broker.restart();
    until_names(&service, &["gate-front"]);
    let told = announced(&service);
    assert_eq!((&told["reconnects"], &told["removed"]), (&json!(1), &json!(1)));
    assert_eq!(Client::porthole(service.address, "/cameras/gate-front/ws").acknowledged().width, 320);
    drop(gate);
}

#[test]
fn cameras_whose_names_cannot_be_shown_are_left_out_and_named() {
    let scratch = Scratch::new();
    let Some(broker) = Broker::mosquitto(&scratch, ANYBODY) else { return };
    let mut edges = Session::connect(broker.address, "edges");
    for host in ["a", "a-b", "%1B[31mred"] {
        edges.retain(&format!("porthole/{host}/status"), b"online");
    }
    let fixed = "[[camera]]\nname = \"a-taken\"\nsource = \"pattern\"\n";
    let service = front_end(&scratch, &broker, fixed);
    for camera in ["a/b-c", "a-b/c", "a/taken", "a/na%C3%AFve", "a/a%2Fb", "%1B[31mred/x"] {
        edges.retain(&format!("porthole/{camera}/state"), b"{}");
    }
    edges.retain("porthole/a/last/state", b"{}");
    until_names(&service, &["a-taken", "a-b-c", "a-last"]);
    assert_eq!(announced(&service)["refused"], 5);
    let log = service.log();
    for words in [
        "at porthole/a/taken is left out: there is another camera a-taken; name one of them differently",
        "at porthole/a-b/c is left out: there is another camera a-b-c",
        "at porthole/a/na%C3%AFve is left out: a name has up to 40 letters, digits, - and _",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

#[test]
fn a_thousand_announcements_that_come_and_go_leave_nothing_behind() {
    let scratch = Scratch::new();
    let Some(broker) = Broker::mosquitto(&scratch, ANYBODY) else { return };
    let mut edges = Session::connect(broker.address, "edges");
    edges.retain("porthole/pi/status", b"online");
    let mut service = front_end(&scratch, &broker, "");
    until("it is connected", || announced(&service)["connected"].is_string().then_some(()));
    let before = (threads(&service), descriptors(service.pid()));
    for _ in 0..4 {
        for number in 0..300 {
            edges.retain(&format!("porthole/pi/cam{number}/state"), b"{}");
        }
        until("as many as there may be are there", || (names(&service).len() == 256).then_some(()));
        assert!(threads(&service) > before.0 + 256);
        for number in 0..300 {
            edges.retain(&format!("porthole/pi/cam{number}/state"), b"");
        }
        until_names(&service, &[]);
    }
    until("all threads have ended", || (threads(&service) <= before.0).then_some(()));
    until("all files are closed", || (descriptors(service.pid()) <= before.1 + 1).then_some(()));
    assert!(announced(&service)["refused"].as_u64().unwrap() > 0, "{}", announced(&service));
    // It stops with cameras that are there, too.
    edges.retain("porthole/pi/cam1/state", b"{}");
    until_names(&service, &["pi-cam1"]);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn the_page_follows() {
    let scratch = [Scratch::new(), Scratch::new()];
    let Some(broker) = Broker::mosquitto(&scratch[0], ANYBODY) else { return };
    let Some(mut page) = Engine::Chromium.start() else { return };
    page.forgive("404 (Not Found)");
    page.forgive("WebSocket connection to");
    let service = front_end(&scratch[0], &broker, "");
    page.open_with_jpeg(&service.url, &[]);
    until_words(&mut page, "No camera");
    page.until("document.querySelector('.empty .why').textContent.startsWith('One is shown as soon')");
    let gate = edge(&scratch[1], &broker, "gate", &["front", "back"]);
    until_words(&mut page, "2 cameras live");
    drop(gate);
    until_words(&mut page, "No camera");
    assert_eq!(page.eval("document.querySelectorAll('#stage canvas').length"), 0);
    drop(broker);
    page.until(
        "document.querySelector('.empty .why').textContent.includes('check that a broker runs there')",
    );
    drop(page);
}

#[test]
fn one_name_for_many_cameras_and_one_camera_for_a_name() {
    let refused = |text: &str| {
        let scratch = Scratch::new();
        let file = scratch.file("porthole.toml", text);
        let (code, _, error) = run(&["check", "--config", file.to_str().unwrap()]);
        assert_eq!(code, 1, "{text}: {error}");
        error
    };
    let error = refused("[[camera]]\nname = \"front\"\nsource = \"mqtt://broker/porthole/+/+\"\n");
    assert!(error.contains("stands for more than one camera; set name = \"*\""), "{error}");
    let error = refused("[[camera]]\nname = \"*\"\nsource = \"pattern\"\n");
    assert!(error.contains("give the camera a name, or change its source"), "{error}");
    let error = refused("[[camera]]\nname = \"*\"\nsource = \"mqtt://broker/porthole/#\"\n");
    assert!(error.contains("have + instead of HOST"), "{error}");
}
