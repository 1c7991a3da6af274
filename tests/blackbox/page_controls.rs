//! The camera's controls, moved in the page and seen in the camera.

use crate::page::until_words;
use support::browser::Browser;
use support::fakecam::{Camera, Counter, Setting, Table};
use support::http::put;
use support::{Porthole, Scratch, until};

const BRIGHTNESS: u32 = 0x98_0900;
const WHITE_BALANCE: u32 = 0x98_090c;
const POWER_LINE: u32 = 0x98_0918;
const TEMPERATURE: u32 = 0x98_091a;
const INTEGER_64: u32 = 0x98_f903;
const BIAS: u32 = 0x9a_0913;
const LOCK: u32 = 0x9a_091b;

struct Rig {
    table: Table,
    /// Ends before the service does, and has nothing to complain of.
    browser: Browser,
    service: Porthole,
    _scratch: Scratch,
}

impl Rig {
    /// A page with the panel of a fake camera open.
    #[track_caller]
    fn open() -> Self {
        let scratch = Scratch::new();
        let table = Table::create(scratch.path("table")).unwrap();
        let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
        let state = scratch.path("state");
        let arguments = ["--source", "/dev/video90", "--state-dir", state.to_str().unwrap()];
        let service = Porthole::with_cameras(&[camera], &arguments);
        let mut browser = Browser::with_jpeg_chosen();
        browser.open(&service.url);
        until_words(&mut browser, "Live");
        browser.click("#controls");
        let mut this = Self { table, browser, service, _scratch: scratch };
        this.until("brightness", "!row.querySelector('input').disabled");
        this
    }

    /// Waits until a condition on a control's row holds.
    #[track_caller]
    fn until(&mut self, control: &str, condition: &str) {
        self.browser.until(&format!(
            "(() => {{ const row = document.querySelector('[data-control={control}]'); return {condition}; }})()"
        ));
    }

    #[track_caller]
    fn until_set(&self, id: u32, value: i64) {
        until(&format!("{id:#x} is {value}, not {:?}", self.table.control(id)), || {
            (self.table.control(id) == Some(value)).then_some(())
        });
    }

    /// Moves an input as a user does, but at once.
    fn enter(&mut self, control: &str, input: &str, value: &str, event: &str) {
        self.browser.eval(&format!(
            "(() => {{ const input = document.querySelector('[data-control={control}] {input}'); input.value = {value:?};
               input.dispatchEvent(new Event({event:?}, {{ bubbles: true }})); }})()"
        ));
    }
}

#[test]
fn each_kind_is_moved_in_the_page_and_moves_in_the_camera() {
    let mut rig = Rig::open();
    // A slider, by keys.
    rig.browser.eval("document.querySelector('[data-control=brightness] [type=range]').focus()");
    rig.browser.key("ArrowRight");
    rig.browser.key("ArrowRight");
    rig.until_set(BRIGHTNESS, 130);
    rig.until("brightness", "row.querySelector('[type=text]').value === '130'");
    // By its number.
    rig.enter("brightness", "[type=text]", "77", "change");
    rig.until_set(BRIGHTNESS, 77);
    rig.until("brightness", "row.querySelector('[type=range]').value === '77'");
    // A switch, which sets another free.
    rig.until("white_balance_temperature", "row.querySelector('[type=range]').disabled");
    rig.until("white_balance_temperature", "row.innerText.includes('Set by the camera itself')");
    rig.browser.click("[data-control=white_balance_automatic] [role=switch]");
    rig.until_set(WHITE_BALANCE, 0);
    rig.until("white_balance_temperature", "!row.querySelector('[type=range]').disabled");
    rig.enter("white_balance_temperature", "[type=range]", "5000", "input");
    rig.until_set(TEMPERATURE, 5000);
    // Menus of names and of numbers.
    rig.enter("power_line_frequency", "select", "1", "change");
    rig.until_set(POWER_LINE, 1);
    rig.enter("auto_exposure_bias", "select", "4", "change");
    rig.until_set(BIAS, 4);
    // Bits, by a click on the second.
    rig.browser.click("[data-control='3a_lock'] .field label:nth-of-type(2) input");
    rig.until_set(LOCK, 2);
    // Numbers that JavaScript cannot hold.
    rig.enter("integer_64_bits", "[type=text]", "-9000000000000000001", "change");
    rig.until_set(INTEGER_64, -9_000_000_000_000_000_001);
    rig.until("integer_64_bits", "row.querySelector('[type=text]').value === '-9000000000000000001'");
    rig.browser.click("[data-control=auto_focus_start] .field button");
    until("the button is pressed", || (rig.table.counter(Counter::Presses) == 1).then_some(()));
    // What can only be looked at.
    for name in ["min_number_of_capture_buffers", "auto_focus_status"] {
        rig.until(name, "[...row.querySelectorAll('input')].every((input) => input.disabled)");
        rig.until(name, "row.innerText.includes('Read only')");
    }
}

#[test]
fn defaults_come_back_one_by_one_and_all_at_once() {
    let mut rig = Rig::open();
    rig.until("brightness", "row.querySelector('.reset').disabled");
    rig.enter("brightness", "[type=range]", "200", "input");
    rig.until_set(BRIGHTNESS, 200);
    rig.browser.click("[data-control=brightness] .reset");
    rig.until_set(BRIGHTNESS, 128);
    rig.until("brightness", "row.querySelector('.reset').disabled");
    rig.browser.click("[data-control=white_balance_automatic] [role=switch]");
    rig.until("white_balance_temperature", "!row.querySelector('[type=range]').disabled");
    rig.enter("white_balance_temperature", "[type=range]", "6000", "input");
    rig.enter("brightness", "[type=range]", "1", "input");
    rig.until_set(TEMPERATURE, 6000);
    rig.until_set(BRIGHTNESS, 1);
    rig.until("brightness", "!row.querySelector('.reset').disabled");
    rig.until("white_balance_automatic", "!row.querySelector('.reset').disabled");
    rig.browser.click("#panel-reset");
    for (id, value) in [(BRIGHTNESS, 128), (WHITE_BALANCE, 1)] {
        rig.until_set(id, value);
    }
    rig.until("white_balance_temperature", "row.querySelector('[type=range]').disabled");
}

#[test]
fn the_newest_of_many_moves_is_the_one_that_stands() {
    let mut rig = Rig::open();
    rig.browser.eval(
        "(() => { const slider = document.querySelector('[data-control=brightness] [type=range]');
            for (let value = 1; value <= 250; value++) { slider.value = value; slider.dispatchEvent(new Event('input')); } })()",
    );
    rig.until_set(BRIGHTNESS, 250);
    let puts = rig.browser.requests.iter().filter(|url| url.ends_with("/controls/brightness")).count();
    assert!((1..20).contains(&puts), "{puts} requests for one move");
}

#[test]
fn what_others_change_is_seen() {
    let mut rig = Rig::open();
    assert_eq!(put(rig.service.address, "/controls/brightness", "{\"value\":33}").status, 200);
    rig.until("brightness", "row.querySelector('[type=range]').value === '33'");
}

#[test]
fn an_objection_is_shown_where_it_belongs_and_goes_away() {
    let mut rig = Rig::open();
    rig.browser.forgive("422 (Unprocessable");
    rig.browser.forgive("503 (Service Unavailable)");
    rig.enter("brightness", "[type=text]", "256", "change");
    rig.until(
        "brightness",
        "row.querySelector('[role=alert]').textContent.includes('must be a number from 0 to 255')",
    );
    rig.until("brightness", "row.querySelector('[type=text]').value === '128'");
    rig.enter("brightness", "[type=text]", "25", "change");
    rig.until_set(BRIGHTNESS, 25);
    rig.until("brightness", "row.querySelector('[role=alert]').textContent === ''");
    rig.table.set(Setting::Unplug, 1);
    rig.browser.until("document.getElementById('panel-words').textContent.includes('no such device')");
    rig.table.set(Setting::Unplug, 0);
    rig.browser.until("document.getElementById('panel-words').textContent === ''");
}

#[test]
fn the_panel_opens_and_closes_by_keys_and_gives_the_focus_back() {
    let mut rig = Rig::open();
    rig.browser.key("Escape");
    rig.browser.until("document.getElementById('panel').hidden && document.activeElement.id === 'controls'");
    rig.browser.key("c");
    rig.browser
        .until("!document.getElementById('panel').hidden && document.activeElement.id === 'panel-close'");
    rig.browser.key("?");
    rig.browser.until("document.getElementById('help').open");
    rig.browser.key("Escape");
    rig.browser.until("!document.getElementById('help').open && !document.getElementById('panel').hidden");
}
