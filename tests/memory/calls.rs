//! What a frame costs in calls of the kernel, as strace(1) sees them, and that what is read late for the sake of that is not
//! missed by anybody.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::json;
use support::fakecam::{Camera, Table, environment};
use support::http::Multipart;
use support::tools::{missing, program};
use support::ws::Client;
use support::{Porthole, Scratch, porthole, until};
use tungstenite::Message;

use crate::turn;

const VIEWERS: usize = 5;
/// Frames before the ones that count: for longer than it takes until acknowledgements are read late.
const WARM_UP: usize = 60;
/// Frames that count. On a busy machine some cost more: a tenth of them cost no more than is told.
const FRAMES: usize = 60;
/// Frames a second. Slow, so that a busy machine acknowledges before the next one.
const FPS: u32 = 15;

/// Calls of one thread, by name.
type Calls = BTreeMap<String, usize>;

#[test]
fn a_frame_costs_two_calls_for_each_viewer_and_one_for_all() {
    let _turn = turn();
    let Some(strace) = program("strace", "strace") else { return };
    for (kind, read) in [("porthole.v1", "recvfrom"), ("mjpeg", "ioctl")] {
        let Some((network, camera)) = calls_of_frames(&strace, kind) else {
            return missing("strace may not trace programs here");
        };
        println!("{kind}: network {network:?}, camera {camera:?}");
        let expected = [("epoll_wait", 1), ("writev", VIEWERS), (read, VIEWERS)];
        for (name, most) in expected {
            assert!(network.get(name).is_some_and(|calls| *calls <= most), "{kind}: {name} in {network:?}");
        }
        let all: usize = network.values().sum();
        assert!(all <= 1 + 2 * VIEWERS, "{kind}: {all} calls for a frame: {network:?}");
        for name in ["ppoll", "write"] {
            assert_eq!(camera.get(name), Some(&1), "{kind}: {name} in {camera:?}");
        }
    }
}

/// The calls of the network's thread and the camera's for one frame that goes to all viewers.
fn calls_of_frames(strace: &Path, kind: &str) -> Option<(Calls, Calls)> {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let trace = scratch.path("trace");
    let program = porthole();
    let mut command = Command::new(strace);
    for (key, value) in program.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    // The program has its own number, and strace is not preloaded with anything.
    command.args(["-D", "-f", "-q", "-s", "0", "-e", "signal=none", "-o"]).arg(&trace);
    let camera = Camera::new("/dev/video90", &table).with("formats", format!("MJPG:640x480@{FPS}"));
    for (key, value) in environment(&[camera]) {
        command.arg("-E").arg(format!("{key}={}", value.to_str().unwrap()));
    }
    command.arg(program.get_program());
    command.args(["--listen", "127.0.0.1:0", "--source", "/dev/video90"]);
    let mut service = Porthole::spawn(&mut command);
    let capture_thread = std::thread::scope(|scope| {
        for _ in 0..VIEWERS {
            scope.spawn(|| watch(&service, kind));
        }
        until("there is a camera's thread", || thread_named(service.pid(), "camera"))
    });
    let pid = service.pid();
    service.stop();
    until("strace has ended", || {
        let text = fs::read_to_string(&trace).unwrap_or_default();
        let is_its_end = |line: &str| {
            let mut words = line.split_whitespace();
            words.next() == Some(pid.to_string().as_str()) && words.next() == Some("+++")
        };
        (text.is_empty() || text.lines().any(is_its_end)).then_some(())
    });
    let text = fs::read_to_string(&trace).unwrap();
    (!text.is_empty()).then(|| tenth_of_frames(&text, pid, capture_thread))
}

/// Takes frames of one kind, acknowledging them if that is how it is done.
fn watch(service: &Porthole, kind: &str) {
    if kind == "mjpeg" {
        let mut stream = Multipart::open(service.address, "/stream");
        (0..WARM_UP + FRAMES).for_each(|_| drop(stream.part()));
    } else {
        let mut client = Client::porthole(service.address, "/ws");
        (0..WARM_UP + FRAMES).for_each(|_| drop(client.acknowledged()));
    }
}

fn thread_named(pid: u32, start: &str) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.filter_map(Result::ok).find_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let id = task.file_name().to_str()?.parse().ok()?;
        name.starts_with(start).then_some(id)
    })
}

/// For each name the calls between two frames: no more for a tenth of the frames.
fn tenth_of_frames(trace: &str, network: u32, camera: u32) -> (Calls, Calls) {
    let mut frames: Vec<[Calls; 2]> = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let thread = [network, camera].iter().position(|id| thread == id.to_string());
        // What goes on after another thread was traced is no second call.
        let name = call.trim_start().split_once('(').map(|(name, _)| name).unwrap_or("<");
        let Some(thread) = thread.filter(|_| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        else {
            continue;
        };
        if let Some(frame) = frames.last_mut() {
            *frame[thread].entry(name.into()).or_default() += 1;
        }
        // It wakes the network for a frame, and has nothing else to write.
        if thread == 1 && name == "write" {
            frames.push(Default::default());
        }
    }
    assert!(frames.len() > WARM_UP + FRAMES / 2, "{} frames in the trace", frames.len());
    let end = frames.len().min(WARM_UP + FRAMES - 1);
    let [network, camera] = [0, 1].map(|thread| {
        let mut counts = BTreeMap::<&String, Vec<usize>>::new();
        for (name, count) in frames[WARM_UP..end].iter().flat_map(|frame| &frame[thread]) {
            counts.entry(name).or_default().push(*count);
        }
        let tenth = |mut counts: Vec<usize>| {
            counts.resize(end - WARM_UP, 0);
            counts.sort_unstable();
            counts[counts.len() / 10]
        };
        let counts = counts.into_iter().map(|(name, counts)| (name.clone(), tenth(counts)));
        counts.filter(|(_, count)| *count > 0).collect()
    });
    (network, camera)
}

/// A service and a camera that is slow, but not too slow for acknowledgements to be read late.
fn serve() -> (Scratch, Porthole) {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", format!("MJPG:640x480@{FPS}"));
    (scratch, Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]))
}

#[test]
fn the_figures_of_a_viewer_are_true_though_its_acknowledgements_are_read_late() {
    let _turn = turn();
    let (_scratch, service) = serve();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::porthole(service.address, "/ws");
            while !over.load(SeqCst) {
                client.acknowledged();
            }
        });
        let sent = || service.camera()["viewers"][0]["sent"].as_u64().filter(|sent| *sent > WARM_UP as u64);
        until("it has had some frames", sent);
        // Without anybody asking, it is 1 at all times: what was acknowledged is known when the next frame is sent.
        for _ in 0..5 {
            until("all frames are acknowledged", || {
                (service.camera()["viewers"][0]["in_flight"] == 0).then_some(())
            });
        }
        over.store(true, SeqCst);
    });
}

#[test]
fn what_a_viewer_asks_is_answered_before_the_next_frame_though_acknowledgements_are_read_late() {
    let _turn = turn();
    let (_scratch, service) = serve();
    let mut client = Client::porthole(service.address, "/ws");
    let ping = |text: &str| json!({ "type": "ping", "t": 7, "for": text });
    // One that is longer than an acknowledgement, before it; a short one behind it.
    for (long, acknowledges_first) in [(true, false), (false, true)] {
        // A busy machine may be late for the next frame now and then.
        let answered = (0..5).any(|_| {
            (0..WARM_UP).for_each(|_| drop(client.acknowledged()));
            let frame = client.frame();
            if acknowledges_first {
                client.acknowledge(frame.sequence);
            }
            client.say(&if long { ping("comparing the clocks") } else { json!({ "type": "ping" }) });
            let next = client.read();
            if !acknowledges_first {
                client.acknowledge(frame.sequence);
            }
            match next {
                Message::Text(text) => text.contains("pong"),
                _ => false,
            }
        });
        assert!(answered, "the next frame came before the answer, long {long}");
    }
}

#[test]
fn a_viewer_that_closes_is_answered_though_acknowledgements_are_read_late() {
    let _turn = turn();
    let (_scratch, service) = serve();
    let mut client = Client::porthole(service.address, "/ws");
    (0..WARM_UP).for_each(|_| drop(client.acknowledged()));
    client.send(Message::Close(None));
    // Frames that were under way come before the answer.
    while !matches!(client.read(), Message::Close(_)) {}
}
