//! The controls of a camera: listed, set, remembered.

use serde_json::{Value, json};

use support::fakecam::{Camera, Counter, Setting, Table, hang};
use support::http::{Response, get, put};
use support::ws::Client;
use support::{Porthole, Scratch, proc_status, until};

const NODE: &str = "/dev/video90";
const BRIGHTNESS: u32 = 0x98_0900;
const CONTRAST: u32 = 0x98_0901;
const AUTO_EXPOSURE: u32 = 0x9a_0901;
const EXPOSURE_TIME: u32 = 0x9a_0902;

struct Rig {
    table: Table,
    camera: Camera,
    scratch: Scratch,
}

impl Rig {
    fn new() -> Self {
        let scratch = Scratch::new();
        let table = Table::create(scratch.path("table")).unwrap();
        let camera = Camera::new(NODE, &table).with("formats", "MJPG:640x480@30");
        Self { table, camera, scratch }
    }

    /// Serves the camera with more lines in its part of the configuration.
    #[track_caller]
    fn serve(&self, more: &str) -> Porthole {
        let state = self.scratch.path("state");
        let text =
            format!("[server]\nstate_dir = {state:?}\n[[camera]]\nsource = \"{NODE}\"\nlinger_s = 0\n{more}");
        let file = self.scratch.file("porthole.toml", text);
        Porthole::with_cameras(std::slice::from_ref(&self.camera), &["--config", file.to_str().unwrap()])
    }
}

fn list(service: &Porthole) -> Vec<Value> {
    let answer = get(service.address, "/controls");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let all: Value = serde_json::from_slice(&answer.body).unwrap();
    all["controls"].as_array().unwrap().clone()
}

fn find(all: &[Value], name: &str) -> Value {
    all.iter()
        .find(|control| control["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {all:?}"))
        .clone()
}

#[test]
fn all_are_listed_with_type_range_default_value_and_menu() {
    let rig = Rig::new();
    let service = rig.serve("");
    let all = list(&service);
    let brightness = find(&all, "brightness");
    for (key, value) in [
        ("type", json!("integer")),
        ("label", json!("Brightness")),
        ("minimum", json!(0)),
        ("maximum", json!(255)),
        ("step", json!(1)),
        ("default", json!(128)),
        ("value", json!(128)),
        ("read_only", json!(false)),
        ("inactive", json!(false)),
    ] {
        assert_eq!(brightness[key], value, "{key}");
    }
    let menu = json!([{"value": 1, "label": "Manual Mode"}, {"value": 3, "label": "Aperture Priority Mode"}]);
    assert_eq!(find(&all, "auto_exposure")["menu"], menu);
    let types: Vec<&str> = all.iter().map(|control| control["type"].as_str().unwrap()).collect();
    for kind in ["integer", "integer64", "boolean", "menu", "integer_menu", "button", "bitmask", "other"] {
        assert!(types.contains(&kind), "no {kind} among {types:?}");
    }
    assert_eq!(find(&all, "exposure_time_absolute")["inactive"], true);
    assert_eq!(find(&all, "auto_focus_status")["read_only"], true);
    assert_eq!(find(&all, "pan_relative")["value"], Value::Null, "it can only be written");
    let first = get(service.address, "/cameras/camera/controls");
    assert_eq!(first.body, get(service.address, "/controls").body);
}

#[test]
fn each_kind_can_be_set_with_and_without_a_viewer() {
    let rig = Rig::new();
    let service = rig.serve("");
    let mut viewer = None;
    for (name, value, stands) in [
        ("brightness", "200", json!(200)),
        ("white_balance_automatic", "false", json!(0)),
        ("power_line_frequency", "\"50 Hz\"", json!(1)),
        ("power_line_frequency", "2", json!(2)),
        ("auto_exposure_bias", "4", json!(4)),
        ("integer_64_bits", "-9000000000000000000", json!(-9_000_000_000_000_000_000i64)),
        ("3a_lock", "5", json!(5)),
        ("auto_focus_start", "true", Value::Null),
    ] {
        let answer = put(service.address, &format!("/controls/{name}"), &format!("{{\"value\": {value}}}"));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let control: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&control["name"], &control["value"]), (&json!(name), &stands));
        assert_eq!(find(&list(&service), name)["value"], stands);
        viewer.get_or_insert_with(|| Client::porthole(service.address, "/ws")).acknowledged();
    }
    assert_eq!(rig.table.counter(Counter::Presses), 1);
}

#[test]
fn what_cannot_be_is_answered_with_the_reason() {
    let rig = Rig::new();
    let service = rig.serve("");
    for (name, body, status, why) in [
        ("gian", "{\"value\":1}", 404, "there is no control \\\"gian\\\"; there is brightness, contrast"),
        ("brightness", "{\"value\":256}", 422, "brightness = 256: must be a number from 0 to 255"),
        ("brightness", "{\"value\":true}", 422, "brightness = true: must be a number from 0 to 255"),
        ("auto_exposure", "{\"value\":2}", 422, "must be one of 1 Manual Mode, 3 Aperture Priority Mode"),
        ("3a_lock", "{\"value\":8}", 422, "must be bits of 0x7"),
        ("white_balance_automatic", "{\"value\":7}", 422, "must be true or false"),
        ("auto_exposure_bias", "{\"value\":5}", 422, "must be one of 0 -2000, 1 -1000, 2 0, 3 1000, 4 2000"),
        ("power_line_frequency", "{\"value\":\"55 Hz\"}", 422, "must be one of 0 Disabled, 1 50 Hz, 2 60 Hz"),
        (
            "integer_64_bits",
            "{\"value\":\"many\"}",
            422,
            "integer_64_bits = \\\"many\\\": must be a number from",
        ),
        ("3a_lock", "{\"value\":-1}", 422, "must be bits of 0x7"),
        ("brightness", "{\"value\":1.5}", 400, "the body must be {\\\"value\\\": ...}"),
        ("integer_64_bits", "{\"value\":9223372036854775808}", 400, "the body must be {\\\"value\\\": ...}"),
        ("serial_number", "{\"value\":\"FK\"}", 403, "serial_number is read only"),
        ("auto_focus_status", "{\"value\":1}", 403, "auto_focus_status is read only"),
        (
            "exposure_time_absolute",
            "{\"value\":100}",
            409,
            "has no effect while the camera sets it by itself",
        ),
        ("brightness", "{\"valeu\":1}", 400, "the body must be {\\\"value\\\": ...}"),
        ("brightness", "100", 400, "the body must be"),
        ("brightness", "", 400, "the body must be"),
    ] {
        let answer = put(service.address, &format!("/controls/{name}"), body);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/json")),
            "{name} {body}"
        );
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(
            answer.text().contains(why) && error["error"].is_string(),
            "{name} {body}: {}",
            answer.text()
        );
    }
    let long = format!("{{\"value\":{}1}}", " ".repeat(5000));
    assert_eq!(put(service.address, "/controls/brightness", &long).status, 400);
    assert_eq!(get(service.address, "/controls/brightness").status, 405);
    assert_eq!(put(service.address, "/state", "{}").status, 405);
    let pattern = Porthole::start(&["--source", "pattern"]);
    assert_eq!(get(pattern.address, "/controls").text(), "{\"controls\":[]}");
    let none = put(pattern.address, "/controls/gain", "{\"value\":1}");
    assert!(none.status == 404 && none.text().contains("as this source has no controls"), "{}", none.text());
}

#[test]
fn what_is_configured_is_set_whenever_the_camera_is_opened() {
    let rig = Rig::new();
    // In the wrong order: the time has no effect before automatic exposure is off.
    let service = rig.serve(
        "[camera.controls]\nexposure_time_absolute = 77\nauto_exposure = \"Manual Mode\"\nbrightness = 11\ngain = 900\n",
    );
    let set = || [EXPOSURE_TIME, AUTO_EXPOSURE, BRIGHTNESS].map(|id| rig.table.control(id).unwrap());
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..3 {
        client.acknowledged();
        until("the controls are set", || (set() == [77, 1, 11]).then_some(()));
        // Pulling the plug makes the camera forget.
        rig.table.set(Setting::Unplug, 1);
        service.until_camera_is("lost");
        rig.table.set(Setting::Unplug, 0);
        service.until_camera_is("live");
    }
    service.until_logged("control not set: gain = 900: must be a number from 0 to 255");
}

#[test]
fn what_a_viewer_set_outlives_the_plug_and_if_wanted_the_service() {
    let rig = Rig::new();
    let config = "keep_controls = true\n[camera.controls]\nbrightness = 11\ncontrast = 22\n";
    let mut service = rig.serve(config);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    assert_eq!(put(service.address, "/controls/brightness", "{\"value\":99}").status, 200);
    let set = || [BRIGHTNESS, CONTRAST].map(|id| rig.table.control(id).unwrap());
    assert_eq!(set(), [99, 22]);
    let replug = |service: &Porthole| {
        rig.table.set(Setting::Unplug, 1);
        service.until_camera_is("lost");
        rig.table.set(Setting::Unplug, 0);
        service.until_camera_is("live");
        until("the controls are set", || (set() == [99, 22]).then_some(()));
    };
    replug(&service);
    assert_eq!(service.stop(), Some(0));
    let service = rig.serve(config);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    replug(&service);
    drop(service);
    let forgetful = rig.serve("[camera.controls]\nbrightness = 11\n");
    Client::porthole(forgetful.address, "/ws").acknowledged();
    assert_eq!(rig.table.control(BRIGHTNESS), Some(11));
}

#[test]
fn a_camera_that_is_not_there_says_so() {
    let rig = Rig::new();
    rig.table.set(Setting::Unplug, 1);
    let service = rig.serve("");
    for answer in [get(service.address, "/controls"), put(service.address, "/controls/gain", "{\"value\":1}")]
    {
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains("/dev/video90: no such device"), "{}", answer.text());
    }
}

#[test]
fn requests_for_controls_wait_for_each_other() {
    let rig = Rig::new();
    let service = rig.serve("");
    let address = service.address;
    let at_once = |request: &(dyn Fn(u32) -> Response + Sync)| {
        std::thread::scope(|scope| {
            let asked: Vec<_> = (0..20).map(|i| scope.spawn(move || request(i))).collect();
            asked.into_iter().map(|answer| answer.join().unwrap()).collect::<Vec<_>>()
        })
    };
    for answer in at_once(&|_| get(address, "/controls")) {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for answer in at_once(&|i| put(address, "/controls/brightness", &format!("{{\"value\": {i}}}"))) {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn a_step_of_a_slider_costs_three_ioctls() {
    let rig = Rig::new();
    let service = rig.serve("");
    list(&service);
    let count = |value: &str, name: &str| {
        let before = rig.table.counter(Counter::Ioctls);
        let answer = put(service.address, &format!("/controls/{name}"), &format!("{{\"value\": {value}}}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        rig.table.counter(Counter::Ioctls) - before
    };
    for value in ["10", "11", "12"] {
        let ioctls = count(value, "brightness");
        println!("{ioctls} ioctls for a step");
        assert!(ioctls <= 3, "{ioctls} ioctls for a step");
        assert_eq!(rig.table.control(BRIGHTNESS).unwrap().to_string(), value);
    }
    // What was inactive in the list that is kept can be set once it is not.
    count("1", "auto_exposure");
    count("99", "exposure_time_absolute");
    count("3", "auto_exposure");
    assert_eq!(put(service.address, "/controls/exposure_time_absolute", "{\"value\": 9}").status, 409);
}

#[test]
fn the_controls_of_another_camera_in_its_place_are_read_again() {
    let rig = Rig::new();
    let table = Table::create(rig.scratch.path("other")).unwrap();
    table.set(Setting::Unplug, 1);
    table.set(Setting::Renumber, 90);
    let other = Camera::new("/dev/video91", &table).with("card", "Other").with("bus", "usb-other");
    let cameras = [rig.camera.clone(), other];
    let service = Porthole::with_cameras(&cameras, &["--source", NODE]);
    let set = || put(service.address, "/controls/brightness", "{\"value\": 5}").status;
    assert_eq!(set(), 200);
    rig.table.set(Setting::Unplug, 1);
    table.set(Setting::Unplug, 0);
    assert_eq!(set(), 200);
    assert!(table.counter(Counter::Ioctls) > 20, "the list of the other camera was used");
    assert_eq!(table.control(BRIGHTNESS), Some(5));
}

#[test]
fn requests_behind_a_driver_that_hangs_time_out_and_hold_no_thread() {
    let rig = Rig::new();
    let mut service = rig.serve("");
    rig.table.set(Setting::HangMs, 600_000);
    rig.table.set(Setting::HangWhere, hang::OPEN);
    let address = service.address;
    let before = proc_status(service.pid(), "Threads");
    let stuck = std::thread::spawn(move || get(address, "/controls"));
    until("it hangs", || (rig.table.counter(Counter::Hangs) > 0).then_some(()));
    let queued: Vec<_> = (0..5).map(|_| std::thread::spawn(move || get(address, "/controls"))).collect();
    let stuck = stuck.join().unwrap();
    assert!(stuck.status == 503 && stuck.text().contains("has not answered within 5 s"), "{}", stuck.text());
    for queued in queued {
        let answer = queued.join().unwrap();
        assert!(answer.status == 503 && answer.text().contains("another request"), "{}", answer.text());
    }
    assert_eq!(rig.table.counter(Counter::Hangs), 1, "another request called the driver");
    assert!(proc_status(service.pid(), "Threads") <= before + 1);
    assert_eq!(get(address, "/state").status, 200);
    service.signal(libc::SIGTERM);
    service.wait();
}
