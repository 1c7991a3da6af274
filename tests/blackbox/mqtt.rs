//! Cameras published to mosquitto: what stands at which topic, and what is done about messages that come.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::broker::Broker;
use support::fakecam::{Camera, Counter, Table, now_ns};
use support::http::{get, put};
use support::mqtt::{Message, Session};
use support::picture::{Stamp, decode};
use support::prometheus::Exposition;
use support::ws::{Client, Frame};
use support::{Porthole, Scratch, run, until};

const NODE: &str = "/dev/video90";
pub(crate) const ANYBODY: &str = "allow_anonymous true";

/// A camera, a broker, and the service between them.
pub(crate) struct Rig {
    pub(crate) broker: Broker,
    pub(crate) table: Table,
    pub(crate) scratch: Scratch,
}

impl Rig {
    /// With a mosquitto that has these lines of configuration; `None` where there is none.
    #[track_caller]
    pub(crate) fn new(lines: &str) -> Option<Self> {
        let scratch = Scratch::new();
        let broker = Broker::mosquitto(&scratch, lines)?;
        let table = Table::create(scratch.path("table")).unwrap();
        Some(Self { broker, table, scratch })
    }

    /// Serves, with these lines in `[mqtt]` behind the topic.
    #[track_caller]
    pub(crate) fn serve(&self, lines: &str) -> Porthole {
        self.serve_camera(lines, "MJPG:640x480@30")
    }

    #[track_caller]
    pub(crate) fn serve_camera(&self, lines: &str, formats: &str) -> Porthole {
        let text = format!(
            "[[camera]]\nname = \"front\"\nsource = \"{NODE}\"\nlinger_s = 0\n[mqtt]\ntopic = \"porthole/edge\"\n{lines}\n"
        );
        let file = self.scratch.file("porthole.toml", text);
        let camera = Camera::new(NODE, &self.table).with("formats", formats);
        Porthole::with_cameras(&[camera], &["--config", file.to_str().unwrap()])
    }

    /// The same with this broker and these lines.
    #[track_caller]
    pub(crate) fn publish(&self, lines: &str) -> Porthole {
        self.serve(&format!("url = \"mqtt://{}\"\n{lines}", self.broker.address))
    }

    /// A client that gets everything below the topic of the machine.
    #[track_caller]
    pub(crate) fn listener(&self) -> Session {
        // Of two with one name, the broker ends the first.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("listener{}", COUNT.fetch_add(1, Relaxed));
        let mut session = Session::connect(self.broker.address, &name);
        assert!(session.subscribe("porthole/edge/#"));
        session
    }

    /// Times the camera was opened to deliver frames.
    fn openings(&self) -> u64 {
        self.table.counter(Counter::Streamons)
    }
}

pub(crate) const WATCH: &str = "porthole/edge/front/watch";
pub(crate) const LIVE: &str = "porthole/edge/front/live";
const IMAGE: &str = "porthole/edge/front/image";
const STATE: &str = "porthole/edge/front/state";

/// Wants live frames for so many seconds.
pub(crate) fn watch(session: &mut Session, viewer: &str, seconds: f64) {
    session.publish(WATCH, json!({ "viewer": viewer, "seconds": seconds }).to_string().as_bytes());
}

/// Waits until it has subscribed: it says that it is there after that.
fn until_subscribed(session: &mut Session) {
    assert_eq!(session.message_to("porthole/edge/status").payload, b"online");
}

fn parsed(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

/// The next state for which `is_so`.
fn until_state(session: &mut Session, is_so: impl Fn(&Value) -> bool) -> Value {
    until("the state is published", || Some(parsed(&session.message_to(STATE))).filter(&is_so))
}

pub(crate) fn metric(service: &Porthole, name: &str) -> f64 {
    Exposition::parse(&get(service.address, "/metrics").text()).value(&format!("porthole_mqtt_{name}"), &[])
}

#[test]
fn everything_stands_at_the_topic_that_the_manual_names() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let mut early = rig.listener();
    let mut service = rig.publish("");
    assert_eq!(early.message_to("porthole/edge/status").payload, b"online");
    let state = until_state(&mut early, |_| true);
    assert_eq!(
        (&state["name"], &state["state"], &state["on_air"]),
        (&json!("front"), &json!("idle"), &json!(false))
    );
    assert_eq!(state["version"], service.state()["version"]);
    // Who comes later is told by the broker.
    let topics = ["status", "front/state", "front/control/brightness", "front/control/auto_exposure"];
    let kept = until("the broker keeps them", || {
        let (mut late, mut kept) = (rig.listener(), std::collections::BTreeMap::new());
        while let Some(message) = late.message_within(Duration::from_millis(300)) {
            if message.is_retained {
                kept.insert(message.topic, message.payload);
            }
        }
        topics.iter().all(|topic| kept.contains_key(&format!("porthole/edge/{topic}"))).then_some(kept)
    });
    assert_eq!(kept["porthole/edge/status"], b"online");
    assert_eq!(kept["porthole/edge/front/control/brightness"], b"128");
    assert_eq!(rig.openings(), 0, "nobody watches");

    watch(&mut early, "a", 60.0);
    let mut last: Option<Frame> = None;
    for _ in 0..20 {
        let message = early.message_to(LIVE);
        let frame = Frame::parse(&message.payload);
        let (now, stamp) = (now_ns() / 1000, Stamp::of(&frame.jpeg));
        decode(&frame.jpeg);
        assert!(!message.is_retained && (frame.width, frame.height) == (640, 480));
        assert!(frame.captured_at <= frame.sent_at && frame.sent_at <= now, "{frame:?}");
        assert!(frame.captured_at.abs_diff(stamp.monotonic_ns / 1000) < 50_000, "the time of its capture");
        if let Some(last) = last {
            assert_eq!(frame.sequence, last.sequence + 1 + frame.skipped);
        }
        last = Some(frame);
    }
    let state = until_state(&mut early, |state| state["state"] == "live");
    assert_eq!((&state["on_air"], &state["width"]), (&json!(true), &json!(640)));
    let mqtt = service.state()["mqtt"].clone();
    let broker = format!("mqtt://{}", rig.broker.address);
    assert_eq!(
        (&mqtt["broker"], &mqtt["watchers"], &mqtt["error"]),
        (&json!(broker), &json!(1), &Value::Null)
    );
    assert!(
        mqtt["frames"].as_u64() >= Some(20) && mqtt["published"].as_u64() > mqtt["frames"].as_u64(),
        "{mqtt}"
    );
    assert_eq!((metric(&service, "connected"), metric(&service, "watchers")), (1.0, 1.0));
    assert!(metric(&service, "frames_total") >= 20.0);
    watch(&mut early, "a", 0.0);
    service.until_camera_is("idle");
    until_state(&mut early, |state| state["state"] == "idle" && state["on_air"] == false);
    assert_eq!(service.stop(), Some(0));
    assert_eq!(early.message_to("porthole/edge/status").payload, b"offline");
}

#[test]
fn states_come_when_something_changes_and_at_most_once_a_second() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let (mut listener, service) = (rig.listener(), rig.publish(""));
    until_state(&mut listener, |state| state["state"] == "idle");
    let mut viewer = Client::porthole(service.address, "/ws");
    viewer.acknowledged();
    let mut times: Vec<Instant> = vec![];
    while times.len() < 4 {
        viewer.acknowledged();
        if let Some(message) = listener.message_within(Duration::from_millis(1))
            && message.topic == STATE
        {
            times.push(message.at);
        }
    }
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(900), "{:?}", pair[1] - pair[0]);
    }
    drop(viewer);
    until_state(&mut listener, |state| state["state"] == "idle");
    until_state_rests(&mut listener);
}

/// Waits until no state has come for longer than the shortest time between two.
fn until_state_rests(session: &mut Session) {
    until("nothing is said of a camera that rests", || {
        let pause = Instant::now() + Duration::from_millis(2500);
        loop {
            let left = pause.saturating_duration_since(Instant::now());
            match session.message_within(left) {
                Some(message) if message.topic == STATE => return None,
                Some(_) => {}
                None => return Some(()),
            }
        }
    });
}

#[test]
fn an_image_comes_when_it_is_asked_for_and_now_and_then_while_the_camera_is_open() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let (mut listener, service) = (rig.listener(), rig.publish("snapshot_s = 0.2"));
    until_subscribed(&mut listener);
    let asked_at = now_ns();
    listener.publish("porthole/edge/front/image/get", b"");
    let image = listener.message_to(IMAGE);
    decode(&image.payload);
    assert!(Stamp::of(&image.payload).monotonic_ns > asked_at, "an old picture");
    service.until_camera_is("idle");
    assert_eq!(rig.openings(), 1);
    let mut viewer = Client::porthole(service.address, "/ws");
    let mut numbers = vec![];
    while numbers.len() < 3 {
        viewer.acknowledged();
        if let Some(message) = listener.message_within(Duration::from_millis(1))
            && message.topic == IMAGE
        {
            numbers.push(Stamp::of(&message.payload).number);
        }
    }
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    drop(viewer);
    service.until_camera_is("idle");
    assert_eq!(rig.openings(), 2, "images keep no camera open, and open none");
}

#[test]
fn without_snapshots_an_unwatched_camera_stays_closed_and_a_watched_one_sends_no_images() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let (mut listener, service) = (rig.listener(), rig.publish(""));
    until_state(&mut listener, |_| true);
    until_state_rests(&mut listener);
    assert_eq!(rig.openings(), 0);
    let mut viewer = Client::porthole(service.address, "/ws");
    for _ in 0..40 {
        viewer.acknowledged();
    }
    while let Some(message) = listener.message_within(Duration::from_millis(1)) {
        assert!(![IMAGE, LIVE].contains(&message.topic.as_str()), "{}", message.topic);
    }
}

#[test]
fn the_camera_is_open_while_a_front_end_wants_it_and_closes_by_itself() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let (mut listener, service) = (rig.listener(), rig.publish(""));
    until_subscribed(&mut listener);
    let began = Instant::now();
    watch(&mut listener, "one", 4.0);
    watch(&mut listener, "two", 6.0);
    listener.message_to(LIVE);
    until("both count", || (service.state()["mqtt"]["watchers"] == 2).then_some(()));
    service.until_camera_is("idle");
    let open = began.elapsed();
    assert!(open > Duration::from_millis(5900) && open < Duration::from_secs(20), "{open:?}");
    assert_eq!(rig.openings(), 1);
    // The way of a front end to compare the clocks.
    let asked = json!({ "viewer": "one", "seconds": 0, "t": 7 });
    listener.publish(WATCH, asked.to_string().as_bytes());
    let answer = parsed(&listener.message_to("porthole/edge/front/watch/one"));
    let now = now_ns() / 1000;
    assert!(answer["t"] == 7 && now.abs_diff(answer["now"].as_u64().unwrap()) < 1_000_000, "{answer}");
}

#[test]
fn controls_are_set_by_the_rules_of_put_and_all_changes_are_told() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let (mut listener, service) = (rig.listener(), rig.publish(""));
    let control = |name: &str| format!("porthole/edge/front/control/{name}");
    listener.message_to(&control("brightness"));
    let set = |session: &mut Session, name: &str, value: &str| {
        session.publish(&format!("{}/set", control(name)), value.as_bytes());
    };
    set(&mut listener, "brightness", "77");
    assert_eq!(listener.message_to(&control("brightness")).payload, b"77");
    set(&mut listener, "auto_exposure", "manual mode");
    assert_eq!(listener.message_to(&control("auto_exposure")).payload, b"1");
    set(&mut listener, "brightness", r#"{"value": 78}"#);
    assert_eq!(listener.message_to(&control("brightness")).payload, b"78");
    let answer = put(service.address, "/controls/brightness", r#"{"value": 79}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(listener.message_to(&control("brightness")).payload, b"79");
    for (name, value, why) in [
        ("brightness", "256", "must be a number from 0 to 255"),
        ("no_such_thing", "1", "there is no control"),
        ("auto_focus_status", "1", "is read only"),
        ("brightness", "[1]", "it must be a number"),
    ] {
        set(&mut listener, name, value);
        service.until_logged(why);
    }
    assert_eq!(metric(&service, "refused_total"), 4.0);
    assert_eq!(rig.openings(), 0, "the camera is not opened for its controls");
}

#[test]
fn messages_that_make_no_sense_are_refused_once_in_words_and_counted() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let (mut listener, service) = (rig.listener(), rig.publish(""));
    until_subscribed(&mut listener);
    listener.publish(WATCH, b"yes");
    listener.publish(WATCH, b"yes");
    listener.publish("porthole/edge/back/watch", br#"{"viewer":"a","seconds":1}"#);
    listener.publish(WATCH, &vec![b' '; 300 * 1024]);
    until("all are counted", || (metric(&service, "refused_total") == 3.0).then_some(()));
    let log = service.log();
    assert_eq!(log.matches("must be JSON like").count(), 1, "{log}");
    assert!(log.contains("a message of 307"), "{log}");
    // What was kept from before would open the camera at every connection.
    listener.retain(WATCH, br#"{"viewer":"a","seconds":60}"#);
    drop(service);
    let before = rig.openings();
    let service = rig.publish("");
    service.until_logged("publish it without retain");
    assert_eq!((service.camera()["state"].clone(), rig.openings()), (json!("idle"), before));
}

#[test]
fn mistakes_in_the_configuration_are_told_with_their_line() {
    let scratch = Scratch::new();
    for (lines, key, why) in [
        ("url = \"http://broker\"", "url", "write mqtt://HOST"),
        ("url = \"mqtt://broker/topic\"", "url", "must have no path; the topic is the key topic"),
        ("url = \"mqtt://me:secret@broker:0\"", "url", "has a port that is not 1 to 65535"),
        ("topic = \"a/#\"", "topic", "must be a topic like"),
        ("snapshot_s = -1", "snapshot_s", "must be 0 to 86400 seconds"),
        ("user = \"me\"", "user", "needs url beside it"),
        ("password_file = \"/p\"", "password_file", "needs user beside it"),
        ("ca = \"/ca.pem\"", "ca", "needs TLS"),
        ("client_key = \"/k.pem\"", "client_key", "needs client_certificate beside it"),
        ("broker = \"x\"", "broker", "unknown key `broker`, expected one of `url`"),
    ] {
        let file = scratch.file("porthole.toml", format!("[mqtt]\n{lines}\n"));
        let file = file.to_str().unwrap();
        let (code, _, error) = run(&["check", "--config", file]);
        assert!(code == 1 && error.contains(&format!("{file}:2: ")), "{lines}: {error}");
        assert!(error.contains(why) && error.contains(key) && !error.contains("secret"), "{lines}: {error}");
    }
    let file = scratch.file("porthole.toml", "[mqtt]\nurl = \"mqtt://me:secret@broker\"\n");
    let (code, shown, error) = run(&["check", "--config", file.to_str().unwrap()]);
    assert!(code == 0 && shown.contains("mqtt://me:***@broker"), "{shown}{error}");
}
