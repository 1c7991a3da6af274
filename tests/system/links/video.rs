//! H.264 behind links that cannot take every JPEG, beside JPEG on the same links: who takes H.264 sees nearly every picture, and sooner.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::netns::obstacle;
use support::ws::Client;

use super::network::{Link, Network, fast};
use super::stalls::Stalls;
use super::{ATTEMPTS, StopWhenDropped, now, percentile, scene};
use crate::turns::{Group, turn};

/// Pictures a second.
const FPS: usize = 30;
const SIZE: [u16; 2] = [1280, 720];
/// Bytes of a JPEG. At 30 a second that is more than a link of 20 Mbit/s carries.
const JPEG_BYTES: usize = 95_000;
/// Each kind is watched for so long, once it is known what the link carries.
const WATCHED: Duration = Duration::from_secs(8);
/// For so long it is found out.
const FIRST: Duration = Duration::from_secs(2);

/// One cable of its own each.
const LINKS: [(&str, Link); 4] = {
    const fn link(net: u8, megabits: u64, delay_ms: u64, loss: bool) -> Link {
        Link { net, bits_per_s: megabits * 1_000_000, delay: Duration::from_millis(delay_ms), loss }
    }
    [
        ("20 Mbit/s", link(3, 20, 0, false)),
        ("4 Mbit/s", link(4, 4, 0, false)),
        ("20 Mbit/s, 40 ms, 1 % lost", link(5, 20, 40, true)),
        ("4 Mbit/s, 40 ms, 1 % lost", link(6, 4, 40, true)),
    ]
};

/// What a viewer got: when each picture was captured and when it came, in microseconds, and its number.
#[derive(Default)]
struct Seen {
    pictures: Vec<(u64, u64, u32)>,
    bytes: usize,
}

impl Seen {
    /// Share of the pictures that the camera took from the first to the last of these.
    fn share(&self) -> f64 {
        let numbers = self.pictures.first().zip(self.pictures.last());
        numbers.map_or(0.0, |(first, last)| self.pictures.len() as f64 / f64::from(last.2 - first.2 + 1))
    }

    /// Bits a second at the camera's rate.
    fn kilobits(&self) -> usize {
        self.bytes * 8 * FPS / self.pictures.len().max(1) / 1000
    }

    /// How old pictures were when they came, but for the time that nobody on this machine could have done anything for
    /// them: half of them, and 99 of 100. Milliseconds.
    fn ages(&self, stalls: &Stalls) -> [f64; 2] {
        let age = |(captured, at, _): &(u64, u64, u32)| {
            (at - captured).saturating_sub(stalls.within(*captured, *at))
        };
        let mut ages: Vec<u64> = self.pictures.iter().map(age).collect();
        [50, 99].map(|percent| percentile(&mut ages, percent) as f64 / 1000.0)
    }
}

/// Takes pictures by a subprotocol until told to stop, and remembers those that come after `from`.
fn watch(address: SocketAddr, subprotocol: &str, from: Instant, stop: &AtomicBool) -> Seen {
    let headers = [("Sec-WebSocket-Protocol", subprotocol)];
    let mut client = Client::connect(address, "/ws", &headers).unwrap();
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let message = client.binary();
        if message.starts_with(b"PHI1") {
            continue;
        }
        let sequence = u32::from_be_bytes(message[4..8].try_into().unwrap());
        let captured = u64::from_be_bytes(message[8..16].try_into().unwrap());
        let at = now();
        client.acknowledge(sequence);
        if Instant::now() >= from {
            seen.pictures.push((captured, at, sequence));
            seen.bytes += message.len();
        }
    }
    seen
}

#[test]
fn who_takes_h264_sees_nearly_every_picture_where_jpeg_does_not_fit() {
    let _turn = turn(Group::Alone);
    if let Some(why) = obstacle() {
        return println!("skipped: {why}");
    }
    let network = Network::new();
    let (clip, jpeg_bytes) = scene::clip(SIZE, JPEG_BYTES);
    let service = network.serve(&camera(&network, &clip, FPS));
    let machines = LINKS.map(|(name, link)| (name, link, network.add(link)));
    let mut broken = String::new();
    for _ in 0..ATTEMPTS {
        // All links at once, with one kind and then the other.
        let measure = |subprotocol: &str| {
            let (stop, from) = (AtomicBool::new(false), Instant::now() + FIRST);
            Stalls::during(|| {
                std::thread::scope(|scope| {
                    let (stop, _stop) = (&stop, StopWhenDropped(&stop));
                    let beside =
                        scope.spawn(|| network.at_client(|| watch(fast(&service), subprotocol, from, stop)));
                    let watches = machines.each_ref().map(|(_, _, machine)| {
                        let address = machine.address(&service);
                        scope.spawn(move || machine.at(|| watch(address, subprotocol, from, stop)))
                    });
                    std::thread::sleep(FIRST + WATCHED);
                    stop.store(true, Ordering::Relaxed);
                    (watches.map(|watch| watch.join().unwrap()), beside.join().unwrap())
                })
            })
        };
        let ((jpeg, _), jpeg_stalls) = measure("porthole.v1");
        let ((video, beside), video_stalls) = measure("porthole.mp4.v1");
        let own = beside.ages(&video_stalls);
        println!(
            "without a limit: H.264 {:.0} % of the pictures, {:.0} ms, 99 % within {:.0} ms, {} kbit/s",
            beside.share() * 100.0,
            own[0],
            own[1],
            beside.kilobits()
        );
        broken.clear();
        for ((name, link, _), (jpeg, video)) in machines.iter().zip(jpeg.iter().zip(&video)) {
            let (jpeg_ages, ages) = (jpeg.ages(&jpeg_stalls), video.ages(&video_stalls));
            let line = format!(
                "{name}: JPEG {:.0} % of the pictures, {:.0} ms, 99 % within {:.0} ms; H.264 {:.0} %, {:.0} ms, 99 % within {:.0} ms, {} kbit/s",
                jpeg.share() * 100.0,
                jpeg_ages[0],
                jpeg_ages[1],
                video.share() * 100.0,
                ages[0],
                ages[1],
                video.kilobits()
            );
            println!("{line}");
            let fits = link.bits_per_s as f64 / (jpeg_bytes * 8 * FPS) as f64;
            // After a loss TCP sends at half the rate, so where packets are lost H.264 does not fit now and then either.
            let least = if link.loss { 0.85 } else { 0.95 };
            let good = video.share() > beside.share() * least
                && jpeg.share() < fits.min(0.95)
                && ages.iter().zip(jpeg_ages).all(|(video, jpeg)| *video < jpeg);
            if !good {
                broken = line;
            }
        }
        if broken.is_empty() {
            return;
        }
    }
    panic!("{ATTEMPTS} times, the last: {broken}");
}

/// A camera that shows a clip.
pub fn camera(network: &Network, clip: &[u8], fps: usize) -> String {
    let file = network.file("clip.mjpeg", clip);
    format!("[[camera]]\nsource = \"file:{}\"\nfps = {fps}\n", file.display())
}
