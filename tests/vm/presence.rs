//! Nobody watches: the camera is off. Somebody does: it is on, soon.

use crate::guest::{Guest, Service};
use support::until;

const VGA: (u16, u16) = (640, 480);
/// From before a viewer connects to its first frame being sent, by the guest's clock.
const FIRST_FRAME_S: f64 = 1.0;

pub fn an_unwatched_usb_camera_is_off(guest: &Guest) {
    for camera in [guest.isochronous(), guest.bulk()] {
        let node = camera.plug();
        let service = guest.serve(&config(&node, 30));
        comes_and_goes(guest, &service, || camera.status().get("streaming") == 1);
    }
}

pub fn an_unwatched_vivid_is_off(guest: &Guest) {
    let service = guest.serve(&config(&guest.vivid().expect("vivid's node"), 25));
    // While it streams, vivid has a thread that draws the pictures.
    comes_and_goes(guest, &service, || guest.run("ps | grep -c '[v]ivid-000-vid-c' || true").trim() == "1");
}

fn config(node: &str, fps: u32) -> String {
    format!("[[camera]]\nsource = \"{node}\"\nwidth = 640\nheight = 480\nfps = {fps}\nlinger_s = 0\n")
}

fn comes_and_goes(guest: &Guest, service: &Service<'_>, streams: impl Fn() -> bool) {
    let mut fastest = f64::MAX;
    for _ in 0..3 {
        assert_eq!((service.video_descriptors(), streams()), (0, false), "on with nobody watching");
        assert_eq!(service.camera()["state"], "idle");
        let before = guest.uptime();
        let viewer = service.viewer();
        fastest = fastest.min(viewer.first().sent_at as f64 / 1e6 - before);
        viewer.watch(3, VGA);
        assert_eq!((service.video_descriptors(), streams()), (1, true), "off while somebody watches");
        drop(viewer);
        service.until_closed();
        until("the driver has stopped", || (!streams()).then_some(()));
        service.until_camera_is("idle");
    }
    // An emulated processor on a busy machine may lose a second any time, but not each time.
    assert!(fastest < FIRST_FRAME_S, "the first frame took {fastest:.2} s at best");
}
