//! What a viewer keeps and how they want to see it: snapshots, clips, turning, small windows.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::page::{number, until_words};
use support::browser::Browser;
use support::picture::{decode, try_decode};
use support::{Porthole, finish, until};

/// Waits for a download whose name ends so.
#[track_caller]
fn downloaded(folder: &Path, ending: &str) -> PathBuf {
    until(&format!("a {ending} in {}", folder.display()), || {
        let files = std::fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
        // Its place is held by an empty file until all of it is there.
        let whole = |path: &PathBuf| path.metadata().is_ok_and(|file| file.len() > 0);
        files.into_iter().find(|path| path.to_str().unwrap().ends_with(ending) && whole(path))
    })
}

#[track_caller]
fn open(service: &Porthole) -> Browser {
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    browser
}

#[test]
fn a_snapshot_is_the_picture_that_is_shown() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = open(&service);
    let folder = browser.downloads();
    // Held still, so that it can be told which picture it must be.
    browser.key(" ");
    until_words(&mut browser, "Paused");
    browser.click("#snapshot");
    let file = downloaded(&folder, ".jpg");
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("camera_2"), "{}", file.display());
    let picture = decode(&std::fs::read(&file).unwrap());
    assert_eq!((picture.width, picture.height), (640, 480));
    assert_eq!(u64::from(picture.pattern_number()), number(&mut browser));
    browser.until("document.getElementById('toast').textContent.startsWith('Saved camera_2')");
}

#[test]
fn a_clip_can_be_played() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = open(&service);
    let folder = browser.downloads();
    browser.key("r");
    browser.until("document.getElementById('record').getAttribute('aria-pressed') === 'true'");
    assert_eq!(browser.eval("document.getElementById('rotate').disabled"), true, "a clip has one shape");
    // Long enough for a browser on a busy machine, too, to encode the pictures that are counted below.
    browser.until("document.querySelector('#record span').textContent >= '0:06'");
    browser.click("#record");
    let file = downloaded(&folder, ".webm");
    browser.until("document.querySelector('#record span').textContent === 'Record'");
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-count_frames", "-select_streams", "v:0", "-of", "csv=p=0"]);
    probe.args(["-show_entries", "stream=codec_name,width,height,nb_read_frames"]).arg(&file);
    let (code, out, error) = finish(&mut probe);
    assert_eq!((code, error.as_str()), (0, ""));
    let facts: Vec<&str> = out.trim().split(',').collect();
    assert_eq!(facts[..3], ["vp8", "640", "480"], "{out}");
    assert!(facts[3].parse::<u32>().unwrap() >= 10, "{out}");
    let (code, _, error) =
        finish(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&file).args(["-f", "null", "-"]));
    assert_eq!((code, error.as_str()), (0, ""), "it cannot be played to its end");
}

#[test]
fn a_clip_goes_on_at_its_full_rate_while_nobody_looks() {
    let service = Porthole::start(&["--source", "pattern", "--size", "160x120"]);
    let mut browser = Browser::with_jpeg_chosen();
    browser.prepare(
        "window.drawn = 0; const draw = CanvasRenderingContext2D.prototype.drawImage;
         CanvasRenderingContext2D.prototype.drawImage = function (...all) { window.drawn++; return draw.apply(this, all); };",
    );
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    let folder = browser.downloads();
    browser.click("#record");
    let cover = browser.cover();
    browser.until("document.hidden");
    browser.eval("window.since = [performance.now(), drawn]");
    // Longer than it takes a page to rest that has nothing to do.
    browser.until("performance.now() - since[0] > 17000");
    let drawn = browser.eval("drawn - since[1]").as_u64().unwrap();
    assert!(drawn > 100, "{drawn} frames in 17 s: it drew as rarely as hidden timers run");
    browser.eval("document.getElementById('record').click()");
    downloaded(&folder, ".webm");
    // Now it may.
    until("the viewer has left", || {
        (service.camera()["viewers"].as_array().unwrap().is_empty()).then_some(())
    });
    browser.uncover(&cover);
    until_words(&mut browser, "Live");
}

#[test]
fn turned_and_mirrored_it_stays_so_for_this_camera() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = open(&service);
    let folder = browser.downloads();
    // The row of squares begins at the lower left with a white one and a black one.
    let white = |browser: &mut Browser, x: &str, y: &str| {
        browser.eval(&format!(
            "(() => {{ const c = document.querySelector('canvas');
               return c.getContext('2d').getImageData({x}, {y}, 1, 1).data[0] > 128; }})()"
        ))
    };
    browser.key("t");
    browser.until(
        "document.querySelector('canvas').width === 480 && document.querySelector('canvas').height === 640",
    );
    // A quarter clockwise: what was at the lower left is at the upper left, and runs down.
    assert_eq!([white(&mut browser, "9", "9"), white(&mut browser, "9", "27")], [true, false]);
    browser.key("m");
    browser.until("document.getElementById('mirror').getAttribute('aria-pressed') === 'true'");
    let squares =
        |browser: &mut Browser| [white(browser, "470", "9"), white(browser, "470", "27")] == [true, false];
    until("it is mirrored", || squares(&mut browser).then_some(()));
    browser.key("s");
    let shot = std::fs::read(downloaded(&folder, ".jpg")).unwrap();
    let picture = try_decode(&shot).unwrap();
    assert_eq!((picture.width, picture.height), (480, 640));
    assert!(picture.is_white(470, 9) && !picture.is_white(470, 27));

    browser.open(&service.url);
    until_words(&mut browser, "Live");
    browser.until("document.querySelector('canvas').width === 480");
    until("it is still mirrored", || squares(&mut browser).then_some(()));
    for _ in 0..3 {
        browser.key("t");
    }
    browser.key("m");
    browser.until("document.querySelector('canvas').width === 640");
    until("it is the right way round again", || (number(&mut browser) > 0).then_some(()));
}

#[test]
fn there_is_a_small_window_where_the_browser_has_one() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = open(&service);
    let has = browser.eval("document.pictureInPictureEnabled");
    assert_eq!(browser.eval("!document.getElementById('pip').hidden"), has);
    if has == true {
        browser.click("#pip");
        browser.until("document.pictureInPictureElement?.videoWidth === 640");
        browser.until("document.getElementById('pip').getAttribute('aria-pressed') === 'true'");
        browser.click("#pip");
        browser.until("!document.pictureInPictureElement");
        browser.until("document.getElementById('pip').getAttribute('aria-pressed') === 'false'");
    }
    // And a browser that has none shows no button for it.
    browser.prepare("Object.defineProperty(Document.prototype, 'pictureInPictureEnabled', { value: false })");
    browser.open(&service.url);
    until_words(&mut browser, "Live");
    assert_eq!(browser.eval("document.getElementById('pip').hidden"), true);
}

#[test]
fn full_screen_is_entered_and_left() {
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480"]);
    let mut browser = open(&service);
    browser.key("f");
    browser.until("document.fullscreenElement");
    browser.key("f");
    browser.until("!document.fullscreenElement");
}
