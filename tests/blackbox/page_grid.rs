//! Several cameras on one page.

use serde_json::json;

use crate::page::until_words;
use support::browser::Browser;
use support::{Porthole, Scratch, until};

const TWO: &str = "[[camera]]\nname = \"front\"\nsource = \"pattern\"\nwidth = 320\nheight = 240\nlinger_s = 0\n\
     [[camera]]\nname = \"back\"\nsource = \"pattern\"\nwidth = 640\nheight = 480\nlinger_s = 0\n";

/// JavaScript: the names and picture widths of the cameras that are to be seen.
const SEEN: &str =
    "JSON.stringify([...document.querySelectorAll('.tile')].filter((tile) => tile.checkVisibility())
    .map((tile) => [tile.querySelector('.name').textContent, tile.querySelector('canvas').width]))";

#[track_caller]
fn until_seen(browser: &mut Browser, seen: &serde_json::Value) {
    browser.until(&format!("{SEEN} === {:?}", seen.to_string()));
}

fn states(service: &Porthole) -> Vec<String> {
    let state = service.state();
    let cameras = state["cameras"].as_array().unwrap();
    cameras.iter().map(|camera| camera["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn all_are_shown_and_a_click_shows_one() {
    let scratch = Scratch::new();
    let service = Porthole::configured(&scratch, TWO);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "2 cameras live");
    until_seen(&mut browser, &json!([["front", 320], ["back", 640]]));
    browser.keep_screenshot("grid");
    let sides = "[...document.querySelectorAll('.tile')].map((tile) => tile.getBoundingClientRect().top)";
    let tops = browser.eval(sides);
    assert_eq!(tops[0], tops[1], "they are not side by side");

    browser.click(".tile:nth-child(2)");
    until_seen(&mut browser, &json!([["back", 640]]));
    until_words(&mut browser, "Live");
    browser.until("document.getElementById('title').textContent === 'back'");
    assert_eq!(browser.eval("document.getElementById('size').textContent"), "640×480");
    until("the other camera is closed", || (states(&service) == ["idle", "live"]).then_some(()));

    // By its name, by key, and back as one goes back in a browser.
    browser.click("#cameras button:nth-child(2)");
    until_seen(&mut browser, &json!([["front", 320]]));
    browser.key("0");
    until_seen(&mut browser, &json!([["front", 320], ["back", 640]]));
    browser.key("2");
    until_seen(&mut browser, &json!([["back", 640]]));
    browser.eval("history.back()");
    until_seen(&mut browser, &json!([["front", 320], ["back", 640]]));
    until_words(&mut browser, "2 cameras live");
}

#[test]
fn each_has_an_address_of_its_own() {
    let scratch = Scratch::new();
    let service = Porthole::configured(&scratch, TWO);
    let mut browser = Browser::with_jpeg_chosen();
    // The first without its last slash, as people type it.
    for (path, seen) in [
        ("cameras/back", json!([["back", 640]])),
        ("cameras/front/", json!([["front", 320]])),
        ("#back", json!([["back", 640]])),
    ] {
        browser.open("about:blank");
        browser.open(&format!("{}{path}", service.url));
        until_seen(&mut browser, &seen);
        until_words(&mut browser, "Live");
    }
    browser.open(&format!("{}cameras/back/", service.url));
    until_seen(&mut browser, &json!([["back", 640]]));
    browser.click("#cameras button:first-child");
    until_seen(&mut browser, &json!([["front", 320], ["back", 640]]));
}

#[test]
fn one_that_is_lost_takes_nothing_from_the_other() {
    let scratch = Scratch::new();
    let config = TWO.replacen("\"pattern\"", "\"/dev/video78\"", 1);
    let service = Porthole::configured(&scratch, &config);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "1 of 2 live: front: Camera lost: /dev/video78: no such device");
    browser.until("document.querySelector('.tile:nth-child(2)').dataset.state === 'live'");
    browser.until("document.querySelector('.tile .notice').innerText.includes('no such device')");
}

#[test]
fn on_a_phone_they_stand_below_each_other() {
    let scratch = Scratch::new();
    let service = Porthole::configured(&scratch, TWO);
    let mut browser = Browser::with_jpeg_chosen();
    browser.resize(320, 640, 2.0);
    browser.open(&service.url);
    until_words(&mut browser, "2 cameras live");
    assert_eq!(browser.eval("document.documentElement.scrollWidth"), 320);
    let lefts = "[...document.querySelectorAll('.tile')].map((tile) => tile.getBoundingClientRect().left)";
    let lefts = browser.eval(lefts);
    assert_eq!(lefts[0], lefts[1]);
}

/// JavaScript: pairs of things in a tile that lie over each other, words that are cut off, and tiles out of sight.
const UNTIDY: &str = "[...document.querySelectorAll('.tile')].flatMap((tile) => {
    const box = (e) => e.getBoundingClientRect();
    const [outer, name] = [box(tile), box(tile.querySelector('figcaption'))];
    const found = [];
    if (outer.bottom > innerHeight || outer.right > innerWidth || outer.top < 0) found.push('out of sight');
    for (const e of tile.querySelectorAll('.notice > *')) {
        if (!e.checkVisibility() || !e.textContent) continue;
        const b = box(e);
        if (b.bottom > name.top && b.right > name.left && b.left < name.right) found.push(`${e.className} under the name`);
        if (b.top < outer.top || b.bottom > outer.bottom) found.push(`${e.className} is cut off by the tile`);
        if (e.scrollHeight > e.clientHeight + 1) found.push(`${e.className} is cut off`);
    }
    return found.map((what) => `${tile.querySelector('.name').textContent}: ${what}`);
})";

#[test]
fn on_a_phone_held_sideways_names_and_words_have_room() {
    let scratch = Scratch::new();
    let lost = |name: &str| {
        format!(
            "[[camera]]\nname = \"{name}\"\nsource = \"/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0\"\n"
        )
    };
    let service = Porthole::configured(&scratch, &format!("{TWO}{}{}", lost("printer"), lost("garden")));
    let mut browser = Browser::with_jpeg_chosen();
    for (width, height) in [(844, 390), (740, 320), (390, 844), (1280, 800)] {
        browser.resize(width, height, if width < 1000 { 2.0 } else { 1.0 });
        browser.open(&service.url);
        until_words(&mut browser, "2 of 4 live");
        browser.until("document.querySelectorAll('.tile[data-state=lost]').length === 2");
        let untidy = browser.eval(UNTIDY).to_string();
        let scrolls = width < height;
        assert!(
            untidy == "[]" || scrolls && !untidy.contains("name") && !untidy.contains("cut"),
            "{width}: {untidy}"
        );
        browser.keep_screenshot(&format!("grid-{width}"));
        browser.click("#pause");
        browser.until("document.querySelectorAll('.tile .notice button:not([hidden])').length === 4");
        let untidy = browser.eval(UNTIDY).to_string();
        assert!(
            untidy == "[]" || scrolls && !untidy.contains("name") && !untidy.contains("cut"),
            "{width}, paused: {untidy}"
        );
    }
}
