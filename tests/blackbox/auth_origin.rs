//! Whose page may do what: names of this machine, other sites, frames, scripts.

use std::net::SocketAddr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use support::browser::Browser;
use support::http::{get, raw, request, send, upgrade};
use support::prometheus::Exposition;
use support::{Porthole, Scratch, porthole};

const SMALL: [&str; 4] = ["--source", "pattern", "--size", "320x240"];

fn by_name(address: SocketAddr, host: &str) -> u16 {
    raw(address, &format!("GET /state HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).status
}

#[test]
fn only_names_of_this_machine_are_answered() {
    let scratch = Scratch::new();
    let config =
        "[server]\nhosts = [\"cam.example\"]\n[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\n";
    let service = Porthole::configured(&scratch, config);
    let own = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let label = own.split('.').next().unwrap().to_owned();
    for good in [
        "localhost",
        "127.0.0.1:80",
        "[::1]:8080",
        "192.0.2.1",
        "cam.example",
        "CAM.EXAMPLE:8080",
        &own,
        &format!("{label}.local:8080"),
    ] {
        assert_eq!(by_name(service.address, good), 200, "{good}");
    }
    for bad in ["rebound.example", "cam.example.evil.example", "evil.local"] {
        assert_eq!(by_name(service.address, bad), 421, "{bad}");
    }
    let told = raw(service.address, "GET / HTTP/1.1\r\nHost: tv.example\r\nConnection: close\r\n\r\n");
    assert!(told.text().contains("[server] hosts = [\"tv.example\"]"), "{}", told.text());
    // Not even what is answered to everybody.
    let options = "OPTIONS /stream HTTP/1.1\r\nHost: tv.example\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(service.address, options).status, 421);
    assert_eq!(raw(service.address, "GET /state HTTP/1.0\r\n\r\n").status, 200, "a program of old");
    assert_eq!(raw(service.address, "GET /state HTTP/1.1\r\nConnection: close\r\n\r\n").status, 400);
    let two = "GET /state HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(service.address, two).status, 400);
    let figures = Exposition::parse(&get(service.address, "/metrics").text());
    assert_eq!(figures.value("porthole_requests_forbidden_total", &[("reason", "host")]), 7.0);
}

#[test]
fn a_page_of_another_site_opens_no_websocket_with_what_the_browser_knows() {
    let scratch = Scratch::new();
    let open = Porthole::start(&SMALL);
    let address = open.address;
    let own = format!("http://{address}");
    for target in ["/ws", "/ws/some-path1/"] {
        assert_eq!(upgrade(address, target, &[]), 101, "a program");
        assert_eq!(upgrade(address, target, &[("Origin", &own)]), 101, "its own page");
        for origin in ["https://evil.example", "null", "http://evil.example:8080", "file://", "not an origin"]
        {
            assert_eq!(upgrade(address, target, &[("Origin", origin)]), 403, "{origin} at {target}");
        }
    }
    // A page written for the tutorial, served from this machine; what else is served there has no business here.
    for origin in ["http://127.0.0.1:8000", "http://localhost:8000"] {
        assert_eq!(upgrade(address, "/ws/some-path1/", &[("Origin", origin)]), 101, "{origin}");
        assert_eq!(upgrade(address, "/ws", &[("Origin", origin)]), 403, "{origin}");
    }
    let answer = request(
        address,
        "PUT",
        "/controls/x",
        &[("Origin", "https://evil.example"), ("Content-Length", "0")],
    );
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("\"https://evil.example\"") && answer.text().contains("allow_origins"),
        "{}",
        answer.text()
    );
    let near = request(
        address,
        "PUT",
        "/controls/x",
        &[("Origin", "http://localhost:8000"), ("Content-Length", "0")],
    );
    assert!(near.status == 403 && near.text().contains("[\"http://localhost:8000\"]"), "{}", near.text());
    let figures = Exposition::parse(&get(address, "/metrics").text());
    assert_eq!(figures.value("porthole_requests_forbidden_total", &[("reason", "origin")]), 14.0);

    let state = scratch.path("state");
    let mut command = porthole();
    command.args(SMALL).args(["--listen", "0.0.0.0:0", "--state-dir"]).arg(&state);
    let private = Porthole::spawn(&mut command);
    let token = private.url.split("token=").nth(1).unwrap().to_owned();
    let (cookie, bearer) = (format!("porthole_token={token}"), format!("Bearer {token}"));
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!(":{token}").as_bytes()));
    for origin in ["https://evil.example", "http://127.0.0.1:8000", "null"] {
        let origin = ("Origin", origin);
        // A browser sends these along by itself, whoever made it.
        for ambient in [("Cookie", cookie.as_str()), ("Authorization", &basic)] {
            assert_eq!(
                upgrade(private.address, "/ws/some-path1/", &[origin, ambient]),
                403,
                "{origin:?} {ambient:?}"
            );
        }
        // And these are known to the page itself.
        assert_eq!(upgrade(private.address, &format!("/ws?token={token}"), &[origin]), 101);
        assert_eq!(upgrade(private.address, "/ws", &[origin, ("Authorization", &bearer)]), 101);
        assert_eq!(upgrade(private.address, "/ws", &[origin]), 401);
    }
    let own = format!("http://{}", private.address);
    assert_eq!(upgrade(private.address, "/ws", &[("Origin", &own), ("Cookie", &cookie)]), 101);
}

#[test]
fn sites_that_are_listed_may_and_others_read_nothing() {
    let scratch = Scratch::new();
    let config = |origins: &str| {
        format!(
            "[server]\nallow_origins = {origins}\n[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\n"
        )
    };
    let listed = Porthole::configured(&scratch, &config("[\"https://home.example\", \"null\"]"));
    let home = ("Origin", "https://home.example");
    assert_eq!(upgrade(listed.address, "/ws", &[home]), 101);
    assert_eq!(upgrade(listed.address, "/ws", &[("Origin", "null")]), 101);
    assert_eq!(upgrade(listed.address, "/ws", &[("Origin", "https://other.example")]), 403);
    let allowed = |service: &Porthole, target: &str, origin: (&str, &str)| {
        let answer = request(service.address, "GET", target, &[origin]);
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(allowed(&listed, "/state", home).as_deref(), Some("https://home.example"));
    assert_eq!(allowed(&listed, "/nothing", home).as_deref(), Some("https://home.example"), "nor why not");
    assert_eq!(allowed(&listed, "/state", ("Origin", "https://other.example")), None);
    assert_eq!(request(listed.address, "GET", "/state", &[]).header("vary"), Some("Origin"));
    let ask =
        [home, ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "authorization")];
    let preflight = request(listed.address, "OPTIONS", "/controls/gain", &ask);
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("PUT"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("authorization"));
    let policy = get(listed.address, "/").header("content-security-policy").unwrap().to_owned();
    assert!(policy.ends_with("frame-ancestors 'self' https://home.example"), "{policy}");
    let mut stream = send(listed.address, "GET", "/stream", &[home]);
    let mut head = [0; 600];
    std::io::Read::read_exact(&mut stream, &mut head).unwrap();
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.contains("access-control-allow-origin: https://home.example\r\n"), "{head}");

    let every = Porthole::configured(&scratch, &config("[\"*\"]"));
    assert_eq!(allowed(&every, "/snapshot", ("Origin", "https://any.example")).as_deref(), Some("*"));
    assert_eq!(upgrade(every.address, "/ws", &[("Origin", "https://any.example")]), 101);

    let closed = Porthole::start(&SMALL);
    assert_eq!(allowed(&closed, "/state", home), None);
    let preflight = request(closed.address, "OPTIONS", "/controls/gain", &ask);
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, None));
}

#[test]
fn every_answer_tells_a_browser_what_may_not_be_done_with_it() {
    let service = Porthole::start(&SMALL);
    for (target, status) in [
        ("/", 200),
        ("/app.js", 200),
        ("/icon.svg", 200),
        ("/state", 200),
        ("/metrics", 200),
        ("/controls", 200),
        ("/nothing", 404),
        ("/login", 303),
    ] {
        let answer = get(service.address, target);
        // A test pattern may have no controls to list.
        assert!(answer.status == status || target == "/controls", "{target}: {}", answer.status);
        let policy =
            answer.header("content-security-policy").unwrap_or_else(|| panic!("{target}")).to_owned();
        let is_plain = ["/state", "/metrics", "/controls", "/nothing", "/login"].contains(&target);
        assert!(policy.contains("frame-ancestors 'self'"), "{policy}");
        assert_eq!(policy.starts_with("default-src 'none';"), !is_plain, "{target}: {policy}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{target}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{target}");
    }
    // Pictures are shown by dashboards of other sites, also by those that insist on being told so.
    let snapshot = get(service.address, "/snapshot");
    assert_eq!(snapshot.header("cross-origin-resource-policy"), Some("cross-origin"));
    assert_eq!(snapshot.header("referrer-policy"), Some("no-referrer"));
    let mut stream = send(service.address, "GET", "/stream", &[]);
    let mut head = [0; 400];
    std::io::Read::read_exact(&mut stream, &mut head).unwrap();
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let head = head.split("\r\n\r\n").next().unwrap();
    for line in [
        "cross-origin-resource-policy: cross-origin",
        "referrer-policy: no-referrer",
        "x-content-type-options: nosniff",
    ] {
        assert!(head.contains(line), "{head}");
    }
}

#[test]
fn a_dashboard_of_another_site_shows_the_stream() {
    let service = Porthole::start(&SMALL);
    let mut browser = Browser::start();
    let page = format!(
        "<!DOCTYPE html><html><body><img id=\"cam\" src=\"http://{}/stream\"></body></html>",
        service.address
    );
    // By another name, so that it is another site.
    let url = crate::page::elsewhere(page).replace("127.0.0.1", "localhost");
    browser.open(&url);
    browser.until("document.querySelector('#cam').naturalWidth === 320");
}
