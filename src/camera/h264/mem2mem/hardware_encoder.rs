//! Encodes with a hardware encoder: opens it for the size of the pictures, gives it pictures, waits for what comes.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::debug;
use nix::errno::Errno;

use super::error::HardwareError;
use super::pending::PendingPictures;
use crate::camera::h264::encoder::{EncoderError, UnitSink, VideoEncoder};
use crate::camera::v4l2::{EncoderDevice, EncoderMode, find_encoder};
use crate::camera::wake::{WaitResult, Waker};
use crate::frame::{Resolution, Timestamp};
use crate::h264::{AnnexB, I420Picture, NalKind};

/// Longest wait for a picture that an encoder may keep back. A Raspberry Pi encodes one of 1080p in 20 ms. With a shorter time an
/// encoder that is slow once gives each picture one late until it has caught up.
const LATE: Duration = Duration::from_millis(100);
/// An encoder that takes no more pictures and gives nothing for this long hangs.
const SILENT: Duration = Duration::from_secs(2);
/// Bytes of parameter sets that come in a buffer of their own, at most. Larger ones are pictures.
const MAX_HEADER_BYTES: usize = 1024;

/// What a hardware encoder is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::camera) struct HardwareSettings {
    /// Pictures a second that are expected.
    pub(in crate::camera) frame_rate: f32,
    pub(in crate::camera) bits_per_second: u32,
    /// Pictures from one key frame to the next.
    pub(in crate::camera) key_interval: u32,
}

/// A hardware encoder. It is open from the first picture on, for pictures of its size.
pub(in crate::camera) struct HardwareEncoder {
    path: PathBuf,
    /// What it is called.
    card: String,
    settings: HardwareSettings,
    waker: Arc<Waker>,
    open: Option<OpenEncoder>,
}

struct OpenEncoder {
    resolution: Resolution,
    device: EncoderDevice,
    pending: PendingPictures,
    /// Parameter sets that came in a buffer of their own, then with the unit that they belong to.
    headers: Vec<u8>,
}

impl HardwareEncoder {
    /// The encoder of this machine. `waker` ends its waits.
    ///
    /// # Errors
    /// When there is none.
    pub(in crate::camera) fn find(
        settings: HardwareSettings,
        waker: Arc<Waker>,
    ) -> Result<Self, HardwareError> {
        let (path, capability) = find_encoder().ok_or(HardwareError::Absent)?;
        Ok(Self { path, card: capability.card, settings, waker, open: None })
    }

    /// Opens it for pictures of this size, unless it is open for them.
    ///
    /// # Errors
    /// When it cannot be opened, or takes no such pictures.
    pub(in crate::camera) fn prepare(&mut self, resolution: Resolution) -> Result<(), HardwareError> {
        if self.open.as_ref().is_some_and(|open| open.resolution == resolution) {
            return Ok(());
        }
        // Before another one is opened: some drivers have one instance.
        self.open = None;
        let HardwareSettings { frame_rate, bits_per_second, key_interval } = self.settings;
        let mode = EncoderMode { resolution, frame_rate, bits_per_second, key_interval };
        let device = EncoderDevice::start(&self.path, &mode);
        let device = device.map_err(|failure| HardwareError::of_start(&self.path, resolution, failure))?;
        let (pending, headers) = (PendingPictures::default(), Vec::new());
        self.open = Some(OpenEncoder { resolution, device, pending, headers });
        Ok(())
    }

    /// Gives the open encoder a picture, and takes what comes.
    fn pass(
        &mut self,
        picture: &I420Picture<'_>,
        at: Timestamp,
        key: bool,
        out: &mut UnitSink<'_>,
    ) -> Result<(), HardwareError> {
        let Self { path, waker, open, .. } = self;
        let path = path.as_path();
        let Some(open) = open else { return Ok(()) };
        let failed = |call| move |error| HardwareError::of_call(path, call, error);
        if key && !open.device.force_key_frame().map_err(failed("VIDIOC_S_EXT_CTRLS"))? {
            debug!("{}: cannot be asked for a key frame", path.display());
        }
        let silent_at = Timestamp::now().after(SILENT);
        loop {
            open.take_all(out).map_err(failed("VIDIOC_DQBUF"))?;
            if open.device.take_back().map_err(failed("VIDIOC_DQBUF"))? > 0 {
                break;
            }
            if !open.wait(waker, silent_at).map_err(failed("VIDIOC_DQBUF"))? {
                if waker.is_stopped() {
                    return Ok(());
                }
                let (path, seconds) = (path.display().to_string(), SILENT.as_secs());
                return Err(HardwareError::Silent { path, seconds });
            }
        }
        open.device.give(picture, at).map_err(failed("VIDIOC_QBUF"))?;
        open.pending.gave(at);
        let late_at = Timestamp::now().after(LATE);
        while open.pending.is_due() {
            if !open.wait(waker, late_at).map_err(failed("VIDIOC_DQBUF"))? {
                if waker.is_stopped() {
                    return Ok(());
                }
                open.pending.keeps_back();
                debug!("{}: keeps pictures back", path.display());
                break;
            }
            open.take_all(out).map_err(failed("VIDIOC_DQBUF"))?;
        }
        open.device.take_back().map_err(failed("VIDIOC_DQBUF"))?;
        Ok(())
    }
}

impl VideoEncoder for HardwareEncoder {
    fn encode(
        &mut self,
        picture: &I420Picture<'_>,
        at: Timestamp,
        key: bool,
        out: &mut UnitSink<'_>,
    ) -> Result<(), EncoderError> {
        self.prepare(picture.resolution())?;
        // After an error it is closed, so that the next picture finds it as it was before the first.
        self.pass(picture, at, key, out).inspect_err(|_| self.open = None)?;
        Ok(())
    }

    fn name(&self) -> String {
        format!("{} ({})", self.card, self.path.display())
    }
}

impl OpenEncoder {
    /// Waits for an access unit. False when there is none at `until`, or the service stops.
    fn wait(&self, waker: &Waker, until: Timestamp) -> io::Result<bool> {
        loop {
            match waker.wait(&[self.device.fd()], Some(until)) {
                WaitResult::Ready { failed: false, .. } => return Ok(true),
                // As the device polls once its driver is gone.
                WaitResult::Ready { failed: true, .. } => return Err(Errno::ENODEV.into()),
                WaitResult::TimedOut => return Ok(false),
                WaitResult::Woken if waker.is_stopped() => return Ok(false),
                WaitResult::Woken => {}
            }
        }
    }

    /// Passes on all access units that are there.
    fn take_all(&mut self, out: &mut UnitSink<'_>) -> io::Result<()> {
        let Self { device, pending, headers, .. } = self;
        loop {
            let taken = device.take(|unit, at, is_key| {
                if is_header(unit) {
                    headers.clear();
                    headers.extend_from_slice(unit);
                    return;
                }
                pending.took(at);
                if headers.is_empty() || unit.is_empty() {
                    out(unit, at, is_key);
                } else {
                    headers.extend_from_slice(unit);
                    out(headers, at, is_key);
                    headers.clear();
                }
            });
            match taken {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a buffer has parameter sets and no picture.
fn is_header(unit: &[u8]) -> bool {
    let is_slice = |kind| matches!(kind, NalKind::Slice | NalKind::SlicePartition | NalKind::IdrSlice);
    let is_short = !unit.is_empty() && unit.len() <= MAX_HEADER_BYTES;
    is_short && !AnnexB::new(unit).any(|unit| is_slice(unit.kind()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use support::fakecam::{Camera, Counter, Setting, Table, environment};
    use support::{Scratch, h264, tools, until};

    use super::*;
    use crate::h264::{ParameterSets, SamplePlane, write_access_unit};

    /// Runs a test in a process of its own, with a fake encoder beneath the C library. The fake encoder's table is returned there.
    /// A static program has nothing beneath it that could be replaced.
    fn beneath(test: &str) -> Option<Table> {
        const TABLE: &str = "PORTHOLE_TEST_TABLE";
        if let Some(path) = std::env::var_os(TABLE) {
            return Some(Table::open(path).unwrap());
        }
        let scratch = Scratch::new();
        let table = Table::create(scratch.path("encoder.table")).unwrap();
        let encoder = Camera::new("/dev/video11", &table)
            .with("kind", "encoder")
            .with("driver", "bcm2835-codec")
            .with("card", "bcm2835-codec-encode")
            .with("bus", "platform:bcm2835-codec");
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
        command.args(["--exact", &name, "--nocapture"]).env(TABLE, table.path());
        let (status, said, error) = support::finish(command.envs(environment(&[encoder])));
        assert!(status == 0 && said.contains("1 passed"), "{name}: {said}{error}");
        None
    }

    const SETTINGS: HardwareSettings =
        HardwareSettings { frame_rate: 30.0, bits_per_second: 1_000_000, key_interval: 60 };

    fn encoder() -> HardwareEncoder {
        HardwareEncoder::find(SETTINGS, Arc::new(Waker::new().unwrap())).unwrap()
    }

    /// A picture with the fake camera's bar code for `number`; below it `luma`.
    struct TestPicture {
        resolution: Resolution,
        planes: [Vec<u8>; 3],
    }

    impl TestPicture {
        fn new(width: u16, height: u16, number: u64) -> Self {
            let (columns, rows) = (usize::from(width), usize::from(height));
            let luma = |at: usize| match (at % columns / 16, at / columns / 16) {
                (square, 0) if square < 30 => {
                    if h264::bar(number, square as u32) {
                        235
                    } else {
                        16
                    }
                }
                (column, row) => (60 + column + row) as u8,
            };
            let planes = [
                (0..columns * rows).map(luma).collect(),
                vec![90; columns * rows / 4],
                vec![160; columns * rows / 4],
            ];
            Self { resolution: Resolution::new(width, height), planes }
        }

        fn picture(&self) -> I420Picture<'_> {
            let stride = usize::from(self.resolution.width);
            let [y, u, v] = &self.planes;
            let plane = |data, stride| SamplePlane { data, stride };
            let planes = [plane(y, stride), plane(u, stride / 2), plane(v, stride / 2)];
            I420Picture::new(self.resolution, planes).unwrap()
        }
    }

    /// What came out of an encoder.
    #[derive(Default)]
    struct Units(Vec<(Vec<u8>, Timestamp, bool)>);

    impl Units {
        fn encode(
            &mut self,
            encoder: &mut HardwareEncoder,
            picture: &TestPicture,
            at: u64,
            key: bool,
        ) -> Result<(), EncoderError> {
            encoder.encode(&picture.picture(), Timestamp(at), key, &mut |unit, at, is_key| {
                self.0.push((unit.to_vec(), at, is_key));
            })
        }

        fn times(&self) -> Vec<u64> {
            self.0.iter().map(|unit| unit.1.0).collect()
        }
    }

    /// The planes of the pictures that ffmpeg decodes, `None` without ffmpeg.
    fn decoded(stream: &[u8]) -> Option<Vec<u8>> {
        let scratch = Scratch::new();
        let clip = scratch.file("clip.h264", stream);
        let mut ffmpeg = Command::new(tools::program("ffmpeg", "ffmpeg")?);
        ffmpeg.env_remove("LD_PRELOAD").stderr(Stdio::piped());
        ffmpeg.args(["-v", "warning", "-nostdin", "-i"]).arg(clip);
        let output = ffmpeg.args(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        Some(output.stdout)
    }

    #[test]
    #[cfg_attr(target_feature = "crt-static", ignore = "needs a program that is linked at run time")]
    fn each_picture_is_an_access_unit_of_its_size_with_its_time() {
        let Some(table) = beneath("each_picture_is_an_access_unit_of_its_size_with_its_time") else { return };
        // Neither is a multiple of what the encoder wants.
        let (width, height) = (1256, 708);
        let (mut encoder, mut units) = (encoder(), Units::default());
        for number in 0..70 {
            let picture = TestPicture::new(width, height, number);
            units.encode(&mut encoder, &picture, 1_000_000 + number * 33_333, number == 20).unwrap();
        }
        assert_eq!(units.times(), (0..70).map(|n| 1_000_000 + n * 33_333).collect::<Vec<_>>());
        let keys: Vec<usize> = (0..70).filter(|&n| units.0[n].2).collect();
        assert_eq!(keys, [0, 20], "when the first came, and when asked");
        let (mut sets, mut slot) = (ParameterSets::default(), vec![0; 1 << 20]);
        for (unit, _, is_key) in &units.0 {
            let written = write_access_unit(unit, &mut slot, &mut sets).unwrap();
            assert_eq!((written.resolution, written.is_key), (Resolution::new(width, height), *is_key));
        }
        let has_sets = |n: usize| units.0[n].0.starts_with(&[0, 0, 0, 1, 0x67]);
        assert_eq!((0..70).filter(|&n| has_sets(n)).collect::<Vec<_>>(), keys);
        let control = |id| table.control(id);
        assert_eq!(
            [
                control(0x99_09ce),
                control(0x99_09cf),
                control(0x99_0a66),
                control(0x99_0a67),
                control(0x99_0a6b)
            ],
            [Some(0), Some(1_000_000), Some(60), Some(9), Some(4)]
        );
        let stream: Vec<u8> = units.0.iter().flat_map(|unit| unit.0.clone()).collect();
        if let Some(pixels) = decoded(&stream) {
            let (width, bytes) = (usize::from(width), usize::from(width) * usize::from(height) * 3 / 2);
            assert_eq!(pixels.len(), 70 * bytes);
            for (number, shown) in pixels.chunks_exact(bytes).enumerate() {
                let drawn = &TestPicture::new(1256, 708, number as u64).planes[0];
                for (x, y) in (0..width).step_by(8).flat_map(|x| [(x, 3), (x, 100), (x, 707)]) {
                    assert_eq!(shown[y * width + x], drawn[y * width + x], "picture {number}, {x},{y}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(target_feature = "crt-static", ignore = "needs a program that is linked at run time")]
    fn pictures_that_are_kept_back_come_with_later_ones() {
        let Some(table) = beneath("pictures_that_are_kept_back_come_with_later_ones") else { return };
        table.set(Setting::HoldBack, 2);
        let (mut encoder, mut units) = (encoder(), Units::default());
        let picture = TestPicture::new(640, 480, 0);
        for at in 1..=20 {
            units.encode(&mut encoder, &picture, at, false).unwrap();
        }
        assert_eq!(units.times(), (1..=18).collect::<Vec<_>>());
        table.set(Setting::HoldBack, 0);
        for at in 21..=24 {
            units.encode(&mut encoder, &picture, at, false).unwrap();
            until("it has encoded all", || (table.counter(Counter::Produced) == at).then_some(()));
        }
        assert_eq!(units.times(), (1..=24).collect::<Vec<_>>(), "none is kept any more");
        table.set(Setting::ErrorEvery, 2);
        for at in 25..=30 {
            units.encode(&mut encoder, &picture, at, false).unwrap();
        }
        assert_eq!(units.times()[24..], [25, 26, 27, 28, 29, 30]);
        let failed: Vec<bool> = units.0[24..].iter().map(|(unit, ..)| unit.is_empty()).collect();
        assert_eq!(
            failed,
            [false, true, false, true, false, true],
            "there are no bytes of those that failed"
        );
    }

    #[test]
    #[cfg_attr(target_feature = "crt-static", ignore = "needs a program that is linked at run time")]
    fn an_encoder_that_is_busy_or_gone_says_so_and_is_used_again() {
        let Some(table) = beneath("an_encoder_that_is_busy_or_gone_says_so_and_is_used_again") else {
            return;
        };
        let (mut encoder, mut units) = (encoder(), Units::default());
        let picture = TestPicture::new(640, 480, 0);
        table.set(Setting::Busy, 1);
        let error = units.encode(&mut encoder, &picture, 1, false).unwrap_err().to_string();
        assert!(error.starts_with("/dev/video11: the hardware encoder is in use; stop"), "{error}");
        table.set(Setting::Busy, 0);
        units.encode(&mut encoder, &picture, 2, false).unwrap();
        let large = TestPicture::new(1280, 720, 0);
        units.encode(&mut encoder, &large, 3, false).unwrap();
        assert_eq!((units.times(), units.0[1].2), (vec![2, 3], true), "another size begins with a key frame");
        table.set(Setting::Unplug, 1);
        let error = units.encode(&mut encoder, &large, 4, false).unwrap_err().to_string();
        assert!(
            error.contains("is gone (No such device") && error.contains("h264 = \"software\""),
            "{error}"
        );
        table.set(Setting::Unplug, 0);
        units.encode(&mut encoder, &large, 5, false).unwrap();
        assert_eq!(units.times(), [2, 3, 5]);
        let huge = TestPicture::new(2592, 1944, 0);
        let error = units.encode(&mut encoder, &huge, 6, false).unwrap_err().to_string();
        assert!(error.contains("of at most 1920x1920, not of 2592x1944"), "{error}");
        drop(encoder);
        assert_eq!(table.counter(Counter::Opens), table.counter(Counter::Closes));
    }

    #[test]
    #[cfg_attr(target_feature = "crt-static", ignore = "needs a program that is linked at run time")]
    fn an_encoder_that_hangs_is_given_up_and_its_wait_ends_with_the_service() {
        let Some(table) = beneath("an_encoder_that_hangs_is_given_up_and_its_wait_ends_with_the_service")
        else {
            return;
        };
        let (mut encoder, mut units) = (encoder(), Units::default());
        let picture = TestPicture::new(640, 480, 0);
        table.set(Setting::Stall, 1);
        let error = until("it is given up", || units.encode(&mut encoder, &picture, 1, false).err());
        assert!(error.to_string().contains("gave nothing for 2 s"), "{error}");
        let waker = Arc::clone(&encoder.waker);
        let opens = table.counter(Counter::Opens);
        let encoding = std::thread::spawn(move || {
            let until_stopped = |encoder: &mut HardwareEncoder| {
                while !encoder.waker.is_stopped() {
                    Units::default().encode(encoder, &picture, 1, false)?;
                }
                Ok::<(), EncoderError>(())
            };
            until_stopped(&mut encoder)
        });
        until("it is open again", || (table.counter(Counter::Opens) > opens).then_some(()));
        waker.stop();
        assert!(encoding.join().unwrap().is_ok());
    }
}
