//! Cameras that go, come back, come late, stall, are taken by somebody else, or are none.

use crate::guest::{Guest, Service};
use crate::viewer::Viewer;
use support::browser::Browser;
use support::http::get;
use support::until;
use support::ws::Frame;

const VGA: (u16, u16) = (640, 480);
/// From plugging in to the first frame a viewer is sent, by the guest's clock.
const BACK_WITHIN_US: u64 = 3_000_000;

fn usb(node: &str) -> String {
    format!("[[camera]]\nsource = \"{node}\"\nwidth = 640\nheight = 480\nfps = 15\n")
}

/// The first frame that a viewer has who waits for one captured after this moment of the guest's clock.
#[track_caller]
fn first_after(viewer: &Viewer, plugged_us: u64) -> Frame {
    viewer.until("frames come again", |frame| frame.captured_at > plugged_us)
}

#[track_caller]
fn error(service: &Service<'_>, state: &str) -> String {
    service.until_camera_is(state)["error"].as_str().expect("a reason").to_owned()
}

#[track_caller]
fn viewers(service: &Service<'_>) -> usize {
    service.camera()["viewers"].as_array().unwrap().len()
}

pub fn an_unplugged_camera_comes_back_by_itself(guest: &Guest) {
    for camera in [guest.isochronous(), guest.bulk()] {
        let node = camera.plug();
        let service = guest.serve(&usb(&node));
        let viewer = service.viewer();
        viewer.watch(5, VGA);
        camera.unplug();
        assert!(error(&service, "lost").starts_with(&node));
        assert_eq!(get(service.address, "/healthz").status, 503);
        assert_eq!(service.video_descriptors(), 0, "it holds on to a camera that is gone");
        assert_eq!(camera.plug(), node);
        let plugged = camera.plugged_at_us();
        let took = first_after(&viewer, plugged).sent_at - plugged;
        assert!(took < BACK_WITHIN_US, "it took {took} us");
        let state = service.until_camera_is("live");
        assert_eq!((&state["reopens"], &state["error"]), (&1.into(), &serde_json::Value::Null));
        assert_eq!(viewers(&service), 1, "the viewer was not kept");
        guest.reset();
    }
}

pub fn it_is_followed_to_another_number(guest: &Guest) {
    let camera = guest.isochronous();
    let node = camera.plug();
    let service = guest.serve(&usb(&node));
    let viewer = service.viewer();
    viewer.watch(5, VGA);
    // While somebody has the old node open the kernel does not give its number away again.
    guest.run(&format!("sleep 1000 <{node} >/dev/null 2>&1 &"));
    camera.unplug();
    service.until_camera_is("lost");
    let moved = camera.plug();
    assert_ne!(moved, node);
    let plugged = camera.plugged_at_us();
    let took = first_after(&viewer, plugged).sent_at - plugged;
    assert!(took < BACK_WITHIN_US, "it took {took} us");
    assert!(service.log().contains(&format!("opened {moved} (Test Camera")), "{}", service.log());
    assert_eq!(service.until_camera_is("live")["source"], node.as_str());
}

pub fn another_camera_of_the_same_kind_is_not_shown_instead(guest: &Guest) {
    let (camera, twin) = (guest.isochronous(), guest.bulk());
    let (node, other) = (camera.plug(), twin.plug());
    let service = guest.serve(&usb(&node));
    let viewer = service.viewer();
    viewer.watch(5, VGA);
    let starts = twin.status().get("starts");
    camera.unplug();
    assert!(error(&service, "lost").starts_with(&node));
    camera.plug();
    viewer.watch(5, VGA);
    assert_eq!(twin.status().get("starts"), starts, "{other} was opened instead");
}

pub fn fifty_losses_leave_nothing_behind(guest: &Guest) {
    const CYCLES: i64 = 50;
    const SETTLED: i64 = 5;
    // Each of the four buffers is mapped by rscam, and once more when it is filled for the first time.
    const MOST_MAPPINGS: u64 = 8;
    let camera = guest.isochronous();
    let node = camera.plug();
    let service = guest.serve(&usb(&node));
    let viewer = service.viewer();
    viewer.watch(3, VGA);
    let mut before = None;
    for cycle in 1..=CYCLES {
        // One command: a plug with a bad contact.
        let script = "c='uvc-camera tell /run/isochronous'; $c unplug && $c plug";
        guest.run(script);
        first_after(&viewer, camera.plugged_at_us());
        if cycle == SETTLED {
            before = Some((service.footprint(), camera.footprint()));
        }
    }
    let (service_before, camera_before) = before.unwrap();
    assert_eq!(service.until_camera_is("live")["reopens"], CYCLES);
    assert_eq!(viewers(&service), 1, "the viewer was not kept");
    let (now, camera_now) = (service.footprint(), camera.footprint());
    assert_eq!(now.descriptors, service_before.descriptors);
    assert_eq!(now.threads, service_before.threads);
    assert!((1..=MOST_MAPPINGS).contains(&now.camera_mappings), "{now:?}");
    assert!(now.own_kib <= service_before.own_kib + 512, "{service_before:?}, then {now:?}");
    // And the camera itself, or its next fifty would be another test.
    assert_eq!(camera_now.descriptors, camera_before.descriptors);
    assert_eq!(camera_now.threads, camera_before.threads);
    assert_eq!(guest.kernel_faults(), "");
}

pub fn a_camera_that_comes_late_is_found(guest: &Guest) {
    let camera = guest.isochronous();
    let node = camera.plug();
    camera.unplug();
    let service = guest.serve(&usb(&node));
    let viewer = service.viewer();
    assert_eq!(
        error(&service, "lost"),
        format!("{node}: no such device; plug the camera in, or pick one that `porthole cameras` lists")
    );
    camera.plug();
    viewer.watch(3, VGA);
}

pub fn the_first_camera_of_all_is_found(guest: &Guest) {
    guest.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind");
    let service = guest.serve(&usb("auto"));
    let viewer = service.viewer();
    let why = error(&service, "lost");
    assert_eq!(why, "no camera found (there is no /dev/video*); plug one in, or name another source");
    guest.isochronous().plug();
    viewer.watch(3, VGA);
}

pub fn what_its_controls_were_set_to_it_is_told_again(guest: &Guest) {
    let camera = guest.isochronous();
    let node = camera.plug();
    let service = guest.serve(&format!(
        "{}[camera.controls]\nexposure_time_absolute = 77\nauto_exposure = \"Manual Mode\"\nbrightness = -11\n",
        usb(&node)
    ));
    let viewer = service.viewer();
    for _ in 0..3 {
        viewer.watch(3, VGA);
        let status = camera.status();
        let settings = ["exposure_time_absolute", "brightness", "contrast"].map(|name| status.get(name));
        assert_eq!(settings, [77, -11, 32]);
        camera.unplug();
        service.until_camera_is("lost");
        camera.plug();
        first_after(&viewer, camera.plugged_at_us());
    }
    // Of itself it would have forgotten.
    drop(viewer);
    guest.run(&format!("rm /run/porthole.toml; kill {}", service.pid));
    assert_eq!(service.ended(), 0);
    camera.unplug();
    camera.plug();
    assert_eq!(camera.status().get("brightness"), 0);
}

pub fn the_page_says_that_it_is_gone(guest: &Guest) {
    let camera = guest.isochronous();
    let node = camera.plug();
    let service = guest.serve(&usb(&node));
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", service.address));
    let says = |browser: &mut Browser, words: &str| {
        browser.until(&format!("document.getElementById('status').textContent.startsWith({words:?})"));
    };
    says(&mut browser, "Live");
    for _ in 0..2 {
        camera.unplug();
        says(&mut browser, &format!("Camera lost: {node}: no such device; plug the camera in"));
        camera.plug();
        says(&mut browser, "Live");
    }
    let painted = "document.querySelector('canvas').width";
    assert_eq!(browser.eval(painted), 640);
}

pub fn a_driver_that_is_taken_away_is_waited_for(guest: &Guest) {
    let node = guest.vivid().expect("vivid's node");
    let service =
        guest.serve(&format!("[[camera]]\nsource = \"{node}\"\nwidth = 640\nheight = 480\nfps = 10\n"));
    let viewer = service.viewer();
    viewer.watch(3, VGA);
    guest.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind");
    service.until_camera_is("lost");
    guest.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind");
    service.until_camera_is("live");
    viewer.watch(3, VGA);
    assert_eq!(service.camera()["reopens"], 1);
}

pub fn a_stall_is_noticed_and_ends(guest: &Guest) {
    for camera in [guest.isochronous(), guest.bulk()] {
        let node = camera.plug();
        let service = guest.serve(&usb(&node));
        let viewer = service.viewer();
        viewer.watch(3, VGA);
        let starts = camera.status().get("starts");
        camera.tell("stall");
        let why = error(&service, "stalled");
        assert!(why.contains("no frame for 2 s; reopening it"), "{why}");
        until("it was opened again", || (camera.status().get("starts") > starts).then_some(()));
        camera.tell("resume");
        viewer.watch(3, VGA);
        assert!(service.until_camera_is("live")["reopens"].as_u64().unwrap() >= 1);
    }
}

pub fn a_refused_start_is_reported_and_tried_again(guest: &Guest) {
    let camera = guest.isochronous();
    let node = camera.plug();
    camera.tell("refuse 3");
    let service = guest.serve(&usb(&node));
    let viewer = service.viewer();
    viewer.watch(3, VGA);
    assert_eq!(camera.status().get("refused"), 3);
    assert!(service.log().contains(&format!("{node}: starting capture: ")), "{}", service.log());
}

pub fn a_camera_in_use_is_named_with_its_user(guest: &Guest) {
    let camera = guest.isochronous();
    let node = camera.plug();
    // Another program that takes pictures: the same one, under another name and asked for a picture.
    let pid = guest.run(&format!(
        "ln -sf porthole /bin/surveillance
         surveillance --source {node} --listen 0.0.0.0:8081 --auth none --linger 1000 \
         >/run/surveillance.log 2>&1 &
         echo $!"
    ));
    let pid = pid.trim();
    until("the other program is there", || guest.attempt("grep -q open /run/surveillance.log").then_some(()));
    assert_eq!(get(guest.machine.other, "/snapshot").status, 200);
    let service = guest.serve(&usb(&node));
    let viewer = service.viewer();
    let why = error(&service, "lost");
    assert!(why.contains(&format!("in use by surveillance (PID {pid}); stop that")), "{why}");
    guest.run(&format!("kill {pid}"));
    viewer.watch(3, VGA);
}

pub fn a_metadata_node_is_answered_with_the_camera_beside_it(guest: &Guest) {
    let camera = guest.isochronous();
    let (node, metadata) = (camera.plug(), camera.metadata_node());
    let service = guest.serve(&usb(&metadata));
    let _viewer = service.viewer();
    let why = error(&service, "unsupported");
    assert_eq!(why, format!("{metadata}: is a metadata node, not a camera; use {node} instead"));
}
