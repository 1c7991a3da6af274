//! Every fault that the fake cameras know, in random order: after each the stream is live again in its time, no broken
//! picture gets to anybody, and at the end the counters say what was injected, to the last frame.
//!
//! Two cameras at once, one that sends JPEGs and one that sends raw pictures, each with an order of its own. The seed is
//! printed when something fails; `PORTHOLE_FAULT_SEED` plays that order again.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::{Error, Message};

use support::fakecam::{Camera, Counter, Setting, Table, hang, now_ns, stamp};
use support::http::get;
use support::picture::decode;
use support::prometheus::Exposition;
use support::video::VideoHead;
use support::ws::{Client, Frame};
use support::{Porthole, Scratch, proc_status, until};

use crate::turns::{Group, turn};

/// How long faults are played, unless the environment says otherwise.
const SECONDS: u64 = 60;

// The times within which the stream is live again, as src/manual/reliability.md gives them.
/// Frames come again by themselves, or the driver answers again.
const AT_ONCE: Duration = Duration::ZERO;
/// A camera that is back, or one that failed while it streamed, is looked for every 100 ms.
const LOOKED_FOR: Duration = Duration::from_millis(100);
/// One that refused is tried again after 2 s at the latest.
const TRIED_AGAIN: Duration = Duration::from_secs(2);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(12);

const SETTINGS: [Setting; Setting::HangWhere as usize + 1] = [
    Setting::Stall,
    Setting::Unplug,
    Setting::UnplugErrno,
    Setting::Renumber,
    Setting::CorruptEvery,
    Setting::TruncateEvery,
    Setting::EmptyEvery,
    Setting::ErrorEvery,
    Setting::ShortEvery,
    Setting::EioEvery,
    Setting::TailPad,
    Setting::StripEoi,
    Setting::StripDht,
    Setting::StripJfif,
    Setting::FrameBytes,
    Setting::RefuseFmt,
    Setting::Busy,
    Setting::OpenErrno,
    Setting::StreamonErrno,
    Setting::FpsMilli,
    Setting::JitterUs,
    Setting::Stamp,
    Setting::Sequence,
    Setting::UsedExcess,
    Setting::Signal,
    Setting::SignalSize,
    Setting::EventEvery,
    Setting::HangMs,
    Setting::HangWhere,
];

/// splitmix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }

    fn milliseconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.next() % (most - least))
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            all.swap(end, self.next() as usize % (end + 1));
        }
    }
}

/// What a viewer of one camera has seen so far.
#[derive(Default)]
struct Seen {
    /// When the last frame was captured, in microseconds.
    captured_at: AtomicU64,
    over: AtomicBool,
}

impl Seen {
    /// Takes frames until it is over. Every one of them is whole, and none comes from before another.
    fn watch(&self, service: &Porthole, name: &str) {
        let mut client = Client::porthole(service.address, &format!("/cameras/{name}/ws"));
        let (mut sequence, mut captured_at) = (0, 0);
        // Pings come while no frame does, so it is not the connection that says when to look up.
        client.stream().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        while !self.over.load(SeqCst) {
            let frame = match client.try_read() {
                Ok(Message::Binary(message)) => Frame::parse(&message),
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{name}: the viewer was not kept: {error}"),
            };
            client.acknowledge(frame.sequence);
            decode(&frame.jpeg);
            assert!(frame.sequence > sequence && frame.captured_at >= captured_at, "{name}: back in time");
            (sequence, captured_at) = (frame.sequence, frame.captured_at);
            self.captured_at.store(captured_at, SeqCst);
        }
    }
}

/// What a viewer of the same camera in H.264 has seen so far.
#[derive(Default)]
struct SeenVideo {
    /// When the last picture was captured, in microseconds.
    captured_at: AtomicU64,
    over: AtomicBool,
}

impl SeenVideo {
    /// Takes pictures until it is over. Each can be decoded after the one before, and none comes from before another.
    fn watch(&self, service: &Porthole, name: &str) {
        let headers = [("Sec-WebSocket-Protocol", "porthole.h264.v1")];
        let path = format!("/cameras/{name}/ws");
        let mut client = Client::connect(service.address, &path, &headers).unwrap();
        client.stream().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut last: Option<VideoHead> = None;
        while !self.over.load(SeqCst) {
            let head = match client.try_read() {
                Ok(Message::Binary(message)) => VideoHead::parse(&message).unwrap(),
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{name}: the viewer of H.264 was not kept: {error}"),
            };
            client.acknowledge(head.sequence);
            let is_next = last.is_none_or(|last| {
                head.sequence == last.sequence + 1 + head.skipped && head.captured_at >= last.captured_at
            });
            let is_decodable = head.is_key || last.is_some() && head.skipped == 0;
            assert!(is_next && is_decodable, "{name}: {head:?} after {last:?}");
            last = Some(head);
            self.captured_at.store(head.captured_at, SeqCst);
        }
    }
}

/// One camera and what is being played on it.
struct Stage<'a> {
    service: &'a Porthole,
    name: &'a str,
    index: usize,
    is_raw: bool,
    table: &'a Table,
    seen: &'a Seen,
    random: Random,
    /// Each fault, and how long the stream took to be live again.
    played: Vec<(String, Duration)>,
}

impl Stage<'_> {
    fn state(&self) -> Value {
        self.service.state()["cameras"][self.index].clone()
    }

    #[track_caller]
    fn until_state_is(&self, wanted: &[&str]) {
        until(&format!("{} is {wanted:?}; played {:?}", self.name, self.played), || {
            wanted.iter().any(|state| self.state()["state"] == *state).then_some(())
        });
    }

    /// Waits until the fault has shown itself so often.
    #[track_caller]
    fn until_counted(&self, counter: Counter, more: u64) {
        let before = self.table.counter(counter);
        until(&format!("{}: {counter:?}; played {:?}", self.name, self.played), || {
            (self.table.counter(counter) >= before + more).then_some(())
        });
    }

    fn pause(&mut self, least: u64, most: u64) {
        std::thread::sleep(self.random.milliseconds(least, most));
    }

    /// The fault is over: waits until a frame comes that was captured since.
    #[track_caller]
    fn is_live_within(&mut self, fault: String, time: Duration) {
        let (begun, cleared) = (Instant::now(), now_ns() / 1000);
        let allowed = time + SLACK;
        while self.seen.captured_at.load(SeqCst) <= cleared {
            assert!(
                begun.elapsed() < allowed,
                "{}: not live {allowed:?} after {fault}: {}; played {:?}",
                self.name,
                self.state(),
                self.played
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        self.played.push((fault, begun.elapsed()));
    }

    /// Pulls the camera out and plugs it in again, with `setting` turned in between.
    fn replug(&mut self, setting: Setting, value: u32) {
        self.table.set(Setting::Unplug, 1);
        self.until_state_is(&["lost"]);
        self.pause(0, 500);
        self.table.set(setting, value);
        self.table.set(Setting::Unplug, 0);
    }

    /// Turns `setting` so that the camera cannot be opened any more, and back.
    fn refuses(&mut self, setting: Setting, value: u32) {
        self.replug(setting, value);
        // One that cannot be opened may have another number by now, and is not known to be there at all.
        if setting != Setting::OpenErrno {
            until(&format!("{}: the refusal by {setting:?} {value} is told", self.name), || {
                let camera = self.state();
                let why = camera["error"].as_str().unwrap_or("unplugged");
                (!why.contains("unplugged") && !why.contains("no such device")).then_some(())
            });
        }
        self.pause(300, 1500);
        self.table.set(setting, 0);
        self.is_live_within(format!("{setting:?} {value}"), TRIED_AGAIN);
    }

    /// Spoils some frames, or all.
    fn spoils(&mut self, setting: Setting, counter: Counter) {
        let every = self.random.of(&[1, 2, 3, 5]);
        self.table.set(setting, every);
        self.until_counted(counter, 2);
        if every == 1 && self.random.of(&[true, false]) {
            self.until_state_is(&["stalled"]);
        }
        self.table.set(setting, 0);
        self.is_live_within(format!("{setting:?} {every}"), LOOKED_FOR);
    }

    /// What a camera may do and be shown all the same.
    fn endures(&mut self, setting: Setting, value: u32) {
        self.table.set(setting, value);
        self.is_live_within(format!("{setting:?} {value} begun"), AT_ONCE);
        self.pause(0, 300);
        self.table.set(setting, 0);
        self.is_live_within(format!("{setting:?} {value}"), AT_ONCE);
    }

    fn hangs(&mut self, call: u32) {
        let time = self.random.milliseconds(200, 1500);
        self.table.set(Setting::HangMs, time.as_millis() as u32);
        self.table.set(Setting::HangWhere, call);
        match call {
            hang::DQBUF => self.pause(200, 600),
            _ => {
                self.table.set(Setting::Unplug, 1);
                self.pause(100, 600);
                self.table.set(Setting::Unplug, 0);
                self.pause(100, 600);
            }
        }
        self.table.set(Setting::HangWhere, 0);
        self.is_live_within(format!("hang {call} for {time:?}"), LOOKED_FOR + time);
    }

    /// Plays the fault that `setting` stands for. Every setting is one.
    fn play(&mut self, setting: Setting) {
        match setting {
            Setting::Stall => {
                self.table.set(Setting::Stall, 1);
                if self.random.of(&[true, false]) {
                    self.until_state_is(&["stalled"]);
                }
                self.pause(100, 1500);
                self.table.set(Setting::Stall, 0);
                self.is_live_within("Stall".into(), AT_ONCE);
            }
            Setting::Unplug => {
                self.replug(Setting::UnplugErrno, 0);
                self.is_live_within("Unplug".into(), LOOKED_FOR);
            }
            Setting::UnplugErrno => {
                let errno = self.random.of(&[libc::EINVAL, libc::ENODEV, libc::EIO]) as u32;
                self.table.set(Setting::UnplugErrno, errno);
                self.replug(Setting::UnplugErrno, 0);
                self.is_live_within(format!("Unplug, as {errno}"), LOOKED_FOR);
            }
            Setting::Renumber => {
                let number = 92 + self.index as u32 * 4 + self.random.of(&[0, 1, 2, 3]);
                self.replug(Setting::Renumber, number);
                self.is_live_within(format!("Renumber {number}"), LOOKED_FOR);
                self.table.set(Setting::Renumber, 0);
            }
            Setting::CorruptEvery if !self.is_raw => self.spoils(setting, Counter::Corrupt),
            Setting::TruncateEvery if !self.is_raw => self.spoils(setting, Counter::Truncated),
            Setting::ShortEvery if self.is_raw => self.spoils(setting, Counter::Short),
            Setting::EmptyEvery => self.spoils(setting, Counter::Empty),
            Setting::ErrorEvery => self.spoils(setting, Counter::Error),
            Setting::EioEvery => {
                self.table.set(setting, self.random.of(&[1, 5, 20]));
                self.until_counted(Counter::Eio, 2);
                self.table.set(setting, 0);
                self.is_live_within(format!("{setting:?}"), LOOKED_FOR);
            }
            Setting::TailPad => self.endures(setting, 700),
            Setting::StripDht | Setting::StripJfif => self.endures(setting, 1),
            // From its opening on. One that stops while it streams loses a few frames, which count as cut short.
            Setting::StripEoi => {
                self.replug(setting, 1);
                self.is_live_within(format!("{setting:?}"), LOOKED_FOR);
                self.table.set(setting, 0);
            }
            Setting::FrameBytes => self.endures(setting, 90_000),
            Setting::FpsMilli => {
                let rate = self.random.of(&[5_000, 10_000, 60_000, 90_000]);
                self.endures(setting, rate);
            }
            Setting::JitterUs => self.endures(setting, 30_000),
            Setting::RefuseFmt if self.random.of(&[true, false]) => {
                self.replug(setting, 2);
                self.is_live_within("RefuseFmt 2".into(), LOOKED_FOR);
                self.table.set(setting, 0);
            }
            Setting::RefuseFmt | Setting::Busy => self.refuses(setting, 1),
            Setting::OpenErrno => {
                let errno = self.random.of(&[libc::EACCES, libc::EIO, libc::EBUSY]) as u32;
                self.refuses(setting, errno);
            }
            Setting::StreamonErrno => {
                let errno = self.random.of(&[libc::EIO, libc::ENOSPC, libc::EBUSY]) as u32;
                self.refuses(setting, errno);
            }
            Setting::HangMs => self.hangs(hang::DQBUF),
            Setting::HangWhere => {
                let opening = [hang::OPEN, hang::QUERYCAP, hang::ENUM_FMT, hang::S_FMT, hang::REQBUFS];
                let call = self.random.of(&[&opening[..], &[hang::STREAMON, hang::STREAMOFF]].concat());
                self.hangs(call);
            }
            Setting::Stamp => {
                let claim = self.random.of(&[stamp::ZERO, stamp::FUTURE, stamp::BACKWARDS]);
                self.endures(setting, claim);
            }
            // Of the other kind of camera.
            Setting::CorruptEvery | Setting::TruncateEvery | Setting::ShortEvery => {}
            // Of a camera with another input.
            Setting::Signal | Setting::SignalSize | Setting::EventEvery => {}
            // Of encoders, and of cameras with H.264.
            Setting::EncodeUs
            | Setting::HoldBack
            | Setting::WithholdKeys
            | Setting::ParameterSetsOnce
            | Setting::VideoSize => {}
            // What is dropped or corrupt cannot be compared then.
            Setting::Sequence | Setting::UsedExcess => {}
        }
    }

    /// Every setting once, then every setting again in another order, until the time is up.
    fn play_all(&mut self, until: Instant) {
        loop {
            let mut settings = SETTINGS;
            self.random.shuffle(&mut settings);
            for setting in settings {
                self.play(setting);
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Waits until every frame that the camera gave has been counted as what it was.
    #[track_caller]
    fn counters_agree(&self) {
        let count = |counter| self.table.counter(counter);
        let injected = || {
            let spoilt =
                [Counter::Corrupt, Counter::Truncated, Counter::Empty, Counter::Error, Counter::Short];
            let corrupt: u64 = spoilt.iter().map(|kind| count(*kind)).sum();
            let published = count(Counter::Dequeued) - corrupt;
            [published, corrupt, count(Counter::Missed), count(Counter::Streamons) - 1]
        };
        let keys = ["frames", "corrupt", "dropped", "reopens"];
        let mut last = String::new();
        let counted = || {
            let camera = self.state();
            let counted = keys.map(|key| camera[key].as_u64().unwrap());
            last = format!("{keys:?} are {counted:?}, injected were {:?}", injected());
            (counted == injected()).then_some(counted)
        };
        let give_up = Instant::now() + Duration::from_secs(20);
        let mut counted = counted;
        let counted = loop {
            match counted() {
                Some(counted) => break counted,
                None if Instant::now() > give_up => break [u64::MAX; 4],
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert_ne!(counted, [u64::MAX; 4], "{}: {last}", self.name);
        let metrics = Exposition::parse(&get(self.service.address, "/metrics").text());
        let names = ["frames_total", "corrupt_frames_total", "dropped_frames_total", "reopens_total"];
        for (name, counted) in names.iter().zip(counted) {
            let name = format!("porthole_camera_{name}");
            assert_eq!(metrics.value(&name, &[("camera", self.name)]), counted as f64, "{name}");
        }
        let mut times: Vec<Duration> = self.played.iter().map(|(_, took)| *took).collect();
        times.sort_unstable();
        assert!(times[times.len() / 2] < TRIED_AGAIN, "half of them took longer: {:?}", self.played);
        println!("{}: {} faults, {keys:?} {counted:?}", self.name, self.played.len());
        for (fault, took) in &self.played {
            println!("  {:>5} ms after {fault}", took.as_millis());
        }
    }
}

fn from_environment(key: &str, otherwise: u64) -> u64 {
    std::env::var(key).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{key}={text}")))
}

#[test]
fn after_every_fault_a_camera_can_have_the_stream_is_live_again_and_nothing_is_miscounted() {
    let _turn = turn(Group::Faults);
    let seed = from_environment("PORTHOLE_FAULT_SEED", 1);
    let time = Duration::from_secs(from_environment("PORTHOLE_FAULT_SECONDS", SECONDS));
    // Shown if it fails.
    println!("PORTHOLE_FAULT_SEED={seed}");
    let scratch = Scratch::new();
    let (tables, [jpeg, raw]) = Camera::pair(&scratch.path("")).unwrap();
    let cameras = [
        jpeg.with("formats", "MJPG:320x240@30,MJPG:160x120@30"),
        raw.with("formats", "YUYV:320x240@30,YUYV:160x120@30"),
    ];
    let names = ["jpeg", "raw"];
    let config: String = (0..2)
        .map(|i| {
            let name = names[i];
            format!("[[camera]]\nname = \"{name}\"\nsource = \"/dev/video{}\"\nfps = 30\n", 90 + i)
        })
        .collect();
    let config = scratch.file("porthole.toml", config);
    let mut service = Porthole::with_cameras(&cameras, &["--config", config.to_str().unwrap()]);
    let seen = [Seen::default(), Seen::default()];
    let videos = [SeenVideo::default(), SeenVideo::default()];
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let (service, tables) = (&service, &tables);
        let viewers: Vec<_> = (0..2)
            .map(|i| {
                let seen = &seen[i];
                scope.spawn(move || seen.watch(service, names[i]))
            })
            .collect();
        let video_viewers: Vec<_> = (0..2)
            .map(|i| {
                let video = &videos[i];
                scope.spawn(move || video.watch(service, names[i]))
            })
            .collect();
        let stages: Vec<_> = (0..2)
            .map(|index| {
                let mut stage = Stage {
                    service,
                    name: names[index],
                    index,
                    is_raw: index == 1,
                    table: &tables[index],
                    seen: &seen[index],
                    random: Random(seed.wrapping_mul(2).wrapping_add(index as u64)),
                    played: Vec::new(),
                };
                scope.spawn(move || {
                    stage.is_live_within("the start".into(), LOOKED_FOR);
                    stage.play_all(end);
                    stage
                })
            })
            .collect();
        let stages: Vec<_> = stages.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // An encoder that had no pictures goes on with them.
        let cleared = now_ns() / 1000;
        let goes_on = |video: &SeenVideo| video.captured_at.load(SeqCst) > cleared;
        let give_up = Instant::now() + SLACK;
        while stages.iter().all(Result::is_ok) && !videos.iter().all(goes_on) && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(20));
        }
        let go_on = videos.iter().map(goes_on).collect::<Vec<_>>();
        // Whoever failed has said why; the viewers must not wait for more.
        seen.iter().for_each(|seen| seen.over.store(true, SeqCst));
        videos.iter().for_each(|video| video.over.store(true, SeqCst));
        let video_viewers: Vec<_> =
            video_viewers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let viewers: Vec<_> = viewers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let stages: Vec<Stage<'_>> = stages.into_iter().map(Result::unwrap).collect();
        viewers.into_iter().for_each(Result::unwrap);
        video_viewers.into_iter().for_each(Result::unwrap);
        assert_eq!(go_on, [true; 2], "H.264 does not go on: {}", service.state());
        tables.iter().for_each(|table| table.set(Setting::Stall, 1));
        stages.iter().for_each(Stage::counters_agree);
    });
    until("there are main, two threads of each camera, and at most those of the fakes", || {
        (proc_status(service.pid(), "Threads") <= 1 + 2 + 2 + 2).then_some(())
    });
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    for table in &tables {
        assert_eq!(table.counter(Counter::Opens), table.counter(Counter::Closes), "a device was left open");
    }
}
