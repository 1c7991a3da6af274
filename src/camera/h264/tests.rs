//! A camera whose pictures are encoded, from its start to its end.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::time::timeout;

use crate::camera::{Camera, CameraSettings, CameraThread, H264Mode, H264Settings, UnitViewer};
use crate::frame::{PixelFormat, Resolution};
use crate::h264::software::SoftwareDecoder;
use crate::jpeg::exif::Rotation;
use crate::jpeg::yuv::Subsampling;
use crate::jpeg::{JpegSettings, inspect};
use crate::ring::Subscription;
use crate::status::{Watcher, status};

const DEADLINE: Duration = Duration::from_secs(20);
const SIZE: Resolution = Resolution::new(320, 240);

struct Rig {
    camera: Camera,
    threads: Vec<CameraThread>,
    status: Watcher,
}

impl Rig {
    fn start(format: Option<PixelFormat>) -> Self {
        let settings = CameraSettings {
            name: "camera".into(),
            source: "pattern".parse().unwrap(),
            remote: Default::default(),
            resolution: Some(SIZE),
            fps: 30.0,
            format,
            jpeg: JpegSettings {
                quality: 80,
                subsampling: Subsampling::Cs420,
                validate: true,
                rotation: Rotation::None,
            },
            h264: H264Settings { mode: H264Mode::Software, quality: 50, kbps: None },
            linger: Duration::from_millis(10),
            skip_first: 0,
            inputs: Default::default(),
            rpicam_options: Vec::new(),
            controls: Default::default(),
            controls_file: None,
        };
        let (_, mut reporters, status) = status([("camera".into(), "pattern".into(), 30.0)]);
        let (camera, threads) = crate::camera::start(settings, 4, reporters.remove(0)).unwrap();
        tokio::spawn(camera.ring().clone().run_notifier());
        tokio::spawn(camera.units().unwrap().clone().run_notifier());
        Self { camera, threads, status }
    }

    fn watch(&self) -> UnitViewer {
        self.camera.subscribe_units(self.camera.units().unwrap()).unwrap()
    }

    async fn until(&mut self, condition: impl Fn(&crate::status::CameraStatus) -> bool) {
        timeout(DEADLINE, self.status.wait_for(|status| condition(&status.cameras[0])))
            .await
            .unwrap()
            .unwrap();
    }

    async fn stop(self) {
        self.threads.iter().for_each(CameraThread::stop);
        for mut thread in self.threads {
            timeout(DEADLINE, thread.ended()).await.unwrap();
            thread.join();
        }
    }
}

/// Decodes `count` access units; returns how many pictures came out.
async fn decode(viewer: &mut UnitViewer, count: usize) -> usize {
    let (mut decoder, mut pictures) = (SoftwareDecoder::new(), 0);
    for index in 0..count {
        timeout(DEADLINE, viewer.units.changed()).await.unwrap().unwrap();
        let lease = viewer.units.lease().unwrap();
        assert!(index > 0 || lease.unit().is_key, "a viewer begins at a key frame");
        assert_eq!(lease.unit().resolution, SIZE);
        if let Some(picture) = decoder.decode(&lease).unwrap() {
            assert_eq!(picture.resolution(), SIZE);
            pictures += 1;
        }
    }
    pictures
}

async fn jpeg(subscription: &mut Subscription) -> Resolution {
    timeout(DEADLINE, subscription.changed()).await.unwrap().unwrap();
    let lease = subscription.lease().unwrap();
    inspect::inspect(&lease, inspect::Depth::Whole).unwrap().resolution()
}

#[tokio::test]
async fn pictures_are_encoded_while_somebody_takes_them_and_jpeg_beside() {
    let mut rig = Rig::start(None);
    for _ in 0..2 {
        let mut viewer = rig.watch();
        assert_eq!(decode(&mut viewer, 10).await, 10);
        let info = rig.status.borrow().cameras[0].h264.clone().unwrap();
        assert_eq!((info.encoder.as_deref(), info.error), (Some("openh264"), None));
        let mut frames = rig.camera.subscribe().unwrap();
        assert_eq!(jpeg(&mut frames).await, SIZE);
        assert_eq!(decode(&mut rig.watch(), 10).await, 10, "a second viewer");
        drop((viewer, frames));
        rig.until(|camera| !camera.capturing && camera.h264.as_ref().unwrap().encoder.is_none()).await;
    }
    rig.stop().await;
}
