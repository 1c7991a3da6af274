//! What Home Assistant is told at the broker, and when. `tests/home_assistant` shows what it makes of it.

use serde_json::{Value, json};

use support::mqtt::Session;
use support::{run, until};

use crate::mqtt::{ANYBODY, Rig};

const FRONT: &str = "homeassistant/device/porthole_edge/front/config";

/// A session of this name that sees what is announced.
fn listener(rig: &Rig, name: &str) -> Session {
    let mut session = Session::connect(rig.broker.address, name);
    assert!(session.subscribe("+/#"));
    session
}

/// The next announcement that has the entities of controls.
fn with_controls(session: &mut Session, topic: &str) -> Value {
    until("the controls are announced", || {
        let message: Value = serde_json::from_slice(&session.message_to(topic).payload).ok()?;
        Some(message).filter(|message| message["cmps"]["control_brightness"].is_object())
    })
}

#[test]
fn cameras_are_announced_and_again_when_home_assistant_has_started() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let mut session = listener(&rig, "home-assistant");
    let _service = rig.publish("");
    let announced = with_controls(&mut session, FRONT);
    assert_eq!(announced["dev"]["ids"], json!(["porthole_edge/front"]));
    assert_eq!(
        announced["dev"].get("cu"),
        None,
        "others cannot open a page that is served to this machine alone"
    );
    assert_eq!(announced["avty_t"], "porthole/edge/status");
    assert_eq!(announced["cmps"]["camera"]["t"], "porthole/edge/front/image");
    session.publish("homeassistant/status", b"online");
    assert_eq!(with_controls(&mut session, FRONT), announced);
    let kept = listener(&rig, "later").message_to(FRONT);
    assert!(kept.is_retained);
    assert_eq!(serde_json::from_slice::<Value>(&kept.payload).unwrap(), announced);
}

#[test]
fn what_was_announced_before_a_restart_is_taken_back() {
    let Some(rig) = Rig::new(ANYBODY) else { return };
    let mut session = listener(&rig, "home-assistant");
    let mut service = rig.publish("");
    let announced = with_controls(&mut session, FRONT);
    assert_eq!(service.stop(), Some(0));

    let mut service = rig.publish("discovery = false");
    let removal = until("the entities are taken back", || {
        let message: Value = serde_json::from_slice(&session.message_to(FRONT).payload).ok()?;
        Some(message["cmps"].as_object()?.clone())
            .filter(|entities| entities["camera"] == json!({ "p": "camera" }))
    });
    assert!(removal.values().all(|entity| entity.as_object().unwrap().len() == 1), "{removal:?}");
    assert!(removal.keys().eq(announced["cmps"].as_object().unwrap().keys()), "each is named: {removal:?}");
    assert_eq!(session.message_to(FRONT).payload, b"");
    assert_eq!(service.stop(), Some(0));

    let _service = rig.publish("discovery_prefix = \"home/ha\"");
    with_controls(&mut session, "home/ha/device/porthole_edge/front/config");
}

#[test]
fn a_prefix_that_is_no_topic_is_told() {
    let scratch = support::Scratch::new();
    for prefix in ["", "/home", "home/", "home/#", "+", "$SYS"] {
        let text = format!("[mqtt]\nurl = \"mqtt://broker.example\"\ndiscovery_prefix = \"{prefix}\"\n");
        let file = scratch.file("porthole.toml", text);
        let (code, _, error) = run(&["check", "--config", file.to_str().unwrap()]);
        assert_eq!(code, 1, "{prefix:?}: {error}");
        let why = format!("discovery_prefix = {prefix:?}: must be a topic like \"homeassistant\"");
        assert!(error.contains(&why), "{prefix:?}: {error}");
    }
}
