//! The page in a real browser.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::fakecam::{Camera, Knob, Table};
use crate::support::{Porthole, Scratch, porthole, until};

/// JavaScript: the number that the test pattern shows on the canvas.
const NUMBER: &str = r#"(() => {
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

fn number(browser: &mut Browser) -> u64 {
    browser.eval(NUMBER).as_f64().unwrap() as u64
}

#[track_caller]
fn until_words(browser: &mut Browser, start: &str) {
    browser.until(&format!("{WORDS}.startsWith({start:?})"));
}

#[test]
fn the_picture_is_live() {
    let service = Porthole::start(&["--source", "pattern", "--size", "1280x720"]);
    let mut browser = Browser::start();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let (first, before) = (number(&mut browser), browser.screenshot());
    until("the burnt-in number moves on", || (number(&mut browser) > first + 10).then_some(()));
    assert_ne!(browser.screenshot(), before, "the picture stands still");
    // The figures are those of this stream.
    browser.until("parseFloat(document.getElementById('fps').textContent) > 10");
    browser.until("parseFloat(document.getElementById('latency').textContent) < 1000");
    assert_eq!(browser.eval("document.getElementById('size').textContent"), "1280×720");
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.keep_screenshot("live");
    let viewer = service.camera()["viewers"][0].clone();
    assert_eq!(viewer["kind"], "porthole.v1");
    assert!(viewer["in_flight"].as_u64().unwrap() <= 2);
}

#[test]
fn it_fits_a_phone() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::start();
    browser.resize(320, 568, 2.0);
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let width = browser.eval("document.documentElement.scrollWidth");
    assert_eq!(width, 320, "it scrolls to the side");
    let picture = browser.eval("document.querySelector('canvas').getBoundingClientRect().height");
    assert!(picture.as_f64().unwrap() > 150.0, "the picture is {picture} pixels high");
    browser.keep_screenshot("phone");
}

#[test]
fn it_comes_back_by_itself_when_the_server_was_away() {
    let mut service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::start();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let before = browser.eval("performance.timeOrigin");
    assert_eq!(service.stop(), Some(0));
    until_words(&mut browser, "The server does not answer");
    let address = service.address.to_string();
    let mut again = porthole();
    again.args(["--source", "pattern", "--size", "640x480", "--listen", &address]);
    let service = Porthole::spawn(&mut again);
    until_words(&mut browser, "Live");
    assert_eq!(browser.eval("performance.timeOrigin"), before, "the page was loaded again");
    let first = number(&mut browser);
    until("the picture moves", || (number(&mut browser) != first).then_some(()));
    drop(service);
}

#[test]
fn a_lost_camera_is_said_in_words_and_so_is_its_return() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
    let service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    let mut browser = Browser::start();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    table.set(Knob::Unplug, 1);
    until_words(&mut browser, "Camera lost: /dev/video90: no such device; plug the camera in");
    browser.keep_screenshot("lost");
    table.set(Knob::Unplug, 0);
    until_words(&mut browser, "Live");
    table.set(Knob::Stall, 1);
    until_words(&mut browser, "The camera has stalled: /dev/video90: no frame for 2 s");
    table.set(Knob::Stall, 0);
    until_words(&mut browser, "Live");
}

#[test]
fn each_of_several_cameras_can_be_chosen() {
    let scratch = Scratch::new();
    let service = Porthole::configured(
        &scratch,
        "[[camera]]\nname = \"front\"\nsource = \"pattern\"\nwidth = 320\nheight = 240\n\
         [[camera]]\nname = \"back\"\nsource = \"pattern\"\nwidth = 640\nheight = 480\n",
    );
    let mut browser = Browser::start();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    browser.until("document.querySelectorAll('#cameras button').length === 2");
    assert_eq!(browser.eval("document.querySelector('canvas').width"), 320);
    browser.eval("document.querySelector('#cameras button:last-child').click()");
    browser.until("document.querySelector('canvas').width === 640");
    until_words(&mut browser, "Live");
    // An address without its last slash, as people type it.
    browser.open(&format!("{}cameras/back", service.url));
    browser.until("document.querySelector('canvas').width === 640");
    until_words(&mut browser, "Live");
}

/// Serves a page from a server that is not the one under test; its URL.
fn elsewhere(page: String) -> String {
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

#[test]
fn the_tutorials_own_page_shows_the_picture() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::start();
    // Its markup and script as published, with the host changed and served from elsewhere, as it was.
    let page = format!(
        r#"<!DOCTYPE html><html><body>
        <img id="left_img" src="" width="640" height="480"/>
        <script>
            var chatSocket = new WebSocket('ws://' + '{}' + '/ws/some-path1/');
            chatSocket.onmessage = function(e) {{
                var data = JSON.parse(e.data);
                document.querySelector('#left_img').src = 'data:image/jpg;base64,' + data['leftimg'];
            }};
        </script></body></html>"#,
        service.address
    );
    browser.open(&elsewhere(page));
    browser.until("document.querySelector('#left_img').naturalWidth === 640");
    let source = "document.querySelector('#left_img').src";
    let first = browser.eval(source);
    until("the picture moves", || (browser.eval(source) != first).then_some(()));
}

#[test]
fn without_scripts_there_is_still_a_picture() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::start();
    browser.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.open(&service.url);
    let kinds = || -> Vec<Value> {
        service.camera()["viewers"].as_array().unwrap().iter().map(|v| v["kind"].clone()).collect()
    };
    until("the page takes the stream", || kinds().contains(&json!("mjpeg")).then_some(()));
}
