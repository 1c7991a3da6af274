//! Single pictures: as large as the camera has them beside a small stream, and the right way up.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use support::browser::Browser;
use support::fakecam::{Camera, Counter, Setting, Table};
use support::http::{Response, get, request};
use support::picture::decode;
use support::prometheus::Exposition;
use support::tools::{missing, program};
use support::ws::Client;
use support::{Porthole, Scratch, finish, until};

const NODE: &str = "/dev/video90";
const STILL: &str = "/snapshot?size=max";

struct Rig {
    table: Table,
    service: Porthole,
    _scratch: Scratch,
}

/// Serves a camera that offers `formats`, with more lines in its part of the configuration.
fn rig(formats: &str, more: &str) -> Rig {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new(NODE, &table).with("formats", formats);
    let config = format!("[[camera]]\nsource = \"{NODE}\"\nlinger_s = 0\n{more}");
    let file = scratch.file("porthole.toml", config);
    let service = Porthole::with_cameras(&[camera], &["--config", file.to_str().unwrap()]);
    Rig { table, service, _scratch: scratch }
}

#[track_caller]
fn size(answer: &Response) -> (usize, usize) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("image/jpeg")),
        "{}",
        answer.text()
    );
    let picture = decode(&answer.body);
    (picture.width, picture.height)
}

fn metric(service: &Porthole, name: &str) -> f64 {
    Exposition::parse(&get(service.address, "/metrics").text()).value(name, &[("camera", "camera")])
}

const SMALL: &str = "width = 640\nheight = 480\n";

#[test]
fn a_still_is_as_large_as_the_camera_has_it_and_viewers_stay() {
    for formats in [
        "MJPG:640x480@30,MJPG:1920x1080@30,YUYV:640x480@30",
        "YUYV:640x480@30,YUYV:1920x1080@5",
        "MJPG:640x480@30,YUYV:stepwise:320x240-1920x1080/16x8@30",
    ] {
        let Rig { table, service, _scratch } = rig(formats, SMALL);
        let mut viewer = Client::porthole(service.address, "/ws");
        let before = viewer.acknowledged();
        let still = get(service.address, STILL);
        assert_eq!(size(&still), (1920, 1080), "{formats}");
        let after = until("the stream goes on", || {
            Some(viewer.acknowledged()).filter(|frame| frame.sequence > before.sequence + 2)
        });
        assert_eq!((after.width, after.height), (640, 480), "{formats}");
        let camera = service.until_camera_is("live");
        assert_eq!((&camera["reopens"], &camera["corrupt"]), (&json!(0), &json!(0)), "{camera}");
        assert_eq!(camera["viewers"].as_array().unwrap().len(), 1, "the viewer was not kept: {camera}");
        assert!(camera["ring"]["slot_bytes"].as_u64().unwrap() < 1_500_000, "the ring grew: {camera}");
        assert_eq!(metric(&service, "porthole_camera_stills_total"), 1.0);
        assert_eq!(table.counter(Counter::Streamons), 3, "stream, still, stream");
        service.until_logged("camera camera: still of 1920x1080 taken, the stream stood for ");
    }
}

#[test]
fn stills_are_taken_one_at_a_time_and_leave_the_stream_its_time() {
    let Rig { service, _scratch, .. } = rig("MJPG:640x480@30,MJPG:1920x1080@15", SMALL);
    let address = service.address;
    let asked: Vec<_> =
        (0..3).map(|_| std::thread::spawn(move || get(address, "/?action=snapshot&size=max"))).collect();
    let (taken, refused): (Vec<_>, Vec<_>) =
        asked.into_iter().map(|thread| thread.join().unwrap()).partition(|answer| answer.status == 200);
    assert_eq!((taken.len(), refused.len()), (1, 2));
    for answer in refused {
        assert_eq!((answer.status, answer.header("retry-after")), (409, Some("1")));
        assert!(
            answer.text().contains("another full-size still is being taken; try again"),
            "{}",
            answer.text()
        );
    }
    let soon = get(address, STILL);
    assert_eq!(soon.status, 409);
    let why =
        "camera camera: the last full-size still was less than 5 s ago; try again later, or take /snapshot";
    assert_eq!(soon.text().trim_end(), why);
    assert_eq!(size(&get(address, "/snapshot")), (640, 480));
    assert_eq!(metric(&service, "porthole_camera_stills_total"), 1.0);
}

#[test]
fn a_camera_that_rests_is_opened_for_its_still_alone_and_rests_again() {
    let Rig { table, service, _scratch } = rig("MJPG:640x480@30,MJPG:1920x1080@30", SMALL);
    assert_eq!(size(&get(service.address, STILL)), (1920, 1080));
    service.until_camera_is("idle");
    until("it is closed", || (table.counter(Counter::Opens) == table.counter(Counter::Closes)).then_some(()));
    assert!(table.counter(Counter::Streamons) <= 2, "it was opened more often than it had to be");
}

#[test]
fn a_stream_of_the_largest_size_is_not_interrupted() {
    let Rig { table, service, _scratch } = rig("MJPG:640x480@30", "");
    let mut viewer = Client::porthole(service.address, "/ws");
    let newest = viewer.acknowledged().captured_at;
    for _ in 0..3 {
        assert_eq!(size(&get(service.address, STILL)), (640, 480));
    }
    assert!(viewer.acknowledged().captured_at > newest);
    assert_eq!(table.counter(Counter::Streamons), 1);
    let pattern = Porthole::start(&["--source", "pattern", "--size", "320x240"]);
    assert_eq!(size(&get(pattern.address, STILL)), (320, 240));
    let head = request(pattern.address, "HEAD", STILL, &[]);
    assert_eq!((head.status, head.header("content-type"), head.body.len()), (200, Some("image/jpeg"), 0));
    let bad = get(pattern.address, "/snapshot?size=big");
    assert_eq!(bad.status, 400);
    assert!(
        bad.text().starts_with("size \"big\" is not known; use size=max for the largest"),
        "{}",
        bad.text()
    );
}

#[test]
fn a_camera_that_cannot_says_why_and_the_stream_comes_back() {
    let Rig { table, service, _scratch } = rig("MJPG:640x480@30,MJPG:1920x1080@30", SMALL);
    let mut viewer = Client::porthole(service.address, "/ws");
    viewer.acknowledged();
    table.set(Setting::StreamonErrno, libc::ENOSPC as u32);
    let answer = get(service.address, STILL);
    assert_eq!(answer.status, 503);
    let why = "camera camera: no full-size still: /dev/video90: not enough USB bandwidth; choose mjpeg";
    assert!(answer.text().starts_with(why), "{}", answer.text());
    table.set(Setting::StreamonErrno, 0);
    service.until_camera_is("live");
    viewer.acknowledged();
    assert_eq!(metric(&service, "porthole_camera_failed_stills_total"), 1.0);

    let absent = Porthole::start(&["--source", "/dev/no-such-camera"]);
    let answer = get(absent.address, STILL);
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("/dev/no-such-camera: no such device"), "{}", answer.text());
}

#[test]
fn a_stalled_still_is_given_up_and_a_service_that_stops_waits_for_none() {
    let Rig { table, mut service, _scratch } = rig("MJPG:640x480@30,MJPG:1920x1080@30", SMALL);
    let mut viewer = Client::porthole(service.address, "/ws");
    viewer.acknowledged();
    table.set(Setting::TruncateEvery, 1);
    let answer = get(service.address, STILL);
    assert_eq!(answer.status, 503);
    let why = "no whole picture of 1920x1080 within 6 s, the last one JPEG ends at byte ";
    assert!(answer.text().contains(why), "{}", answer.text());
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn rotation_is_in_every_jpeg_that_leaves() {
    let scratch = Scratch::new();
    for (degrees, orientation) in [(90, 6), (180, 3), (270, 8), (0, 1)] {
        let more = format!("{SMALL}rotate = {degrees}\n");
        let Rig { service, _scratch, .. } = rig("MJPG:640x480@30,YUYV:1280x720@30", &more);
        let frames = [
            ("frame", Client::porthole(service.address, "/ws").acknowledged().jpeg),
            ("snapshot", get(service.address, "/snapshot").body),
            // Encoded here, as the largest size comes raw.
            ("still", get(service.address, STILL).body),
        ];
        for (name, jpeg) in frames {
            decode(&jpeg);
            let file = scratch.file(&format!("{name}-{degrees}.jpg"), &jpeg);
            if let Some(exiftool) = program("exiftool", "libimage-exiftool-perl") {
                let (code, out, error) =
                    finish(Command::new(exiftool).args(["-n", "-s3", "-Orientation"]).arg(&file));
                assert_eq!(code, 0, "{error}");
                let expected = if degrees == 0 { String::new() } else { orientation.to_string() };
                assert_eq!(
                    out.lines().next().unwrap_or_default(),
                    expected,
                    "{name}, {degrees} degrees: {out}"
                );
            }
            const SCRIPT: &str = "import sys; from PIL import Image, ImageOps\n\
                picture = Image.open(sys.argv[1]); picture.load()\n\
                print(picture.getexif().get(0x112, 1), *ImageOps.exif_transpose(picture).size)";
            let (code, out, error) = finish(Command::new("/usr/bin/python3").args(["-c", SCRIPT]).arg(&file));
            if error.contains("No module named 'PIL'") || error.contains("No such file") {
                missing("there is no PIL for /usr/bin/python3; Debian has it in python3-pil");
                continue;
            }
            assert_eq!(code, 0, "{error}");
            let (width, height) = if name == "still" { (1280, 720) } else { (640, 480) };
            let (width, height) = if degrees % 180 == 90 { (height, width) } else { (width, height) };
            assert_eq!(out.trim(), format!("{orientation} {width} {height}"), "{name}, {degrees} degrees");
        }
    }
}

#[test]
fn browsers_show_a_rotated_picture_the_right_way_up() {
    let scratch = Scratch::new();
    let config = "[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\nrotate = 90\n";
    let service = Porthole::configured(&scratch, config);
    let jpeg = BASE64_STANDARD.encode(&get(service.address, "/snapshot").body);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&format!("http://{}/state", service.address));
    let script = format!(
        "(async () => {{ const i = new Image(); i.src = 'data:image/jpeg;base64,{jpeg}'; await i.decode(); \
         const b = await createImageBitmap(await (await fetch('/snapshot')).blob()); \
         return [i.naturalWidth, i.naturalHeight, b.width, b.height]; }})()"
    );
    browser.until("document.readyState == 'complete'");
    assert_eq!(browser.eval(&script), json!([240, 320, 240, 320]));
}
