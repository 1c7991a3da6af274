//! V4L2 cameras, faked beneath the C library: the program under test opens, maps and polls as it would a real one.

use serde_json::json;

use support::fakecam::{Camera, Counter, Setting, Table, environment, hang};
use support::http::get;
use support::picture::decode;
use support::ws::Client;
use support::{Porthole, Scratch, descriptors, finish, porthole, proc_status, until};

const NODE: &str = "/dev/video90";

struct Fake {
    table: Table,
    camera: Camera,
    _scratch: Scratch,
}

/// A camera at [`NODE`] that offers `formats`.
fn fake(formats: &str) -> Fake {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("camera.table")).unwrap();
    let camera =
        Camera::new(NODE, &table).with("formats", formats).with("by-id", "usb-Lab_Fake_Camera-video-index0");
    Fake { table, camera, _scratch: scratch }
}

impl Fake {
    /// Serves it. Arguments beyond the source come after.
    #[track_caller]
    fn serve(&self, arguments: &[&str]) -> Porthole {
        let all = [&["--source", NODE][..], arguments].concat();
        Porthole::with_cameras(std::slice::from_ref(&self.camera), &all)
    }

    fn count(&self, counter: Counter) -> u64 {
        self.table.counter(counter)
    }
}

const WEBCAM: &str = "MJPG:1280x720@30/15,MJPG:640x480@30,YUYV:640x480@30,YUYV:1280x720@10";

/// The number of the fake camera's frame, from the comment in its JPEG.
fn mjpeg_number(jpeg: &[u8]) -> u64 {
    let at = jpeg.windows(6).position(|w| w == b"FKCM1 ").expect("the camera's comment");
    std::str::from_utf8(&jpeg[at + 6..at + 16]).unwrap().trim().parse().unwrap()
}

#[test]
fn mjpeg_passes_through_untouched() {
    let fake = fake(WEBCAM);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    let mut last = None;
    for _ in 0..30 {
        let frame = client.acknowledged();
        decode(&frame.jpeg);
        let number = mjpeg_number(&frame.jpeg);
        assert!(last.is_none_or(|last| number > last));
        last = Some(number);
    }
    let camera = service.camera();
    assert_eq!((&camera["driver"], &camera["card"]), (&json!("uvcvideo"), &json!("Fake Cam")));
    assert_eq!((&camera["format"], &camera["width"]), (&json!("mjpeg"), &json!(1280)));
    assert_eq!((&camera["encoder"]["kind"], &camera["corrupt"]), (&json!("passthrough"), &json!(0)));
}

#[test]
fn raw_formats_are_encoded_with_and_without_padded_rows() {
    for (format, name) in [
        ("YUYV", "yuyv"),
        ("UYVY", "uyvy"),
        ("YVYU", "yvyu"),
        ("VYUY", "vyuy"),
        ("YU12", "yu12"),
        ("YV12", "yv12"),
        ("422P", "yu16"),
        ("NV12", "nv12"),
        ("NV21", "nv21"),
        ("NV16", "nv16"),
        ("NV61", "nv61"),
        ("NV24", "nv24"),
        ("YUV4", "xyuv"),
        ("RGB3", "rgb24"),
        ("BGR3", "bgr24"),
        ("XR24", "bgrx"),
        ("BGR4", "bgrx"),
        ("XB24", "rgbx"),
        ("RGB4", "xrgb"),
        ("RX24", "xbgr"),
        ("GREY", "grey"),
        ("Y16", "y16"),
    ] {
        let fake = fake(&format!("{format}:640x480@60"));
        for pad in [0, 64] {
            let camera = fake.camera.clone().with("stride_pad", pad);
            let service = Porthole::with_cameras(&[camera], &["--source", NODE, "--fps", "60"]);
            let mut client = Client::porthole(service.address, "/ws");
            let picture = decode(&client.acknowledged().jpeg);
            assert_eq!((picture.width, picture.height), (640, 480), "{format}");
            // The fake camera's bar code begins with a white and a black square of 16 pixels. Rows that ran on would shift it to
            // the side.
            for y in [2, 8, 14] {
                let row: Vec<bool> = (0..2).map(|i| picture.is_white(i * 16 + 8, y)).collect();
                assert_eq!(row, [true, false], "{format} padded by {pad}, row {y}");
            }
            let camera = service.camera();
            assert_eq!((&camera["encoder"]["kind"], &camera["format"]), (&json!("turbojpeg"), &json!(name)));
            assert_eq!(camera["corrupt"], 0, "{format}");
        }
    }
}

#[test]
fn a_camera_that_never_writes_an_end_is_shown_and_its_cut_frames_are_not() {
    let fake = fake("MJPG:1280x720@30");
    fake.table.set(Setting::StripEoi, 1);
    fake.table.set(Setting::TailPad, 100);
    fake.table.set(Setting::TruncateEvery, 4);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    until("a dozen frames were cut", || {
        let frame = client.acknowledged();
        decode(&frame.jpeg);
        assert!(frame.jpeg.ends_with(&[0xff, 0xd9]) && !(mjpeg_number(&frame.jpeg) + 1).is_multiple_of(4));
        (fake.count(Counter::Truncated) >= 12).then_some(())
    });
    // Frames that are on their way are in neither count.
    until("what was cut is what was counted", || {
        let _ = client.acknowledged();
        let (cut, counted) = (fake.count(Counter::Truncated), service.camera()["corrupt"].as_u64()?);
        (cut == counted || cut == counted + 1).then_some(())
    });
    let camera = service.camera();
    assert_eq!((&camera["state"], &camera["reopens"]), (&json!("live"), &json!(0)));
    service.until_logged("writes JPEGs without their end marker, which is added");
}

#[test]
fn the_wanted_mode_is_agreed_with_the_driver() {
    for (arguments, format, size, rate) in [
        (&["--size", "640x480"][..], "mjpeg", 640, 30_000),
        (&["--format", "yuyv", "--size", "1280x720"], "yuyv", 1280, 10_000),
        (&["--fps", "12"], "mjpeg", 1280, 15_000),
    ] {
        let fake = fake(WEBCAM);
        let service = fake.serve(arguments);
        assert_eq!(Client::porthole(service.address, "/ws").acknowledged().width, size);
        assert_eq!(service.camera()["format"], format);
        assert_eq!(fake.count(Counter::RateMilli), rate, "{arguments:?}");
    }
}

#[test]
fn what_a_camera_does_not_offer_is_answered_with_what_it_does() {
    for (formats, arguments, why) in [
        (
            WEBCAM,
            &["--size", "800x600"][..],
            "does not offer 800x600, only 1280x720, 640x480; set width and height",
        ),
        ("MJPG:640x480@30", &["--format", "yuyv"], "does not offer yuyv, only mjpeg; set format"),
        (
            "pBAA:3280x2464@21",
            &[],
            "gives raw sensor data (pBAA); a CSI camera needs its ISP: use source = \"rpicam\" on a Raspberry Pi",
        ),
    ] {
        let fake = fake(formats);
        let service = fake.serve(arguments);
        let answer = get(service.address, "/snapshot");
        assert_eq!(answer.status, 503);
        let expected = format!("{NODE}: {why}");
        assert!(answer.text().contains(&expected), "{}, not\n{expected}", answer.text());
        let camera = service.camera();
        assert_eq!(camera["state"], "unsupported");
        assert!(camera["error"].as_str().unwrap().starts_with(NODE));
        let health = get(service.address, "/healthz");
        assert_eq!((health.status, health.text().contains(why)), (503, true));
    }
}

#[test]
fn a_metadata_node_is_answered_with_the_camera_beside_it() {
    let scratch = Scratch::new();
    let tables = ["a", "b"].map(|name| Table::create(scratch.path(name)).unwrap());
    let cameras =
        [Camera::new(NODE, &tables[0]), Camera::new("/dev/video91", &tables[1]).with("kind", "metadata")];
    let service = Porthole::with_cameras(&cameras, &["--source", "/dev/video91"]);
    let text = get(service.address, "/snapshot").text();
    let why = "/dev/video91: is a metadata node, not a camera; use /dev/video90 instead";
    assert!(text.contains(why), "{text}");
    drop(service);
    let service = Porthole::with_cameras(&cameras[..], &["--source", "auto"]);
    Client::porthole(service.address, "/ws").acknowledged();
    service.until_logged("auto: /dev/video90 (Fake Cam) is the first camera");
    drop(service);
    let swapped = [Camera::new("/dev/video92", &tables[0]), cameras[1].clone()];
    let service = Porthole::with_cameras(&swapped, &["--source", "auto"]);
    Client::porthole(service.address, "/ws").acknowledged();
    let why =
        "auto: /dev/video92 (Fake Cam) is the first camera, passing over /dev/video91 (a metadata node)";
    service.until_logged(why);
}

#[test]
fn without_any_camera_auto_says_so() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let metadata = Camera::new("/dev/video91", &table).with("kind", "metadata");
    let service = Porthole::with_cameras(&[metadata], &["--source", "auto"]);
    let text = get(service.address, "/snapshot").text();
    assert!(text.contains("no camera found (/dev/video91 (a metadata node)); plug one in"), "{text}");
}

#[test]
fn an_unplugged_camera_is_lost_and_comes_back_by_itself() {
    for errno in [libc::ENODEV, libc::EINVAL] {
        let fake = fake(WEBCAM);
        fake.table.set(Setting::UnplugErrno, errno as u32);
        let service = fake.serve(&[]);
        let mut client = Client::porthole(service.address, "/ws");
        let before = client.acknowledged();
        fake.table.set(Setting::Unplug, 1);
        let camera = service.until_camera_is("lost");
        assert!(camera["error"].as_str().unwrap().contains("plug"), "{camera}");
        assert_eq!(get(service.address, "/healthz").status, 503);
        fake.table.set(Setting::Unplug, 0);
        let after = until("frames come again", || {
            Some(client.acknowledged()).filter(|f| f.captured_at > before.captured_at)
        });
        assert!(after.sequence > before.sequence);
        let camera = service.until_camera_is("live");
        assert_eq!((&camera["reopens"], &camera["error"]), (&json!(1), &json!(null)));
        assert_eq!(camera["viewers"].as_array().unwrap().len(), 1, "the viewer was not kept");
    }
}

#[test]
fn a_camera_that_comes_back_under_another_number_is_followed() {
    let fake = fake(WEBCAM);
    fake.table.set(Setting::Renumber, 95);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    fake.table.set(Setting::Unplug, 1);
    service.until_camera_is("lost");
    fake.table.set(Setting::Unplug, 0);
    let camera = service.until_camera_is("live");
    client.acknowledged();
    assert_eq!(camera["source"], NODE);
    service.until_logged("opened /dev/video95 (Fake Cam)");
}

#[test]
fn another_camera_of_the_same_kind_is_not_shown_instead() {
    let scratch = Scratch::new();
    let tables = ["a", "b"].map(|name| Table::create(scratch.path(name)).unwrap());
    let cameras = [
        Camera::new(NODE, &tables[0]).with("bus", "usb-1"),
        Camera::new("/dev/video91", &tables[1]).with("bus", "usb-2"),
    ];
    let service = Porthole::with_cameras(&cameras, &["--source", NODE, "--log", "debug"]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    tables[0].set(Setting::Unplug, 1);
    until("it has been looked for in vain", || service.log().contains("lost after attempt 5:").then_some(()));
    assert_eq!(tables[1].counter(Counter::Streamons), 0, "the other camera was opened instead");
    tables[0].set(Setting::Unplug, 0);
    client.acknowledged();
}

#[test]
fn a_camera_that_is_put_into_another_port_is_followed() {
    let scratch = Scratch::new();
    let tables = ["a", "b"].map(|name| Table::create(scratch.path(name)).unwrap());
    let cameras = [
        Camera::new(NODE, &tables[0]).with("bus", "usb-1"),
        Camera::new("/dev/video91", &tables[1]).with("bus", "usb-2"),
    ];
    tables[1].set(Setting::Unplug, 1);
    let service = Porthole::with_cameras(&cameras, &["--source", NODE]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    tables[0].set(Setting::Unplug, 1);
    service.until_camera_is("lost");
    tables[1].set(Setting::Unplug, 0);
    service.until_camera_is("live");
    service.until_logged("opened /dev/video91");
}

#[test]
fn a_stable_name_is_followed_wherever_it_points() {
    let fake = fake(WEBCAM);
    fake.table.set(Setting::Renumber, 96);
    let name = "/dev/v4l/by-id/usb-Lab_Fake_Camera-video-index0";
    let service = Porthole::with_cameras(std::slice::from_ref(&fake.camera), &["--source", name]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    fake.table.set(Setting::Unplug, 1);
    service.until_camera_is("lost");
    fake.table.set(Setting::Unplug, 0);
    service.until_camera_is("live");
    client.acknowledged();
}

#[test]
fn a_camera_that_appears_after_the_start_is_found() {
    let fake = fake(WEBCAM);
    fake.table.set(Setting::Unplug, 1);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    let camera = service.until_camera_is("lost");
    assert_eq!(
        camera["error"],
        format!("{NODE}: no such device; plug the camera in, or pick one that `porthole cameras` lists")
    );
    fake.table.set(Setting::Unplug, 0);
    client.acknowledged();
}

#[test]
fn a_camera_that_cannot_be_opened_yet_is_found_once_it_can() {
    // As after it was plugged in, until udev has given the new node to the right group.
    let refused = libc::EACCES as u32;
    let fake = fake(WEBCAM);
    fake.table.set(Setting::Renumber, 97);
    let service = fake.serve(&["--log", "debug"]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    fake.table.set(Setting::OpenErrno, refused);
    fake.table.set(Setting::Unplug, 1);
    service.until_camera_is("lost");
    fake.table.set(Setting::Unplug, 0);
    let tries = || service.log().lines().filter(|line| line.contains("lost after attempt")).count();
    let before = tries();
    until("it has been tried", || (tries() > before + 2).then_some(()));
    fake.table.set(Setting::OpenErrno, 0);
    service.until_camera_is("live");
    drop((client, service));

    fake.table.set(Setting::OpenErrno, refused);
    let service = Porthole::with_cameras(std::slice::from_ref(&fake.camera), &["--source", "auto"]);
    let mut client = Client::porthole(service.address, "/ws");
    let camera = service.until_camera_is("lost");
    let why = camera["error"].as_str().unwrap();
    assert!(why.contains("/dev/video97 (does not answer, or may not be opened by this user)"), "{why}");
    fake.table.set(Setting::OpenErrno, 0);
    client.acknowledged();
}

#[test]
fn a_stalled_camera_is_noticed_and_opened_again() {
    let fake = fake(WEBCAM);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    fake.table.set(Setting::Stall, 1);
    let camera = service.until_camera_is("stalled");
    assert!(camera["error"].as_str().unwrap().contains("no frame for 2 s; reopening it"), "{camera}");
    fake.table.set(Setting::Stall, 0);
    client.acknowledged();
    client.acknowledged();
    client.acknowledged();
    assert!(service.until_camera_is("live")["reopens"].as_u64().unwrap() >= 1);
}

#[test]
fn spoilt_mjpeg_frames_are_counted_exactly_and_never_sent() {
    for (setting, counter) in [
        (Setting::TruncateEvery, Counter::Truncated),
        (Setting::CorruptEvery, Counter::Corrupt),
        (Setting::EmptyEvery, Counter::Empty),
        (Setting::ErrorEvery, Counter::Error),
    ] {
        let fake = fake("MJPG:640x480@30");
        fake.table.set(Setting::FpsMilli, 120_000);
        fake.table.set(setting, 4);
        let mut service = fake.serve(&["--fps", "120"]);
        let mut client = Client::porthole(service.address, "/ws");
        for _ in 0..60 {
            let frame = client.acknowledged();
            decode(&frame.jpeg);
            assert_ne!((mjpeg_number(&frame.jpeg) + 1) % 4, 0, "{setting:?}: a spoilt frame came through");
        }
        fake.table.set(Setting::Stall, 1);
        let spoilt = until("the counts agree", || {
            let (seen, injected) = (service.camera()["corrupt"].as_u64()?, fake.count(counter));
            (seen == injected).then_some(injected)
        });
        assert!(spoilt >= 15, "{setting:?}: only {spoilt} frames were spoilt");
        assert_eq!(service.stop(), Some(0));
    }
}

#[test]
fn short_raw_frames_are_counted_exactly_and_never_sent() {
    let fake = fake("YUYV:640x480@30");
    fake.table.set(Setting::FpsMilli, 60_000);
    fake.table.set(Setting::ShortEvery, 3);
    let service = fake.serve(&["--fps", "60"]);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..20 {
        decode(&client.acknowledged().jpeg);
    }
    fake.table.set(Setting::Stall, 1);
    until("the counts agree", || {
        (service.camera()["corrupt"].as_u64()? == fake.count(Counter::Short)).then_some(())
    });
    assert!(fake.count(Counter::Short) >= 9);
}

#[test]
fn what_cameras_leave_out_is_put_in() {
    let fake = fake("MJPG:640x480@30");
    fake.table.set(Setting::StripDht, 1);
    fake.table.set(Setting::StripJfif, 1);
    fake.table.set(Setting::TailPad, 500);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..5 {
        decode(&client.acknowledged().jpeg);
    }
    assert_eq!(service.camera()["corrupt"], 0);
}

#[test]
fn an_input_output_error_is_survived() {
    let fake = fake("MJPG:640x480@30");
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    fake.table.set(Setting::EioEvery, 10);
    until("it was opened again after the error", || {
        client.acknowledged();
        (service.camera()["reopens"].as_u64()? >= 3).then_some(())
    });
    service.until_logged("VIDIOC_DQBUF: Input/output error");
}

#[test]
fn refusals_by_the_driver_say_what_to_do() {
    for (setting, value, state, why) in [
        (
            Setting::OpenErrno,
            libc::EACCES,
            "lost",
            "permission denied; add the user this runs as to the group",
        ),
        (
            Setting::Busy,
            1,
            "lost",
            "in use by another program; stop that, and the picture comes back by itself",
        ),
        (
            Setting::StreamonErrno,
            libc::ENOSPC,
            "unsupported",
            "not enough USB bandwidth; choose mjpeg, a smaller size",
        ),
        (
            Setting::StreamonErrno,
            libc::EIO,
            "lost",
            "starting capture: Input/output error (os error 5); unplug the camera",
        ),
        (Setting::RefuseFmt, 1, "lost", "VIDIOC_S_FMT: Invalid argument (os error 22); unplug the camera"),
    ] {
        let fake = fake(WEBCAM);
        fake.table.set(setting, value as u32);
        let service = fake.serve(&[]);
        let mut client = Client::porthole(service.address, "/ws");
        let camera = service.until_camera_is(state);
        let error = camera["error"].as_str().unwrap();
        assert!(error.starts_with(&format!("{NODE}: {why}")), "{error}");
        fake.table.set(setting, 0);
        client.acknowledged();
    }
}

#[test]
fn a_driver_that_rounds_everything_is_taken_at_its_word() {
    let fake = fake(WEBCAM);
    fake.table.set(Setting::RefuseFmt, 2);
    let service = fake.serve(&[]);
    assert_eq!(Client::porthole(service.address, "/ws").acknowledged().width, 640);
}

#[test]
fn the_camera_is_open_while_somebody_watches_and_only_then() {
    let fake = fake(WEBCAM);
    let service = fake.serve(&["--linger", "0.2"]);
    assert_eq!(service.camera()["state"], "idle");
    for round in 1..=3 {
        assert_eq!(fake.count(Counter::Closes), fake.count(Counter::Opens), "open with nobody watching");
        let mut client = Client::porthole(service.address, "/ws");
        client.acknowledged();
        assert_eq!((fake.count(Counter::Streaming), fake.count(Counter::Streamons)), (1, round));
        assert_eq!(service.camera()["state"], "live");
        // Another one comes before the first goes: nothing changes for the camera.
        let mut second = Client::porthole(service.address, "/ws");
        second.acknowledged();
        drop(client);
        second.acknowledged();
        assert_eq!(fake.count(Counter::Streamons), round);
        drop(second);
        until("the device is closed", || {
            (fake.count(Counter::Closes) == fake.count(Counter::Opens)).then_some(())
        });
        assert_eq!(fake.count(Counter::Streaming), 0);
        service.until_camera_is("idle");
    }
}

#[test]
fn a_viewer_who_comes_back_within_the_linger_time_finds_the_camera_open() {
    let fake = fake(WEBCAM);
    let service = fake.serve(&["--linger", "60"]);
    for _ in 0..5 {
        Client::porthole(service.address, "/ws").acknowledged();
        get(service.address, "/snapshot");
    }
    assert_eq!(fake.count(Counter::Streamons), 1);
}

#[test]
fn the_first_frames_can_be_held_back() {
    let scratch = Scratch::new();
    let fake = fake(WEBCAM);
    let config = format!("[[camera]]\nsource = \"{NODE}\"\nskip_first = 10\n");
    let file = scratch.file("porthole.toml", config);
    let service =
        Porthole::with_cameras(std::slice::from_ref(&fake.camera), &["--config", file.to_str().unwrap()]);
    let number = mjpeg_number(&Client::porthole(service.address, "/ws").acknowledged().jpeg);
    assert!(number >= 10, "frame {number} was shown");
}

#[test]
fn two_cameras_at_once() {
    let scratch = Scratch::new();
    let (tables, [one, two]) = Camera::pair(&scratch.path("")).unwrap();
    let cameras = [one.with("formats", "MJPG:1280x720@30"), two.with("formats", "YUYV:640x480@30")];
    let config = format!(
        "[[camera]]\nname = \"one\"\nsource = \"{NODE}\"\n[[camera]]\nname = \"two\"\nsource = \"/dev/video91\"\n"
    );
    let file = scratch.file("porthole.toml", config);
    let service = Porthole::with_cameras(&cameras, &["--config", file.to_str().unwrap()]);
    let mut one = Client::porthole(service.address, "/cameras/one/ws");
    let mut two = Client::porthole(service.address, "/cameras/two/ws");
    for _ in 0..10 {
        assert_eq!((one.acknowledged().width, two.acknowledged().width), (1280, 640));
    }
    tables[0].set(Setting::Unplug, 1);
    until("the first is lost", || (service.state()["cameras"][0]["state"] == "lost").then_some(()));
    for _ in 0..5 {
        two.acknowledged();
    }
    assert_eq!(service.state()["cameras"][1]["state"], "live");
}

#[test]
fn plugging_in_and_out_leaks_nothing() {
    let fake = fake(WEBCAM);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    let mut cycle = || {
        client.acknowledged();
        fake.table.set(Setting::Unplug, 1);
        service.until_camera_is("lost");
        fake.table.set(Setting::Unplug, 0);
        service.until_camera_is("live");
    };
    let pid = service.pid();
    let held = || (descriptors(pid), proc_status(pid, "Threads"));
    (0..10).for_each(|_| cycle());
    let (before, memory) = (held(), proc_status(pid, "VmRSS"));
    (0..20).for_each(|_| cycle());
    // The last request of this test may still be on its way out.
    until(&format!("no more than {before:?} descriptors and threads, not {:?}", held()), || {
        let now = held();
        (now.0 <= before.0 && now.1 <= before.1).then_some(())
    });
    let after = proc_status(pid, "VmRSS");
    assert!(after <= memory + 1024, "memory grew from {memory} to {after} kB");
}

#[test]
fn a_driver_that_hangs_does_not_keep_the_service_from_stopping() {
    for hung in [hang::DQBUF, hang::STREAMOFF, hang::OPEN, hang::STREAMON] {
        let fake = fake(WEBCAM);
        let mut service = fake.serve(&[]);
        fake.table.set(Setting::HangMs, 120_000);
        if matches!(hung, hang::OPEN | hang::STREAMON) {
            fake.table.set(Setting::HangWhere, hung);
        }
        let mut client = Client::porthole(service.address, "/ws");
        if matches!(hung, hang::DQBUF | hang::STREAMOFF) {
            client.acknowledged();
            fake.table.set(Setting::HangWhere, hung);
        } else {
            until("the camera is being opened", || (service.camera()["state"] == "starting").then_some(()));
        }
        let asked = std::time::Instant::now();
        let code = service.stop();
        assert!(asked.elapsed().as_secs() < 10, "{hung}: {:?}", asked.elapsed());
        // DQBUF is only called once a frame is there, so it may not have been hanging yet.
        assert!(code == Some(3) || (hung == hang::DQBUF && code == Some(0)), "{hung}: {code:?}");
        if code == Some(3) {
            service.until_logged("camera camera did not stop within 900 ms");
        }
    }
}

#[test]
fn cameras_are_listed_with_all_they_can_do() {
    let fake = fake(WEBCAM);
    let table = Table::create(fake._scratch.path("second")).unwrap();
    let metadata = Camera::new("/dev/video91", &table).with("kind", "metadata");
    let environment = environment(&[fake.camera.clone(), metadata]);
    let (code, out, error) = finish(porthole().arg("cameras").envs(environment));
    assert_eq!((code, error.as_str()), (0, ""));
    for line in [
        "/dev/video90  Fake Cam (uvcvideo, usb-fakecam)",
        "  /dev/v4l/by-id/usb-Lab_Fake_Camera-video-index0",
        "  mjpeg  1280x720 at 30, 15 fps",
        "  yuyv   640x480 at 30 fps",
        "  brightness = 128 (0 to 255 by 1, default 128)",
        "  white_balance_temperature = 4600 (2800 to 6500 by 10, default 4600), inactive",
        "  auto_exposure = 3 (1 Manual Mode, 3 Aperture Priority Mode, default 3)",
        "  auto_focus_start (button)",
        "/dev/video91  Fake Cam (uvcvideo, usb-fakecam)",
        "  a metadata node, not a camera",
    ] {
        assert!(out.lines().any(|shown| shown == line), "no line {line:?} in\n{out}");
    }
}

/// Most ioctls of a second opening of a camera with one format and one size.
const OPENING_IOCTLS: u64 = 26;

#[test]
fn a_frame_costs_two_ioctls_and_an_opening_asks_no_other_descriptor() {
    let fake = fake("MJPG:640x480@30");
    let service = fake.serve(&["--linger", "0"]);
    let idle = || {
        until("the device is closed", || {
            (fake.count(Counter::Closes) == fake.count(Counter::Opens)).then_some(())
        })
    };
    Client::porthole(service.address, "/ws").acknowledged();
    idle();
    let before = [Counter::Ioctls, Counter::Querycaps, Counter::Dequeued].map(|c| fake.count(c));
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    (0..60).for_each(|_| drop(client.acknowledged()));
    drop(client);
    idle();
    let after = [Counter::Ioctls, Counter::Querycaps, Counter::Dequeued].map(|c| fake.count(c));
    let [ioctls, querycaps, frames] = std::array::from_fn(|i| after[i] - before[i]);
    // And STREAMOFF.
    let opening = ioctls.saturating_sub(2 * frames + 1);
    let stray = fake.count(Counter::StrayIoctls);
    println!(
        "{ioctls} ioctls, {frames} frames, {opening} beyond 2 each, {querycaps} QUERYCAP, {stray} stray"
    );
    assert!(
        frames >= 60 && opening <= OPENING_IOCTLS,
        "{opening} ioctls beyond 2 for each of {frames} frames"
    );
    assert!(querycaps <= 2, "{querycaps} QUERYCAP");
    assert_eq!(stray, 0, "ioctls on descriptors that are no cameras");
}

#[test]
fn a_descriptor_that_does_not_tell_its_node_is_found_by_the_camera_it_reports() {
    let scratch = Scratch::new();
    let (_, cameras) = Camera::pair(&scratch.path("")).unwrap();
    let cameras = cameras.map(|camera| camera.with("formats", "MJPG:640x480@30").with("hides_node", true));
    let config = "[[camera]]\nname = \"one\"\nsource = \"/dev/video90\"\n[[camera]]\nname = \"two\"\nsource = \"/dev/video91\"\n";
    let file = scratch.file("porthole.toml", config);
    let service = Porthole::with_cameras(&cameras, &["--config", file.to_str().unwrap()]);
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            let path = format!("/cameras/{name}/ws");
            scope.spawn(move || Client::porthole(service.address, &path).acknowledged());
        }
    });
    let cameras = service.state()["cameras"].clone();
    assert_eq!([&cameras[0]["card"], &cameras[1]["card"]], [&json!("Camera 0"), &json!("Camera 1")]);
}

#[test]
fn a_camera_that_hangs_is_listed_without_details_beside_the_others() {
    let list = |call| {
        let scratch = Scratch::new();
        let ([hung, _], cameras) = Camera::pair(&scratch.path("")).unwrap();
        hung.set(Setting::HangMs, 600_000);
        hung.set(Setting::HangWhere, call);
        let (code, out, _) = finish(porthole().arg("cameras").envs(environment(&cameras)));
        assert_eq!(code, 0);
        assert!(out.contains("/dev/video90  does not answer: nothing within 5 s"), "{call}: {out}");
        assert!(
            out.contains("/dev/video91  Camera 1") && out.contains("  brightness = 128"),
            "{call}: {out}"
        );
    };
    std::thread::scope(|scope| {
        for call in [hang::OPEN, hang::QUERYCAP, hang::ENUM_FMT, hang::QUERYCTRL, hang::G_CTRL] {
            scope.spawn(move || list(call));
        }
    });
}
