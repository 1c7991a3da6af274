//! A Raspberry Pi's own cameras, with a stand-in for the program of rpicam-apps.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use support::fakecam::{self, Setting, Table};
use support::h264::Encoder;
use support::http::{get, put};
use support::picture::decode;
use support::video::VideoViewers;
use support::ws::Client;
use support::{Porthole, Scratch, finish, porthole, source_tree, until};

/// What `rpicam-vid --list-cameras` prints of a Camera Module 3 and a global shutter camera, after its two lines of title.
const TWO_CAMERAS: &str = "\
0 : imx708_wide [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
                             2304x1296 [56.03 fps - (0, 0)/4608x2592 crop]
                             4608x2592 [14.35 fps - (0, 0)/4608x2592 crop]

1 : imx296 [1456x1088 10-bit RGGB] (/base/soc/i2c0mux/i2c@0/imx296@1a)
    Modes: 'SRGGB10_CSI2P' : 1456x1088 [60.38 fps - (0, 0)/1456x1088 crop]

";

/// A folder for `PATH` with the program, and the folder that controls it.
struct Rig {
    scratch: Scratch,
}

impl Rig {
    fn new(program: &str, cameras: &str) -> Self {
        let rig = Self { scratch: Scratch::new() };
        fs::create_dir(rig.scratch.path("bin")).unwrap();
        let script = source_tree().join("tests/support/rpicam/rpicam-vid");
        symlink(script, rig.scratch.path("bin").join(program)).unwrap();
        let mut jpeg = Vec::new();
        jpeg_encoder::Encoder::new(&mut jpeg, 90)
            .encode(&[90; 64 * 48], 64, 48, jpeg_encoder::ColorType::Luma)
            .unwrap();
        rig.scratch.file("frame.jpg", jpeg);
        if !cameras.is_empty() {
            rig.scratch.file("cameras", cameras);
        }
        rig
    }

    /// Porthole, without any V4L2 camera but these.
    fn porthole(&self, cameras: &[fakecam::Camera], arguments: &[&str]) -> Command {
        let mut command = porthole();
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.scratch.path("bin").display()))
            .env("FAKE_RPICAM", self.scratch.path(""))
            .envs(fakecam::environment(cameras))
            .args(arguments);
        command
    }

    #[track_caller]
    fn serve(&self, more: &str) -> Porthole {
        let state = self.scratch.path("state");
        let file = self.scratch.file(
            "porthole.toml",
            format!("[server]\nstate_dir = {state:?}\n[[camera]]\nlinger_s = 0\n{more}"),
        );
        let listen = ["--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
        Porthole::spawn(&mut self.porthole(&[], &listen))
    }

    /// The options of each recording so far.
    fn starts(&self) -> Vec<String> {
        let starts = fs::read_to_string(self.scratch.path("starts")).unwrap_or_default();
        starts.lines().map(ToOwned::to_owned).collect()
    }

    fn lists(&self) -> usize {
        fs::read_to_string(self.scratch.path("lists")).unwrap_or_default().lines().count()
    }
}

fn controls(service: &Porthole) -> Vec<Value> {
    let all: Value = serde_json::from_slice(&get(service.address, "/controls").body).unwrap();
    all["controls"].as_array().unwrap().clone()
}

#[track_caller]
fn set(service: &Porthole, name: &str, value: &str) -> Value {
    let answer = put(service.address, &format!("/controls/{name}"), &format!("{{\"value\": {value}}}"));
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn the_program_is_started_with_the_configuration_and_its_pictures_are_shown() {
    for program in ["rpicam-vid", "libcamera-vid"] {
        let rig = Rig::new(program, TWO_CAMERAS);
        let service = rig.serve(
            "source = \"rpicam:1\"\nwidth = 1456\nheight = 1088\nfps = 40\nquality = 70\nrotate = 180\n\
             rpicam_options = [\"--denoise\", \"cdn_off\"]\n[camera.controls]\nbrightness = 20\nawb = \"daylight\"\n",
        );
        assert!(rig.starts().is_empty(), "nobody watches");
        let mut viewer = Client::porthole(service.address, "/ws");
        for _ in 0..10 {
            let frame = viewer.acknowledged();
            decode(&frame.jpeg);
            assert!(
                !frame.jpeg.windows(4).any(|w| w == b"Exif"),
                "the program has turned the picture already"
            );
        }
        let camera = service.camera();
        for (key, value) in [
            ("state", json!("live")),
            ("driver", json!(program)),
            ("source", json!("rpicam:1")),
            ("corrupt", json!(0)),
        ] {
            assert_eq!(camera[key], value, "{key}: {camera}");
        }
        let starts = rig.starts();
        assert_eq!((starts.len(), rig.lists()), (1, 0), "a number needs no list: {starts:?}");
        for option in [
            "--codec mjpeg",
            "--timeout 0",
            "--nopreview",
            "--flush",
            "--output -",
            "--camera 1",
            "--width 1456",
            "--height 1088",
            "--framerate 40",
            "--quality 70",
            "--rotation 180",
            "--denoise cdn_off",
            "--brightness=0.2",
            "--awb=daylight",
        ] {
            assert!(starts[0].contains(option), "{option} in {}", starts[0]);
        }
        drop(viewer);
        service.until_camera_is("idle");
    }
}

#[test]
fn quarter_turns_are_left_to_the_viewers() {
    let rig = Rig::new("rpicam-vid", TWO_CAMERAS);
    let service = rig.serve("source = \"rpicam\"\nrotate = 90\n");
    let frame = Client::porthole(service.address, "/ws").acknowledged();
    assert!(frame.jpeg.windows(4).any(|w| w == b"Exif"));
    assert!(rig.starts()[0].contains("--camera 0") && !rig.starts()[0].contains("--rotation"));
}

#[test]
fn a_camera_is_found_by_its_name() {
    let rig = Rig::new("rpicam-vid", TWO_CAMERAS);
    for name in ["imx296", "IMX29", "/base/soc/i2c0mux/i2c@0/imx296@1a"] {
        let before = rig.starts().len();
        let service = rig.serve(&format!("source = \"rpicam:{name}\"\n"));
        decode(&Client::porthole(service.address, "/ws").acknowledged().jpeg);
        assert!(rig.starts()[before].contains("--camera 1"), "{:?}", rig.starts());
        assert_eq!(service.camera()["card"], "imx296");
    }
    let service = rig.serve("source = \"rpicam:ov5647\"\n");
    let answer = get(service.address, "/snapshot").text();
    let wanted = "rpicam:ov5647: there is no such camera, only 0 imx708_wide, 1 imx296; name one that";
    assert!(answer.contains(wanted), "{answer}");
}

#[test]
fn a_changed_control_starts_the_program_again_and_viewers_stay() {
    let rig = Rig::new("rpicam-vid", TWO_CAMERAS);
    let more = "source = \"rpicam\"\nkeep_controls = true\n";
    let mut service = rig.serve(more);
    let names: Vec<String> =
        controls(&service).iter().map(|control| control["name"].as_str().unwrap().to_owned()).collect();
    for name in [
        "brightness",
        "contrast",
        "saturation",
        "sharpness",
        "ev",
        "shutter",
        "gain",
        "awb",
        "autofocus_mode",
        "lens_position",
        "hflip",
        "vflip",
    ] {
        assert!(names.iter().any(|listed| listed == name), "{name} in {names:?}");
    }
    // Nobody watches, and nothing is started.
    assert_eq!(set(&service, "contrast", "150")["value"], 150);
    assert!(rig.starts().is_empty());

    let mut viewer = Client::porthole(service.address, "/ws");
    let mut last = viewer.acknowledged().sequence;
    for (name, value, option) in [
        ("hflip", "true", "--hflip"),
        ("autofocus_mode", "\"manual\"", "--autofocus-mode=manual --lens-position=1"),
        ("lens_position", "250", "--lens-position=2.5"),
        ("brightness", "-30", "--brightness=-0.3"),
        ("hflip", "false", "--brightness=-0.3"),
    ] {
        let before = rig.starts().len();
        set(&service, name, value);
        until("the program is started again, and the same viewer gets its pictures", || {
            let frame = viewer.acknowledged();
            assert!(frame.sequence > last);
            last = frame.sequence;
            (rig.starts().len() > before).then_some(())
        });
        let starts = rig.starts();
        let start = starts.last().unwrap();
        assert!(start.contains(option) && start.contains("--contrast=1.5"), "{option} in {start}");
        assert_eq!(start.contains("--hflip"), !(name == "hflip" && value == "false"), "{start}");
        viewer.acknowledged();
    }
    let (camera, starts) = (service.camera(), rig.starts().len());
    assert_eq!((&camera["state"], &camera["reopens"]), (&json!("live"), &json!(0)), "it is no fault");
    // The same value again changes nothing.
    set(&service, "brightness", "-30");
    viewer.acknowledged();
    assert_eq!(rig.starts().len(), starts);
    for (name, value, status, why) in [
        ("brightness", "101", 422, "must be a number from -100 to 100"),
        ("awb", "\"moon\"", 422, "must be one of 0 auto, 1 incandescent"),
        ("zoom", "1", 404, "there is brightness, contrast"),
    ] {
        let answer = put(service.address, &format!("/controls/{name}"), &format!("{{\"value\": {value}}}"));
        assert!(answer.status == status && answer.text().contains(why), "{}", answer.text());
    }
    drop(viewer);
    assert_eq!(service.stop(), Some(0));

    let service = rig.serve(more);
    Client::porthole(service.address, "/ws").acknowledged();
    assert_eq!(rig.starts().last(), rig.starts().get(starts - 1), "the values are kept");
}

#[test]
fn what_the_program_says_becomes_a_message_with_a_remedy() {
    let rig = Rig::new("rpicam-vid", "");
    let message = |more: &str| {
        let service = rig.serve(more);
        let answer = get(service.address, "/snapshot");
        assert_eq!(answer.status, 503, "{}", answer.text());
        answer.text()
    };
    let none = message("source = \"rpicam\"\n");
    assert!(
        none.contains("rpicam:0: rpicam-vid finds no camera") && none.contains("camera_auto_detect=1"),
        "{none}"
    );
    let none = message("source = \"rpicam:imx708\"\n");
    assert!(none.contains("rpicam:imx708: rpicam-vid finds no camera"), "{none}");

    rig.scratch.file("cameras", TWO_CAMERAS);
    for (more, wanted) in [
        (
            "source = \"rpicam:7\"\n",
            "rpicam:7: there is no such camera; name one that `porthole cameras` lists",
        ),
        (
            "source = \"rpicam\"\nrpicam_options = [\"--zoom\", \"2\"]\n",
            "refuses its options (unrecognised option '--zoom'); change rpicam_options",
        ),
        (
            "source = \"rpicam\"\nrpicam_options = [\"--autofocus-mode\", \"never\"]\n",
            "refuses its options (Invalid AfMode:never); change rpicam_options",
        ),
    ] {
        let answer = message(more);
        assert!(answer.contains(wanted), "{answer}");
    }

    rig.scratch.file("silent", "");
    let answer = message("source = \"rpicam\"\n");
    assert!(
        answer.contains("the sensor has stopped sending pictures") && answer.contains("ribbon cable"),
        "{answer}"
    );
    fs::remove_file(rig.scratch.path("silent")).unwrap();

    rig.scratch.file("busy", "");
    let service = rig.serve("source = \"rpicam\"\n");
    let mut viewer = Client::porthole(service.address, "/ws");
    let camera = service.until_camera_is("lost");
    let error = camera["error"].as_str().unwrap();
    assert!(error.contains("in use by another program; stop that"), "{error}");
    fs::remove_file(rig.scratch.path("busy")).unwrap();
    decode(&viewer.acknowledged().jpeg);
}

#[test]
fn without_the_program_the_message_says_what_to_install() {
    let rig = Rig::new("rpicam-still", TWO_CAMERAS);
    let mut command = rig.porthole(&[], &["--listen", "127.0.0.1:0", "--source", "rpicam"]);
    command.env("PATH", rig.scratch.path("bin"));
    let service = Porthole::spawn(&mut command);
    let answer = get(service.address, "/snapshot").text();
    assert!(answer.contains("sudo apt install rpicam-apps"), "{answer}");
    assert_eq!(service.until_camera_is("idle")["source"], "rpicam:0");
}

#[test]
fn auto_takes_a_usb_camera_first_and_the_raspberry_pis_own_next() {
    let rig = Rig::new("rpicam-vid", TWO_CAMERAS);
    let arguments = ["--listen", "127.0.0.1:0", "--linger", "0"];
    let service = Porthole::spawn(&mut rig.porthole(&[], &arguments));
    let mut viewer = Client::porthole(service.address, "/ws");
    decode(&viewer.acknowledged().jpeg);
    let camera = service.camera();
    assert_eq!((&camera["driver"], &camera["card"]), (&json!("rpicam-vid"), &json!("imx708_wide")));
    set(&service, "vflip", "true");
    until("it is started again", || {
        viewer.acknowledged();
        rig.starts().last().filter(|start| start.contains("--vflip")).map(|_| ())
    });
    assert_eq!(rig.lists(), 1);
    drop((viewer, service));

    let table = Table::create(rig.scratch.path("table")).unwrap();
    let usb = fakecam::Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
    let before = rig.starts().len();
    let service = Porthole::spawn(&mut rig.porthole(std::slice::from_ref(&usb), &arguments));
    let mut viewer = Client::porthole(service.address, "/ws");
    viewer.acknowledged();
    assert_ne!(service.camera()["driver"], "rpicam-vid");
    assert!(controls(&service).iter().any(|control| control["name"] == "power_line_frequency"));
    assert_eq!((rig.starts().len(), rig.lists()), (before, 1), "the program was not started");
    // Once it was there, it is waited for.
    table.set(Setting::Unplug, 1);
    service.until_camera_is("lost");
    table.set(Setting::Unplug, 0);
    until("it is back", || Some(service.camera()).filter(|camera| camera["state"] == "live"));
    assert_eq!(rig.starts().len(), before);
    drop((viewer, service));

    let without = Rig::new("rpicam-vid", "");
    let service = Porthole::spawn(without.porthole(&[], &arguments).args(["--log", "debug"]));
    let _viewer = Client::porthole(service.address, "/ws");
    let camera = service.until_camera_is("lost");
    assert!(camera["error"].as_str().unwrap().contains("no camera found"), "{camera}");
    // V4L2 devices are looked for ten times a second, the program is started once in ten seconds.
    service.until_logged("lost after attempt 5");
    assert_eq!(without.lists(), 1);
}

#[test]
fn cameras_are_listed_with_their_modes_and_controls() {
    let rig = Rig::new("rpicam-vid", TWO_CAMERAS);
    let (code, out, err) = finish(&mut rig.porthole(&[], &["cameras"]));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for line in [
        "rpicam:0  imx708_wide (rpicam-vid)",
        "  /base/soc/i2c0mux/i2c@1/imx708@1a",
        "  sensor 1536x864 at up to 120.13 fps",
        "  sensor 4608x2592 at up to 14.35 fps",
        "rpicam:1  imx296 (rpicam-vid)",
        "  sensor 1456x1088 at up to 60.38 fps",
        "  contrast = 100 (0 to 1599 by 1, default 100)",
    ] {
        assert!(out.lines().any(|listed| listed == line), "{line:?} in {out}");
    }
    let none = Rig::new("rpicam-vid", "");
    let (code, out, _) = finish(&mut none.porthole(&[], &["cameras"]));
    assert_eq!((code, out.contains("rpicam")), (0, false), "{out}");
}

#[test]
fn options_that_the_configuration_has_keys_for_are_refused() {
    let rig = Rig::new("rpicam-vid", TWO_CAMERAS);
    for (more, wanted) in [
        ("source = \"rpicam\"\nrpicam_options = [\"--width=3\"]\n", "set width and height instead"),
        ("source = \"rpicam\"\nrpicam_options = [\"-o\", \"x\"]\n", "come through a pipe"),
        ("source = \"pattern\"\nrpicam_options = [\"--ev\", \"1\"]\n", "is for the sources rpicam and auto"),
    ] {
        let file = rig.scratch.file("porthole.toml", format!("[[camera]]\n{more}"));
        let (code, _, err) = finish(&mut rig.porthole(&[], &["check", "--config", file.to_str().unwrap()]));
        assert!(code == 1 && err.contains("rpicam_options") && err.contains(wanted), "{err}");
    }
}

/// The program makes JPEGs or H.264 of a camera, not both.
#[test]
fn the_program_gives_h264_where_that_is_to_be_copied_and_jpegs_otherwise() {
    let rig = Rig::new("rpicam-vid", TWO_CAMERAS);
    let mut encoder = Encoder::new([640, 480], 30_000);
    for number in 0..30u8 {
        let mut unit = Vec::new();
        if number == 0 {
            encoder.parameter_sets(&mut unit);
        }
        encoder.picture(number == 0, |x, y| [number * 3 + (x + y) as u8, 128, 128], &mut unit);
        rig.scratch.file(&format!("{number:02}.unit"), unit);
    }
    let camera = "source = \"rpicam\"\nwidth = 640\nheight = 480\nfps = 30\nrotate = 180\n";
    for (more, codec, encoder) in [
        ("h264 = \"copy\"\nh264_kbps = 900\n", "h264", "copied"),
        ("h264 = \"copy\"\nrpicam_options = [\"-g\", \"10\", \"--bitrate=2000000\"]\n", "h264", "copied"),
        ("", "mjpeg", "openh264"),
    ] {
        let service = rig.serve(&format!("{camera}{more}"));
        let before = rig.starts().len();
        let viewers = VideoViewers::start(service.address);
        viewers.go_on(10, more);
        let mut jpeg = Client::porthole(service.address, "/ws");
        for _ in 0..10 {
            decode(&jpeg.acknowledged().jpeg);
        }
        let told = service.camera();
        assert_eq!((&told["h264"]["encoder"], &told["corrupt"]), (&json!(encoder), &json!(0)), "{told}");
        assert_eq!(told["format"], codec, "{told}");
        let starts = rig.starts();
        assert_eq!(starts.len(), before + 1, "one program for all: {starts:?}");
        let options = &starts[before];
        let (of_video, of_jpeg) = (["--inline", "--rotation 180"], ["--quality 80", "--rotation 180"]);
        for option in if codec == "h264" { of_video } else { of_jpeg } {
            assert!(options.contains(option), "{option} in {options}");
        }
        assert!(options.contains(&format!("--codec {codec}")), "{options}");
        match more.contains("rpicam_options") {
            _ if codec == "mjpeg" => assert!(!options.contains("--intra") && !options.contains("--inline")),
            true => assert!(!options.contains("--intra") && !options.contains("--bitrate 9"), "{options}"),
            false => assert!(options.contains("--intra 60 --bitrate 900000"), "{options}"),
        }
        viewers.leave();
    }
}
