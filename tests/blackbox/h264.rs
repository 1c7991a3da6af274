//! H.264 as programs of others get it, and what its addresses answer while a camera gives none.

use std::collections::BTreeSet;
use std::process::Command;

use support::http::{get, request};
use support::tools::program;
use support::ws::Client;
use support::{Porthole, Scratch, finish, until};

/// A small test picture, so fast that a thousand of them are soon there.
const FAST: [&str; 6] = ["--source", "pattern", "--size", "320x240", "--fps", "120"];

/// Serves a test picture, to so many viewers.
fn service(scratch: &Scratch, max_viewers: usize, mode: &str) -> Porthole {
    let text = format!(
        "[server]\nmax_viewers = {max_viewers}\n[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\nfps = 30\n\
         linger_s = 0\nh264 = \"{mode}\"\n"
    );
    Porthole::configured(scratch, &text)
}

#[test]
fn head_and_other_methods_are_answered_without_a_picture() {
    let scratch = Scratch::new();
    let service = service(&scratch, 1, "auto");
    for (path, content_type) in [("/stream.mp4", "video/mp4"), ("/stream.h264", "video/h264")] {
        let head = request(service.address, "HEAD", path, &[]);
        assert_eq!((head.status, head.header("content-type")), (200, Some(content_type)));
        assert_eq!(head.header("cross-origin-resource-policy"), Some("cross-origin"));
        assert_eq!(request(service.address, "OPTIONS", path, &[]).status, 204);
        let wrong = request(service.address, "PUT", path, &[]);
        assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    }
    assert!(service.camera()["viewers"].as_array().unwrap().is_empty());
    assert_eq!(service.camera()["state"], "idle", "the camera was opened for it");
}

#[test]
fn a_camera_without_h264_is_told_with_a_remedy() {
    let scratch = Scratch::new();
    for (mode, status, words) in [("off", 404, "h264 is \"off\""), ("copy", 503, "the camera gives no H.264")]
    {
        let service = service(&scratch, 2, mode);
        for path in ["/stream.mp4", "/stream.h264"] {
            let answer = get(service.address, path);
            let text = answer.text();
            assert!(answer.status == status && text.contains(words), "{mode}: {} {text}", answer.status);
            assert!(text.contains("\"auto\""), "no remedy: {text}");
        }
        assert_eq!(get(service.address, "/snapshot").status, 200);
        until("their places are free again", || {
            service.camera()["viewers"].as_array().unwrap().is_empty().then_some(())
        });
    }
}

#[test]
fn viewers_of_h264_count_as_viewers() {
    let scratch = Scratch::new();
    let service = service(&scratch, 1, "auto");
    for kind in ["porthole.h264.v1", "porthole.mp4.v1"] {
        let headers = [("Sec-WebSocket-Protocol", kind)];
        let viewer = Client::connect(service.address, "/ws", &headers).unwrap();
        assert_eq!(viewer.protocol.as_deref(), Some(kind));
        assert_eq!(service.camera()["viewers"][0]["kind"], kind);
        assert_eq!(Client::connect(service.address, "/ws", &headers).err(), Some(503), "one too many");
        assert_eq!(get(service.address, "/stream.mp4").status, 503, "at once");
        until("the camera is opened for it", || (service.camera()["state"] == "live").then_some(()));
        drop(viewer);
        until("its place is free", || {
            service.camera()["viewers"].as_array().unwrap().is_empty().then_some(())
        });
    }
}

#[test]
fn ffmpeg_decodes_a_thousand_pictures_without_a_warning() {
    const PICTURES: usize = 1000;
    let Some(ffmpeg) = program("ffmpeg", "ffmpeg") else { return };
    let service = Porthole::start(&FAST);
    std::thread::scope(|scope| {
        for (path, format) in [("stream.mp4", "mp4"), ("stream.h264", "h264")] {
            let (url, ffmpeg) = (format!("http://{}/{path}", service.address), &ffmpeg);
            scope.spawn(move || {
                let mut command = Command::new(ffmpeg);
                command.args(["-v", "warning", "-nostdin", "-f", format, "-i", &url]);
                command.args(["-frames:v", &PICTURES.to_string(), "-fps_mode", "passthrough"]);
                command.args(["-enc_time_base", "1:90000", "-f", "framecrc", "-"]);
                let (code, out, error) = finish(&mut command);
                assert_eq!((code, error.as_str()), (0, ""), "{path}");
                let fields =
                    |line: &str| line.split(',').map(|field| field.trim().to_owned()).collect::<Vec<_>>();
                let pictures: Vec<Vec<String>> =
                    out.lines().filter(|line| !line.starts_with('#')).map(fields).collect();
                assert_eq!(pictures.len(), PICTURES, "{path}");
                // A busy machine may draw the same picture twice.
                let different: BTreeSet<&String> = pictures.iter().map(|picture| &picture[5]).collect();
                assert!(different.len() > PICTURES / 2, "{path}: {} different pictures", different.len());
                if format == "mp4" {
                    assert_even(
                        &pictures.iter().map(|picture| picture[2].parse().unwrap()).collect::<Vec<_>>(),
                    );
                }
            });
        }
    });
}

/// Times in ticks of 1/90000 s, of pictures at 120 a second.
#[track_caller]
fn assert_even(times: &[i64]) {
    let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| *step > 0), "time goes back: {steps:?}");
    steps.sort_unstable();
    let median = steps[steps.len() / 2];
    assert!((675..825).contains(&median), "{median} ticks from one picture to the next, not 750");
}

#[test]
fn gstreamer_reads_both_streams() {
    let Some(launch) = program("gst-launch-1.0", "gstreamer1.0-tools") else { return };
    let service = Porthole::start(&FAST);
    for (path, demuxer) in [("stream.mp4", "qtdemux ! h264parse"), ("stream.h264", "h264parse")] {
        let mut command = Command::new(&launch);
        command.args([
            "-q",
            "souphttpsrc",
            &format!("location=http://{}/{path}", service.address),
            "is-live=true",
            "!",
        ]);
        command.args(demuxer.split(' ')).args(["!", "fakesink", "num-buffers=100"]);
        let (code, out, error) = finish(&mut command);
        assert_eq!(code, 0, "{path}: {out}{error}");
    }
}

#[test]
fn a_viewer_of_jpeg_notices_nothing_of_h264_and_the_encoder_ends_with_the_last_viewer() {
    let service = Porthole::start(&[&FAST[..], &["--linger", "0"]].concat());
    let mut jpeg = Client::porthole(service.address, "/ws");
    jpeg.acknowledged();
    let encoder = || service.camera()["h264"]["encoder"].clone();
    assert_eq!(encoder(), serde_json::Value::Null, "nobody takes H.264");
    let headers = [("Sec-WebSocket-Protocol", "porthole.mp4.v1")];
    let video = Client::connect(service.address, "/ws", &headers).unwrap();
    until("H.264 is encoded", || (encoder() == "openh264").then_some(()));
    for _ in 0..60 {
        jpeg.acknowledged();
    }
    let camera = service.camera();
    assert!(camera["h264"]["units"].as_u64().unwrap() > 5 && camera["corrupt"] == 0, "{camera}");
    drop(video);
    until("the encoder is closed", || encoder().is_null().then_some(()));
    jpeg.acknowledged();
}
