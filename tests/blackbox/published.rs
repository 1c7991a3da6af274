//! Cameras that another machine publishes to a broker: what is asked of it, what comes of its frames, what is wrong there. The
//! other machine is played here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::broker::{Broker, FRONT_END, no_subscriptions};
use support::fakecam::now_ns;
use support::mqtt::{Message, Session};
use support::prometheus::Exposition;
use support::ws::Client;
use support::{Porthole, Scratch, until};

use crate::remote_tcp::jpeg;

const CAMERA: &str = "porthole/gate-pi/front";
const STATUS: &str = "porthole/gate-pi/status";
const HOUR_US: u64 = 3_600_000_000;
const INTERVAL: Duration = Duration::from_millis(40);

fn live() -> String {
    format!("{CAMERA}/live")
}

/// A message of `porthole.v1`.
fn message(sequence: u32, captured_at: u64, sent_at: u64, skipped: u32, jpeg: &[u8]) -> Vec<u8> {
    let mut bytes = b"PHF1".to_vec();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(captured_at.to_be_bytes());
    bytes.extend(sent_at.to_be_bytes());
    bytes.extend([0, 64, 0, 48]);
    bytes.extend(skipped.to_be_bytes());
    bytes.extend(jpeg);
    bytes
}

/// What the other machine sends for the frame of this number; nothing, or several messages.
type Script = fn(number: u32, clock: u64) -> Vec<Vec<u8>>;

/// One sound frame for each.
fn sound(number: u32, clock: u64) -> Vec<Vec<u8>> {
    vec![message(number, clock - 5000, clock, 0, &jpeg(60))]
}

/// The other machine. It sends frames while it is asked to, and compares clocks, its own being `offset` ahead.
struct Edge {
    is_over: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Value>>>,
    sent: Arc<AtomicU32>,
    /// Microseconds that the way to the front end takes more.
    delay: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Edge {
    fn start(broker: SocketAddr, offset: u64, script: Script) -> Self {
        let mut session = Session::connect(broker, "edge");
        assert!(session.subscribe(&format!("{CAMERA}/watch")));
        session.retain(STATUS, b"online");
        let mut this = Self {
            is_over: Arc::default(),
            asked: Arc::default(),
            sent: Arc::default(),
            delay: Arc::default(),
            thread: None,
        };
        let (is_over, asked) = (Arc::clone(&this.is_over), Arc::clone(&this.asked));
        let (sent, delay) = (Arc::clone(&this.sent), Arc::clone(&this.delay));
        this.thread = Some(std::thread::spawn(move || {
            let clock = || (now_ns() / 1000).wrapping_add(offset);
            let (mut watched_until, mut due) = (Instant::now(), Instant::now());
            while !is_over.load(SeqCst) {
                let patience = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                if let Some(Message { payload, .. }) = session.message_within(patience) {
                    let asks: Value = serde_json::from_slice(&payload).unwrap();
                    let seconds = Duration::from_secs_f64(asks["seconds"].as_f64().unwrap());
                    watched_until = Instant::now() + seconds;
                    if let Some(t) = asks["t"].as_u64() {
                        let topic = format!("{CAMERA}/watch/{}", asks["viewer"].as_str().unwrap());
                        let answer = json!({ "t": t, "now": clock() }).to_string();
                        session.publish(&topic, answer.as_bytes());
                    }
                    asked.lock().unwrap().push(asks);
                }
                if Instant::now() < due {
                    continue;
                }
                due = Instant::now() + INTERVAL;
                if Instant::now() < watched_until {
                    let late = delay.load(SeqCst);
                    for message in script(sent.fetch_add(1, SeqCst) + 1, clock().wrapping_sub(late)) {
                        session.publish(&live(), &message);
                    }
                }
            }
        }));
        this
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    fn sent(&self) -> u32 {
        self.sent.load(SeqCst)
    }

    fn stop(mut self) {
        self.is_over.store(true, SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.is_over.store(true, SeqCst);
    }
}

const ANYBODY: &str = "allow_anonymous true";

fn front_end(broker: &Broker) -> Porthole {
    Porthole::start(&["--source", &format!("mqtt://{}/{CAMERA}", broker.address), "--linger", "0"])
}

#[test]
fn a_published_camera_is_asked_for_while_somebody_watches_and_shown() {
    let scratch = Scratch::new();
    let Some(broker) = Broker::mosquitto(&scratch, ANYBODY) else { return };
    let edge = Edge::start(broker.address, 0, sound);
    let service = front_end(&broker);
    service.until_camera_is("idle");
    assert_eq!((edge.asked(), edge.sent()), (vec![], 0), "asked for without a viewer");
    let (mut one, mut two) =
        (Client::porthole(service.address, "/ws"), Client::porthole(service.address, "/ws"));
    for _ in 0..20 {
        let (frame, other) = (one.acknowledged(), two.acknowledged());
        assert_eq!((&frame.jpeg, &other.jpeg), (&jpeg(60), &jpeg(60)));
    }
    let viewer = edge.asked()[0]["viewer"].clone();
    assert!(viewer.as_str().is_some_and(|name| name.len() > 8), "{viewer}");
    for asks in edge.asked() {
        assert_eq!((&asks["viewer"], &asks["seconds"]), (&viewer, &json!(15.0)), "{asks}");
    }
    let camera = service.camera();
    assert_eq!((&camera["driver"], &camera["card"]), (&json!("mqtt"), &json!(CAMERA)));
    assert_eq!(camera["broker"], json!({ "sessions": 1, "reconnects": 0, "repeated": 0, "lost": 0 }));
    for unwanted in ["dropped", "corrupt", "implausible_times", "implausible_sequences", "reopens"] {
        assert_eq!(camera[unwanted], 0, "{unwanted}");
    }
    // It is asked again well before the time is over.
    let asked = edge.asked().len();
    until("it is asked again", || {
        one.acknowledged();
        two.acknowledged();
        (edge.asked().len() > asked).then_some(())
    });
    drop((one, two));
    until("it is told that nobody watches", || {
        edge.asked().last().filter(|asks| asks["seconds"] == 0.0).cloned()
    });
    service.until_camera_is("idle");
    let sent = edge.sent();
    let mut late = Session::connect(broker.address, "late");
    assert!(late.subscribe(&live()) && late.message_within(5 * INTERVAL).is_none(), "it still sends");
    assert_eq!(edge.sent(), sent);
}

#[test]
fn the_delay_is_the_true_one_though_the_clocks_are_an_hour_apart() {
    let scratch = Scratch::new();
    let Some(broker) = Broker::mosquitto(&scratch, ANYBODY) else { return };
    for offset in [HOUR_US, HOUR_US.wrapping_neg(), 0] {
        let edge = Edge::start(broker.address, offset, |number, clock| {
            vec![message(number, clock.wrapping_sub(300_000), clock, 0, &jpeg(60))]
        });
        let service = front_end(&broker);
        let mut client = Client::porthole(service.address, "/ws");
        for _ in 0..15 {
            client.acknowledged();
        }
        // What lies on the way for a while is as old as it is.
        for late in [0, 150_000] {
            edge.delay.store(late, SeqCst);
            for _ in 0..3 {
                client.acknowledged();
            }
            for _ in 0..10 {
                let frame = client.acknowledged();
                let age = (frame.sent_at - frame.captured_at) as i64 - 300_000 - late as i64;
                assert!((-5000..30_000).contains(&age), "{age} µs off, clock off by {offset}, {late} late");
            }
        }
        assert_eq!(service.camera()["implausible_times"], 0, "{}", service.camera());
        edge.stop();
    }
}

#[test]
fn what_is_sent_twice_late_or_broken_is_not_shown_and_counted() {
    let scratch = Scratch::new();
    let Some(broker) = Broker::mosquitto(&scratch, ANYBODY) else { return };
    // Of each ten numbers: one twice, one after its successor, one lost, one that the edge left out, one that is no frame.
    let _edge = Edge::start(broker.address, 0, |number, clock| {
        let of = |number: u32, skipped| {
            message(number, clock - 5000 + u64::from(number % 10), clock, skipped, &jpeg(60))
        };
        match number % 10 {
            1 => vec![of(number, 0), of(number, 0)],
            2 => vec![],
            3 => vec![of(number, 0), of(number - 1, 0)],
            5 => vec![],
            6 => vec![of(number, 0)],
            7 => vec![],
            8 => vec![of(number, 1)],
            9 => vec![of(number, 0), b"no frame".to_vec()],
            _ => vec![of(number, 0)],
        }
    });
    let service = front_end(&broker);
    let mut client = Client::porthole(service.address, "/ws");
    let mut last = 0;
    for _ in 0..60 {
        let frame = client.acknowledged();
        assert!(frame.captured_at > last, "{} after {last}", frame.captured_at);
        last = frame.captured_at;
        assert_eq!(frame.jpeg, jpeg(60));
    }
    let camera = service.camera();
    let count = |name: &str| camera["broker"][name].as_u64().unwrap();
    // Sixty frames are shown of about eighty-five numbers.
    let decades = 6..=10;
    for (counted, times) in
        [(count("repeated"), 2), (count("lost"), 2), (camera["corrupt"].as_u64().unwrap(), 1)]
    {
        assert!(decades.clone().any(|decades| counted.abs_diff(decades * times) <= 2), "{counted}: {camera}");
    }
    assert_eq!(
        (&camera["implausible_times"], &camera["implausible_sequences"]),
        (&json!(0), &json!(0)),
        "{camera}"
    );
    let metrics =
        Exposition::parse(&String::from_utf8(support::http::get(service.address, "/metrics").body).unwrap());
    let repeated = metrics.value("porthole_broker_repeated_frames_total", &[("camera", "camera")]);
    assert!(repeated >= count("repeated") as f64, "{repeated}");
}

#[test]
fn a_machine_that_was_started_again_is_shown_at_once() {
    let scratch = Scratch::new();
    let Some(broker) = Broker::mosquitto(&scratch, ANYBODY) else { return };
    let edge = Edge::start(broker.address, HOUR_US, sound);
    let service = front_end(&broker);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..20 {
        client.acknowledged();
    }
    edge.stop();
    // Numbers begin anew, and the clock an hour before.
    let edge = Edge::start(broker.address, 0, |number, clock| {
        vec![message(number, clock.wrapping_sub(100_000), clock, 0, &jpeg(90))]
    });
    let began = Instant::now();
    let frame = until("its picture", || Some(client.acknowledged()).filter(|frame| frame.jpeg == jpeg(90)));
    assert!(began.elapsed() < Duration::from_secs(6), "after {:?}", began.elapsed());
    let frame = (0..10).map(|_| client.acknowledged()).last().unwrap_or(frame);
    assert!((frame.sent_at - frame.captured_at).abs_diff(100_000) < 50_000, "{frame:?}");
    edge.stop();
}

#[test]
fn a_broker_that_is_killed_is_used_again_within_two_seconds_of_its_return() {
    let scratch = Scratch::new();
    let Some(mut broker) = Broker::mosquitto(&scratch, ANYBODY) else { return };
    let edge = Edge::start(broker.address, 0, sound);
    let service = front_end(&broker);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    edge.stop();
    broker.kill();
    let lost =
        until("the camera is lost", || Some(service.camera()).filter(|camera| camera["state"] == "lost"));
    let error = lost["error"].as_str().unwrap();
    assert!(error.contains("broker") && error.contains(&broker.address.to_string()), "{error}");
    broker.restart();
    until("it is back", || std::net::TcpStream::connect(broker.address).ok());
    let back = Instant::now();
    let edge = Edge::start(broker.address, 0, |number, clock| {
        vec![message(number, clock - 5000, clock, 0, &jpeg(90))]
    });
    until("a new picture", || (client.acknowledged().jpeg == jpeg(90)).then_some(()));
    let took = back.elapsed();
    assert!(took < Duration::from_secs(2), "it was back for {took:?} before there was a picture");
    assert_eq!(service.camera()["state"], "live");
    edge.stop();
}

/// The error of a front end while somebody watches, once its camera is in `state`.
#[track_caller]
fn refused(broker: &Broker, state: &str) -> String {
    let service = front_end(broker);
    let _client = Client::porthole(service.address, "/ws");
    let camera = until(state, || Some(service.camera()).filter(|camera| camera["state"] == state));
    camera["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_subscription_that_the_broker_refuses_is_told() {
    let scratch = Scratch::new();
    let Some(lines) = no_subscriptions(&scratch) else { return };
    let Some(broker) = Broker::mosquitto(&scratch, &lines) else { return };
    let error = refused(&broker, "lost");
    assert!(error.contains("refuses the subscription to porthole/gate-pi/front/live"), "{error}");
    assert!(error.contains("let this user read it there"), "{error}");
}

#[test]
fn a_request_for_frames_that_the_broker_takes_and_does_not_allow_is_told() {
    let scratch = Scratch::new();
    let rules = "topic read #\ntopic write porthole/+/status\ntopic write porthole/+/+/live\n";
    let rules = scratch.file("acl", rules);
    let lines = format!("allow_anonymous true\nacl_file {}", rules.display());
    let Some(broker) = Broker::mosquitto(&scratch, &lines) else { return };
    let edge = Edge::start(broker.address, 0, sound);
    let error = refused(&broker, "stalled");
    assert!(error.contains("let this user write porthole/gate-pi/front/watch at the broker"), "{error}");
    assert_eq!(edge.sent(), 0);
    edge.stop();
}

#[test]
fn what_is_wrong_is_told_with_a_remedy() {
    let scratch = Scratch::new();
    let users =
        [FRONT_END, support::broker::EDGE].map(|login| (login.user.unwrap(), login.password.unwrap()));
    let Some(broker) = Broker::mosquitto_of_the_manual(&scratch, &users) else { return };
    let mut edge =
        Session::try_connect(broker.address, "edge", support::broker::EDGE, support::DEADLINE).unwrap();
    let right = scratch.file("right", format!("{}\n", FRONT_END.password.unwrap()));
    let wrong = scratch.file("wrong", "guess\n");
    let address = broker.address;
    let error_of = |url: &str, password: &std::path::Path, state: &str, meanwhile: &mut dyn FnMut()| {
        let config = format!(
            "[[camera]]\nsource = \"{url}\"\nsource_password_file = \"{}\"\nlinger_s = 0\n",
            password.display()
        );
        let service = Porthole::configured(&scratch, &config);
        let _client = Client::porthole(service.address, "/ws");
        let camera = until(&format!("{url} is {state}, {}", service.log()), || {
            meanwhile();
            Some(service.camera()).filter(|camera| camera["state"] == state)
        });
        camera["error"].as_str().unwrap().to_owned()
    };
    let url = format!("mqtt://front-end@{address}/{CAMERA}");
    let error = error_of(&url, &wrong, "lost", &mut || ());
    assert!(error.contains("source_password_file") && error.contains("front-end"), "{error}");
    let elsewhere = format!("mqtt://front-end@{address}/elsewhere/pi/front");
    // mosquitto confirms a subscription that it does not allow.
    let error = error_of(&elsewhere, &right, "stalled", &mut || ());
    assert!(error.contains("let this user read elsewhere/pi/front"), "{error}");
    edge.retain(STATUS, b"online");
    let error = error_of(&url, &right, "stalled", &mut || ());
    assert!(error.contains("no frame"), "{error}");
    edge.retain(&format!("{CAMERA}/state"), br#"{"state":"lost","error":"/dev/video0: unplugged\u001b[2J"}"#);
    let error = error_of(&url, &right, "stalled", &mut || ());
    assert!(error.contains("lost: /dev/video0: unplugged?[2J"), "{error}");
    edge.retain(STATUS, b"offline");
    let error = error_of(&url, &right, "stalled", &mut || ());
    assert!(error.contains("porthole/gate-pi is offline"), "{error}");
    let mut too_large = || {
        let clock = now_ns() / 1000;
        edge.publish(&live(), &message(1, clock, clock, 0, &vec![0; 4_000_000]));
        edge.message_within(Duration::from_millis(100));
    };
    let error = error_of(&url, &right, "lost", &mut too_large);
    assert!(error.contains("width and height"), "{error}");
}
