//! Devices with inputs: HDMI with its timings and EDID, analog video with its standards, and several of them.

use serde_json::json;

use support::fakecam::{Camera, Counter, Setting, Table, signal};
use support::http::get;
use support::ws::Client;
use support::{Porthole, Scratch, until};

const NODE: &str = "/dev/video90";
/// What a device offers whatever its input receives.
const FORMATS: &str = "YUYV:1280x720@60,UYVY:1280x720@60";

struct Grabber {
    table: Table,
    camera: Camera,
    scratch: Scratch,
}

/// A device with these inputs, see `fakecam/spec.rs`.
fn grabber(inputs: &str) -> Grabber {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("camera.table")).unwrap();
    let camera = Camera::new(NODE, &table).with("formats", FORMATS).with("parm", "none");
    Grabber { table, camera: camera.with("inputs", inputs), scratch }
}

impl Grabber {
    /// Serves it with these lines of configuration.
    #[track_caller]
    fn serve(&self, lines: &str) -> Porthole {
        let config = format!("[[camera]]\nsource = \"{NODE}\"\nlinger_s = 0\n{lines}\n");
        let file = self.scratch.file("porthole.toml", config);
        Porthole::with_cameras(std::slice::from_ref(&self.camera), &["--config", file.to_str().unwrap()])
    }

    fn send(&self, [width, height]: [u32; 2]) {
        self.table.set(Setting::SignalSize, width << 16 | height);
    }

    fn count(&self, counter: Counter) -> u64 {
        self.table.counter(counter)
    }
}

/// The next frame of this width. Frames of other widths may come before it.
#[track_caller]
fn until_width(client: &mut Client, width: u16) {
    until("a frame of the new size", || (client.acknowledged().width == width).then_some(()));
}

#[test]
fn an_hdmi_signal_is_shown_in_its_size_and_followed_when_that_changes() {
    let grabber = grabber("HDMI_1:hdmi");
    grabber.send([800, 600]);
    let service = grabber.serve("");
    let mut client = Client::porthole(service.address, "/ws");
    let frame = client.acknowledged();
    assert_eq!((frame.width, frame.height), (800, 600));
    assert_eq!(grabber.count(Counter::Timings), 800 << 16 | 600);
    assert_eq!((&service.camera()["capture"], &service.camera()["state"]), (&json!("mmap"), &json!("live")));
    for (nth, size) in [[1920, 1080], [640, 480], [1280, 720]].into_iter().enumerate() {
        grabber.send(size);
        until_width(&mut client, size[0] as u16);
        let camera = service.camera();
        assert_eq!(camera["reopens"], nth + 1);
        assert_eq!((&camera["state"], &camera["error"]), (&json!("live"), &json!(null)));
        assert_eq!(service.state()["cameras"][0]["viewers"].as_array().unwrap().len(), 1, "the viewer left");
    }
    assert!(!service.log().contains("lost"), "{}", service.log());
}

#[test]
fn an_event_without_a_change_interrupts_nothing() {
    let grabber = grabber("HDMI_1:hdmi");
    grabber.table.set(Setting::EventEvery, 3);
    let service = grabber.serve("");
    let mut client = Client::porthole(service.address, "/ws");
    (0..30).for_each(|_| drop(client.acknowledged()));
    assert_eq!((&service.camera()["reopens"], &service.camera()["state"]), (&json!(0), &json!("live")));
}

#[test]
fn a_missing_signal_is_told_and_waited_for() {
    for (fault, why) in [
        (
            signal::NONE,
            "no signal at the HDMI 1 input; connect a source and switch it on. The input has no EDID",
        ),
        (signal::UNSTABLE, "the signal at the HDMI 1 input is not stable; wait a moment"),
        (
            signal::OUT_OF_RANGE,
            "the signal at the HDMI 1 input is beyond what the device takes; set a smaller",
        ),
    ] {
        let grabber = grabber("HDMI_1:hdmi");
        grabber.table.set(Setting::Signal, fault);
        let service = grabber.serve("");
        let mut client = Client::porthole(service.address, "/ws");
        service.until_camera_is("lost");
        let answer = get(service.address, "/snapshot");
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains(why), "{}, not\n{why}", answer.text());
        grabber.table.set(Setting::Signal, 0);
        client.acknowledged();
        // And while it runs.
        grabber.table.set(Setting::Signal, fault);
        let camera = service.until_camera_is("lost");
        assert!(camera["error"].as_str().unwrap().contains(why), "{camera}");
        grabber.send([640, 480]);
        grabber.table.set(Setting::Signal, 0);
        until_width(&mut client, 640);
        assert_eq!(service.camera()["state"], "live");
    }
}

#[test]
fn an_edid_is_set_once() {
    let grabber = grabber("S-Video:analog,HDMI_1:hdmi");
    let service = grabber.serve("input = 1\nedid = \"1080p30\"");
    for _ in 0..2 {
        Client::porthole(service.address, "/ws").acknowledged();
        service.until_camera_is("idle");
    }
    assert_eq!((grabber.count(Counter::EdidSets), grabber.count(Counter::EdidBlocks)), (1, 2));
    grabber.table.set(Setting::Signal, signal::NONE);
    let text = get(service.address, "/snapshot").text();
    assert!(text.contains("no signal at the HDMI 1 input; connect a source and switch it on"), "{text}");
    assert!(!text.contains("has no EDID"), "{text}");
}

#[test]
fn an_edid_of_a_file_must_be_one() {
    let grabber = grabber("HDMI_1:hdmi");
    let file = grabber.scratch.file("edid.bin", b"no EDID");
    let service = grabber.serve(&format!("edid = \"{}\"", file.display()));
    let text = get(service.address, "/snapshot").text();
    assert!(text.contains("does not begin as an EDID does; name a file with an EDID"), "{text}");
    let mut edid = vec![0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00];
    edid.resize(127, 1);
    edid[126] = 0;
    edid.push(edid.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg());
    std::fs::write(&file, edid).unwrap();
    Client::porthole(service.address, "/ws").acknowledged();
    assert_eq!((grabber.count(Counter::EdidSets), grabber.count(Counter::EdidBlocks)), (1, 1));
}

#[test]
fn an_input_is_chosen_by_number_or_name() {
    const INPUTS: &str = "Camera_1:camera,S-Video:analog,HDMI_1:hdmi";
    for (lines, input, size) in [
        ("", 0, (1280, 720)),
        ("input = 2", 2, (1280, 720)),
        ("input = \"hdmi 1\"", 2, (1280, 720)),
        ("input = \"S-Video\"", 1, (720, 480)),
        ("input = 1\nstandard = \"PAL\"", 1, (720, 576)),
        ("input = 1\nstandard = \"pal\"", 1, (720, 576)),
    ] {
        let grabber = grabber(INPUTS);
        let service = grabber.serve(lines);
        let frame = Client::porthole(service.address, "/ws").acknowledged();
        assert_eq!((frame.width, frame.height), size, "{lines}");
        assert_eq!(grabber.count(Counter::Input), input, "{lines}");
    }
    for (lines, why) in [
        (
            "input = 3",
            "has no input 3, only 0 \"Camera 1\", 1 \"S-Video\", 2 \"HDMI 1\"; set input to one of",
        ),
        ("input = \"SDI\"", "has no input \"SDI\", only 0 \"Camera 1\""),
        (
            "input = 1\nstandard = \"SECAM\"",
            "its input S-Video has no standard SECAM, only NTSC, PAL; set standard",
        ),
        ("standard = \"PAL\"", "its input Camera 1 does not take analog video; remove standard"),
        ("edid = \"720p60\"", "its input Camera 1 does not take digital video; remove edid"),
    ] {
        let grabber = grabber(INPUTS);
        let service = grabber.serve(lines);
        let text = get(service.address, "/snapshot").text();
        assert!(text.contains(why), "{text}, not\n{why}");
        let _waiting = Client::porthole(service.address, "/ws");
        service.until_camera_is("unsupported");
    }
}

#[test]
fn inputs_and_standards_are_listed() {
    let grabber = grabber("S-Video:analog,HDMI_1:hdmi,Camera_1:camera");
    let environment = support::fakecam::environment(std::slice::from_ref(&grabber.camera));
    let (_, out, _) = support::finish(support::porthole().arg("cameras").envs(environment));
    for line in [
        "  input 0 = S-Video, analog video",
        "  input 1 = HDMI 1, digital video",
        "  input 2 = Camera 1",
        "  standards of the chosen input: NTSC, PAL",
    ] {
        assert!(out.lines().any(|shown| shown == line), "no line {line:?} in\n{out}");
    }
}

#[test]
fn a_camera_with_compressed_video_alone_is_told_apart() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("camera.table")).unwrap();
    let camera = Camera::new(NODE, &table).with("formats", "HEVC:1920x1080@30");
    let service = Porthole::with_cameras(&[camera], &["--source", NODE]);
    let text = get(service.address, "/snapshot").text();
    let expected = "gives compressed video only (hevc), which is not made of whole pictures; let ffmpeg decode it: \
                    source = \"exec:ffmpeg -v error -nostdin -f v4l2 -input_format hevc -i /dev/video90";
    assert!(text.contains(expected), "{text}");
    assert_eq!(service.camera()["state"], "unsupported");
}
