//! A camera whose driver hangs, in each call that can hang, or whose machine hangs, at each point of a connection, beside a
//! camera of each other kind: no neighbour notices.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::fakecam::{Camera, Counter, Setting, Table, hang};
use support::http::{get, put, send};
use support::ws::Client;
use support::{Porthole, Scratch, library, porthole, until};

use super::hanging_peer::{HangingPeer, PeerHang, peer_hangs};
use crate::turns::{Group, turn};

/// The neighbours of the camera that hangs. `auto` takes the first camera that answers, which is `v4l2`'s.
const NEIGHBOURS: [&str; 8] = ["v4l2", "exec", "file", "pattern", "auto", "http", "ws", "tcp"];
/// Longer than any test.
const FOREVER_MS: u32 = 600_000;
/// What a busy machine may add to what a neighbour takes. Less than the 5 s after which a request is given up.
const SLACK: Duration = Duration::from_secs(3);

/// Machines that the remote neighbours are watched from: another service, and a program that sends pictures over TCP.
struct Far {
    service: Porthole,
    tcp: SocketAddr,
}

impl Far {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let jpeg = jpeg();
                    while stream.write_all(&jpeg).is_ok() {
                        // As a camera does.
                        thread::sleep(Duration::from_millis(30));
                    }
                });
            }
        });
        Self { service: Porthole::start(&["--source", "pattern", "--size", "320x240", "--linger", "0"]), tcp }
    }
}

fn jpeg() -> Vec<u8> {
    let mut jpeg = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 90);
    encoder.encode(&[99; 64 * 48], 64, 48, jpeg_encoder::ColorType::Luma).unwrap();
    jpeg
}

struct Rig {
    /// The first fake camera.
    table: Table,
    service: Porthole,
    scratch: Scratch,
}

/// What the camera is that hangs.
#[derive(Clone, Copy, PartialEq)]
enum HungCamera {
    /// rscam serves it.
    Webcam,
    /// A multi-planar device with an HDMI input, which the capture of the service serves.
    Grabber,
}

/// Calls that a grabber is asked, other than those for controls.
const GRABBER_CALLS: [u32; 13] = [
    hang::OPEN,
    hang::QUERYCAP,
    hang::ENUMINPUT,
    hang::QUERY_DV_TIMINGS,
    hang::ENUM_FMT,
    hang::S_FMT,
    hang::S_PARM,
    hang::REQBUFS,
    hang::QUERYBUF,
    hang::QBUF,
    hang::STREAMON,
    hang::DQBUF,
    hang::STREAMOFF,
];

impl Rig {
    /// The camera that hangs is the first fake one.
    fn with_camera(far: &Far, hung_camera: HungCamera) -> Self {
        Self::new(far, hung_camera, "source = \"/dev/video90\"\n", "")
    }

    /// The camera that hangs is on another machine.
    fn with_peer(far: &Far, peer: &HangingPeer) -> Self {
        Self::new(far, HungCamera::Webcam, &peer.section(), peer.stuck())
    }

    /// A service with the camera that hangs, whose section is `hung`, and its neighbours. What `stuck` names hangs from the start.
    fn new(far: &Far, first_camera: HungCamera, hung: &str, stuck: &str) -> Self {
        let scratch = Scratch::new();
        let ([table, _], cameras) = Camera::pair(&scratch.path("")).unwrap();
        let [first, second] = cameras.map(|camera| camera.with("formats", "MJPG:320x240@30"));
        let first = match first_camera {
            HungCamera::Webcam => first,
            HungCamera::Grabber => first.with("kind", "multiplanar").with("inputs", "HDMI:hdmi"),
        };
        let clip = scratch.file("clip.mjpeg", jpeg());
        let (clip, far_service, far_tcp) = (clip.display(), far.service.address, far.tcp);
        let sources = [
            ("v4l2", "/dev/video91".into()),
            ("exec", format!("exec:while sleep 0.03; do cat {clip}; done")),
            ("file", format!("file:{clip}")),
            ("pattern", "pattern".into()),
            ("auto", "auto".into()),
            ("http", format!("http://{far_service}/stream")),
            ("ws", format!("ws://{far_service}/ws")),
            ("tcp", format!("tcp://{far_tcp}")),
        ];
        let neighbours = sources.map(|(name, source)| (name, format!("source = \"{source}\"\n")));
        let sections = std::iter::once(("hung", hung.to_owned())).chain(neighbours);
        let config: String = sections
            .map(|(name, section)| format!("[[camera]]\nname = \"{name}\"\nlinger_s = 0\n{section}"))
            .collect();
        let config = scratch.file("porthole.toml", config);
        let mut environment = support::fakecam::environment(&[first, second]);
        environment[0].1.push(" ");
        environment[0].1.push(library("fakesys"));
        let mut command = porthole();
        command.envs(environment).env("FAKESYS_STUCK", scratch.file("stuck", stuck));
        command.args(["--listen", "127.0.0.1:0", "--config"]).arg(config);
        Self { table, service: Porthole::spawn(&mut command), scratch }
    }

    /// Makes the camera hang in `call`, and waits until it does. Returns the connection of the request that hangs.
    fn hang_in(&self, call: u32) -> TcpStream {
        let address = self.service.address;
        let turn_on = || {
            self.table.set(Setting::HangMs, FOREVER_MS);
            self.table.set(Setting::HangWhere, call);
        };
        let body = "{\"value\": 1}";
        let viewer = matches!(call, hang::DQBUF | hang::STREAMOFF).then(|| {
            let mut viewer = Client::porthole(address, "/cameras/hung/ws");
            viewer.acknowledged();
            viewer
        });
        turn_on();
        let asked = match call {
            hang::QUERYCTRL | hang::G_CTRL | hang::S_CTRL => {
                let length = [("Content-Length", "12")];
                let mut asked = send(address, "PUT", "/cameras/hung/controls/brightness", &length);
                asked.write_all(body.as_bytes()).unwrap();
                asked
            }
            // Ends with the viewer.
            hang::STREAMOFF => viewer.as_ref().unwrap().stream().try_clone().unwrap(),
            _ => send(address, "GET", "/cameras/hung/snapshot", &[]),
        };
        if call == hang::STREAMOFF {
            asked.shutdown(Shutdown::Both).unwrap();
        }
        self.until_it_hangs(call);
        asked
    }

    fn until_it_hangs(&self, call: u32) {
        until(&format!("it hangs in {call}"), || (self.table.counter(Counter::Hangs) > 0).then_some(()));
    }

    /// What a viewer of a camera asks for, and the time that each takes.
    fn ask(&self, name: &str, context: &str) -> Vec<(&'static str, Duration)> {
        let address = self.service.address;
        let get = |what: &str| {
            let answer = get(address, &format!("/cameras/{name}/{what}"));
            assert_eq!(answer.status, 200, "{context}: {name}/{what}: {}", answer.text());
        };
        let set = || {
            let answer = put(address, &format!("/cameras/{name}/controls/brightness"), "{\"value\":7}");
            assert_eq!(answer.status, 200, "{context}: {name}: {}", answer.text());
        };
        let stream = || {
            let mut viewer = Client::porthole(address, &format!("/cameras/{name}/ws"));
            (0..3).for_each(|_| drop(viewer.acknowledged()));
        };
        let timed = |what, ask: &dyn Fn()| {
            let begun = Instant::now();
            ask();
            (what, begun.elapsed())
        };
        let mut all = vec![timed("snapshot", &|| get("snapshot")), timed("stream", &stream)];
        all.push(timed("controls", &|| get("controls")));
        if matches!(name, "v4l2" | "auto") {
            all.push(timed("set", &set));
        }
        all
    }
}

/// What each neighbour's viewers ask for and how long it takes while nothing hangs.
type UsualTimes = [Vec<(&'static str, Duration)>; NEIGHBOURS.len()];

fn usual_times(far: &Far) -> UsualTimes {
    // `auto` would take the camera that is going to hang.
    let rig = Rig::with_camera(far, HungCamera::Webcam);
    NEIGHBOURS.map(|name| rig.ask(name, "nothing hangs"))
}

/// Asks all neighbours but those that are `spared`, and fails if one takes longer than usual.
fn check_neighbours(rig: &Rig, usual: &UsualTimes, context: &str, spared: &[&str]) {
    for (name, usual) in NEIGHBOURS.iter().zip(usual).filter(|(name, _)| !spared.contains(name)) {
        let asked = rig.ask(name, context);
        for ((what, took), (_, usual)) in asked.into_iter().zip(usual) {
            let most = *usual * 4 + SLACK;
            assert!(took < most, "{context}: {name}/{what} took {took:?}, else {usual:?}");
        }
    }
}

#[test]
fn a_camera_that_hangs_in_any_call_stops_no_other() {
    let _turn = turn(Group::Faults);
    let far = Far::new();
    let usual = usual_times(&far);
    let calls = (1..=hang::S_CTRL).map(|call| (HungCamera::Webcam, call));
    for (camera, call) in calls.chain(GRABBER_CALLS.map(|call| (HungCamera::Grabber, call))) {
        let rig = Rig::with_camera(&far, camera);
        let _asked = rig.hang_in(call);
        // It is the same camera, whose pictures hang too unless it hangs before it is chosen.
        let is_chosen = !matches!(call, hang::OPEN | hang::QUERYCAP | hang::ENUM_FMT);
        check_neighbours(&rig, &usual, &format!("hang {call}"), if is_chosen { &["auto"] } else { &[] });
    }
}

#[test]
fn a_machine_that_hangs_at_any_point_stops_no_other_camera() {
    let _turn = turn(Group::Faults);
    let far = Far::new();
    let usual = usual_times(&far);
    for hang in peer_hangs() {
        let peer = HangingPeer::start(hang, &jpeg());
        let mut rig = Rig::with_peer(&far, &peer);
        let _viewer = send(rig.service.address, "GET", "/cameras/hung/stream", &[]);
        peer.until_reached(rig.service.pid(), &rig.scratch);
        check_neighbours(&rig, &usual, &format!("{hang:?}"), &[]);
        let hung = rig.service.state()["cameras"][0].clone();
        assert_eq!(hung["name"], "hung");
        let has_pictures = matches!(hang, PeerHang::Pause(_));
        assert_eq!(hung["frames"].as_u64().unwrap() > 0, has_pictures, "{hang:?}: it did not hang: {hung}");
        assert_eq!(rig.service.stop(), Some(0), "{hang:?}: {}", rig.service.log());
    }
}

#[test]
fn a_node_that_hangs_holds_one_thread_however_often_a_camera_is_looked_for() {
    let _turn = turn(Group::Faults);
    let scratch = Scratch::new();
    let ([hung, healthy], cameras) = Camera::pair(&scratch.path("")).unwrap();
    hung.set(Setting::HangMs, FOREVER_MS);
    hung.set(Setting::HangWhere, hang::OPEN);
    healthy.set(Setting::Unplug, 1);
    let service = Porthole::with_cameras(&cameras, &["--source", "auto", "--log", "debug"]);
    let mut viewer = Client::porthole(service.address, "/ws");
    let searches = || service.log().lines().filter(|line| line.contains("after attempt")).count();
    let why = service.until_camera_is("lost")["error"].to_string();
    assert!(why.contains("/dev/video90 (does not answer"), "{why}");
    // Each change of the nodes is a search.
    for attempt in 1..4 {
        until("it is searched again", || (searches() >= 3 * attempt).then_some(()));
    }
    healthy.set(Setting::Unplug, 0);
    viewer.acknowledged();
    assert_eq!(hung.counter(Counter::Hangs), 1, "more than one thread hangs");
}
