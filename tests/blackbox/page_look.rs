//! How the page looks, light and dark, and whether those who do not look can use it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::page::{number, until_words};
use support::browser::Browser;
use support::fakecam::{Camera, Table};
use support::{Porthole, Scratch, finish, source_tree, until};

/// The checker of accessibility, by its exact version and content.
const AXE: &str = "axe-core@4.14.1";
const AXE_SHA256: &str = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";

/// A camera with controls, and a page that shows it.
struct Rig {
    /// Ends before the service does, and has nothing to complain of.
    browser: Browser,
    _service: Porthole,
    _scratch: Scratch,
}

#[track_caller]
fn fake() -> Rig {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:1280x720@30");
    let service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    Rig { browser, _service: service, _scratch: scratch }
}

/// The checker's script, from the package registry the first time.
fn axe() -> Result<String, String> {
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(AXE.replace('@', "-"));
    let file = folder.join("package/axe.min.js");
    if !file.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        let mut pack = Command::new("npm");
        pack.args(["pack", "--loglevel=error", AXE]).current_dir(&folder);
        let packed = pack.output().map_err(|error| format!("npm: {error}; apt-get install npm"))?;
        if !packed.status.success() {
            return Err(format!("npm pack {AXE}: {}", String::from_utf8_lossy(&packed.stderr)));
        }
        let name = String::from_utf8_lossy(&packed.stdout).trim().to_owned();
        let (code, _, error) = finish(Command::new("tar").arg("xzf").arg(&name).current_dir(&folder));
        assert_eq!(code, 0, "{name}: {error}");
    }
    let (_, sum, error) = finish(Command::new("sha256sum").arg(&file));
    assert!(sum.starts_with(AXE_SHA256), "{} is not {AXE}: {sum}{error}", file.display());
    Ok(std::fs::read_to_string(&file).unwrap())
}

/// What the checker objects to.
fn violations(browser: &mut Browser, axe: &str) -> Vec<String> {
    // What moves is judged when it has come to rest.
    browser.until("document.getAnimations().every((a) => a.playState !== 'running' || a.effect.getTiming().iterations > 1)");
    browser.eval(&format!("typeof axe === 'object' || (() => {{ {axe}; }})()"));
    let found = browser.eval(
        "axe.run(document, { resultTypes: ['violations'] }).then(({ violations, passes }) =>
            ({ passes: passes.length, violations: violations.map((v) =>
                `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html + ' ' + n.failureSummary).join('; ')}`) }))",
    );
    assert!(found["passes"].as_u64().unwrap() > 10, "it checked hardly anything: {found}");
    found["violations"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[test]
fn nobody_is_shut_out() {
    let axe = match axe() {
        Ok(axe) => axe,
        Err(why) => {
            // Written so that it is seen though the test passes.
            let _ = writeln!(std::io::stderr(), "left out: the page's accessibility was not checked: {why}");
            return;
        }
    };
    let scratch = Scratch::new();
    let config = "[[camera]]\nname = \"front\"\nsource = \"pattern\"\nwidth = 320\nheight = 240\n\
                  [[camera]]\nname = \"back\"\nsource = \"/dev/video78\"\n";
    let two = Porthole::configured(&scratch, config);
    let mut rig = fake();
    let browser = &mut rig.browser;
    let url = browser.eval("location.href").as_str().unwrap().to_owned();
    let mut found = Vec::new();
    for theme in ["light", "dark"] {
        browser.media("prefers-color-scheme", theme);
        for (width, height, ratio) in [(1280, 800, 1.0), (320, 640, 2.0)] {
            browser.resize(width, height, ratio);
            let mut check = |browser: &mut Browser, what: &str| {
                found
                    .extend(violations(browser, &axe).iter().map(|v| format!("{theme} {width} {what}: {v}")));
            };
            browser.open(&url);
            until_words(browser, "Live");
            check(browser, "live");
            browser.click("#controls");
            browser.until("document.querySelectorAll('.control').length > 10");
            check(browser, "controls");
            browser.click("#panel-close");
            browser.click("#help-open");
            check(browser, "help");
            browser.click("#help-close");
            browser.click("#pause");
            until_words(browser, "Paused");
            check(browser, "paused");
            browser.open(&two.url);
            until_words(browser, "1 of 2 live");
            check(browser, "two cameras");
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn it_is_light_or_dark_as_the_system_is_unless_chosen_otherwise() {
    let mut rig = fake();
    let browser = &mut rig.browser;
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = |browser: &mut Browser| {
        browser.eval(&format!("Number(/\\d+/.exec({ground})[0]) > 128")).as_bool().unwrap()
    };
    for (theme, is_light) in [("light", true), ("dark", false)] {
        browser.media("prefers-color-scheme", theme);
        assert_eq!(light(browser), is_light);
        browser.keep_screenshot(&format!("camera-{theme}"));
        browser.click("#controls");
        browser.until("document.querySelectorAll('.control').length > 10");
        browser.keep_screenshot(&format!("controls-{theme}"));
        browser.click("#panel-close");
    }
    browser.click("#theme");
    browser.until("document.getElementById('theme').title === 'Colours: light'");
    assert!(light(browser), "the choice is not taken");
    let url = browser.eval("location.href").as_str().unwrap().to_owned();
    browser.open(&url);
    browser.until("document.getElementById('theme').title === 'Colours: light'");
    assert!(light(browser), "the choice is not remembered");
}

#[test]
fn what_lies_over_the_picture_goes_away_and_comes_back() {
    let mut rig = fake();
    let browser = &mut rig.browser;
    let opacity = "getComputedStyle(document.querySelector('footer')).opacity";
    browser.call("Input.dispatchMouseEvent", &json!({ "type": "mouseMoved", "x": 600, "y": 400 }));
    browser.until(&format!("{opacity} === '0'"));
    browser.keep_screenshot("quiet");
    browser.call("Input.dispatchMouseEvent", &json!({ "type": "mouseMoved", "x": 610, "y": 400 }));
    browser.until(&format!("{opacity} === '1'"));
    // It does not go while somebody is in it by keyboard.
    browser.until(&format!("{opacity} === '0'"));
    browser.key("Tab");
    browser.until(&format!("{opacity} === '1' && document.activeElement.matches('.bar *')"));
}

#[test]
fn nothing_moves_for_those_who_want_it_so() {
    let mut rig = fake();
    let browser = &mut rig.browser;
    browser.media("prefers-reduced-motion", "reduce");
    let moving = "[...document.querySelectorAll('.bar, .tile canvas')]
        .filter((e) => getComputedStyle(e).transitionDuration !== '0s').length";
    assert_eq!(browser.eval(moving), 0);
}

#[test]
fn the_picture_in_the_readme() {
    let service = Porthole::start(&["--source", "pattern", "--size", "1280x720"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.media("prefers-color-scheme", "dark");
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    // In its stride.
    until("some seconds have been shown", || (number(&mut browser) > 120).then_some(()));
    browser.until("document.getElementById('viewers').textContent === '1'");
    // A move brings up what lies over the picture.
    browser.call("Input.dispatchMouseEvent", &json!({ "type": "mouseMoved", "x": 600, "y": 400 }));
    browser.until("getComputedStyle(document.querySelector('footer')).opacity === '1'");
    browser.keep_screenshot("live");
    browser.resize(320, 640, 2.0);
    browser.keep_screenshot("phone");
    let readme = std::fs::read_to_string(source_tree().join("README.md")).unwrap();
    assert!(readme.contains(".github/page.png"));
}

/// JavaScript: whether the picture, without the margins that its shape leaves, lies under a bar.
const COVERED: &str = "(() => {
    const canvas = document.querySelector('canvas'), area = canvas.getBoundingClientRect();
    const scale = Math.min(area.width / canvas.width, area.height / canvas.height);
    const [width, height] = [canvas.width * scale, canvas.height * scale];
    const left = area.left + (area.width - width) / 2, top = area.top + (area.height - height) / 2;
    return [...document.querySelectorAll('.bar')].some((bar) => {
        const b = bar.getBoundingClientRect();
        return b.left < left + width - 1 && b.right > left + 1 && b.top < top + height - 1 && b.bottom > top + 1;
    });
})()";

#[test]
fn where_there_is_room_beside_the_picture_nothing_lies_over_it() {
    let mut rig = fake();
    let browser = &mut rig.browser;
    for (width, height, is_covered) in
        [(844, 390, false), (800, 360, false), (1600, 600, false), (1280, 800, true)]
    {
        browser.resize(width, height, 2.0);
        browser.until(&format!(
            "document.body.dataset.bars === '{}'",
            if is_covered { "over" } else { "beside" }
        ));
        browser.until(&format!("{COVERED} === {is_covered}"));
        // Every button can be reached.
        for id in ["pause", "fullscreen", "theme", "help-open"] {
            browser.until(&format!(
                "(() => {{ const e = document.getElementById('{id}'); e.scrollIntoView({{ block: 'nearest' }});
                   const r = e.getBoundingClientRect();
                   return e.contains(document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2)); }})()"
            ));
        }
        browser.keep_screenshot(&format!("bars-{width}"));
    }
    // Turned, the picture leaves room where it left none.
    browser.key("t");
    browser.until(&format!("document.body.dataset.bars === 'beside' && !{COVERED}"));
    // The panel takes the room away.
    browser.key("t");
    browser.resize(844, 390, 2.0);
    browser.until("document.body.dataset.bars === 'beside'");
    browser.key("c");
    browser.until("document.body.dataset.bars === 'over'");
}

#[test]
fn no_text_is_smaller_than_can_be_read_on_a_phone() {
    let mut rig = fake();
    let browser = &mut rig.browser;
    for (width, height) in [(320, 640), (390, 844), (844, 390)] {
        browser.resize(width, height, 2.0);
        browser
            .eval("document.getElementById('panel').hidden && document.getElementById('controls').click()");
        browser.until("document.querySelectorAll('.control').length > 10");
        let small = browser.eval(
            "[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && parseFloat(getComputedStyle(e).fontSize) < 12
                && [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())).map((e) => e.outerHTML)",
        );
        assert_eq!(small, json!([]), "{width}");
    }
}
