//! H.264 in the page: played, kept, changed to and from without a gap, and given up where it does not work.

use std::process::Command;

use serde_json::{Value, json};

use crate::page::{NUMBER, until_words as until_words_in_chromium};
use crate::page_engines::{KEEP_SAVED, in_each_engine, saved, until_moved_on, until_words};
use support::browser::Browser;
use support::engine::{Engine, Page};
use support::fragments::{Fault, StandIn};
use support::picture::decode;
use support::{Porthole, Scratch, finish, until};

/// JavaScript: which kind of picture is shown.
const KIND: &str = "document.querySelector('.tile').dataset.kind";

in_each_engine!(
    pictures_of_the_encoder_are_played,
    light_pictures_are_played_and_the_choice_is_remembered,
    clips_and_snapshots_of_a_video_are_kept,
    a_change_leaves_no_gap,
    what_cannot_be_played_is_given_up,
    it_comes_back_after_an_interruption,
);

fn start() -> Option<(Porthole, StandIn)> {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let stand_in = StandIn::before(&service)?;
    Some((service, stand_in))
}

/// Waits until the page offers a choice, and chooses.
#[track_caller]
fn choose(page: &mut Page, choice: &str) {
    let label = "document.querySelector('#choice span').textContent";
    page.until("!document.getElementById('choice').hidden");
    for _ in 0..3 {
        if page.eval(label).as_str().unwrap().starts_with(choice) {
            return;
        }
        let before = page.eval(label);
        page.key("q");
        page.until(&format!("{label} !== {before}"));
    }
    panic!("there is no choice {choice}");
}

#[track_caller]
fn until_kind(page: &mut Page, kind: &str) {
    let failure = "document.querySelector('.tile').dataset.failure";
    page.until(&format!("{KIND} === {kind:?} || {failure}"));
    assert_eq!(page.eval(KIND), kind, "{}", page.eval(failure));
    until_words(page, "Live");
}

fn kinds(service: &Porthole) -> Vec<Value> {
    service.camera()["viewers"].as_array().unwrap().iter().map(|viewer| viewer["kind"].clone()).collect()
}

fn pictures_of_the_encoder_are_played(mut page: Page, _: Engine) {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    page.open(&format!("http://{}/", service.address));
    choose(&mut page, "Light");
    until_kind(&mut page, "h264");
    until_moved_on(&mut page);
    assert_eq!(kinds(&service), [json!("porthole.mp4.v1")]);
    choose(&mut page, "Sharp");
    until_kind(&mut page, "jpeg");
    until_moved_on(&mut page);
    drop(page);
    drop(service);
}

fn light_pictures_are_played_and_the_choice_is_remembered(mut page: Page, _: Engine) {
    let Some((service, stand_in)) = start() else { return };
    page.open(&stand_in.url);
    until_kind(&mut page, "jpeg");
    choose(&mut page, "Light");
    until_kind(&mut page, "h264");
    page.until(&format!("{NUMBER} > 0"));
    let first = page.eval(NUMBER);
    page.until(&format!("{NUMBER} > 0 && {NUMBER} !== {first}"));
    page.until("parseFloat(document.getElementById('fps').textContent) > 3");
    page.until("parseFloat(document.getElementById('latency').textContent) < 1000");
    assert_eq!(page.eval("document.getElementById('size').textContent"), "640×480");
    until("no JPEGs are sent any more", || kinds(&service).is_empty().then_some(()));
    // Turned, as JPEGs are.
    page.key("t");
    page.until("document.querySelector('canvas').width === 480");
    page.key(" ");
    until_words(&mut page, "Paused");
    for width in [640, 480, 640] {
        page.key("t");
        page.until(&format!("document.querySelector('canvas').width === {width}"));
    }
    page.key(" ");
    until_kind(&mut page, "h264");

    page.open(&stand_in.url);
    until_kind(&mut page, "h264");
    choose(&mut page, "Sharp");
    until_kind(&mut page, "jpeg");
    until_moved_on(&mut page);
    assert_eq!(kinds(&service), [json!("porthole.v1")]);
    drop(page);
}

fn clips_and_snapshots_of_a_video_are_kept(mut page: Page, engine: Engine) {
    let Some((service, stand_in)) = start() else { return };
    page.open(&stand_in.url);
    until_kind(&mut page, "jpeg");
    choose(&mut page, "Light");
    until_kind(&mut page, "h264");
    page.eval(KEEP_SAVED);
    page.key("s");
    let picture = decode(&saved(&mut page, "image/jpeg"));
    assert_eq!((picture.width, picture.height), (640, 480));
    assert!(picture.pattern_number() > 0);
    page.key("r");
    page.until("document.querySelector('#record span').textContent >= '0:03'");
    page.key("r");
    let clip = saved(&mut page, "video/mp4");
    let scratch = Scratch::new();
    let file = scratch.file("clip.mp4", clip);
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "warning", "-count_frames", "-select_streams", "v:0", "-of", "json"]);
    probe.args(["-show_entries", "stream=codec_name,width,height,nb_read_frames,start_time"]).arg(&file);
    let (code, out, error) = finish(&mut probe);
    assert_eq!((code, error.as_str()), (0, ""), "{engine:?}");
    let facts: Value = serde_json::from_str(&out).unwrap();
    let stream = &facts["streams"][0];
    assert_eq!(
        (&stream["codec_name"], &stream["width"], &stream["height"]),
        (&json!("h264"), &json!(640), &json!(480))
    );
    assert_eq!(stream["start_time"], "0.000000");
    let frames: u32 = stream["nb_read_frames"].as_str().unwrap().parse().unwrap();
    assert!(frames >= 30, "{engine:?}: {frames} frames of three seconds");
    drop(page);
    drop(service);
}

/// JavaScript: notes of what each picture was drawn, and whether the canvas was ever without one.
const WATCH: &str = "(() => { window.drawn = []; window.blank = 0;
    const draw = CanvasRenderingContext2D.prototype.drawImage;
    CanvasRenderingContext2D.prototype.drawImage = function (source, ...rest) {
        draw.call(this, source, ...rest);
        drawn.push([source.tagName ? 'video' : 'jpeg', performance.now()]);
    };
    setInterval(() => {
        const canvas = document.querySelector('canvas');
        const pixels = canvas.getContext('2d').getImageData(8, 8, 1, 1).data;
        if (Math.max(pixels[0], pixels[1], pixels[2]) < 100) blank++;
    }, 40); })()";

fn a_change_leaves_no_gap(mut page: Page, engine: Engine) {
    let Some((service, stand_in)) = start() else { return };
    page.open(&stand_in.url);
    until_kind(&mut page, "jpeg");
    choose(&mut page, "Sharp");
    page.eval(WATCH);
    choose(&mut page, "Light");
    until_kind(&mut page, "h264");
    page.until("drawn.filter(([kind]) => kind === 'video').length > 30");
    choose(&mut page, "Sharp");
    until_kind(&mut page, "jpeg");
    page.until("drawn.at(-1)[0] === 'jpeg' && drawn.filter(([kind]) => kind === 'jpeg').length > 60");
    // Auto lies between these two, and also means JPEG here.
    let kinds = page.eval("drawn.map(([kind]) => kind).filter((kind, i, all) => kind !== all[i - 1])");
    assert_eq!(
        kinds,
        json!(["jpeg", "video", "jpeg"]),
        "{engine:?}: pictures of one kind among those of the other"
    );
    assert_eq!(page.eval("blank"), 0, "{engine:?}: there was nothing to be seen");
    // Beside the longest time between two pictures of the same kind: a loaded machine shows few of them.
    let longest = |changes: bool| {
        format!(
            "Math.max(...drawn.slice(1).map(([kind, at], i) => (drawn[i][0] !== kind) === {changes} ? at - drawn[i][1] : 0))"
        )
    };
    let usual = page.eval(&longest(false)).as_f64().unwrap();
    let longest = page.eval(&longest(true)).as_f64().unwrap();
    assert!(
        longest < 500.0 + 2.0 * usual,
        "{engine:?}: the picture stood for {longest} ms, otherwise for {usual}"
    );
    drop(page);
    drop(service);
}

fn what_cannot_be_played_is_given_up(mut page: Page, _: Engine) {
    page.forgive("cannot be decoded");
    page.forgive("Media resource");
    let Some((service, stand_in)) = start() else { return };
    for fault in [Fault::UnknownCodec, Fault::Broken, Fault::Silence] {
        stand_in.order(fault);
        page.open("about:blank");
        page.open(&stand_in.url);
        until_kind(&mut page, "jpeg");
        choose(&mut page, "Light");
        // It asks for H.264, is disappointed, and goes on with JPEG.
        page.until("performance.getEntriesByType('resource').some(({ name }) => name.endsWith('/video.js'))");
        page.until("document.querySelector('.tile').dataset.failure");
        // It may have shown a picture before.
        page.until(&format!("{KIND} === 'jpeg'"));
        until_moved_on(&mut page);
        assert_eq!(kinds(&service), [json!("porthole.v1")], "{fault:?}");
        choose(&mut page, "Sharp");
    }
    // And in the middle of the stream.
    stand_in.order(Fault::None);
    page.open("about:blank");
    page.open(&stand_in.url);
    until_kind(&mut page, "jpeg");
    choose(&mut page, "Light");
    until_kind(&mut page, "h264");
    stand_in.order(Fault::Broken);
    page.until(&format!("{KIND} === 'jpeg'"));
    until_moved_on(&mut page);
    drop(page);
}

fn it_comes_back_after_an_interruption(mut page: Page, _: Engine) {
    page.forgive_absence();
    let Some((service, stand_in)) = start() else { return };
    page.open(&stand_in.url);
    until_kind(&mut page, "jpeg");
    choose(&mut page, "Light");
    until_kind(&mut page, "h264");
    stand_in.order(Fault::Closed);
    page.until("document.getElementById('status').dataset.state !== 'live'");
    stand_in.order(Fault::None);
    until_kind(&mut page, "h264");
    let sequence = page.eval("document.querySelector('canvas').dataset.sequence");
    page.until(&format!("document.querySelector('canvas').dataset.sequence !== {sequence}"));
    drop(page);
    drop(service);
}

#[test]
fn automatic_takes_h264_when_the_link_skips_jpegs_and_when_data_is_to_be_saved() {
    let Some((service, stand_in)) = start() else { return };
    let mut browser = Browser::start();
    browser.open(&stand_in.url);
    until_words_in_chromium(&mut browser, "Live");
    browser.until("document.querySelector('#choice span').textContent === 'Auto: JPEG'");
    // Half of what the pictures need.
    let bits = "parseFloat(document.getElementById('bitrate').textContent)";
    browser.until(&format!("{bits} > 0"));
    let unit = browser.eval("document.getElementById('bitrate').textContent");
    let scale = if unit.as_str().unwrap().ends_with("Mbit/s") { 1e6 } else { 1e3 };
    let bytes = browser.eval(bits).as_f64().unwrap() * scale / 8.0;
    stand_in.limit((bytes / 2.0) as u64);
    browser.until("document.querySelector('#choice span').textContent === 'Auto: H.264'");
    until_words_in_chromium(&mut browser, "Live");
    until("no JPEGs are sent any more", || kinds(&service).is_empty().then_some(()));
    browser.keep_screenshot("h264");

    stand_in.limit(0);
    browser.prepare("Object.defineProperty(navigator.connection, 'saveData', { value: true })");
    browser.open(&stand_in.url);
    browser.until("document.querySelector('#choice span').textContent === 'Auto: H.264'");
    drop(browser);
}

#[test]
fn without_h264_nothing_of_it_is_shown_or_loaded() {
    let scratch = Scratch::new();
    let service = Porthole::configured(&scratch, "[[camera]]\nsource = \"pattern\"\nh264 = \"off\"\n");
    let mut browser = Browser::start();
    browser.open(&service.url);
    until_words_in_chromium(&mut browser, "Live");
    browser.until("document.getElementById('viewers').textContent === '1'");
    assert_eq!(browser.eval("document.getElementById('choice').hidden"), true);
    browser.key("q");
    browser.key("q");
    assert!(!browser.requests.iter().any(|url| url.ends_with("video.js")), "{:?}", browser.requests);
}
