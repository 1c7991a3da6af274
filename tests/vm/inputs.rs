//! Drivers that rscam cannot serve, on a real kernel: vivid's inputs, its HDMI signal, and its formats in one or more planes.

use std::collections::BTreeSet;

use serde_json::json;

use crate::guest::{Guest, Service};
use support::http::{get, put};
use support::picture::Rgb;

/// The bars that vivid shows at first, from the left: red, green and blue of 75 %.
const BARS: [[u8; 3]; 8] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
    [0, 0, 0],
];
/// What the range of a format, its bits and the encoder may change of a component.
const TOLERANCE: u8 = 50;

/// Waits for frames of this size, and looks at the bars in the lower part of the last, below the text.
#[track_caller]
fn look_at_bars(service: &Service<'_>, size: (u16, u16), is_grey: bool) {
    let jpeg = service.viewer().watch(2, size).jpeg;
    let picture = Rgb::of(&jpeg);
    let (width, height) = (usize::from(size.0), usize::from(size.1));
    let seen: Vec<[u8; 3]> =
        (0..8).map(|bar| picture.at((2 * bar + 1) * width / 16, height * 7 / 8)).collect();
    let format = service.camera()["format"].to_string();
    if is_grey {
        let luma: Vec<u8> = seen.iter().map(|rgb| rgb[1]).collect();
        assert!(luma.is_sorted_by(|a, b| a > b) && luma[0] > 150 && luma[7] < 40, "{format}: {luma:?}");
        return;
    }
    for (seen, bar) in seen.iter().zip(BARS) {
        let is_near = seen.iter().zip(bar).all(|(seen, bar)| seen.abs_diff(bar) <= TOLERANCE);
        assert!(is_near, "{format}: {seen:?}, not {bar:?}");
    }
}

pub fn every_input_of_vivid_is_shown(guest: &Guest) {
    let node = guest.load_vivid("");
    let list = guest.run("porthole cameras");
    for line in ["  input 0 = Webcam", "  input 1 = TV", "  input 2 = S-Video", "  input 3 = HDMI"] {
        assert!(list.lines().any(|shown| shown.starts_with(line)), "no line {line:?} in\n{list}");
    }
    for (lines, size, capture) in [
        ("input = 0\nwidth = 640\nheight = 360\nfps = 10", (640, 360), "rscam"),
        ("input = 1\nstandard = \"PAL\"", (720, 576), "mmap"),
        ("input = \"S-Video 0\"\nstandard = \"NTSC\"", (720, 480), "mmap"),
        ("input = 3\nedid = \"1080p30\"", (1280, 720), "mmap"),
    ] {
        let service = guest.serve(&format!("[[camera]]\nsource = \"{node}\"\n{lines}\n"));
        look_at_bars(&service, size, false);
        let camera = service.camera();
        assert_eq!((&camera["capture"], &camera["corrupt"]), (&json!(capture), &json!(0)), "{lines}");
    }
}

pub fn an_hdmi_signal_is_followed_and_missed(guest: &Guest) {
    let node = guest.load_vivid("");
    let service = guest.serve(&format!("[[camera]]\nsource = \"{node}\"\ninput = 3\nlinger_s = 60\n"));
    let viewer = service.viewer();
    viewer.watch(2, (1280, 720));
    let set = |control: &str, value: &str| {
        let answer =
            put(service.address, &format!("/controls/{control}"), &json!({ "value": value }).to_string());
        assert_eq!(answer.status, 200, "{control} = {value}: {}", answer.text());
    };
    let controls = get(service.address, "/controls").text();
    let timings = controls.split('"').find(|text| text.starts_with("640x480p")).expect("timings of 640x480");
    set("dv_timings_signal_mode", "Selected DV Timings");
    set("dv_timings", timings);
    viewer.until("frames of the new size", |frame| (frame.width, frame.height) == (640, 480));
    viewer.watch(2, (640, 480));
    for (mode, why) in [
        ("No Signal", "no signal at the HDMI"),
        ("No Lock", "is not stable"),
        ("Out of Range", "is beyond what the device takes"),
    ] {
        set("dv_timings_signal_mode", mode);
        let camera = service.until_camera_is("lost");
        assert!(camera["error"].as_str().unwrap().contains(why), "{mode}: {}", camera["error"]);
        set("dv_timings_signal_mode", "Current DV Timings");
        service.until_camera_is("live");
        viewer.watch(2, (640, 480));
    }
}

/// The formats that the listing has, by name.
fn formats(guest: &Guest) -> BTreeSet<String> {
    let list = guest.run("porthole cameras");
    let sized = list.lines().filter(|line| line.contains("640x360") || line.contains("raw sensor data"));
    let formats: BTreeSet<String> =
        sized.filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect();
    assert!(formats.len() > 50 && !list.contains("not supported"), "{list}");
    formats
}

fn look_at_all_formats(guest: &Guest, node: &str) {
    for format in formats(guest) {
        let service = guest.serve(&format!(
            "[[camera]]\nsource = \"{node}\"\nformat = \"{format}\"\nwidth = 640\nheight = 360\nfps = 10\n"
        ));
        let is_grey = ["grey", "y10", "y12", "y14", "y16", "y16be"].contains(&format.as_str());
        look_at_bars(&service, (640, 360), is_grey);
        assert_eq!(service.camera()["format"], format.as_str());
    }
}

pub fn every_format_of_vivid_shows_its_bars(guest: &Guest) {
    let node = guest.vivid().expect("vivid's node");
    look_at_all_formats(guest, &node);
}

pub fn every_format_of_a_multi_planar_vivid_shows_its_bars(guest: &Guest) {
    let node = guest.load_vivid("multiplanar=2");
    look_at_all_formats(guest, &node);
}
