//! Sources that tell only by their first picture whether they give H.264, and those that change.

use std::path::Path;

use serde_json::{Value, json};
use tungstenite::Message;

use support::fakecam::{Camera, Counter, Setting, Table};
use support::h264::Encoder;
use support::http::get;
use support::picture::decode;
use support::video::{SteadyViewer, VideoHead, VideoViewers};
use support::ws::Client;
use support::{Porthole, Scratch, until};

fn service(scratch: &Scratch, source: &str, more: &str) -> Porthole {
    let config =
        format!("[[camera]]\nsource = {source:?}\nwidth = 640\nheight = 480\nfps = 10\nlinger_s = 0\n{more}");
    Porthole::configured(scratch, &config)
}

fn h264_viewer(service: &Porthole, subprotocol: &str) -> Client {
    Client::connect(service.address, "/ws", &[("Sec-WebSocket-Protocol", subprotocol)]).unwrap()
}

/// A group of ten access units of these encoders, one after the other.
fn clip(scratch: &Scratch, name: &str, encoders: &mut [Encoder]) -> String {
    let mut clip = Vec::new();
    for encoder in encoders {
        encoder.parameter_sets(&mut clip);
        for number in 0..10u8 {
            encoder.picture(number == 0, |x, y| [number * 9 + (x + y) as u8, 128, 128], &mut clip);
        }
    }
    scratch.file(name, clip).display().to_string()
}

fn jpeg(scratch: &Scratch, name: &str, width: u16, height: u16) -> String {
    let mut jpeg = Vec::new();
    let pixels = vec![90; usize::from(width) * usize::from(height)];
    jpeg_encoder::Encoder::new(&mut jpeg, 80)
        .encode(&pixels, width, height, jpeg_encoder::ColorType::Luma)
        .unwrap();
    scratch.file(name, jpeg).display().to_string()
}

/// Picture, H.264 or text.
fn sized(message: &Message) -> Option<[u16; 2]> {
    match message {
        Message::Binary(bytes) => VideoHead::parse(bytes).map(|head| head.size),
        _ => None,
    }
}

#[test]
fn a_source_is_asked_for_h264_once_it_has_shown_what_it_gives() {
    let scratch = Scratch::new();
    let clip = clip(&scratch, "clip.h264", &mut [Encoder::new([640, 480], 30_000)]);
    let picture = jpeg(&scratch, "picture.jpg", 640, 480);
    let go = scratch.path("go");
    // It begins when it is told to.
    let wait = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let video = service(
        &scratch,
        &format!("exec:{wait}; while :; do cat {clip}; sleep 0.2; done"),
        "h264 = \"copy\"",
    );
    let mut viewer = h264_viewer(&video, "porthole.h264.v1");
    // It is open by then, and waits.
    until("the source is open", || (video.camera()["driver"] == "exec").then_some(()));
    let before = video.camera();
    assert_eq!((&before["h264"]["error"], &before["h264"]["failures"]), (&Value::Null, &json!(0)));
    std::fs::write(&go, "").unwrap();
    assert_eq!(viewer.text()["width"], 640);
    let camera = video.camera();
    assert_eq!((&camera["h264"]["encoder"], &camera["h264"]["failures"]), (&json!("copied"), &json!(0)));
    assert!(!video.log().contains("gives no H.264"), "{}", video.log());

    let jpegs =
        service(&scratch, &format!("exec:while :; do cat {picture}; sleep 0.1; done"), "h264 = \"copy\"");
    let answer = get(jpegs.address, "/stream.mp4");
    assert!(answer.status == 503 && answer.text().contains("gives no H.264"), "{}", answer.text());
    jpegs.until_logged("the camera gives no H.264; set h264 = \"auto\" to encode it here");
}

#[test]
fn a_camera_that_goes_over_to_other_parameter_sets_is_told_with_their_size() {
    let scratch = Scratch::new();
    // Both sets are known from then on, and each key frame comes with its own alone.
    let sizes = [[640, 480], [320, 240]];
    let [large, small] = [0, 1].map(|number| {
        let encoder = Encoder::numbered(sizes[number as usize], number);
        clip(&scratch, &format!("{number}.h264"), &mut [encoder])
    });
    let command = format!("exec:while :; do cat {large}; sleep 0.2; cat {small}; sleep 0.2; done");
    let service = service(&scratch, &command, "");
    let viewers = VideoViewers::start(service.address);
    for (subprotocol, kind) in [("porthole.h264.v1", "h264"), ("porthole.mp4.v1", "mp4")] {
        let mut viewer = h264_viewer(&service, subprotocol);
        let (mut told, mut changes, mut pictures) = ([0; 2], 0, 0);
        while changes < 5 {
            let message = viewer.read();
            if let Message::Text(text) = &message {
                let format: Value = serde_json::from_str(text).unwrap();
                assert_eq!(format["type"], kind);
                let size = ["width", "height"].map(|key| format[key].as_u64().unwrap() as u16);
                assert_ne!(size, told);
                (told, changes) = (size, changes + 1);
            } else if let Some(size) = sized(&message) {
                assert_eq!(size, told, "a picture of another size than was told");
                pictures += 1;
                let Message::Binary(bytes) = &message else { continue };
                viewer.acknowledge(VideoHead::parse(bytes).unwrap().sequence);
            }
        }
        assert!(pictures >= 40, "{pictures}");
    }
    viewers.go_on(20, "over changes of the size");
    let begins = viewers.begins();
    assert!(begins[2] == 1 && begins[3] > 2, "an MP4 ends at a change, a byte stream goes on: {begins:?}");
    viewers.leave();
}

#[test]
fn pictures_that_change_their_size_are_encoded_in_the_new_one() {
    let scratch = Scratch::new();
    let [large, small] = [(640, 480), (320, 240)].map(|(w, h)| jpeg(&scratch, &format!("{w}.jpg"), w, h));
    let ten = |picture: &str| format!("for n in 0 1 2 3 4 5 6 7 8 9; do cat {picture}; sleep 0.1; done");
    let command = format!("exec:while :; do {}; {}; done", ten(&large), ten(&small));
    let service = service(&scratch, &command, "h264 = \"software\"");
    let (steady, viewers) = (SteadyViewer::start(service.address), VideoViewers::start(service.address));
    until("all were told three sizes", || {
        let begins = viewers.begins();
        [0, 1, 3].iter().all(|kind| begins[*kind] >= 3).then_some(())
    });
    viewers.go_on(10, "in another size");
    assert_eq!(viewers.begins()[2], 1, "a byte stream goes on");
    viewers.leave();
    steady.leave();
    assert_eq!(service.camera()["h264"]["failures"], 0);
}

/// A command that gives H.264, ends, and gives JPEGs when it is started again, and so on.
#[test]
fn a_command_may_give_jpegs_after_h264_and_h264_after_jpegs() {
    let scratch = Scratch::new();
    let clip = clip(&scratch, "clip.h264", &mut [Encoder::new([320, 240], 30_000)]);
    let picture = jpeg(&scratch, "picture.jpg", 640, 480);
    let stop = |name: &str| scratch.path(name).display().to_string();
    let (to_jpeg, to_h264) = (stop("to-jpeg"), stop("to-h264"));
    let command = format!(
        "exec:if [ -e {to_jpeg} ]; then until [ -e {to_h264} ]; do cat {picture}; sleep 0.1; done; \
         rm {to_jpeg} {to_h264}; else until [ -e {to_jpeg} ]; do cat {clip}; sleep 0.1; done; fi"
    );
    let service = service(&scratch, &command, "");
    let mut jpegs = Client::porthole(service.address, "/ws");
    let viewers = VideoViewers::start(service.address);
    let mut show = |format: &str, size: [u16; 2], encoder: &str| {
        until(&format!("JPEGs of {size:?}"), || {
            let frame = jpegs.acknowledged();
            decode(&frame.jpeg);
            ([frame.width, frame.height] == size).then_some(())
        });
        viewers.go_on(10, &format!("from {format}"));
        let camera = service.camera();
        assert_eq!(
            (&camera["format"], &camera["h264"]["encoder"]),
            (&json!(format), &json!(encoder)),
            "{camera}"
        );
        assert_eq!(camera["h264"]["decoded"], encoder == "copied", "{camera}");
    };
    let touch = |path: &str| std::fs::write(Path::new(path), "").unwrap();
    show("h264", [320, 240], "copied");
    touch(&to_jpeg);
    show("mjpeg", [640, 480], "openh264");
    touch(&to_h264);
    show("h264", [320, 240], "copied");
    assert_eq!(service.camera()["corrupt"], 0);
    viewers.leave();
}

/// A camera that gives H.264 alone and is plugged in again in another mode, with JPEGs alone.
#[test]
fn a_camera_with_h264_alone_may_come_back_with_jpegs() {
    let scratch = Scratch::new();
    let [video, pictures] = ["video", "pictures"].map(|name| Table::create(scratch.path(name)).unwrap());
    let cameras = [
        Camera::new("/dev/video90", &video).with("formats", "H264:320x240@30"),
        Camera::new("/dev/video91", &pictures).with("formats", "MJPG:640x480@30"),
    ];
    pictures.set(Setting::Unplug, 1);
    let service = Porthole::with_cameras(&cameras, &["--source", "auto"]);
    let mut jpegs = Client::porthole(service.address, "/ws");
    let viewers = VideoViewers::start(service.address);
    let mut show = |size: [u16; 2], encoder: &str| {
        until(&format!("JPEGs of {size:?}"), || {
            let frame = jpegs.acknowledged();
            decode(&frame.jpeg);
            ([frame.width, frame.height] == size).then_some(())
        });
        viewers.go_on(10, &format!("by {encoder}"));
        assert_eq!(service.camera()["h264"]["encoder"], encoder);
    };
    show([320, 240], "copied");
    video.set(Setting::Unplug, 1);
    pictures.set(Setting::Unplug, 0);
    show([640, 480], "openh264");
    pictures.set(Setting::Unplug, 1);
    video.set(Setting::Unplug, 0);
    show([320, 240], "copied");
    assert_eq!(video.counter(Counter::Streamons), 2);
    viewers.leave();
}
