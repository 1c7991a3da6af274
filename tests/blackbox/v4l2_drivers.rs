//! V4L2 drivers that rscam cannot serve: without an interval, multi-planar, with fields, or with buffers that lie.

use serde_json::json;

use support::fakecam::{Camera, Counter, Setting, Table, sequence, stamp};
use support::picture::decode;
use support::ws::Client;
use support::{Porthole, Scratch, until};

const NODE: &str = "/dev/video90";

struct Fake {
    table: Table,
    camera: Camera,
    _scratch: Scratch,
}

/// A camera at [`NODE`] that offers `formats`, with these further keys.
fn fake(formats: &str, keys: &[(&str, &str)]) -> Fake {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("camera.table")).unwrap();
    let camera = Camera::new(NODE, &table).with("formats", formats);
    let camera = keys.iter().fold(camera, |camera, (key, value)| camera.with(key, value));
    Fake { table, camera, _scratch: scratch }
}

impl Fake {
    #[track_caller]
    fn serve(&self, arguments: &[&str]) -> Porthole {
        let all = [&["--source", NODE][..], arguments].concat();
        Porthole::with_cameras(std::slice::from_ref(&self.camera), &all)
    }

    fn count(&self, counter: Counter) -> u64 {
        self.table.counter(counter)
    }
}

/// Watches three frames of the raw picture that the fake camera makes: `size` large, with its bar code at the top left.
#[track_caller]
fn watch(service: &Porthole, size: (usize, usize)) {
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..3 {
        let picture = decode(&client.acknowledged().jpeg);
        assert_eq!((picture.width, picture.height), size);
        // A white and a black square of 16 pixels. Lines out of order or shifted would show in some of these rows.
        for y in [1, 4, 7, 10, 14] {
            assert!(picture.is_white(8, y) && !picture.is_white(24, y), "row {y}");
        }
        // Below the bar code is texture, each line of which is the line above, shifted by a pixel. If the lines
        // were not in order, it would be another shift.
        let picture = &picture;
        let differences = (20..size.1 - 64).flat_map(|y| {
            let luma = move |x, y| i32::from(picture.luma(x, y));
            (100..size.0 - 100).step_by(9).map(move |x| (luma(x + 64, y) - luma(x, y + 64)).abs())
        });
        let (count, sum) = differences.fold((0, 0), |(count, sum), difference| (count + 1, sum + difference));
        assert!(sum / count < 10, "lines differ by {}", sum / count);
    }
}

#[test]
fn a_common_webcam_is_served_by_rscam_and_every_other_device_here() {
    for (keys, capture) in [
        (&[][..], "rscam"),
        (&[("parm", "none")], "mmap"),
        (&[("parm", "zero")], "mmap"),
        (&[("kind", "multiplanar")], "mmap"),
        (&[("field", "seq_tb")], "mmap"),
        (&[("field", "interlaced")], "rscam"),
    ] {
        let fake = fake("YUYV:640x480@30", keys);
        let service = fake.serve(&[]);
        watch(&service, (640, 480));
        let camera = service.camera();
        assert_eq!(camera["capture"], capture, "{keys:?}");
        assert_eq!((&camera["corrupt"], &camera["state"]), (&json!(0), &json!("live")), "{keys:?}");
    }
}

#[test]
fn without_an_interval_the_rate_is_measured() {
    for parm in ["none", "zero"] {
        let fake = fake("MJPG:640x480@30", &[("parm", parm)]);
        let service = fake.serve(&[]);
        let mut client = Client::porthole(service.address, "/ws");
        until("the rate is measured", || {
            client.acknowledged();
            (24.0..36.0).contains(&service.camera()["fps"].as_f64().unwrap()).then_some(())
        });
        service.until_logged("at an unknown rate");
    }
}

#[test]
fn a_frame_costs_two_ioctls() {
    let fake = fake("MJPG:640x480@30", &[("parm", "none")]);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    let before = [Counter::Ioctls, Counter::Dequeued].map(|counter| fake.count(counter));
    (0..60).for_each(|_| drop(client.acknowledged()));
    let after = [Counter::Ioctls, Counter::Dequeued].map(|counter| fake.count(counter));
    let (ioctls, frames) = (after[0] - before[0], after[1] - before[1]);
    println!("{ioctls} ioctls for {frames} frames");
    // The first and the last frame may have been counted between its two calls.
    assert!(frames >= 59 && ioctls.abs_diff(2 * frames) <= 2, "{ioctls} ioctls for {frames} frames");
}

#[test]
fn planes_are_found_wherever_a_multi_planar_driver_has_them() {
    for format in ["NV12", "YU12", "YUYV", "NM12", "NM61", "YM12", "YM16"] {
        for keys in [
            &[("kind", "multiplanar")][..],
            &[("kind", "multiplanar"), ("stride_pad", "64"), ("data_offset", "128")],
        ] {
            let fake = fake(&format!("{format}:640x480@30"), keys);
            watch(&fake.serve(&[]), (640, 480));
        }
    }
}

#[test]
fn a_multi_planar_camera_is_listed_and_found() {
    let fake = fake("NM12:640x480@30", &[("kind", "multiplanar"), ("card", "HDMI_Bridge")]);
    let environment = support::fakecam::environment(std::slice::from_ref(&fake.camera));
    let (_, out, _) = support::finish(support::porthole().arg("cameras").envs(environment));
    assert!(out.contains("HDMI Bridge") && out.contains("nv12   640x480 at 30 fps"), "{out}");
    let service = Porthole::with_cameras(std::slice::from_ref(&fake.camera), &["--source", "auto"]);
    watch(&service, (640, 480));
}

#[test]
fn fields_are_shown_as_whole_pictures() {
    for (format, field) in
        [("YUYV", "seq_tb"), ("NV12", "seq_bt"), ("YU12", "seq_tb"), ("YUYV", "interlaced")]
    {
        let fake = fake(&format!("{format}:640x480@30"), &[("field", field)]);
        watch(&fake.serve(&[]), (640, 480));
    }
    let fake = fake("YUYV:640x480@30", &[("field", "alternate")]);
    let service = fake.serve(&[]);
    let answer = support::http::get(service.address, "/snapshot");
    assert!(answer.status == 503 && answer.text().contains("the two fields"), "{}", answer.text());
}

#[test]
fn a_driver_that_claims_more_than_a_buffer_holds_is_not_believed() {
    for keys in [&[][..], &[("parm", "none")], &[("kind", "multiplanar")]] {
        let fake = fake("MJPG:640x480@30", keys);
        fake.table.set(Setting::UsedExcess, 1 << 30);
        let service = fake.serve(&[]);
        let mut client = Client::porthole(service.address, "/ws");
        until("the frames count as corrupt", || {
            (service.camera()["corrupt"].as_u64() > Some(3)).then_some(())
        });
        fake.table.set(Setting::UsedExcess, 0);
        decode(&client.acknowledged().jpeg);
    }
}

#[test]
fn refusals_by_the_driver_say_what_to_do() {
    for (setting, errno, state, why) in [
        (Setting::StreamonErrno, libc::EPIPE, "unsupported", "are not set up; set them up with media-ctl"),
        (Setting::StreamonErrno, libc::ENOLINK, "lost", "no signal at the video input; connect a source"),
        (
            Setting::StreamonErrno,
            libc::EIO,
            "lost",
            "VIDIOC_STREAMON: Input/output error (os error 5); unplug",
        ),
        (Setting::Busy, 1, "lost", "in use by another program; stop that"),
    ] {
        let fake = fake("NV12:640x480@30", &[("kind", "multiplanar")]);
        fake.table.set(setting, errno as u32);
        let service = fake.serve(&[]);
        let mut client = Client::porthole(service.address, "/ws");
        let camera = service.until_camera_is(state);
        let error = camera["error"].as_str().unwrap();
        assert!(error.contains(why), "{error}");
        fake.table.set(setting, 0);
        client.acknowledged();
    }
}

#[test]
fn an_unplugged_grabber_comes_back_by_itself() {
    let fake = fake("NM12:640x480@30", &[("kind", "multiplanar"), ("parm", "none")]);
    let service = fake.serve(&[]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    let (descriptors, threads) =
        (support::descriptors(service.pid()), || support::proc_status(service.pid(), "Threads"));
    let before = threads();
    for _ in 0..5 {
        fake.table.set(Setting::Unplug, 1);
        service.until_camera_is("lost");
        fake.table.set(Setting::Unplug, 0);
        service.until_camera_is("live");
        client.acknowledged();
    }
    until("no descriptor and no thread is left behind", || {
        (support::descriptors(service.pid()) <= descriptors && threads() <= before).then_some(())
    });
}

#[test]
fn what_a_driver_says_of_time_and_order_is_believed_as_far_as_it_can_be_true() {
    // rscam, and the capture of this service.
    for keys in [&[][..], &[("parm", "none")]] {
        for (setting, value, counter) in [
            (Setting::Stamp, stamp::ZERO, "implausible_times"),
            (Setting::Stamp, stamp::FUTURE, "implausible_times"),
            (Setting::Stamp, stamp::BACKWARDS, "implausible_times"),
            (Setting::Sequence, sequence::ZERO, "implausible_sequences"),
            (Setting::Sequence, sequence::WILD, "implausible_sequences"),
        ] {
            let fake = fake("MJPG:640x480@30", keys);
            fake.table.set(setting, value);
            let service = fake.serve(&[]);
            let mut client = Client::porthole(service.address, "/ws");
            let mut ages = Vec::new();
            until("the claims are counted and the rate is measured", || {
                let frame = client.acknowledged();
                ages.push(frame.sent_at - frame.captured_at);
                let camera = service.camera();
                let is_counted = camera[counter].as_u64() > Some(20);
                (is_counted && (24.0..36.0).contains(&camera["fps"].as_f64().unwrap())).then_some(())
            });
            let camera = service.camera();
            assert!(ages.iter().all(|us| *us < 1_000_000), "{ages:?} us old");
            let other =
                ["implausible_times", "implausible_sequences"].into_iter().find(|key| *key != counter);
            assert_eq!(camera[other.unwrap()], 0, "{setting:?} {value}");
            let missed = fake.count(Counter::Dropped);
            assert!(camera["dropped"].as_u64().unwrap() <= missed + 5, "{} dropped", camera["dropped"]);
            assert!(camera["last_frame_age_ms"].as_f64().unwrap() < 1000.0);
        }
    }
}
