//! The page behind a link that cannot take every JPEG: it shows H.264 there, and JPEG again once the link is a better one.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Porthole;
use support::browser::Browser;
use support::netns::obstacle;
use support::tools;

use super::network::{Link, Network};
use super::{ATTEMPTS, scene, video};
use crate::turns::{Group, turn};

/// So little that a browser without a graphics card can show every picture in time.
const SIZE: [u16; 2] = [640, 480];
const FPS: usize = 15;
/// Bytes of a JPEG: at that rate 8 Mbit/s.
const JPEG_BYTES: usize = 65_000;
/// Bytes a second of the link at first, and of the one that it becomes: 4 and 100 Mbit/s.
const THIN: u32 = 500_000;
const WIDE: u32 = 12_500_000;
/// Time in which the page changes: it looks for 3 s at JPEGs, and at some key frames, which come every 2 s, to find that there is room.
const CHANGE: Duration = Duration::from_secs(40);
/// What is shown stays for so long at least, once on each link.
const STAYS: Duration = Duration::from_secs(28);
/// The longest time that one picture stands while the page changes: until a connection is made and a key frame has come.
const LONGEST_MS: f64 = 2000.0;

/// JavaScript: notes each kind of picture that the page says it shows, when each was drawn, and whether the canvas was ever without one.
const WATCH: &str = "(() => { window.kinds = []; window.drawn = []; window.blank = 0;
    const tile = document.querySelector('.tile'), canvas = document.querySelector('canvas');
    const note = () => { if (kinds.at(-1) !== tile.dataset.kind) kinds.push(tile.dataset.kind); };
    new MutationObserver(note).observe(tile, { attributes: true });
    note();
    const draw = CanvasRenderingContext2D.prototype.drawImage;
    CanvasRenderingContext2D.prototype.drawImage = function (source, ...rest) {
        draw.call(this, source, ...rest);
        drawn.push([source.tagName ? 'h264' : 'jpeg', performance.now()]);
        const size = Math.min(canvas.width, 64);
        const pixels = this.getImageData(0, 0, size, 1).data;
        if (!pixels.some((value, at) => at % 4 < 3 && value > 40)) blank++;
    }; })()";

/// JavaScript: the longest time between two pictures, of which at least one is H.264 and one is JPEG; and what was drawn in which order.
const CHANGES: &str = "(() => {
    const changes = drawn.slice(1).map(([kind, at], i) => [kind !== drawn[i][0], at - drawn[i][1]]);
    return {
        order: drawn.map(([kind]) => kind).filter((kind, i, all) => kind !== all[i - 1]),
        longest: Math.max(0, ...changes.filter(([other]) => other).map(([, time]) => time)),
    }; })()";

/// The page, behind a link.
struct Shown(Browser);

impl Shown {
    /// Opens the page of this service and waits for its first picture.
    fn open(address: SocketAddr) -> Self {
        let mut browser = Browser::start();
        browser.open(&format!("http://{address}/"));
        browser.until("document.querySelector('.tile.seen')?.dataset.kind");
        browser.eval(WATCH);
        Self(browser)
    }

    /// Waits until this kind is shown, and says how long that took.
    fn until(&mut self, kind: &str) -> Result<Duration, String> {
        let began = Instant::now();
        while self.0.eval("kinds.at(-1)") != kind {
            if began.elapsed() > CHANGE {
                let page = self.0.eval(
                    "[kinds, document.querySelector('.tile').dataset.failure, document.body.innerText]",
                );
                return Err(format!("no {kind} within {CHANGE:?}: {page}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(began.elapsed())
    }

    /// Watches for a while, in which these are all kinds that are shown.
    fn stays(&mut self, kinds: &Value, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            // Something is shown all the while.
            let before = self.0.eval("drawn.length");
            self.0.until(&format!("drawn.length > {before}"));
            std::thread::sleep(Duration::from_millis(200));
        }
        let shown = self.0.eval("kinds");
        if shown == *kinds { Ok(()) } else { Err(format!("{shown} were shown, not {kinds}")) }
    }

    /// Whether pictures of these kinds came one after the other without a gap.
    fn has_no_gap(&mut self, kinds: &Value) -> Result<Value, String> {
        let changes = self.0.eval(CHANGES);
        let blank = self.0.eval("blank");
        let good =
            changes["order"] == *kinds && blank == 0 && changes["longest"].as_f64().unwrap() < LONGEST_MS;
        if good { Ok(changes) } else { Err(format!("{blank} blank pictures; {changes}")) }
    }
}

/// Tries it some times, as a busy machine shows a browser's pictures late.
fn attempts(attempt: impl Fn(&Network, &Porthole) -> Result<(), String>) {
    let _turn = turn(Group::Alone);
    if let Some(why) = obstacle() {
        return println!("skipped: {why}");
    }
    if tools::program("chromium", "chromium").is_none() {
        return;
    }
    let network = Network::new();
    let (clip, _) = scene::clip(SIZE, JPEG_BYTES);
    let service = network.serve(&video::camera(&network, &clip, FPS));
    let mut broken = String::new();
    for _ in 0..ATTEMPTS {
        match attempt(&network, &service) {
            Ok(()) => return,
            Err(how) => broken = how,
        }
        println!("{broken}");
    }
    panic!("{ATTEMPTS} times, the last: {broken}");
}

#[test]
fn the_page_takes_h264_on_a_thin_link_and_jpeg_when_it_is_wider_once_each() {
    attempts(|network, service| {
        network.shape(THIN);
        network.at_client(|| {
            let mut shown = Shown::open(service.address);
            let thin = shown.until("h264")?;
            shown.stays(&json!(["jpeg", "h264"]), STAYS)?;
            network.shape(WIDE);
            let wide = shown.until("jpeg")?;
            let all = json!(["jpeg", "h264", "jpeg"]);
            shown.stays(&all, STAYS)?;
            let changes = shown.has_no_gap(&all)?;
            println!("H.264 after {thin:.1?}, JPEG {wide:.1?} after the link was wider; {changes}");
            Ok(())
        })
    });
}

/// Where TCP halves its rate after each loss, what the page finds out about the link is never the same twice.
#[test]
fn the_page_stays_with_h264_where_packets_are_lost() {
    let machine = OnceCell::new();
    attempts(|network, service| {
        let link =
            Link { net: 3, bits_per_s: u64::from(THIN) * 8, delay: Duration::from_millis(40), loss: true };
        let machine = machine.get_or_init(|| network.add(link));
        let address = machine.address(service);
        machine.at(|| {
            let mut shown = Shown::open(address);
            let lossy = shown.until("h264")?;
            let all = json!(["jpeg", "h264"]);
            shown.stays(&all, STAYS)?;
            println!("H.264 after {lossy:.1?}; {}", shown.has_no_gap(&all)?);
            Ok(())
        })
    });
}
