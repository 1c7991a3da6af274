//! The login page: what a browser gets that is not let in, and how it gets in and out.

use serde_json::json;

use crate::auth::{ADMIN, VIEWER, with_passwords, with_state};
use crate::page::until_words;
use support::browser::Browser;
use support::http::{Response, get, post, request};
use support::{Porthole, Scratch, porthole, until};

const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

fn form(password: &str, next: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("password", password)
        .append_pair("next", next)
        .finish()
}

fn cookie(answer: &Response) -> String {
    answer.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned()
}

fn enter(browser: &mut Browser) {
    browser.call(
        "Input.dispatchKeyEvent",
        &json!({ "type": "keyDown", "key": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" }),
    );
}

#[test]
fn a_browser_is_led_to_the_login_page_and_from_there_to_where_it_wanted() {
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    let address = service.address;
    for (target, action) in [("/", "login"), ("/stream", "login"), ("/cameras/camera/", "../../login")] {
        let page = request(address, "GET", target, &[BROWSER]);
        assert_eq!(
            (page.status, page.header("content-type")),
            (401, Some("text/html; charset=utf-8")),
            "{target}"
        );
        assert_eq!(page.header("www-authenticate"), Some("Bearer realm=\"porthole\""));
        let html = page.text();
        assert!(
            html.contains(&format!("action=\"{action}\"")) && html.contains(&format!("value=\"{target}\"")),
            "{html}"
        );
        assert!(!html.contains("<script") && !html.contains("style="), "{html}");
    }
    let hostile = request(address, "GET", "/x?\"><script>alert(1)</script>&token=wrong", &[BROWSER]);
    assert!(!hostile.text().contains("<script"), "{}", hostile.text());
    assert_eq!(get(address, "/login").status, 200);
    for open in ["/style.css", "/icon.svg", "/icon-192.png", "/icon-512.png", "/app.webmanifest"] {
        assert_eq!(get(address, open).status, 200, "{open}");
    }
    assert_eq!(get(address, "/app.js").status, 401);

    let wrong = post(address, "/login", &[], &form("not the one", "/stream"));
    assert!(
        wrong.status == 401
            && wrong.text().contains("That is not right.")
            && wrong.text().contains("value=\"/stream\"")
    );
    let right = post(address, "/login", &[], &form(VIEWER, "/cameras/camera/?x=1"));
    assert_eq!((right.status, right.header("location")), (303, Some("./cameras/camera/?x=1")));
    let set = right.header("set-cookie").unwrap();
    assert!(set.starts_with("porthole_session=") && set.ends_with("; HttpOnly; SameSite=Lax"), "{set}");
    for elsewhere in ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"] {
        let answer = post(address, "/login", &[], &form(VIEWER, elsewhere));
        assert_eq!(answer.header("location"), Some("./"), "{elsewhere}");
    }
    let session = cookie(&right);
    let state = request(address, "GET", "/state", &[("Cookie", &session)]);
    assert_eq!((state.status, state.header("porthole-access")), (200, Some("viewer; by=cookie")));

    // Behind a proxy that encrypts, the page's own address is a secure one.
    let host = address.to_string();
    let secure = post(address, "/login", &[("Origin", &format!("https://{host}"))], &form(ADMIN, "/"));
    assert!(secure.header("set-cookie").unwrap().ends_with("; Secure"), "{:?}", secure.header("set-cookie"));

    // Another site's page neither logs in nor out.
    for target in ["/login", "/logout"] {
        for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
            let answer =
                post(address, target, &[("Origin", origin), ("Cookie", &session)], &form(VIEWER, "/"));
            assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{origin} {target}");
        }
    }
    assert_eq!(request(address, "GET", "/state", &[("Cookie", &session)]).status, 200);
    let out = post(address, "/logout", &[("Cookie", &session)], "");
    assert!(out.status == 303 && out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(request(address, "GET", "/state", &[("Cookie", &session)]).status, 401);
    assert_eq!(get(address, "/logout").status, 405);
    assert_eq!(post(address, "/login", &[], &"x".repeat(10_000)).status, 400);
}

#[test]
fn the_url_with_a_password_leads_to_a_session_and_is_not_kept_itself() {
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    let page = get(service.address, "/?token=only+for+looking");
    assert_eq!(page.status, 200);
    let session = cookie(&page);
    assert!(session.starts_with("porthole_session=") && !session.contains("looking"), "{session}");
    assert_eq!(request(service.address, "GET", "/snapshot", &[("Cookie", &session)]).status, 200);
    // A program that fetches pictures takes nobody's session away.
    assert_eq!(get(service.address, "/snapshot?token=only+for+looking").header("set-cookie"), None);
}

#[test]
fn people_log_in_and_out_with_a_browser() {
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    let mut browser = Browser::start();
    browser.forgive("401 (Unauthorized)");
    browser.forgive("WebSocket connection to");
    browser.open(&service.url);
    browser.until("document.activeElement.id === 'password'");
    assert_eq!(browser.eval("document.querySelector('label').textContent"), "Password");
    // The look of the page, in both themes, and room on a small screen.
    let look = "getComputedStyle(document.querySelector('.login main')).backgroundColor";
    browser.media("prefers-color-scheme", "light");
    let light = browser.until(look);
    browser.media("prefers-color-scheme", "dark");
    browser.until(&format!("{look} !== {light}"));
    browser.keep_screenshot("login");
    browser.resize(320, 480, 2.0);
    assert_eq!(browser.until("document.documentElement.scrollWidth"), 320);
    browser.resize(1280, 800, 1.0);

    browser.call("Input.insertText", &json!({ "text": "not the one" }));
    enter(&mut browser);
    browser.until("document.querySelector('#message').textContent === 'That is not right.'");
    browser.until("document.activeElement.id === 'password'");
    browser.call("Input.insertText", &json!({ "text": VIEWER }));
    browser.click("button");
    until_words(&mut browser, "Live");
    assert_eq!(browser.eval("document.cookie"), "", "a script sees the session");
    assert_eq!(browser.eval("location.pathname + location.search"), "/");
    browser.click("#logout");
    browser.until("document.activeElement.id === 'password'");
    let answer =
        browser.eval("fetch('state', { headers: { 'X-Requested-With': 'porthole' } }).then((a) => a.status)");
    assert_eq!(answer, 401);
}

#[test]
fn logging_in_needs_no_scripts() {
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    let bearer = format!("Bearer {ADMIN}");
    let mut browser = Browser::start();
    browser.open(&service.url);
    browser.until("document.activeElement.id === 'password'");
    browser.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.call("Input.insertText", &json!({ "text": VIEWER }));
    enter(&mut browser);
    until("the page takes the plain stream", || {
        let state = request(service.address, "GET", "/state", &[("Authorization", &bearer)]);
        let state: serde_json::Value = serde_json::from_slice(&state.body).unwrap();
        let viewers = state["cameras"][0]["viewers"].as_array().unwrap().clone();
        viewers.iter().any(|viewer| viewer["kind"] == "mjpeg").then_some(())
    });
    browser.forgive("401 (Unauthorized)");
}

#[test]
fn a_page_whose_session_has_ended_leads_back_to_the_login_page() {
    let scratch = Scratch::new();
    let state = with_passwords(&scratch);
    let mut service = with_state(&state, &[]);
    let mut browser = Browser::start();
    browser.forgive_absence();
    browser.forgive("401 (Unauthorized)");
    browser.open(&format!("{}login", service.url));
    browser.until("document.activeElement.id === 'password'");
    browser.call("Input.insertText", &json!({ "text": VIEWER }));
    enter(&mut browser);
    until_words(&mut browser, "Live");
    // Sessions end with the process.
    assert_eq!(service.stop(), Some(0));
    let listen = service.address.to_string();
    let _again = with_state(&state, &["--listen", &listen]);
    until_words(&mut browser, "Not let in");
    browser.click(".notice button");
    browser.until("document.activeElement.id === 'password'");
}

#[test]
fn the_token_is_taken_by_the_login_page_too() {
    let scratch = Scratch::new();
    let mut command = porthole();
    command.args(["--source", "pattern", "--size", "320x240", "--listen", "0.0.0.0:0", "--state-dir"]);
    let service = Porthole::spawn(command.arg(scratch.path("state")));
    let token = service.url.split("token=").nth(1).unwrap().to_owned();
    let page = request(service.address, "GET", "/", &[BROWSER]);
    assert!(page.status == 401 && page.text().contains(">Token</label>"), "{}", page.text());
    let answer = post(service.address, "/login", &[], &form(&token, "/"));
    assert_eq!(answer.status, 303);
    assert_eq!(cookie(&answer), format!("porthole_token={token}"));
    assert_eq!(request(service.address, "GET", "/", &[("Cookie", &cookie(&answer))]).status, 200);
}
