//! The page in a real browser.

use std::io::{BufRead, Write};
use std::process::Command;

use serde_json::{Value, json};

use support::browser::Browser;
use support::http::{get, request};
use support::{Porthole, Scratch, until};

/// Bytes of everything the page loads before its first picture. A phone on a poor link has that in a second.
const MOST_BYTES: u64 = 40 * 1024;

/// JavaScript: the number that the test pattern shows on the canvas.
pub(crate) const NUMBER: &str = r#"(() => {
  const canvas = document.querySelector("canvas");
  const side = Math.floor(canvas.width / 34);
  if (!side) return 0;
  const row = canvas.getContext("2d").getImageData(0, canvas.height - Math.floor(side / 2) - 1, canvas.width, 1).data;
  const white = (i) => row[(i * side + Math.floor(side / 2)) * 4] > 128;
  if (!white(0) || white(1)) return 0;
  let number = 0;
  for (let i = 2; i < 34; i++) number = number * 2 + (white(i) ? 1 : 0);
  return number;
})()"#;

/// JavaScript: the words that say what is going on.
const WORDS: &str = "document.getElementById('status').textContent";

/// The number that the test pattern shows in the page.
pub(crate) fn number(browser: &mut Browser) -> u64 {
    browser.eval(NUMBER).as_f64().unwrap() as u64
}

/// Waits until the page says what is going on in words that begin so.
#[track_caller]
pub(crate) fn until_words(browser: &mut Browser, start: &str) {
    browser.until(&format!("{WORDS}.startsWith({start:?})"));
}

#[test]
fn the_picture_is_live() {
    let service = Porthole::start(&["--source", "pattern", "--size", "1280x720"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let (first, before) = (number(&mut browser), browser.screenshot());
    until("the burnt-in number moves on", || (number(&mut browser) > first + 10).then_some(()));
    assert_ne!(browser.screenshot(), before, "the picture stands still");
    // The figures are those of this stream.
    browser.until("parseFloat(document.getElementById('fps').textContent) > 10");
    browser.until("parseFloat(document.getElementById('latency').textContent) < 1000");
    assert_eq!(browser.eval("document.getElementById('size').textContent"), "1280×720");
    browser.until("document.getElementById('bitrate').textContent.endsWith('bit/s')");
    browser.until("document.getElementById('viewers').textContent === '1'");
    browser.until("document.getElementById('skipped').textContent !== '–'");
    let viewer = service.camera()["viewers"][0].clone();
    assert_eq!(viewer["kind"], "porthole.v1");
    assert!(viewer["in_flight"].as_u64().unwrap() <= 2);
}

#[test]
fn it_fits_a_phone() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.resize(320, 568, 2.0);
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let width = browser.eval("document.documentElement.scrollWidth");
    assert_eq!(width, 320, "it scrolls to the side");
    let picture = browser.eval("document.querySelector('canvas').getBoundingClientRect().height");
    assert!(picture.as_f64().unwrap() > 150.0, "the picture is {picture} pixels high");
    // Nor with anything open.
    browser.click("#controls");
    browser.until("document.getElementById('panel-words').textContent === 'This source has no controls.'");
    assert_eq!(browser.eval("document.documentElement.scrollWidth"), 320);
    browser.click("#panel-close");
    browser.click("#help-open");
    browser.until("document.getElementById('help').open");
    assert_eq!(browser.eval("document.documentElement.scrollWidth"), 320);
    let dialog = browser.eval("document.getElementById('help').getBoundingClientRect().right");
    assert!(dialog.as_f64().unwrap() <= 320.0, "help ends at {dialog}");
}

/// Serves a page from a server that is not the one under test; its URL.
pub fn elsewhere(page: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = std::io::BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
                page.len()
            );
            let _ = stream.get_mut().write_all((head + &page).as_bytes());
        }
    });
    url
}

/// The tutorial's markup and script as published, with the host changed.
pub fn tutorial_page(address: std::net::SocketAddr) -> String {
    format!(
        r#"<!DOCTYPE html><html><body>
        <img id="left_img" src="" width="640" height="480"/>
        <script>
            var chatSocket = new WebSocket('ws://' + '{address}' + '/ws/some-path1/');
            chatSocket.onmessage = function(e) {{
                var data = JSON.parse(e.data);
                document.querySelector('#left_img').src = 'data:image/jpg;base64,' + data['leftimg'];
            }};
        </script></body></html>"#
    )
}

#[test]
fn the_tutorials_own_page_shows_the_picture() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&elsewhere(tutorial_page(service.address)));
    browser.until("document.querySelector('#left_img').naturalWidth === 640");
    let source = "document.querySelector('#left_img').src";
    let first = browser.eval(source);
    until("the picture moves", || (browser.eval(source) != first).then_some(()));
}

#[test]
fn without_scripts_there_is_still_a_picture() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.open(&service.url);
    let kinds = || -> Vec<Value> {
        service.camera()["viewers"].as_array().unwrap().iter().map(|v| v["kind"].clone()).collect()
    };
    until("the page takes the stream", || kinds().contains(&json!("mjpeg")).then_some(()));
}

#[test]
fn a_browser_in_which_the_scripts_fail_gets_the_plain_stream() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    // One that knows too little, and one that cannot load a part.
    for old in [true, false] {
        let mut browser = Browser::with_jpeg_chosen();
        match old {
            true => browser.prepare("delete window.createImageBitmap"),
            false => {
                browser.forgive("net::ERR_BLOCKED_BY_CLIENT");
                let pattern = json!({ "urls": ["*/feed.js"] });
                browser.call("Network.setBlockedURLs", &pattern);
            }
        }
        browser.open(&service.url);
        browser.until("document.querySelector('#stage img')?.naturalWidth === 640");
        until_words(&mut browser, "Plain stream");
        // And it stays: whatever else runs in the page has had its turn by then.
        browser.until("performance.now() > 2500");
        until_words(&mut browser, "Plain stream");
        assert_eq!(browser.eval("document.querySelector('#stage img').naturalWidth"), 640);
    }
}

#[test]
fn it_is_light_and_asks_for_nothing_from_elsewhere() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let sizes = browser.eval(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
            .filter(({ name }) => !name.endsWith('/state')).map(({ name, transferSize }) => [name, transferSize])",
    );
    let sizes = sizes.as_array().unwrap();
    let total: u64 = sizes.iter().map(|size| size[1].as_u64().unwrap()).sum();
    assert!(sizes.len() >= 12 && (5000..=MOST_BYTES).contains(&total), "{total} bytes: {sizes:?}");
    let own = [format!("http://{}/", service.address), format!("ws://{}/", service.address)];
    let foreign: Vec<_> =
        browser.requests.iter().filter(|url| !own.iter().any(|own| url.starts_with(own))).collect();
    assert!(foreign.is_empty() && browser.requests.len() > 10, "{foreign:?}");
    // Once more: it is asked whether it still holds, and it does.
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let sent = browser.eval("performance.getEntriesByName(new URL('style.css', location))[0].transferSize");
    assert!(sent.as_u64().unwrap() < 1000, "{sent} bytes of a file that was known");
}

#[test]
fn its_files_are_packed_tagged_and_kept_to_themselves() {
    let service = Porthole::start(&["--source", "pattern", "--size", "64x48"]);
    let plain = get(service.address, "/app.js");
    assert_eq!((plain.header("content-encoding"), plain.header("cache-control")), (None, Some("no-cache")));
    assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
    let gzip = ("Accept-Encoding", "br;q=1.0, gzip;q=0.8");
    let packed = request(service.address, "GET", "/app.js", &[gzip]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 2 < plain.body.len());
    let scratch = Scratch::new();
    let file = scratch.file("app.gz", &packed.body);
    let unpacked = Command::new("gzip").args(["--decompress", "--stdout"]).arg(file).output();
    assert!(unpacked.unwrap().stdout == plain.body);
    for (answer, headers) in [(&plain, vec![]), (&packed, vec![gzip])] {
        let tag = answer.header("etag").unwrap();
        let known = [headers, vec![("If-None-Match", tag)]].concat();
        let again = request(service.address, "GET", "/app.js", &known);
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)));
    }
    assert_ne!(plain.header("etag"), packed.header("etag"));
    let policy = get(service.address, "/").header("content-security-policy").unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let page = get(service.address, "/").text();
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="));
    let inline = page.split("<script").skip(1).filter(|script| !script.contains("src=")).count();
    assert_eq!(inline, 0, "scripts in the page itself");
}
