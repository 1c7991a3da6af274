//! What people do with the page, in each of three engines: the same test for Chromium, Firefox and WebKitGTK.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

use crate::auth::{VIEWER, with_passwords, with_state};
use crate::page::NUMBER;
use support::engine::{Engine, Page};
use support::fakecam::{Camera, Table};
use support::picture::decode;
use support::{Porthole, Scratch, finish, porthole, until};

const BRIGHTNESS: u32 = 0x98_0900;

/// JavaScript: keeps what the page saves, where tests can read it.
pub(crate) const KEEP_SAVED: &str = "(() => { window.saved = []; const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => (blob instanceof Blob && saved.push(blob), make.call(URL, blob)); })()";

/// Makes a module for each engine that runs these tests in it.
macro_rules! in_each_engine {
    ($($test:ident),+ $(,)?) => {
        $crate::page_engines::in_each_engine!(@engine chromium, Chromium, $($test),+);
        $crate::page_engines::in_each_engine!(@engine firefox, Firefox, $($test),+);
        $crate::page_engines::in_each_engine!(@engine webkit, WebKit, $($test),+);
    };
    (@engine $module:ident, $engine:ident, $($test:ident),+) => {
        mod $module {
            $(#[test]
            fn $test() {
                if let Some(page) = support::engine::Engine::$engine.start() {
                    super::$test(page, support::engine::Engine::$engine);
                }
            })+
        }
    };
}

pub(crate) use in_each_engine;

in_each_engine!(
    the_picture_is_live,
    it_comes_back_when_the_server_was_away,
    controls_move_the_camera,
    people_log_in_and_out,
    snapshots_and_clips_are_kept,
    turned_and_mirrored_the_picture_stays_so,
    several_cameras_are_shown,
);

#[track_caller]
pub(crate) fn until_words(page: &mut Page, start: &str) {
    page.until(&format!("document.getElementById('status').textContent.startsWith({start:?})"));
}

#[track_caller]
pub(crate) fn until_moved_on(page: &mut Page) {
    let first = page.eval(NUMBER).as_f64().unwrap();
    page.until(&format!("{NUMBER} > {first}"));
}

/// The last file that the page saved since [`KEEP_SAVED`], if it is of this type.
#[track_caller]
pub(crate) fn saved(page: &mut Page, kind: &str) -> Vec<u8> {
    page.until(&format!("window.saved.at(-1)?.type.startsWith({kind:?})"));
    let text = page.eval(
        "new Promise((done) => { const reader = new FileReader(); reader.onload = () => done(reader.result.split(',')[1]);
            reader.readAsDataURL(window.saved.at(-1)); })",
    );
    BASE64_STANDARD.decode(text.as_str().unwrap().as_bytes()).unwrap()
}

fn the_picture_is_live(mut page: Page, _: Engine) {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    page.open_with_jpeg(&service.url, &["camera"]);
    until_words(&mut page, "Live");
    until_moved_on(&mut page);
    page.until("parseFloat(document.getElementById('fps').textContent) > 3");
    page.until("parseFloat(document.getElementById('latency').textContent) < 1000");
    assert_eq!(page.eval("document.getElementById('size').textContent"), "640×480");
    page.until("document.getElementById('viewers').textContent === '1'");
    let viewer = service.camera()["viewers"][0].clone();
    assert_eq!(viewer["kind"], "porthole.v1");
    page.key(" ");
    until_words(&mut page, "Paused");
    page.click("#pause");
    until_words(&mut page, "Live");
    drop(page);
}

fn it_comes_back_when_the_server_was_away(mut page: Page, _: Engine) {
    page.forgive_absence();
    let mut service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    page.open_with_jpeg(&service.url, &["camera"]);
    until_words(&mut page, "Live");
    let before = page.eval("performance.timeOrigin");
    assert_eq!(service.stop(), Some(0));
    until_words(&mut page, "The server does not answer");
    let address = service.address.to_string();
    let mut again = porthole();
    again.args(["--source", "pattern", "--size", "640x480", "--listen", &address]);
    let service = Porthole::spawn(&mut again);
    until_words(&mut page, "Live");
    until_moved_on(&mut page);
    assert_eq!(page.eval("performance.timeOrigin"), before, "the page was loaded again");
    drop(page);
    drop(service);
}

fn controls_move_the_camera(mut page: Page, _: Engine) {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
    let service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    page.open_with_jpeg(&service.url, &["camera"]);
    until_words(&mut page, "Live");
    page.click("#controls");
    page.until("document.querySelector('[data-control=brightness] input')?.disabled === false");
    page.eval("document.querySelector('[data-control=brightness] [type=range]').focus()");
    page.key("ArrowRight");
    page.key("ArrowRight");
    until("the camera is brighter", || (table.control(BRIGHTNESS) == Some(130)).then_some(()));
    page.until("document.querySelector('[data-control=brightness] [type=text]').value === '130'");
    page.click("[data-control=brightness] .reset");
    until("the camera is as it was", || (table.control(BRIGHTNESS) == Some(128)).then_some(()));
    page.key("Escape");
    page.until("document.getElementById('panel').hidden");
    drop(page);
}

fn people_log_in_and_out(mut page: Page, _: Engine) {
    page.forgive("401 (Unauthorized)");
    page.forgive("WebSocket connection to");
    page.forgive("connection to ws:");
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    page.open(&service.url);
    page.until("document.activeElement.id === 'password'");
    page.write("not the one");
    page.key("Enter");
    page.until("document.querySelector('#message').textContent === 'That is not right.'");
    page.until("document.activeElement.id === 'password'");
    page.write(VIEWER);
    page.key("Enter");
    until_words(&mut page, "Live");
    page.click("#logout");
    page.until("document.activeElement.id === 'password'");
    drop(page);
}

fn snapshots_and_clips_are_kept(mut page: Page, engine: Engine) {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    page.open_with_jpeg(&service.url, &["camera"]);
    until_words(&mut page, "Live");
    page.eval(KEEP_SAVED);
    page.key(" ");
    until_words(&mut page, "Paused");
    // What was being decoded has been drawn by then.
    page.until(&format!(
        "new Promise((done) => {{ const first = {NUMBER}; setTimeout(() => done(first === {NUMBER}), 300); }})"
    ));
    page.click("#snapshot");
    let picture = decode(&saved(&mut page, "image/jpeg"));
    assert_eq!((picture.width, picture.height), (640, 480));
    assert_eq!(f64::from(picture.pattern_number()), page.eval(NUMBER).as_f64().unwrap());
    page.click("#pause");
    until_words(&mut page, "Live");
    page.click("#record");
    page.until("document.getElementById('record').getAttribute('aria-pressed') === 'true'");
    page.until("document.querySelector('#record span').textContent >= '0:04'");
    page.click("#record");
    let nothing = "document.getElementById('toast').textContent.startsWith('This browser recorded nothing')";
    page.until(&format!("window.saved.at(-1).type.startsWith('video/') || {nothing}"));
    // Some builds of WebKitGTK have a recorder without what it needs, and no way to find that out before.
    if engine != Engine::WebKit || page.eval(nothing) == false {
        let clip = saved(&mut page, "video/");
        assert_playable(&clip, engine);
    }
    drop(page);
    drop(service);
}

/// A clip of 640x480 that a player plays to its end without a complaint.
#[track_caller]
fn assert_playable(clip: &[u8], engine: Engine) {
    let scratch = Scratch::new();
    let file = scratch.file("clip", clip);
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-count_frames", "-select_streams", "v:0", "-of", "json"]);
    probe.args(["-show_entries", "stream=width,height,nb_read_frames"]).arg(&file);
    let (code, out, error) = finish(&mut probe);
    assert_eq!((code, error.as_str()), (0, ""), "{engine:?}");
    let facts: Value = serde_json::from_str(&out).unwrap();
    let stream = &facts["streams"][0];
    assert_eq!(
        (stream["width"].as_u64(), stream["height"].as_u64()),
        (Some(640), Some(480)),
        "{engine:?}: {out}"
    );
    let frames: u32 = stream["nb_read_frames"].as_str().unwrap().parse().unwrap();
    assert!(frames >= 10, "{engine:?}: {frames} frames");
}

fn turned_and_mirrored_the_picture_stays_so(mut page: Page, _: Engine) {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    page.open_with_jpeg(&service.url, &["camera"]);
    until_words(&mut page, "Live");
    let canvas = "document.querySelector('canvas')";
    page.key("t");
    page.until(&format!("{canvas}.width === 480 && {canvas}.height === 640"));
    page.key("m");
    page.until("document.getElementById('mirror').getAttribute('aria-pressed') === 'true'");
    page.open(&service.url);
    until_words(&mut page, "Live");
    page.until(&format!("{canvas}.width === 480"));
    page.until("document.getElementById('mirror').getAttribute('aria-pressed') === 'true'");
    drop(page);
}

fn several_cameras_are_shown(mut page: Page, _: Engine) {
    let scratch = Scratch::new();
    let camera = |name: &str| {
        format!("[[camera]]\nname = \"{name}\"\nsource = \"pattern\"\nwidth = 320\nheight = 240\n")
    };
    let service = Porthole::configured(&scratch, &format!("{}{}", camera("front"), camera("back")));
    page.open_with_jpeg(&service.url, &["front", "back"]);
    until_words(&mut page, "2 cameras live");
    page.click(".tile:nth-child(2)");
    page.until("document.getElementById('title').textContent === 'back'");
    until_words(&mut page, "Live");
    page.key("0");
    until_words(&mut page, "2 cameras live");
    drop(page);
}
