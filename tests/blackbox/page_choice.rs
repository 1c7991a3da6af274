//! When the page shows JPEG and when H.264: the rule alone, on a made-up clock and made-up links, in a real engine.

use serde_json::{Value, json};

use crate::page::until_words;
use support::Porthole;
use support::browser::Browser;

/// JavaScript: a link and a viewer on it. `run(choice, seconds, { link, ...options })` plays so many seconds at 30 frames
/// a second over a link of so many bits a second, and gives the kinds that were shown, each with the second of its
/// beginning. JPEGs are of 40 kB, key frames of 30 kB every 2 s, other fragments of 2 kB.
const LINK: &str = "(() => {
    window.clock = 0;
    window.run = (choice, seconds, { link, wanted = 'auto', offered = true, saves = false, took = 5, jitter = () => 0, fragments = link }) => {
        const kinds = [];
        let skipped = 0;
        for (let n = 0; n < seconds * 30; n++) {
            clock += 1000 / 30;
            const kind = choice.decide(clock, { wanted, offered, saves, rate: 30 });
            if (kind !== kinds.at(-1)?.[0]) kinds.push([kind, Math.round(clock / 1000)]);
            if (kind === 'jpeg') {
                // So many of the frames fit as the link carries, evenly.
                const share = Math.min(1, link / (40000 * 8 * 30));
                if (Math.floor(n * share) !== Math.floor((n + 1) * share)) {
                    choice.frame(clock, { skipped, bytes: 40000, took });
                    skipped = 0;
                } else {
                    skipped++;
                }
            } else {
                const isKey = n % 60 === 0;
                const bytes = isKey ? 30000 : 2000;
                const way = 5 + (bytes * 8000) / fragments + jitter();
                choice.fragment({ bytes, isKey, sent: clock, received: clock + 123456 + way });
            }
        }
        return kinds;
    };
    return import(new URL('choice.js', location)).then(({ Choice }) => { window.Choice = Choice; return true; });
})()";

struct Rule {
    browser: Browser,
    _service: Porthole,
}

impl Rule {
    fn new() -> Self {
        let service = Porthole::start(&["--source", "pattern", "--size", "64x48"]);
        let mut browser = Browser::start();
        browser.open(&service.url);
        until_words(&mut browser, "Live");
        assert_eq!(browser.eval(LINK), true);
        browser.eval("void (window.choice = new Choice())");
        Self { browser, _service: service }
    }

    /// The kinds that are shown over a link, without their times.
    fn run(&mut self, seconds: u32, options: &str) -> Vec<Value> {
        let kinds = self.timed(seconds, options);
        kinds.iter().map(|kind| kind[0].clone()).collect()
    }

    fn timed(&mut self, seconds: u32, options: &str) -> Vec<Value> {
        let kinds = self.browser.eval(&format!("run(choice, {seconds}, {options})"));
        kinds.as_array().unwrap().clone()
    }
}

#[test]
fn a_link_that_takes_every_frame_keeps_jpeg() {
    assert_eq!(Rule::new().run(300, "{ link: 20e6 }"), ["jpeg"]);
}

#[test]
fn a_thin_link_gets_h264_after_three_seconds_and_once() {
    for link in ["0.5e6", "4e6", "8e6"] {
        let mut rule = Rule::new();
        let kinds = rule.timed(3600, &format!("{{ link: {link} }}"));
        let names: Vec<_> = kinds.iter().map(|kind| &kind[0]).collect();
        assert_eq!(names, ["jpeg", "h264"], "{link}: {kinds:?}");
        let at = kinds[1][1].as_u64().unwrap();
        assert!((3..=5).contains(&at), "{link}: after {at} s");
    }
}

#[test]
fn a_tenth_of_the_frames_may_be_missing() {
    // 9.6 Mbit/s are needed.
    assert_eq!(Rule::new().run(60, "{ link: 9e6 }"), ["jpeg"]);
}

#[test]
fn jpeg_comes_back_soon_when_the_link_is_another_one_and_later_when_it_is_better() {
    let mut rule = Rule::new();
    assert_eq!(rule.run(30, "{ link: 4e6 }"), ["jpeg", "h264"]);
    let kinds = rule.timed(120, "{ link: 100e6 }");
    let names: Vec<_> = kinds.iter().map(|kind| &kind[0]).collect();
    assert_eq!(names, ["h264", "jpeg"], "{kinds:?}");
    assert!(kinds[1][1].as_u64().unwrap() <= 30 + 12, "{kinds:?}");

    let mut rule = Rule::new();
    assert_eq!(rule.run(30, "{ link: 6e6 }"), ["jpeg", "h264"]);
    let kinds = rule.timed(120, "{ link: 16e6 }");
    assert_eq!(kinds.iter().map(|kind| &kind[0]).collect::<Vec<_>>(), ["h264", "jpeg"], "{kinds:?}");
    assert!(kinds[1][1].as_u64().unwrap() >= 60, "{kinds:?}");
}

#[test]
fn a_device_that_is_too_slow_for_jpeg_stays_with_h264() {
    let mut rule = Rule::new();
    // It shows every third frame, of which each takes it 90 ms, over a link that would carry all of them.
    assert_eq!(rule.run(10, "{ link: 3.2e6, took: 90 }"), ["jpeg", "h264"]);
    assert_eq!(rule.run(3600, "{ link: 100e6, took: 90 }"), ["h264"]);
}

#[test]
fn a_shaper_that_lets_bursts_through_brings_no_flapping() {
    let mut rule = Rule::new();
    // A single key frame comes as over a fast link, and JPEGs do not.
    let kinds = rule.timed(3600, "{ link: 4e6, fragments: 100e6 }");
    for kind in ["jpeg", "h264"] {
        let times: Vec<u64> = kinds.iter().filter(|k| k[0] == kind).map(|k| k[1].as_u64().unwrap()).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{kinds:?}");
    }
    assert!(kinds.len() < 14, "{} changes in an hour: {kinds:?}", kinds.len());
}

#[test]
fn a_steady_link_never_flaps_however_its_delays_vary() {
    // Times on the way that vary by up to 20 ms, always the same ones.
    let jitter =
        "jitter: (() => { let s = 1; return () => (s = (s * 48271) % 2147483647) / 2147483647 * 20; })()";
    for link in ["2e6", "6e6", "8e6"] {
        let mut rule = Rule::new();
        let kinds = rule.timed(3600, &format!("{{ link: {link}, {jitter} }}"));
        for kind in ["jpeg", "h264"] {
            let times: Vec<u64> =
                kinds.iter().filter(|k| k[0] == kind).map(|k| k[1].as_u64().unwrap()).collect();
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{link}: {kinds:?}");
        }
        assert!(kinds.len() < 12, "{link}: {} changes in an hour: {kinds:?}", kinds.len());
    }
}

#[test]
fn what_was_chosen_and_what_there_is_come_first() {
    let mut rule = Rule::new();
    assert_eq!(rule.run(30, "{ link: 1e6, wanted: 'sharp' }"), ["jpeg"]);
    assert_eq!(rule.run(30, "{ link: 1e6, offered: false }"), ["jpeg"]);
    assert_eq!(rule.run(5, "{ link: 100e6, wanted: 'sharp' }"), ["jpeg"]);
    assert_eq!(rule.run(30, "{ link: 100e6, wanted: 'light' }"), ["h264"]);
    // It was not the link, so nothing is waited for.
    assert_eq!(rule.run(30, "{ link: 100e6 }"), ["jpeg"]);
    assert_eq!(rule.run(300, "{ link: 100e6, saves: true }"), ["h264"]);
    assert_eq!(rule.run(30, "{ link: 100e6, saves: true, wanted: 'sharp' }"), ["jpeg"]);
}

#[test]
fn a_failure_is_not_repeated_at_once() {
    let mut rule = Rule::new();
    assert_eq!(rule.run(10, "{ link: 20e6, wanted: 'light' }"), ["h264"]);
    rule.browser.eval("choice.fail(clock)");
    let kinds = rule.timed(100, "{ link: 20e6, wanted: 'light' }");
    assert_eq!(kinds, [json!(["jpeg", 10]), json!(["h264", 70])]);
    rule.browser.eval("choice.fail(clock)");
    let kinds = rule.timed(150, "{ link: 20e6, wanted: 'light' }");
    assert_eq!(kinds, [json!(["jpeg", 110]), json!(["h264", 230])]);
}
