//! V4L2 devices that give H.264.

use std::process::Command;

use serde_json::json;

use support::fakecam::{Camera, Counter, Setting, Table, environment};
use support::picture::Stamp;
use support::ws::Client;
use support::{Porthole, Scratch, finish, porthole, tools, until};

const NODE: &str = "/dev/video90";

/// What ffmpeg copies from the fake camera, and what it says to it when it decodes that.
fn recorded(scratch: &Scratch, camera: &Camera, frames: u32) -> (Vec<u8>, String) {
    let clip = scratch.path("clip.h264");
    let mut record = Command::new("ffmpeg");
    record.args(["-v", "error", "-nostdin", "-y", "-f", "v4l2", "-input_format", "h264", "-i", NODE]);
    record.args(["-frames:v", &frames.to_string(), "-c", "copy"]).arg(&clip);
    let (status, _, said) = finish(record.envs(environment(std::slice::from_ref(camera))));
    assert_eq!(status, 0, "{said}");
    let mut decode = Command::new("ffmpeg");
    decode.args(["-v", "warning", "-nostdin", "-i"]).arg(&clip).args(["-f", "framecrc", "-"]);
    let (_, shown, said) = finish(&mut decode);
    let shown = shown.lines().filter(|line| !line.starts_with('#')).count();
    (std::fs::read(clip).unwrap(), format!("{shown} frames; {said}"))
}

#[test]
fn the_h264_of_the_fake_camera_is_what_ffmpeg_decodes() {
    if tools::program("ffmpeg", "ffmpeg").is_none() {
        return;
    }
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("camera.table")).unwrap();
    let camera = Camera::new(NODE, &table).with("formats", "MJPG:1920x1080@30,H264:1920x1080@120");
    table.set(Setting::FrameBytes, 4000);
    let (clip, decoded) = recorded(&scratch, &camera, 130);
    assert_eq!(decoded, "130 frames; ");
    assert!(clip.len() > 130 * 4000, "{}", clip.len());
    assert_eq!((Stamp::of(&clip).number, table.counter(Counter::KeyFrames) >= 3), (0, true));
    table.set(Setting::ParameterSetsOnce, 1);
    table.set(Setting::VideoSize, 640 << 16 | 360);
    let (clip, decoded) = recorded(&scratch, &camera, 130);
    let parameter_sets = clip.windows(5).filter(|bytes| *bytes == [0, 0, 0, 1, 0x67]).count();
    assert_eq!((decoded.as_str(), parameter_sets), ("130 frames; ", 1));
}

const H264: u64 = u32::from_le_bytes(*b"H264") as u64;
const MJPG: u64 = u32::from_le_bytes(*b"MJPG") as u64;

/// A camera that stays open, as somebody watches.
struct Watched {
    service: Porthole,
    table: Table,
    _viewer: Client,
    _scratch: Scratch,
}

/// Serves a camera with these formats.
fn watched(formats: &str, arguments: &[&str]) -> Watched {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("camera.table")).unwrap();
    let camera = Camera::new(NODE, &table).with("formats", formats);
    let service = Porthole::with_cameras(&[camera], &[&["--source", NODE], arguments].concat());
    let viewer = Client::porthole(service.address, "/ws");
    until("the camera streams", || (table.counter(Counter::Dequeued) > 0).then_some(()));
    Watched { service, table, _viewer: viewer, _scratch: scratch }
}

#[test]
fn h264_is_taken_where_a_camera_has_nothing_else_or_it_is_asked_for() {
    let alone = watched("H264:1280x720@30", &[]);
    let camera = alone.service.until_camera_is("live");
    assert_eq!((&camera["format"], &camera["width"]), (&json!("h264"), &json!(1280)));
    assert_eq!(alone.table.counter(Counter::Fourcc), H264);
    until("frames are counted", || (alone.service.camera()["frames"].as_u64()? > 10).then_some(()));
    assert_eq!(alone.service.camera()["corrupt"], 0);
    let both = "H264:1280x720@30,MJPG:1280x720@30";
    assert_eq!(watched(both, &[]).table.counter(Counter::Fourcc), MJPG);
    let asked = watched(both, &["--format", "h264"]);
    assert_eq!(asked.table.counter(Counter::Fourcc), H264);
    asked.service.until_camera_is("live");
}

#[test]
fn a_key_frame_is_asked_for_when_a_unit_was_lost() {
    let camera = watched("H264:1280x720@30", &[]);
    camera.service.until_camera_is("live");
    // The decoder for the viewer of JPEGs asks for one when it begins, unless one comes by itself.
    let before = camera.table.counter(Counter::KeyRequests);
    camera.table.set(Setting::ErrorEvery, 20);
    until("it was asked", || (camera.table.counter(Counter::KeyRequests) >= before + 2).then_some(()));
    camera.table.set(Setting::ErrorEvery, 0);
    let asked = until("it gave one, and is asked no more", || {
        let (asked, keys) =
            (camera.table.counter(Counter::KeyRequests), camera.table.counter(Counter::KeyFrames));
        let shown = camera.table.counter(Counter::Dequeued);
        until("two dozen frames more", || {
            (camera.table.counter(Counter::Dequeued) > shown + 24).then_some(())
        });
        (keys > asked && camera.table.counter(Counter::KeyRequests) == asked).then_some(asked)
    });
    assert!(asked <= before + camera.table.counter(Counter::Error) + 2, "{asked}");
}

#[test]
fn h264_of_the_second_node_of_a_camera_is_found_and_both_are_listed() {
    let scratch = Scratch::new();
    let tables = [90, 91, 11].map(|n| Table::create(scratch.path(&format!("table{n}"))).unwrap());
    let pictures = Camera::new(NODE, &tables[0]).with("formats", "MJPG:1280x720@30");
    let video = Camera::new("/dev/video91", &tables[1]).with("formats", "H264:1280x720@30");
    let encoder =
        Camera::new("/dev/video11", &tables[2]).with("kind", "encoder").with("bus", "platform:codec");
    let cameras = [pictures, video, encoder];
    let (_, out, _) = finish(porthole().arg("cameras").envs(environment(&cameras)));
    for line in
        ["  mjpeg  1280x720 at 30 fps", "  h264   1280x720 at 30 fps", "  an encoder for H.264, not a camera"]
    {
        assert!(out.lines().any(|shown| shown == line), "no line {line:?} in\n{out}");
    }
    for (format, at) in [("auto", 0), ("h264", 1)] {
        let streams = || [0, 1].map(|i| tables[i].counter(Counter::Streamons));
        let before = streams();
        let service = Porthole::with_cameras(&cameras, &["--source", NODE, "--format", format]);
        let _viewer = Client::porthole(service.address, "/ws");
        service.until_camera_is("live");
        assert_eq!(streams(), [0, 1].map(|i| before[i] + u64::from(i == at)), "{format}");
    }
    // The node with H.264 alone is not taken for the camera, even if it comes first.
    let cameras = [("/dev/video90", 1, "H264"), ("/dev/video91", 0, "MJPG")].map(|(node, table, fourcc)| {
        Camera::new(node, &tables[table]).with("formats", format!("{fourcc}:1280x720@30"))
    });
    let before = tables[0].counter(Counter::Streamons);
    let service = Porthole::with_cameras(&cameras, &["--source", "auto"]);
    let _viewer = Client::porthole(service.address, "/ws");
    service.until_camera_is("live");
    assert_eq!(tables[0].counter(Counter::Streamons), before + 1);
}

#[test]
fn commands_may_write_h264() {
    let scratch = Scratch::new();
    let mut encoder = support::h264::Encoder::new([640, 480], 30_000);
    let unit = |number: u32| {
        let mut unit = Vec::new();
        if number.is_multiple_of(10) {
            encoder.parameter_sets(&mut unit);
        }
        encoder.picture(number.is_multiple_of(10), |x, y| [(x + y + number) as u8, 128, 128], &mut unit);
        unit
    };
    let clip = scratch.file("clip.h264", (0..50).flat_map(unit).collect::<Vec<u8>>());
    // Then it pauses: the last picture is shown nevertheless.
    let command = format!("exec:cat {}; sleep 60", clip.display());
    let service = Porthole::start(&["--source", &command]);
    let _viewer = Client::porthole(service.address, "/ws");
    until("all were taken", || (service.camera()["frames"] == 50).then_some(()));
    let camera = service.camera();
    assert_eq!(
        (&camera["format"], &camera["state"], &camera["corrupt"]),
        (&json!("h264"), &json!("live"), &json!(0))
    );
}
