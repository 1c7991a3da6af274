//! Faults of H.264: of a camera's second node, of an encoder of the board, of a camera that gives H.264 alone. Viewers of H.264 go on by
//! themselves, viewers of JPEG notice nothing, and everything is counted.

use serde_json::Value;

use support::fakecam::{Camera, Counter, Setting, Table};
use support::http::get;
use support::picture::decode;
use support::prometheus::Exposition;
use support::video::{SteadyViewer, VideoHead, VideoViewers};
use support::ws::Client;
use support::{Porthole, Scratch, until};

const PICTURES: &str = "/dev/video90";
/// The rate of pictures: so low that a busy machine keeps up.
const RATE: &str = "10";

/// A camera with viewers of JPEG and of H.264, and what plays faults.
struct Stage {
    service: Porthole,
    /// Of the node with pictures.
    pictures: Table,
    /// Of the second node, or of the encoder.
    video: Table,
    _scratch: Scratch,
}

impl Stage {
    /// A camera that gives pictures, beside the device that `video` makes.
    fn new(mode: &str, formats: &str, video: impl Fn(&Table) -> Camera) -> Self {
        let scratch = Scratch::new();
        let table = |name| Table::create(scratch.path(name)).unwrap();
        let (pictures, other) = (table("pictures"), table("video"));
        let cameras = [Camera::new(PICTURES, &pictures).with("formats", formats), video(&other)];
        let config = format!(
            "[[camera]]\nsource = \"{PICTURES}\"\nwidth = 640\nheight = 480\nfps = {RATE}\nlinger_s = 0\nh264 = \"{mode}\"\n"
        );
        let config = scratch.file("porthole.toml", config);
        let service = Porthole::with_cameras(&cameras, &["--config", config.to_str().unwrap()]);
        Self { service, pictures, video: other, _scratch: scratch }
    }

    /// With H.264 on a second node.
    fn two_nodes(mode: &str) -> Self {
        let formats = format!("MJPG:640x480@{RATE}");
        Self::new(mode, &formats, |table| {
            Camera::new("/dev/video91", table).with("formats", "H264:640x480@30")
        })
    }

    /// With an encoder of the board.
    fn encoder(mode: &str) -> Self {
        let formats = format!("MJPG:640x480@{RATE}");
        Self::new(mode, &formats, |table| {
            let encoder = Camera::new("/dev/video11", table).with("kind", "encoder");
            encoder.with("card", "bcm2835-codec-encode").with("bus", "platform:bcm2835-codec")
        })
    }

    fn h264(&self) -> Value {
        self.service.camera()["h264"].clone()
    }

    #[track_caller]
    fn until_encoder_is(&self, name: &str) {
        until(&format!("the encoder is {name}, not {}", self.h264()), || {
            (self.h264()["encoder"] == name).then_some(())
        });
    }

    fn count(&self, counter: Counter) -> u64 {
        self.video.counter(counter)
    }

    #[track_caller]
    fn until_counted(&self, counter: Counter, more: u64) {
        let before = self.count(counter);
        until(&format!("{counter:?}, {more} more than {before}"), || {
            (self.count(counter) >= before + more).then_some(())
        });
    }

    /// Somebody joins; the first picture, which is a key frame.
    #[track_caller]
    fn join(&self) -> VideoHead {
        let headers = [("Sec-WebSocket-Protocol", "porthole.h264.v1")];
        let mut client = Client::connect(self.service.address, "/ws", &headers).unwrap();
        let head = VideoHead::parse(&client.binary()).unwrap();
        assert!(head.is_key, "{head:?}");
        head
    }

    /// Key frames come with parameter sets no more.
    fn gives_parameter_sets_once(&self, viewers: &VideoViewers) {
        self.video.set(Setting::ParameterSetsOnce, 1);
        for _ in 0..2 {
            let before = self.count(Counter::KeyFrames);
            self.join();
            until("a key frame came", || (self.count(Counter::KeyFrames) > before).then_some(()));
        }
        // Its viewers check that each key frame has them.
        viewers.go_on(10, "with parameter sets that came once");
        self.video.set(Setting::ParameterSetsOnce, 0);
    }

    fn cuts_units_short(&self, viewers: &VideoViewers) {
        self.video.set(Setting::TruncateEvery, 4);
        self.until_counted(Counter::Truncated, 3);
        viewers.go_on(10, "while every fourth unit is cut short");
        self.video.set(Setting::TruncateEvery, 0);
        viewers.go_on(10, "after units were cut short");
    }

    /// A unit is lost, and no key frame comes for ten seconds, which are so many pictures.
    fn gives_no_key_frame(&self, viewers: &VideoViewers, pictures: u64) {
        let asked = self.count(Counter::KeyRequests);
        self.video.set(Setting::WithholdKeys, 1);
        self.video.set(Setting::ErrorEvery, 5);
        self.until_counted(Counter::Error, 1);
        self.video.set(Setting::ErrorEvery, 0);
        until("it was asked for a key frame", || (self.count(Counter::KeyRequests) > asked).then_some(()));
        let mut before = viewers.pictures();
        until("viewers have had what can be decoded", || {
            self.until_counted(Counter::Dequeued, pictures / 10);
            let now = viewers.pictures();
            (std::mem::replace(&mut before, now) == now).then_some(())
        });
        let begun = viewers.begins();
        self.until_counted(Counter::Dequeued, pictures);
        assert_eq!(viewers.pictures(), before, "somebody was sent what cannot be decoded");
        assert!(self.count(Counter::KeyRequests) > asked + 2, "it was asked again");
        let without_start = self.h264()["units"].as_u64();
        self.video.set(Setting::WithholdKeys, 0);
        viewers.go_on(10, "after ten seconds without a key frame");
        assert!(self.h264()["units"].as_u64() > without_start);
        let streams = |begins: [u64; 4]| [begins[2], begins[3]];
        assert_eq!(streams(viewers.begins()), streams(begun), "no stream over HTTP was cut");
    }

    /// Nobody has noticed anything, and what was counted is told twice.
    fn ends(&self, steady: SteadyViewer) {
        steady.leave();
        let missed = self.pictures.counter(Counter::Missed);
        assert_eq!((missed, self.pictures.counter(Counter::Streamons)), (0, 1), "pictures were disturbed");
        let camera = self.service.camera();
        for key in ["corrupt", "dropped", "reopens"] {
            assert_eq!(camera[key], 0, "{key}: {camera}");
        }
        let metrics = Exposition::parse(&get(self.service.address, "/metrics").text());
        let metric = |name: &str| metrics.value(name, &[("camera", camera["name"].as_str().unwrap())]);
        for (key, name) in [
            ("lost", "porthole_h264_lost_units_total"),
            ("failures", "porthole_h264_failures_total"),
            ("key_frames", "porthole_h264_key_frames_total"),
        ] {
            let told = camera["h264"][key].as_f64().unwrap();
            assert!(metric(name) >= told && told > 0.0, "{name} {} {told}", metric(name));
        }
        assert!(metric("porthole_h264_units_without_start_total") > 0.0);
        assert!(camera["h264"]["lost"].as_u64().unwrap() >= self.count(Counter::Error));
    }

    #[track_caller]
    fn until_nobody_takes_h264(&self) {
        until("the device is closed", || {
            (self.count(Counter::Opens) == self.count(Counter::Closes) && self.h264()["encoder"].is_null())
                .then_some(())
        });
    }
}

#[test]
fn faults_of_a_second_node_heal() {
    let stage = Stage::two_nodes("auto");
    let address = stage.service.address;
    let (steady, viewers) = (SteadyViewer::start(address), VideoViewers::start(address));
    viewers.go_on(20, "at first");
    assert_eq!(stage.h264()["encoder"], "copied");
    stage.gives_parameter_sets_once(&viewers);
    stage.cuts_units_short(&viewers);

    let begun = viewers.begins();
    stage.video.set(Setting::VideoSize, 320 << 16 | 240);
    viewers.go_on(10, "with another size");
    assert_eq!(stage.join().size, [320, 240]);
    stage.video.set(Setting::VideoSize, 0);
    viewers.go_on(10, "with the first size again");
    let now = viewers.begins();
    assert_eq!((now[2], now[3] > begun[3]), (begun[2], true), "an MP4 ends, a byte stream does not");
    assert!(now[0] >= begun[0] + 2 && now[1] >= begun[1] + 2, "they were told: {begun:?} {now:?}");

    stage.gives_no_key_frame(&viewers, 300);

    stage.video.set(Setting::Stall, 1);
    stage.until_encoder_is("openh264");
    viewers.go_on(10, "encoded here");
    assert!(stage.service.log().contains("/dev/video91: no H.264 for 2 s; set h264"), "no remedy");
    stage.video.set(Setting::Stall, 0);
    viewers.leave();
    stage.until_nobody_takes_h264();

    for (setting, value) in [(Setting::Busy, 1), (Setting::StreamonErrno, libc::ENOSPC as u32)] {
        stage.video.set(setting, value);
        let viewers = VideoViewers::start(address);
        viewers.go_on(10, "encoded here");
        assert_eq!(stage.h264()["encoder"], "openh264", "{setting:?}");
        stage.video.set(setting, 0);
        viewers.leave();
        stage.until_nobody_takes_h264();
    }

    let viewers = VideoViewers::start(address);
    viewers.go_on(10, "copied again");
    assert_eq!(stage.h264()["encoder"], "copied");
    stage.video.set(Setting::Unplug, 1);
    stage.until_encoder_is("openh264");
    viewers.go_on(10, "after the node is gone");
    viewers.leave();
    assert_eq!(stage.h264()["failures"], 4);
    stage.ends(steady);
}

#[test]
fn faults_of_an_encoder_heal() {
    let stage = Stage::encoder("hardware");
    let address = stage.service.address;
    let (steady, viewers) = (SteadyViewer::start(address), VideoViewers::start(address));
    viewers.go_on(10, "at first");
    let name = "bcm2835-codec-encode (/dev/video11)";
    assert_eq!(stage.h264()["encoder"], name);
    stage.gives_parameter_sets_once(&viewers);
    stage.cuts_units_short(&viewers);
    stage.gives_no_key_frame(&viewers, 100);

    // As many pictures as come while one is encoded are left out.
    stage.video.set(Setting::EncodeUs, 400_000);
    let overtaken = stage.h264()["overtaken"].as_u64();
    until("pictures are left out", || (stage.h264()["overtaken"].as_u64() > overtaken).then_some(()));
    viewers.go_on(3, "with an encoder that is slow");
    stage.video.set(Setting::EncodeUs, 0);
    viewers.go_on(10, "after it was slow");

    for (setting, words) in [(Setting::Stall, "gave nothing for 2 s"), (Setting::Unplug, "is gone")] {
        stage.video.set(setting, 1);
        let told = || stage.h264()["error"].as_str().is_some_and(|error| error.contains(words)).then_some(());
        until(&format!("{setting:?} is told: {words}"), told);
        let refused = get(address, "/stream.mp4");
        assert_eq!(refused.status, 503);
        assert!(refused.text().contains("h264 = \"software\""), "no remedy: {}", refused.text());
        stage.video.set(setting, 0);
        viewers.go_on(10, &format!("after {setting:?}"));
        assert_eq!(stage.h264()["error"], Value::Null);
    }
    viewers.leave();
    stage.until_nobody_takes_h264();

    stage.video.set(Setting::Busy, 1);
    let viewers = VideoViewers::start(address);
    until("that it is busy is told", || {
        stage.h264()["error"].as_str().is_some_and(|error| error.contains("is in use")).then_some(())
    });
    stage.video.set(Setting::Busy, 0);
    viewers.go_on(10, "after it was busy");
    assert_eq!(stage.h264()["encoder"], name);
    viewers.leave();
    stage.ends(steady);
}

#[test]
fn without_its_encoder_a_board_encodes_by_itself() {
    let stage = Stage::encoder("auto");
    let address = stage.service.address;
    let (steady, viewers) = (SteadyViewer::start(address), VideoViewers::start(address));
    viewers.go_on(10, "at first");
    let name = "bcm2835-codec-encode (/dev/video11)";
    assert_eq!(stage.h264()["encoder"], name);
    stage.video.set(Setting::Unplug, 1);
    stage.until_encoder_is("openh264");
    viewers.go_on(10, "after rmmod");
    stage.video.set(Setting::Unplug, 0);
    viewers.leave();
    for (busy, encoder, failures) in [(1, "openh264", 2), (0, name, 2)] {
        stage.until_nobody_takes_h264();
        stage.video.set(Setting::Busy, busy);
        let viewers = VideoViewers::start(address);
        viewers.go_on(10, "again");
        let h264 = stage.h264();
        assert_eq!(
            (&h264["encoder"], &h264["failures"]),
            (&encoder.into(), &failures.into()),
            "busy: {busy}"
        );
        assert_eq!(h264["error"], Value::Null, "nobody lacks anything");
        viewers.leave();
    }
    steady.leave();
}

/// A camera that gives nothing but H.264, of which JPEGs are made.
#[test]
fn faults_of_a_camera_with_h264_alone_heal() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new(PICTURES, &table).with("formats", "H264:640x480@30");
    let service = Porthole::with_cameras(&[camera], &["--source", PICTURES]);
    let mut jpeg = Client::porthole(service.address, "/ws");
    let viewers = VideoViewers::start(service.address);
    let mut go_on = |what: &str| {
        viewers.go_on(10, what);
        // What has come meanwhile is older.
        let newest = service.camera()["frames"].as_u64().unwrap();
        let mut frames = 0;
        until(&format!("JPEGs go on {what}"), || {
            let frame = jpeg.acknowledged();
            frames += 1;
            decode(&frame.jpeg);
            (frames > 10 && service.camera()["frames"].as_u64()? > newest + 10)
                .then_some([frame.width, frame.height])
        })
    };
    assert_eq!(go_on("at first"), [640, 480]);
    for (setting, counter) in
        [(Setting::TruncateEvery, Counter::Truncated), (Setting::ErrorEvery, Counter::Error)]
    {
        table.set(setting, 4);
        until("units are spoilt", || (table.counter(counter) >= 3).then_some(()));
        table.set(setting, 0);
        go_on(&format!("after {setting:?}"));
    }
    table.set(Setting::VideoSize, 320 << 16 | 240);
    until("JPEGs have the other size", || (go_on("with another size") == [320, 240]).then_some(()));
    table.set(Setting::ParameterSetsOnce, 1);
    go_on("with parameter sets that came once");
    table.set(Setting::Unplug, 1);
    service.until_camera_is("lost");
    table.set(Setting::Unplug, 0);
    go_on("plugged in again");
    let camera = service.camera();
    assert!(camera["h264"]["lost"].as_u64() >= Some(3) && camera["reopens"] == 1, "{camera}");
    viewers.leave();
}
