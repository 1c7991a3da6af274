//! Where the page lives: below a path of a web server, in a frame of another page, in a browser's history, on the home
//! screen of a phone, in search results.

use std::process::Command;

use serde_json::{Value, json};

use crate::auth::{VIEWER, with_passwords, with_state};
use crate::page::{elsewhere, until_words};
use support::browser::Browser;
use support::http::{get, request};
use support::tools::{Running, free_port, program};
use support::{Porthole, Scratch, until};

/// nginx with a service below `/cam/`, as the manual says; its URL there.
fn behind_nginx(scratch: &Scratch, service: &Porthole) -> Option<(Running, String)> {
    let nginx = program("nginx", "nginx-light")?;
    let (folder, port) = (scratch.path(""), free_port());
    let config = format!(
        "daemon off; master_process off; pid {0}pid; error_log {0}error;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n  \
         server {{ listen 127.0.0.1:{port};\n    location /cam/ {{ proxy_pass http://{1}/; proxy_http_version 1.1;\n      \
         proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade;\n      \
         proxy_set_header Connection \"upgrade\"; proxy_buffering off; }} }} }}\n",
        folder.display(),
        service.address
    );
    let config = scratch.file("nginx.conf", config);
    let server = Running::start(Command::new(nginx).arg("-c").arg(config).arg("-p").arg(folder));
    until("nginx serves", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    Some((server, format!("http://127.0.0.1:{port}/cam/")))
}

#[test]
fn below_a_path_of_a_web_server_all_of_it_works() {
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    let Some((_nginx, url)) = behind_nginx(&scratch, &service) else { return };
    let mut browser = Browser::with_jpeg_chosen();
    browser.forgive("401 (Unauthorized)");
    for path in ["", "cameras/camera/"] {
        browser.open(&format!("{url}{path}"));
        browser.until("document.activeElement.id === 'password'");
        browser.call("Input.insertText", &json!({ "text": VIEWER }));
        browser.click("button");
        until_words(&mut browser, "Live");
        assert_eq!(browser.eval("location.pathname"), format!("/cam/{path}"));
        browser.click("#controls");
        browser
            .until("document.getElementById('panel-words').textContent === 'This source has no controls.'");
        browser.click("#panel-close");
        let manifest =
            browser.eval("fetch(document.querySelector('[rel=manifest]').href).then((a) => a.json())");
        assert_eq!(manifest["start_url"], "./");
        browser.click("#logout");
        browser.until("document.activeElement.id === 'password'");
    }
    let outside: Vec<_> = browser.requests.iter().filter(|url| !url.contains("/cam/")).collect();
    assert!(outside.is_empty() && browser.requests.len() > 20, "not below the path: {outside:?}");
}

#[test]
fn in_a_frame_of_a_site_that_may_it_is_live_and_in_others_it_is_not() {
    for is_listed in [true, false] {
        let scratch = Scratch::new();
        let outer = elsewhere("<!doctype html><iframe width=800 height=450></iframe>".into());
        let site = if is_listed { outer.trim_end_matches('/') } else { "https://home.example" };
        let config = format!(
            "[server]\nallow_origins = [{site:?}]\n[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\n"
        );
        let service = Porthole::configured(&scratch, &config);
        let mut browser = Browser::with_jpeg_chosen();
        if !is_listed {
            browser.forgive("frame-ancestors");
            browser.forgive("ERR_BLOCKED_BY_RESPONSE");
        }
        browser.open(&outer);
        browser.until("document.querySelector('iframe')");
        browser.eval(&format!("document.querySelector('iframe').src = {:?}", service.url));
        if is_listed {
            until("the frame shows the camera", || {
                let viewers = service.camera()["viewers"].as_array().unwrap().len();
                (viewers == 1).then_some(())
            });
            service.until_camera_is("live");
        } else {
            // The refusal comes in place of the page, which would ask for the state at once.
            browser.until(
                "document.querySelector('iframe').contentDocument === null && performance.now() > 1000",
            );
            assert_eq!(service.camera()["viewers"], json!([]));
        }
    }
}

#[test]
fn going_back_to_it_takes_it_from_the_browsers_memory() {
    let service = Porthole::start(&["--source", "pattern", "--size", "320x240", "--linger", "0"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    browser.eval("window.mark = 'the same page'; addEventListener('pageshow', ({ persisted }) => (window.back = persisted))");
    browser
        .eval(&format!("void (location.href = {:?})", elsewhere("<!doctype html><h1>Elsewhere</h1>".into())));
    browser.until("document.querySelector('h1')?.textContent === 'Elsewhere'");
    until("the viewer has left", || service.camera()["viewers"].as_array().unwrap().is_empty().then_some(()));
    service.until_camera_is("idle");
    browser.eval("void history.back()");
    browser.until("window.back");
    assert_eq!(browser.eval("window.mark"), "the same page");
    until_words(&mut browser, "Live");
}

#[test]
fn it_can_be_put_on_the_home_screen() {
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    // A device fetches these by itself, without a session.
    for (file, content_type) in [
        ("/app.webmanifest", "application/manifest+json"),
        ("/icon-192.png", "image/png"),
        ("/icon-512.png", "image/png"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = get(service.address, file);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{file}");
        if let Some(size) = file.strip_prefix("/icon-").and_then(|name| name.strip_suffix(".png")) {
            // PNG: signature, then the chunk IHDR with width and height.
            let side: u32 = size.parse().unwrap();
            assert_eq!(answer.body[16..24], [side.to_be_bytes(), side.to_be_bytes()].concat(), "{file}");
        }
    }
    let page = request(service.address, "GET", "/", &[("Authorization", &format!("Bearer {VIEWER}"))]).text();
    for tag in ["name=\"description\"", "og:title", "apple-touch-icon", "theme-color"] {
        assert!(page.contains(tag), "{tag}");
    }

    let service = Porthole::start(&["--source", "pattern", "--size", "320x240"]);
    let mut browser = Browser::with_jpeg_chosen();
    for path in ["", "cameras/camera/"] {
        browser.open(&format!("{}{path}", service.url));
        until_words(&mut browser, "Live");
        let told = browser.call("Page.getAppManifest", &json!({}));
        assert_eq!(told["errors"], json!([]), "{told}");
        let manifest: Value = serde_json::from_str(told["data"].as_str().unwrap()).unwrap();
        assert_eq!((&manifest["display"], &manifest["name"]), (&json!("fullscreen"), &json!("Porthole")));
        let objections = browser.call("Page.getInstallabilityErrors", &json!({}));
        assert_eq!(objections["installabilityErrors"], json!([]), "{path}: {objections}");
    }
}

#[test]
fn the_browsers_own_colour_follows_the_choice_of_colours() {
    let service = Porthole::start(&["--source", "pattern", "--size", "320x240"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let colours =
        "[...document.querySelectorAll('meta[name=theme-color]')].map(({ content }) => content).join()";
    assert_eq!(browser.eval(colours), "#e7edf1,#0a0f14");
    browser.click("#theme");
    browser.until(&format!("{colours} === '#e7edf1,#e7edf1'"));
    browser.click("#theme");
    browser.until(&format!("{colours} === '#0a0f14,#0a0f14'"));
    browser.click("#theme");
    browser.until(&format!("{colours} === '#e7edf1,#0a0f14'"));
}
