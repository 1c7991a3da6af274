//! Every state the page can be in, reached in a real browser and read from its words.

use std::io::{Read, Write, copy};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::page::{number, until_words};
use support::browser::Browser;
use support::fakecam::{Camera, Setting, Table};
use support::ws::Client;
use support::{Porthole, Scratch, porthole, until};

/// JavaScript: the state as a word for programs.
const STATE: &str = "document.getElementById('status').dataset.state";

/// JavaScript: what stands over the picture.
const NOTICE: &str = "document.querySelector('.notice').innerText";

/// JavaScript, before the page: counts the attempts to connect, and those that came to an end.
const COUNT_ATTEMPTS: &str =
    "window.attempts = window.ended = 0; window.times = [];
    window.WebSocket = class extends WebSocket { constructor(...all) {
        super(...all); attempts++; times.push(performance.now()); this.addEventListener('close', () => ended++); } };";

#[track_caller]
fn until_state(browser: &mut Browser, state: &str) {
    browser.until(&format!("{STATE} === {state:?}"));
}

fn viewers(service: &Porthole) -> usize {
    service.camera()["viewers"].as_array().unwrap().len()
}

#[test]
fn it_comes_back_by_itself_when_the_server_was_away() {
    let mut service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.forgive_absence();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let before = browser.eval("performance.timeOrigin");
    assert_eq!(service.stop(), Some(0));
    until_words(&mut browser, "The server does not answer");
    until_state(&mut browser, "gone");
    browser.until(&format!("/This picture is \\d+ s old/.test({NOTICE})"));
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
fn a_server_that_hangs_is_noticed_and_so_is_its_return() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.forgive_absence();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    service.signal(libc::SIGSTOP);
    until_state(&mut browser, "gone");
    service.signal(libc::SIGCONT);
    until_words(&mut browser, "Live");
}

#[test]
fn attempts_become_rarer_and_the_network_s_return_is_taken_at_once() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let url = service.url.clone();
    let mut browser = Browser::with_jpeg_chosen();
    browser.forgive_absence();
    browser.prepare(COUNT_ATTEMPTS);
    browser.open(&url);
    until_words(&mut browser, "Live");
    drop(service);
    browser.until("attempts >= 5 && ended === attempts");
    let waits = browser.eval("times.slice(2).map((time, i) => time - times[i + 1])");
    let wait = |i: usize| waits[i].as_f64().unwrap();
    assert!(wait(2) > 1.5 * wait(0), "{waits}");
    // All but the first failed in a row, so the next is 3 to 5 seconds away; what is dispatched here is handled before it returns.
    let attempts = "[attempts, dispatchEvent(new Event('online')), attempts]";
    let counted = browser.eval(attempts);
    assert_eq!(counted[2].as_u64(), counted[0].as_u64().map(|n| n + 1), "{counted}");
}

/// A proxy that has the service below `/camera/` and keeps WebSockets waiting while `held`; the URL there.
fn gate(service: &Porthole, held: &Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/camera/", listener.local_addr().unwrap());
    let (to, held) = (service.address, Arc::clone(held));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let held = Arc::clone(&held);
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let n = (&client).read(&mut head).unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..n]).replacen(" /camera/", " /", 1);
                if head.contains("Upgrade: websocket") {
                    until("the gate is opened", || (!held.load(Relaxed)).then_some(()));
                }
                let server = TcpStream::connect(to)?;
                // One request a connection, so that each is seen.
                let head = head.replace("Connection: keep-alive", "Connection: close");
                (&server).write_all(head.as_bytes())?;
                let (from, back) = (client.try_clone()?, server.try_clone()?);
                std::thread::spawn(move || copy(&mut &from, &mut &back));
                copy(&mut &server, &mut &client)
            });
        }
    });
    url
}

#[test]
fn connecting_is_said_while_it_lasts_and_a_proxy_s_path_is_kept() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let held = Arc::new(AtomicBool::new(true));
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&gate(&service, &held));
    // It has heard of the camera, and yet there is no connection.
    browser.until("document.getElementById('viewers').textContent === '0'");
    until_words(&mut browser, "Connecting");
    until_state(&mut browser, "connecting");
    held.store(false, Relaxed);
    until_words(&mut browser, "Live");
    let outside: Vec<_> = browser.requests.iter().filter(|url| !url.contains("/camera/")).collect();
    assert!(outside.is_empty() && browser.requests.len() > 10, "not below the proxy's path: {outside:?}");
}

#[test]
fn a_lost_camera_is_said_in_words_and_so_is_its_return() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
    let service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    table.set(Setting::Unplug, 1);
    until_words(&mut browser, "Camera lost: /dev/video90: no such device; plug the camera in");
    until_state(&mut browser, "lost");
    browser.until(&format!("{NOTICE}.includes('no such device; plug the camera in')"));
    browser.keep_screenshot("lost");
    table.set(Setting::Unplug, 0);
    until_words(&mut browser, "Live");
    table.set(Setting::Stall, 1);
    until_words(&mut browser, "Camera stalled: /dev/video90: no frame for 2 s");
    until_state(&mut browser, "stalled");
    table.set(Setting::Stall, 0);
    until_words(&mut browser, "Live");
}

#[test]
fn a_camera_that_cannot_be_used_says_why() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("kind", "metadata");
    let service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Camera cannot be used: /dev/video90: ");
    until_state(&mut browser, "unsupported");
}

#[test]
fn starting_is_said_while_the_camera_takes_its_time() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera =
        Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30").with("start_ms", 1500);
    let service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Starting the camera");
    until_words(&mut browser, "Live");
}

#[test]
fn paused_it_fetches_nothing_and_the_camera_is_closed() {
    let scratch = Scratch::new();
    let service = Porthole::configured(
        &scratch,
        "[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\nlinger_s = 5.0\n",
    );
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    browser.key(" ");
    until_words(&mut browser, "Paused");
    until("the viewer has left", || (viewers(&service) == 0).then_some(()));
    service.until_camera_is("idle");
    until_words(&mut browser, "Camera idle");
    until_state(&mut browser, "idle");
    browser.click(".notice button");
    until_words(&mut browser, "Live");
    assert_eq!(viewers(&service), 1);
}

#[test]
fn out_of_sight_it_rests_and_it_comes_back_at_once() {
    let scratch = Scratch::new();
    let service = Porthole::configured(
        &scratch,
        "[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\nlinger_s = 0\n",
    );
    let mut browser = Browser::with_jpeg_chosen();
    browser.prepare(COUNT_ATTEMPTS);
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let cover = browser.cover();
    browser.until("document.hidden");
    service.until_camera_is("idle");
    assert_eq!((browser.eval("attempts"), viewers(&service)), (1.into(), 0));
    browser.uncover(&cover);
    until_words(&mut browser, "Live");
    assert_eq!(browser.eval("attempts"), 2);
}

#[test]
fn a_page_whose_token_is_wrong_now_says_what_to_do() {
    let scratch = Scratch::new();
    let start = |listen: &str, state: &str| {
        let mut command = porthole();
        command.args(["--source", "pattern", "--size", "320x240", "--listen", listen, "--state-dir"]);
        Porthole::spawn(command.arg(scratch.path(state)))
    };
    let mut service = start("0.0.0.0:0", "first");
    let token = service.url.split("?token=").nth(1).expect("a ready URL").to_owned();
    let mut browser = Browser::with_jpeg_chosen();
    browser.forgive_absence();
    browser.forgive("401 (Unauthorized)");
    // Without cookies, as in a frame of another site: the token goes along with everything that frames need.
    browser.open(&format!("http://{}/?token={token}", service.address));
    until_words(&mut browser, "Live");
    let bare: Vec<_> =
        browser.requests.iter().filter(|url| url.contains("/ws") || url.contains("/state")).collect();
    assert!(bare.iter().all(|url| url.ends_with(&format!("?token={token}"))), "{bare:?}");
    assert_eq!(service.stop(), Some(0));
    let second = start(&format!("0.0.0.0:{}", service.address.port()), "second");
    until_words(&mut browser, "Not let in");
    until_state(&mut browser, "unauthorised");
    browser.until(&format!("{NOTICE}.includes('Open the address with the token')"));
    // It asks no more by itself: a service counts wrong tokens.
    let asked = browser.requests.len();
    browser
        .until(&format!("new Promise((done) => setTimeout(() => done({STATE} === 'unauthorised'), 3000))"));
    assert_eq!(browser.requests.len(), asked);
    let token = second.url.split("?token=").nth(1).unwrap();
    browser.open(&format!("http://{}/?token={token}", second.address));
    until_words(&mut browser, "Live");
}

#[test]
fn a_server_that_is_full_says_so_and_lets_in_when_it_is_not() {
    let scratch = Scratch::new();
    let config = "[server]\nmax_viewers = 1\n[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\n";
    let service = Porthole::configured(&scratch, config);
    let mut browser = Browser::with_jpeg_chosen();
    browser.forgive("WebSocket connection to");
    browser.forgive("503 (Service Unavailable)");
    let other = Client::porthole(service.address, "/ws");
    browser.open(&service.url);
    until_words(&mut browser, "The server refuses: ");
    until_state(&mut browser, "refused");
    assert!(browser.eval(NOTICE).as_str().unwrap().contains("viewer"), "no reason given");
    drop(other);
    until_words(&mut browser, "Live");
}

#[test]
fn where_no_websocket_gets_through_there_is_the_plain_stream() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.forgive("WebSocket connection to");
    browser.prepare(
        "window.WebSocket = class extends WebSocket { constructor(url, ...rest) {
            super(new URL('/state', url), ...rest); } };",
    );
    browser.open(&service.url);
    browser.until("document.querySelector('#stage img')?.naturalWidth === 640");
    until_words(&mut browser, "Live");
}

#[test]
fn a_warning_is_shown_beside_the_picture_and_nothing_goes_away_before_it() {
    let scratch = Scratch::new();
    let file = scratch.file("fault", "network.toml:3: ssid = \"\": must be of 1 to 32 bytes\n");
    let service = Porthole::start(&["--source", "pattern", "--warning-file", file.to_str().unwrap()]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let shown = "(document.getElementById('warning').checkVisibility() ? warning.innerText : null)";
    browser.until(&format!("{shown} === 'network.toml:3: ssid = \"\": must be of 1 to 32 bytes'"));
    browser.keep_screenshot("warning");
    let is_seen = "getComputedStyle(document.getElementById('warning')).visibility === 'visible'";
    browser.until(&format!("new Promise((done) => setTimeout(() => done({is_seen} && !document.body.classList.contains('quiet')), 4000))"));
    std::fs::remove_file(file).unwrap();
    browser.until(&format!("{shown} === null"));
}

#[test]
fn a_slow_network_is_told_from_a_stalled_camera() {
    let service = Porthole::start(&["--source", "pattern", "--size", "320x240"]);
    let mut browser = Browser::with_jpeg_chosen();
    // Frames are held back, and nothing else, as where a link is too thin for them.
    browser.prepare(
        "window.thin = false; window.WebSocket = class extends WebSocket {
            set onmessage(f) { super.onmessage = (e) => (window.thin && typeof e.data !== 'string') || f?.(e); } };",
    );
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    browser.eval("window.thin = true");
    until_words(&mut browser, "Waiting for the network");
    until_state(&mut browser, "slow");
}
