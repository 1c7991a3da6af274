//! A camera with pictures on its first node and H.264 on its second, as some USB cameras have it.

use serde_json::{Value, json};

use support::fakecam::{Camera, Counter, Setting, Table};
use support::http::get;
use support::picture::{Stamp, decode};
use support::video::{SteadyViewer, VideoHead};
use support::ws::Client;
use support::{Porthole, Scratch, until};

/// A camera of two nodes, and the service that shows it.
struct TwoNodes {
    service: Porthole,
    pictures: Table,
    video: Table,
    _scratch: Scratch,
}

impl TwoNodes {
    /// The first node at `/dev/video90`, with the second one at `/dev/video91` in this format.
    fn new(config: &str, video_format: &str) -> Self {
        let scratch = Scratch::new();
        let [pictures, video] = ["pictures", "video"].map(|name| Table::create(scratch.path(name)).unwrap());
        let cameras = [
            Camera::new("/dev/video90", &pictures).with("formats", "MJPG:640x480@10,MJPG:1280x960@10"),
            Camera::new("/dev/video91", &video).with("formats", video_format),
        ];
        let config = format!("[[camera]]\nlinger_s = 0\nwidth = 640\nheight = 480\n{config}\n");
        let config = scratch.file("porthole.toml", config);
        let service = Porthole::with_cameras(&cameras, &["--config", config.to_str().unwrap()]);
        Self { service, pictures, video, _scratch: scratch }
    }

    fn viewer(&self) -> Client {
        let headers = [("Sec-WebSocket-Protocol", "porthole.h264.v1")];
        Client::connect(self.service.address, "/ws", &headers).unwrap()
    }

    fn h264(&self) -> Value {
        self.service.camera()["h264"].clone()
    }

    /// How many descriptors of the second node that stream are open.
    fn streams(&self) -> u64 {
        self.video.counter(Counter::Streaming)
    }

    #[track_caller]
    fn until_closed(&self) {
        until("the second node is closed", || {
            (self.video.counter(Counter::Opens) == self.video.counter(Counter::Closes)).then_some(())
        });
    }
}

/// The next picture, acknowledged, with the camera's number of it.
fn next(viewer: &mut Client) -> (VideoHead, u64) {
    let message = viewer.binary();
    let head = VideoHead::parse(&message).unwrap();
    viewer.acknowledge(head.sequence);
    (head, Stamp::of(&message).number)
}

const VIDEO: &str = "H264:640x480@30";

#[test]
fn both_nodes_stream_at_once_and_the_second_only_while_somebody_takes_h264() {
    for mode in ["auto", "copy"] {
        let camera = TwoNodes::new(&format!("source = \"/dev/video90\"\nh264 = \"{mode}\""), VIDEO);
        let steady = SteadyViewer::start(camera.service.address);
        assert_eq!(camera.video.counter(Counter::Streamons), 0, "nobody takes H.264");
        for round in 1..=2 {
            let mut viewer = camera.viewer();
            let format = viewer.text();
            assert_eq!((&format["width"], &format["height"]), (&json!(640), &json!(480)));
            let (first, number) = next(&mut viewer);
            assert!(first.is_key, "{first:?}");
            let before = steady.pictures();
            let (mut last, mut shown) = (first, number);
            while steady.pictures() < before + 10 {
                let (head, number) = next(&mut viewer);
                assert!(head.sequence > last.sequence && number > shown);
                (last, shown) = (head, number);
            }
            let told = camera.service.camera();
            assert_eq!(
                (&told["format"], &told["h264"]["encoder"]),
                (&json!("mjpeg"), &json!("copied")),
                "{told}"
            );
            assert_eq!((camera.pictures.counter(Counter::Streaming), camera.streams()), (1, 1));
            assert_eq!(camera.video.counter(Counter::Streamons), round);
            drop(viewer);
            camera.until_closed();
            assert!(camera.h264()["encoder"].is_null());
        }
        steady.leave();
        assert_eq!(camera.h264()["failures"], 0);
        assert_eq!(camera.pictures.counter(Counter::Streamons), 1, "{mode}: the first node was disturbed");
    }
}

#[test]
fn the_size_of_the_second_node_is_that_of_the_pictures_or_else_what_it_has() {
    for (formats, size) in [
        ("H264:320x240@30,H264:640x480@30,H264:1280x720@30", [640, 480]),
        ("H264:320x240@30,H264:1280x720@30", [1280, 720]),
    ] {
        let camera = TwoNodes::new("source = \"auto\"", formats);
        assert_eq!(next(&mut camera.viewer()).0.size, size, "{formats}");
    }
}

#[test]
fn where_it_is_not_to_be_copied_the_second_node_is_left_alone() {
    let scratch = Scratch::new();
    let camera = TwoNodes::new("source = \"/dev/video90\"\nh264 = \"software\"", VIDEO);
    next_encoded(&camera);
    // A node that has both formats is not the second one of itself, by whatever name it is known.
    let tables = ["a", "b"].map(|name| Table::create(scratch.path(name)).unwrap());
    let both = Camera::new("/dev/video90", &tables[0]).with("by-id", "usb-both");
    let both = both.with("formats", "MJPG:640x480@10,H264:640x480@30");
    let other = Camera::new("/dev/video91", &tables[1]).with("bus", "usb-other").with("formats", VIDEO);
    for source in ["/dev/v4l/by-id/usb-both", "/dev/video90"] {
        let service =
            Porthole::with_cameras(&[both.clone(), other.clone()], &["--source", source, "--fps", "10"]);
        let headers = [("Sec-WebSocket-Protocol", "porthole.h264.v1")];
        let mut viewer = Client::connect(service.address, "/ws", &headers).unwrap();
        viewer.text();
        let h264 = service.camera()["h264"].clone();
        assert_eq!((&h264["encoder"], &h264["failures"]), (&json!("openh264"), &json!(0)), "{source}");
    }
    assert_eq!(tables[1].counter(Counter::Streamons), 0, "it is another camera's");
}

#[track_caller]
fn next_encoded(camera: &TwoNodes) {
    let mut viewer = camera.viewer();
    viewer.text();
    assert_eq!(camera.h264()["encoder"], "openh264");
    assert_eq!(camera.video.counter(Counter::Streamons), 0);
}

#[test]
fn a_second_node_that_is_to_be_copied_and_fails_is_told_and_tried_again() {
    let camera = TwoNodes::new("source = \"/dev/video90\"\nh264 = \"copy\"", VIDEO);
    let steady = SteadyViewer::start(camera.service.address);
    camera.video.set(Setting::Busy, 1);
    let mut viewer = camera.viewer();
    let error = until("that it is busy is told", || camera.h264()["error"].as_str().map(ToOwned::to_owned));
    assert!(error.contains("/dev/video91: in use by"), "{error}");
    let refused = get(camera.service.address, "/stream.mp4");
    assert!(refused.status == 503 && refused.text().contains(&error), "{}", refused.text());
    camera.video.set(Setting::Busy, 0);
    assert!(next(&mut viewer).0.is_key);
    assert_eq!((&camera.h264()["encoder"], &camera.h264()["error"]), (&json!("copied"), &Value::Null));
    // Its driver hangs.
    camera.video.set(Setting::HangMs, 3000);
    camera.video.set(Setting::HangWhere, support::fakecam::hang::DQBUF);
    let before = steady.pictures();
    until("pictures go on beside it", || (steady.pictures() > before + 20).then_some(()));
    camera.video.set(Setting::HangWhere, 0);
    let shown = next(&mut viewer).1;
    until("H.264 goes on", || (next(&mut viewer).1 > shown + 10).then_some(()));
    steady.leave();
    assert_eq!(camera.pictures.counter(Counter::Streamons), 1);
}

#[test]
fn both_nodes_are_found_again_under_other_numbers() {
    let camera = TwoNodes::new("source = \"auto\"", VIDEO);
    let mut jpeg = Client::porthole(camera.service.address, "/ws");
    let mut viewer = camera.viewer();
    next(&mut viewer);
    camera.pictures.set(Setting::Unplug, 1);
    camera.video.set(Setting::Unplug, 1);
    camera.service.until_camera_is("lost");
    // Now the node for H.264 is the first.
    camera.video.set(Setting::Renumber, 93);
    camera.pictures.set(Setting::Renumber, 95);
    let (frames, units) = (camera.service.camera()["frames"].clone(), camera.h264()["units"].clone());
    camera.video.set(Setting::Unplug, 0);
    camera.pictures.set(Setting::Unplug, 0);
    until("frames and units go on", || {
        decode(&jpeg.acknowledged().jpeg);
        let told = camera.service.camera();
        let is_on = |now: &Value, before: &Value| now.as_u64() > before.as_u64().map(|n| n + 10);
        (is_on(&told["frames"], &frames) && is_on(&told["h264"]["units"], &units)).then_some(())
    });
    let told = camera.service.camera();
    assert_eq!((&told["format"], &told["h264"]["encoder"]), (&json!("mjpeg"), &json!("copied")), "{told}");
    camera.service.until_logged("opened /dev/video95 ");
    camera.service.until_logged("copies H.264 of 640x480 from /dev/video93");
    next(&mut viewer);
}

#[test]
fn a_still_of_the_largest_size_is_taken_while_h264_is_copied() {
    let camera = TwoNodes::new("source = \"/dev/video90\"", VIDEO);
    let mut viewer = camera.viewer();
    next(&mut viewer);
    let still = get(camera.service.address, "/snapshot?size=max");
    let size = decode(&still.body);
    assert_eq!((size.width, size.height), (1280, 960));
    let shown = next(&mut viewer).1;
    until("H.264 goes on", || (next(&mut viewer).1 > shown + 60).then_some(()));
    assert_eq!(camera.h264()["encoder"], "copied");
}
