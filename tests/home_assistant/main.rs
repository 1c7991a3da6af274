//! Home Assistant's own core, of the release that `requirements.txt` names, finds the cameras of the real program through
//! mosquitto: it takes every message, each of its entities follows the camera, and what it sets reaches the camera.
//!
//! `scripts/home-assistant` brings it and calls this; on its own this does nothing.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use support::fakecam::{Counter, Setting};
use support::http::{get, put};
use support::ws::Client;
use support::{Porthole, until};

use rig::Rig;

/// What every camera has, by the end of the unique ID.
const ENTITIES: [&str; 9] =
    ["camera", "corrupt", "delay", "fresh_image", "on_air", "problem", "rate", "version", "viewers"];

/// The controls of the fake camera that can be set, each with what it is in Home Assistant.
const CONTROLS: [(&str, &str); 14] = [
    ("3a_lock", "number"),
    ("auto_exposure", "select"),
    ("auto_exposure_bias", "select"),
    ("auto_focus_start", "button"),
    ("brightness", "number"),
    ("contrast", "number"),
    ("exposure_time_absolute", "number"),
    ("gain", "number"),
    ("integer_64_bits", "number"),
    ("pan_relative", "number"),
    ("power_line_frequency", "select"),
    ("saturation", "number"),
    ("white_balance_automatic", "switch"),
    ("white_balance_temperature", "number"),
];

/// All entities of the fake camera, in order.
fn all_entities() -> Vec<String> {
    let controls = CONTROLS.map(|(name, _)| format!("control_{name}"));
    let mut all: Vec<_> = ENTITIES.map(ToOwned::to_owned).into_iter().chain(controls).collect();
    all.sort();
    all
}

/// A viewer that takes every frame, until it is dropped.
struct Watching {
    leaves: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    fn begin(service: &Porthole) -> Self {
        let leaves = Arc::new(AtomicBool::new(false));
        let (mut client, has_left) = (Client::porthole(service.address, "/ws"), Arc::clone(&leaves));
        let watch = move || {
            while !has_left.load(Relaxed) {
                client.acknowledged();
            }
        };
        Self { leaves, thread: Some(std::thread::spawn(watch)) }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.leaves.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the viewer was cut off");
    }
}

/// What Home Assistant shows as a number.
fn number(state: &Value) -> Option<f64> {
    state["state"].as_str()?.parse().ok()
}

fn control(service: &Porthole, name: &str) -> Value {
    let all: Value = serde_json::from_slice(&get(service.address, "/controls").body).unwrap();
    let controls = all["controls"].as_array().unwrap();
    controls.iter().find(|control| control["name"] == name).unwrap()["value"].clone()
}

#[test]
fn a_camera_appears_with_its_entities() {
    let Some(rig) = Rig::start() else { return };
    let _service = rig.serve("");
    let core = rig.home_assistant();
    core.until_entities("front", &all_entities());
    for (control, kind) in CONTROLS {
        let id = core.entity("front", &format!("control_{control}"));
        assert!(id.starts_with(&format!("{kind}.")), "{control} is {id}");
    }
    let brightness = core.state("front", "control_brightness");
    assert_eq!(
        (&brightness["min"], &brightness["max"], &brightness["step"]),
        (&json!(0.0), &json!(255.0), &json!(1.0))
    );
    let menu = core.state("front", "control_auto_exposure");
    assert_eq!(menu["options"], json!(["Manual Mode", "Aperture Priority Mode"]));

    let devices = core.ask(json!({ "ask": "devices" }));
    let devices = devices.as_array().unwrap();
    assert_eq!(devices.len(), 1, "{devices:?}");
    assert_eq!(devices[0]["identifiers"], json!(["porthole_nest/front"]));
    assert_eq!(devices[0]["sw_version"], env!("CARGO_PKG_VERSION"));
    let url = devices[0]["configuration_url"].as_str().unwrap();
    assert!(url.starts_with("http://") && !url.contains("token"), "{url}");
    core.had_nothing_to_complain_about();
}

#[test]
fn every_entity_follows_the_camera() {
    let Some(rig) = Rig::start() else { return };
    let service = rig.serve("");
    let core = rig.home_assistant();
    let until_is = |name: &str, what: &str, is: &dyn Fn(&Value) -> bool| {
        core.until_state("front", name, what, is);
    };
    let text = |wanted: &'static str| move |state: &Value| state["state"] == wanted;
    until_is("version", "the version", &text(env!("CARGO_PKG_VERSION")));
    until_is("on_air", "off", &text("off"));
    until_is("problem", "off", &text("off"));
    until_is("viewers", "0", &text("0"));
    until_is("delay", "unknown", &text("unknown"));
    until_is("corrupt", "0", &text("0"));

    let viewer = Watching::begin(&service);
    until_is("on_air", "on", &text("on"));
    until_is("viewers", "1", &text("1"));
    until_is("rate", "near 30", &|state| number(state).is_some_and(|fps| fps > 20.0));
    until_is("delay", "a time", &|state| number(state).is_some_and(|ms| (0.0..10_000.0).contains(&ms)));
    rig.table.set(Setting::TruncateEvery, 5);
    until_is("corrupt", "several", &|state| number(state).is_some_and(|frames| frames > 2.0));
    rig.table.set(Setting::TruncateEvery, 0);

    rig.table.set(Setting::Unplug, 1);
    until_is("problem", "on, with the reason", &|state| {
        state["state"] == "on" && state["reason"].as_str().is_some_and(|why| why.contains(rig::NODE))
    });
    until_is("rate", "0", &|state| number(state) == Some(0.0));
    rig.table.set(Setting::Unplug, 0);
    until_is("problem", "off again", &text("off"));
    until_is("on_air", "on again", &text("on"));
    drop(viewer);
    until_is("viewers", "0 again", &text("0"));
    until_is("on_air", "off again", &text("off"));
    until_is("delay", "unknown again", &text("unknown"));

    let mut service = service;
    assert_eq!(service.stop(), Some(0));
    until_is("on_air", "unavailable", &text("unavailable"));
    core.had_nothing_to_complain_about();
}

#[test]
fn what_home_assistant_sets_reaches_the_camera_and_the_other_way_round() {
    let Some(rig) = Rig::start() else { return };
    let service = rig.serve("");
    let core = rig.home_assistant();
    core.until_state("front", "control_brightness", "its value", |state| number(state) == Some(128.0));
    for (name, action, data, stands, shown) in [
        ("brightness", "number.set_value", json!({ "value": 200 }), json!(200), "200"),
        ("white_balance_automatic", "switch.turn_off", json!({}), json!(0), "off"),
        ("white_balance_automatic", "switch.turn_on", json!({}), json!(1), "on"),
        ("power_line_frequency", "select.select_option", json!({ "option": "50 Hz" }), json!(1), "50 Hz"),
        (
            "auto_exposure",
            "select.select_option",
            json!({ "option": "Manual Mode" }),
            json!(1),
            "Manual Mode",
        ),
        ("3a_lock", "number.set_value", json!({ "value": 5 }), json!(5), "5"),
        // Has an effect since Manual Mode is set.
        ("exposure_time_absolute", "number.set_value", json!({ "value": 77 }), json!(77), "77"),
    ] {
        let entity = format!("control_{name}");
        core.call("front", &entity, action, data);
        until(&format!("{name} is {stands}"), || (control(&service, name) == stands).then_some(()));
        core.until_state("front", &entity, shown, |state| {
            state["state"] == shown || number(state).is_some_and(|n| Some(n) == shown.parse().ok())
        });
    }
    core.call("front", "control_auto_focus_start", "button.press", json!({}));
    until("the button is pressed", || (rig.table.counter(Counter::Presses) == 1).then_some(()));

    assert_eq!(put(service.address, "/controls/contrast", "{\"value\": 99}").status, 200);
    core.until_state("front", "control_contrast", "what another one set", |state| {
        number(state) == Some(99.0)
    });
    core.had_nothing_to_complain_about();
}

#[test]
fn a_fresh_image_is_taken_when_it_is_asked_for() {
    let Some(rig) = Rig::start() else { return };
    let service = rig.serve("");
    let core = rig.home_assistant();
    core.until_state("front", "on_air", "off", |state| state["state"] == "off");
    assert_eq!(rig.table.counter(Counter::Streamons), 0, "nobody watches, so the camera is closed");
    core.call("front", "fresh_image", "button.press", json!({}));
    let image = until("there is an image", || core.image("front"));
    assert!(image.starts_with(&[0xff, 0xd8]) && image.ends_with(&[0xff, 0xd9]), "a JPEG as it is");
    service.until_camera_is("idle");
    core.had_nothing_to_complain_about();
}

#[test]
fn cameras_come_back_with_the_same_names_after_a_restart_of_either_side() {
    let Some(rig) = Rig::start() else { return };
    let mut service = rig.serve("");
    let core = rig.home_assistant();
    core.until_entities("front", &all_entities());
    let id = core.entity("front", "control_brightness");
    core.call("front", "control_brightness", "number.set_value", json!({ "value": 7 }));
    core.until_state("front", "control_brightness", "7", |state| number(state) == Some(7.0));

    core.stop();
    // As when the broker has lost what it kept: the message comes only because Home Assistant says that it is there.
    rig.forget("homeassistant/device/porthole_nest/front/config");
    let core = rig.home_assistant();
    core.until_state("front", "control_brightness", "7 again", |state| number(state) == Some(7.0));
    core.until_entities("front", &all_entities());
    assert_eq!(core.entity("front", "control_brightness"), id);

    service.stop();
    core.until_state("front", "viewers", "unavailable", |state| state["state"] == "unavailable");
    let _service = rig.serve("");
    core.until_state("front", "viewers", "0", |state| state["state"] == "0");
    core.until_entities("front", &all_entities());
    assert_eq!(core.entity("front", "control_brightness"), id);
    core.had_nothing_to_complain_about();
}

#[test]
fn what_is_taken_out_of_the_configuration_goes_from_home_assistant() {
    let Some(rig) = Rig::start() else { return };
    let back = "[[camera]]\nname = \"back\"\nsource = \"pattern\"\n";
    let mut service = rig.serve(back);
    let core = rig.home_assistant();
    core.until_entities("front", &all_entities());
    // A source without controls.
    core.until_entities("back", &ENTITIES);

    service.stop();
    let mut service = rig.serve("");
    core.until_entities("back", &[""; 0]);
    core.until_state("front", "viewers", "0", |state| state["state"] == "0");
    service.stop();
    let _service = rig.serve_with("discovery = false", "");
    core.until_entities("front", &[""; 0]);
    until("no device is left", || (core.ask(json!({ "ask": "devices" })) == json!([])).then_some(()));
}
