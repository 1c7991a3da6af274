//! Where frames come from, other than V4L2: each origin, and what happens when it fails.

use std::path::Path;

use serde_json::json;

use support::http::get;
use support::picture::decode;
use support::ws::Client;
use support::{Porthole, Scratch, fakecam, until};

/// Distinct pictures: their luma grows from one to the next.
fn clip(frames: u8) -> Vec<u8> {
    (0..frames).flat_map(|i| jpeg(64, 48, 40 + i * 20)).collect()
}

fn jpeg(width: u16, height: u16, luma: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let pixels = vec![luma; usize::from(width) * usize::from(height)];
    jpeg_encoder::Encoder::new(&mut out, 90)
        .encode(&pixels, width, height, jpeg_encoder::ColorType::Luma)
        .unwrap();
    out
}

fn source(kind: &str, what: impl AsRef<Path>) -> String {
    format!("{kind}:{}", what.as_ref().display())
}

#[test]
fn the_pattern_comes_in_any_size_and_rate() {
    for (size, fps) in [("1280x720", "30"), ("64x48", "120"), ("1919x1079", "10")] {
        let service = Porthole::start(&["--source", "pattern", "--size", size, "--fps", fps]);
        let mut client = Client::porthole(service.address, "/ws");
        let first = client.acknowledged();
        let next = (0..5).map(|_| client.acknowledged()).last().unwrap();
        let (width, height) = size.split_once('x').unwrap();
        let width = width.parse::<u16>().unwrap().next_multiple_of(2);
        assert_eq!((next.width, next.height.to_string()), (width, height.to_owned()));
        // Those that a busy machine came too late to make have numbers too.
        let ahead = u64::from(decode(&next.jpeg).pattern_number() - next.sequence);
        assert!(ahead <= service.camera()["dropped"].as_u64().unwrap(), "{size}: ahead by {ahead}");
        assert!(next.sequence > first.sequence);
    }
}

#[test]
fn a_file_is_played_over_and_over() {
    let scratch = Scratch::new();
    let file = scratch.file("clip.mjpeg", clip(5));
    let service = Porthole::start(&["--source", &source("file", &file), "--fps", "100"]);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..23 {
        let frame = client.acknowledged();
        assert_eq!((frame.width, frame.height), (64, 48));
        decode(&frame.jpeg);
    }
    let camera = service.camera();
    assert_eq!((&camera["driver"], &camera["card"]), (&json!("file"), &json!("clip.mjpeg")));
    assert_eq!((&camera["encoder"]["kind"], &camera["corrupt"]), (&json!("passthrough"), &json!(0)));
}

#[test]
fn a_file_that_is_missing_or_holds_nothing_is_named() {
    let scratch = Scratch::new();
    for (file, why) in [
        (scratch.path("absent.mjpeg"), "No such file or directory"),
        (scratch.file("empty.mjpeg", ""), "holds no JPEG"),
        (scratch.file("text.mjpeg", "not a picture\n".repeat(1000)), "holds no JPEG"),
        (std::env::temp_dir(), "holds no JPEG"),
    ] {
        let service = Porthole::start(&["--source", &source("file", &file)]);
        let answer = get(service.address, "/snapshot");
        assert_eq!(answer.status, 503);
        let text = answer.text();
        assert!(text.contains(&file.display().to_string()) && text.contains(why), "{text}");
        assert_eq!(service.camera()["state"], "lost");
    }
}

#[test]
fn a_file_that_appears_later_is_played() {
    let scratch = Scratch::new();
    let file = scratch.path("later.mjpeg");
    let service = Porthole::start(&["--source", &source("file", &file)]);
    let mut client = Client::porthole(service.address, "/ws");
    service.until_camera_is("lost");
    std::fs::write(&file, clip(2)).unwrap();
    decode(&client.acknowledged().jpeg);
    assert_eq!(service.camera()["state"], "live");
}

#[test]
fn damaged_frames_of_a_file_are_counted_and_not_sent() {
    let scratch = Scratch::new();
    let (good, cut) = (clip(3), &jpeg(64, 48, 200)[..300]);
    let file = scratch.file("clip.mjpeg", [&good[..], cut, &good, b"noise between frames"].concat());
    let service = Porthole::start(&["--source", &source("file", &file), "--fps", "100"]);
    let mut client = Client::porthole(service.address, "/ws");
    until("damaged frames are counted", || {
        decode(&client.acknowledged().jpeg);
        (service.camera()["corrupt"].as_u64()? >= 3).then_some(())
    });
}

#[test]
fn validation_can_be_switched_off_for_cameras_that_bend_the_rules() {
    let scratch = Scratch::new();
    // A restart marker nobody announced: decoders do not mind.
    let mut odd = jpeg(64, 48, 90);
    let end = odd.len() - 2;
    odd.splice(end..end, [0xff, 0xd3]);
    let file = scratch.file("odd.mjpeg", &odd);
    let config = |more: &str| format!("[[camera]]\nsource = \"file:{}\"\n{more}", file.display());
    let strict = Porthole::configured(&scratch, &config(""));
    let _viewer = Client::porthole(strict.address, "/ws");
    let camera = strict.until_camera_is("stalled");
    let error = camera["error"].as_str().unwrap();
    assert!(error.contains("no whole picture") && error.contains("validate = false"), "{error}");
    assert_eq!(camera["frames"], 0);
    let trusting = Porthole::configured(&scratch, &config("validate = false"));
    assert_eq!(Client::porthole(trusting.address, "/ws").acknowledged().jpeg, odd);
}

#[test]
fn remedies_are_those_of_the_source_and_of_the_fault() {
    let scratch = Scratch::new();
    let cut = scratch.file("cut.mjpeg", [&jpeg(64, 48, 90)[..300], &jpeg(64, 48, 90)[..300]].concat());
    let table = fakecam::Table::create(scratch.path("table")).unwrap();
    table.set(fakecam::Setting::ShortEvery, 1);
    let usb = fakecam::Camera::new("/dev/video90", &table).with("formats", "YUYV:640x480@30");
    let stalled = |arguments: &[&str], cameras: &[fakecam::Camera]| {
        let service = Porthole::with_cameras(cameras, arguments);
        let _viewer = Client::porthole(service.address, "/ws");
        service.until_camera_is("stalled")["error"].as_str().unwrap().to_owned()
    };
    let endless = format!("exec:while cat {} && sleep 0.05; do :; done", cut.display());
    for (error, wanted, unwanted) in [
        (stalled(&["--source", &endless], &[]), "let the command write whole JPEGs", "cable"),
        (stalled(&["--source", "exec:sleep 100"], &[]), "run the command by hand", "cable"),
        (stalled(&["--source", &source("file", &cut)], &[]), "make it anew with `ffmpeg", "cable"),
        (
            stalled(&["--source", "/dev/video90"], std::slice::from_ref(&usb)),
            "another cable or USB port, another format",
            "validate",
        ),
        (
            stalled(&["--source", "/dev/video90"], &[usb.with("bus", "platform:csi")]),
            "yuyv picture of 307200 bytes where 640x480 takes 614400; set another format",
            "USB",
        ),
    ] {
        assert!(error.contains(wanted) && !error.contains(unwanted), "{error}");
    }
}

#[test]
fn a_commands_output_becomes_frames() {
    let scratch = Scratch::new();
    let file = scratch.file("clip.mjpeg", clip(5));
    let command = format!("exec:while cat {} && sleep 0.02; do :; done", file.display());
    let service = Porthole::start(&["--source", &command]);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..20 {
        decode(&client.acknowledged().jpeg);
    }
    assert_eq!(service.camera()["driver"], "exec");
}

#[test]
fn a_command_that_dies_is_started_again() {
    let scratch = Scratch::new();
    let (file, count) = (scratch.file("clip.mjpeg", clip(2)), scratch.path("starts"));
    // Two frames and death, noise in between.
    let command = format!(
        "exec:echo started >> {}; cat {}; echo garbage; sleep 0.05; exit 3",
        count.display(),
        file.display()
    );
    let mut service = Porthole::start(&["--source", &command]);
    let mut client = Client::porthole(service.address, "/ws");
    until("it was started several times", || {
        decode(&client.acknowledged().jpeg);
        let starts = std::fs::read_to_string(&count).ok()?.lines().count();
        (starts >= 4).then_some(())
    });
    let camera = service.camera();
    assert!(camera["reopens"].as_u64().unwrap() >= 2, "{camera}");
    service.until_logged("ended with status 3");
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    // Its number may be somebody else's once it has been collected.
    assert!(!service.log().contains("cannot be killed"), "it was killed twice: {}", service.log());
}

#[test]
fn a_command_that_cannot_run_is_named_with_its_last_words() {
    for (command, why) in [
        ("no-such-program --option", "was not found"),
        ("echo the lens cap is on >&2; exit 7", "ended with status 7; it said: the lens cap is on"),
        ("exec sleep 1000 >&-", "closed its output and went on; run it by hand"),
        (
            "exec >&-; trap '' TERM; while :; do sleep 1; done",
            "closed its output and went on; run it by hand",
        ),
        ("kill -15 $$", "was ended by signal 15; run it by hand"),
        ("kill -9 $$", "was killed (signal 9), as the kernel does when memory runs out; run it by hand"),
    ] {
        let service = Porthole::start(&["--source", &format!("exec:{command}")]);
        let answer = get(service.address, "/snapshot");
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains(command) && answer.text().contains(why), "{}", answer.text());
    }
}

#[test]
fn a_password_in_a_command_is_shown_to_nobody() {
    let url = "rtsp://cam:geheim@127.0.0.1/1";
    // The command itself gets it: `Z2VoZWlt` is the password in base64.
    let same = "\"rtsp://cam:$(echo Z2VoZWlt | base64 -d)@127.0.0.1/1\"";
    let command = format!("exec:test {url} = {same} && echo {url}: no route >&2");
    let service = Porthole::start(&["--log", "trace", "--source", &command]);
    let answer = get(service.address, "/snapshot").text();
    assert!(answer.contains("it said: rtsp://cam:***@127.0.0.1/1: no route"), "{answer}");
    let shown = [answer, get(service.address, "/state").text(), service.log()].concat();
    assert!(!shown.contains("geheim"), "{shown}");
}

#[test]
fn a_command_ends_with_its_whole_group_when_nobody_watches() {
    let scratch = Scratch::new();
    let (file, pids) = (scratch.file("clip.mjpeg", clip(2)), scratch.path("pids"));
    // Two that ignore the request to end, one of them in the background.
    let command = format!(
        "exec:trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $$ $! > {pids}; \
         while cat {file}; do sleep 0.05; done",
        pids = pids.display(),
        file = file.display()
    );
    let mut service = Porthole::start(&["--source", &command, "--linger", "0"]);
    let alive = |pid: &str| Path::new(&format!("/proc/{pid}")).exists();
    for round in 0..2 {
        let mut client = Client::porthole(service.address, "/ws");
        client.acknowledged();
        let all = std::fs::read_to_string(&pids).unwrap();
        let all: Vec<String> = all.split_whitespace().map(str::to_owned).collect();
        assert!(all.len() == 2 && all.iter().all(|pid| alive(pid)));
        if round == 0 {
            drop(client);
        } else {
            assert_eq!(service.stop(), Some(0), "{}", service.log());
        }
        until("the whole group is gone", || (!all.iter().any(|pid| alive(pid))).then_some(()));
    }
}

#[test]
fn who_comes_while_the_camera_is_being_closed_gets_no_frame_from_before() {
    let scratch = Scratch::new();
    let file = scratch.file("clip.mjpeg", clip(2));
    // It has to be killed, which takes a moment.
    let command = format!("exec:trap '' TERM; while cat {}; do sleep 0.05; done", file.display());
    let service = Porthole::start(&["--source", &command, "--linger", "0"]);
    for _ in 0..3 {
        let mut client = Client::porthole(service.address, "/ws");
        client.acknowledged();
        drop(client);
        until("no frame comes any more", || {
            (service.camera()["last_frame_age_ms"].as_f64()? > 150.0).then_some(())
        });
        let left = fakecam::now_ns() / 1000;
        let frame = Client::porthole(service.address, "/ws").acknowledged();
        assert!(
            frame.captured_at > left,
            "the frame is {} us older than its viewer",
            left - frame.captured_at
        );
    }
}

#[test]
fn a_frame_too_large_for_its_slot_is_dropped_and_the_next_one_shown() {
    let scratch = Scratch::new();
    let large = {
        // Over a megabyte of header, whole and sound.
        let mut large = jpeg(64, 48, 120);
        let comment = [&[0xff, 0xfe, 0xff, 0xff][..], &[b'x'; 65_533]].concat();
        large.splice(2..2, comment.iter().copied().cycle().take(comment.len() * 17));
        large
    };
    let file = scratch.file("clip.mjpeg", [clip(2), large].concat());
    let service = Porthole::start(&["--source", &source("file", &file), "--size", "64x48", "--fps", "100"]);
    let mut client = Client::porthole(service.address, "/ws");
    until("large frames are dropped", || {
        assert!(client.acknowledged().jpeg.len() < 100_000);
        (service.camera()["dropped"].as_u64()? >= 2).then_some(())
    });
}
