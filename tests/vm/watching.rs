//! Pictures from real drivers: through the service, over the network, whole and in order.

use crate::guest::Guest;
use crate::viewer::Viewer;
use support::picture::Stamp;
use support::until;

pub fn vivid_is_encoded(guest: &Guest) {
    let node = guest.vivid().expect("vivid's node");
    // The larger takes the emulated processor a third of a second to make and to encode.
    for (width, height, count) in [(640, 480, 30), (1280, 720, 10)] {
        let service = guest.serve(&format!(
            "[[camera]]\nsource = \"{node}\"\nwidth = {width}\nheight = {height}\nformat = \"yuyv\"\nfps = 10\n"
        ));
        service.viewer().watch(count, (width, height));
        let camera = service.camera();
        assert_eq!((&camera["driver"], &camera["format"]), (&"vivid".into(), &"yuyv".into()));
        assert_eq!((&camera["encoder"]["kind"], &camera["corrupt"]), (&"turbojpeg".into(), &0.into()));
    }
}

pub fn usb_cameras_pass_through(guest: &Guest) {
    for camera in [guest.isochronous(), guest.bulk()] {
        let node = camera.plug();
        let service = guest.serve(&format!("[[camera]]\nsource = \"{node}\"\nfps = 15\n"));
        let viewer = service.viewer();
        viewer.watch(30, (1280, 720));
        // The camera's own number, which went through the driver and the service untouched.
        let number = || Stamp::of(&viewer.watch(5, (1280, 720)).jpeg).number;
        let numbers = [(); 3].map(|()| number());
        assert!(numbers.is_sorted_by(|a, b| a + 5 <= *b), "{numbers:?}");
        let state = service.camera();
        assert_eq!((&state["driver"], &state["format"]), (&"uvcvideo".into(), &"mjpeg".into()));
        assert_eq!((&state["encoder"]["kind"], &state["corrupt"]), (&"passthrough".into(), &0.into()));
        let status = camera.status();
        assert_eq!((status.get("width"), status.get("interval_100ns")), (1280, 666_666));
    }
}

pub fn two_cameras_at_once(guest: &Guest) {
    let camera = guest.isochronous();
    let (vivid, node) = (guest.vivid().expect("vivid's node"), camera.plug());
    let service = guest.serve(&format!(
        "[[camera]]\nname = \"made-up\"\nsource = \"{vivid}\"\nwidth = 640\nheight = 480\nfps = 10\n\
         [[camera]]\nname = \"usb\"\nsource = \"{node}\"\nwidth = 640\nheight = 480\nfps = 15\n"
    ));
    let viewers = ["made-up", "usb"].map(|name| Viewer::of(&service, &format!("/cameras/{name}/ws")));
    for _ in 0..5 {
        viewers.iter().for_each(|viewer| drop(viewer.watch(5, (640, 480))));
    }
    let state = service.cameras();
    assert_eq!((&state[0]["state"], &state[1]["state"]), (&"live".into(), &"live".into()));
    assert_eq!((&state[0]["corrupt"], &state[1]["corrupt"]), (&0.into(), &0.into()));
    // One goes, and the other does not notice.
    camera.unplug();
    until("the one is lost", || (service.cameras()[1]["state"] == "lost").then_some(()));
    viewers[0].watch(5, (640, 480));
}

pub fn every_frame_of_a_camera_is_accounted_for(guest: &Guest) {
    for camera in [guest.isochronous(), guest.bulk()] {
        let node = camera.plug();
        let service = guest.serve(&format!(
            "[[camera]]\nsource = \"{node}\"\nwidth = 640\nheight = 480\nfps = 15\nskip_first = 0\n"
        ));
        let before = camera.status();
        let viewer = service.viewer();
        viewer.watch(10, (640, 480));
        for fault in ["truncate 5", "corrupt 5", "flag 5"] {
            camera.tell(fault);
        }
        // The viewer looks at every frame it gets, and a spoilt one would be the end of it.
        let sent = |key: &str| camera.status().get(key) - before.get(key);
        until("all have been sent", || {
            viewer.watch(1, (640, 480));
            (sent("truncated") + sent("corrupt") + sent("flagged") == 15).then_some(())
        });
        viewer.watch(10, (640, 480));
        camera.tell("stall");
        let sent = sent("frames");
        let count = |key: &str| service.camera()[key].as_i64().unwrap();
        until("as many came as were sent", || {
            (count("frames") + count("corrupt") + count("dropped") == sent).then_some(())
        });
        assert_eq!(count("corrupt"), 10);
        // Those with the error bit the driver keeps, and they are known by the gap they leave.
        assert!(count("dropped") >= 5, "{} dropped", count("dropped"));
    }
}

pub fn a_listing_shows_the_cameras_and_their_settings(guest: &Guest) {
    let camera = guest.isochronous();
    let (node, metadata) = (camera.plug(), camera.metadata_node());
    let list = guest.run("porthole cameras");
    let (of_camera, of_metadata) = (format!("{node}  Test Camera"), format!("{metadata}  Test Camera"));
    for line in [
        of_camera.as_str(),
        "  mjpeg  640x480 at 30, 15, 5 fps",
        "  mjpeg  1280x720 at 30, 15, 5 fps",
        "  brightness = 0 (-64 to 64 by 1, default 0)",
        "  contrast = 32 (0 to 95 by 1, default 32)",
        "  power_line_frequency = 1 (0 Disabled, 1 50 Hz, 2 60 Hz, default 1)",
        "  auto_exposure = 3 (1 Manual Mode, 3 Aperture Priority Mode, default 3)",
        "  exposure_time_absolute = 250 (3 to 2047 by 1, default 250), inactive",
        of_metadata.as_str(),
        "  a metadata node, not a camera",
    ] {
        assert!(list.lines().any(|shown| shown.starts_with(line)), "no line {line:?} in\n{list}");
    }
}
