//! One page in any of three engines, so that a test is written once: Chromium over its own protocol, Firefox over
//! WebDriver BiDi, WebKitGTK over WebDriver on a screen of its own. WebKitGTK stands for Safari.
//!
//! What only Chromium is asked for is in [`Browser`].

mod firefox;
mod webkit;

use std::time::Instant;

use serde_json::Value;

use super::browser::{Browser, middle_of};
use super::{DEADLINE, Scratch, tools};

use firefox::Firefox;
use webkit::WebKit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Chromium,
    Firefox,
    WebKit,
}

/// JavaScript: whether a click has arrived, once there was time for it.
const ARRIVED: &str = "new Promise((done) => {
    const look = (left) => window.arrived !== false || left === 0
        ? done(window.arrived ?? null)
        : setTimeout(look, 20, left - 1);
    look(150); })";

/// What an engine can be told over its protocol.
trait Driver {
    /// Opens a URL and waits until it is loaded.
    fn open(&mut self, url: &str);

    /// The value of a JavaScript expression; a promise is waited for.
    fn eval(&mut self, expression: &str) -> Result<Value, String>;

    fn click_at(&mut self, x: f64, y: f64);

    /// Presses and releases a key: one character, `Enter`, or `ArrowRight`.
    fn key(&mut self, key: &str);

    /// What the page and the engine complained of.
    fn complaints(&mut self) -> Vec<String>;
}

/// A browser of one engine with one page.
pub struct Page {
    driver: Box<dyn Driver>,
    forgiven: Vec<String>,
}

impl Engine {
    /// Starts it with an empty profile; `None`, with a line that says so, where it is not installed.
    #[track_caller]
    pub fn start(self) -> Option<Page> {
        let driver: Box<dyn Driver> = match self {
            Self::Chromium => {
                tools::program("chromium", "chromium")?;
                Box::new(Browser::start())
            }
            Self::Firefox => Box::new(Firefox::start(&tools::program("firefox-esr", "firefox-esr")?)),
            Self::WebKit => {
                let driver = tools::program("WebKitWebDriver", "webkit2gtk-driver")?;
                let screen = tools::program("Xvfb", "xvfb")?;
                Box::new(WebKit::start(&driver, &screen))
            }
        };
        Some(Page { driver, forgiven: vec![] })
    }
}

impl Page {
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        self.driver.open(url);
    }

    /// Opens the page of a server for somebody who has chosen JPEG for these cameras. The page's own choice follows the load
    /// of the machine, and a test of something else must not.
    #[track_caller]
    pub fn open_with_jpeg(&mut self, url: &str, cameras: &[&str]) {
        self.open(&format!("{url}healthz"));
        for camera in cameras {
            self.eval(&format!("localStorage.setItem('porthole.view.{camera}', '{{\"choice\":\"sharp\"}}')"));
        }
        self.open(url);
    }

    /// Forgives complaints that hold `part`; all others fail the test at its end.
    pub fn forgive(&mut self, part: &str) {
        self.forgiven.push(part.into());
    }

    /// Forgives what a browser says of a server that does not answer.
    pub fn forgive_absence(&mut self) {
        for part in [
            "net::ERR_CONNECTION",
            "net::ERR_EMPTY_RESPONSE",
            "WebSocket connection to",
            "establish a connection",
            "connection to ws:",
            "interrupted while the page was loading",
        ] {
            self.forgive(part);
        }
    }

    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        self.driver.eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression is true in JavaScript's sense, and returns its value. One that fails is not true yet.
    #[track_caller]
    pub fn until(&mut self, expression: &str) -> Value {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let value = self.driver.eval(expression);
            match &value {
                Ok(Value::Null | Value::Bool(false)) | Err(_) => {}
                Ok(value) if *value == 0 || *value == "" => {}
                Ok(value) => return value.clone(),
            }
            if Instant::now() > give_up {
                let words = self.driver.eval("document.body.innerText");
                let complaints = self.driver.complaints();
                panic!(
                    "not within {DEADLINE:?}: {expression}: {value:?}; the page says {words:?}; {complaints:?}"
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Clicks in the middle of an element once it stands still. A click that arrives elsewhere is repeated: WebKitGTK's browser
    /// makes the window lower when a file is saved, at any time after the place was asked for.
    ///
    /// # Panics
    /// If none arrives in time, because something lies on top.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let middle = self.until(&middle_of(selector));
            self.eval(&format!(
                "(window.arrived = false, document.querySelector({selector:?})
                    .addEventListener('click', () => window.arrived = true, {{ capture: true, once: true }}))"
            ));
            self.driver.click_at(middle[0].as_f64().unwrap(), middle[1].as_f64().unwrap());
            // After a click that opens another page, nothing is known of it there.
            if self.driver.eval(ARRIVED) != Ok(Value::Bool(false)) {
                return;
            }
            assert!(Instant::now() < give_up, "no click arrives at {selector}");
        }
    }

    #[track_caller]
    pub fn key(&mut self, key: &str) {
        self.driver.key(key);
    }

    /// Types text into what has the focus.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        for character in text.chars() {
            self.driver.key(&character.to_string());
        }
    }
}

impl Drop for Page {
    /// # Panics
    /// If the page complained of anything that was not forgiven.
    fn drop(&mut self) {
        let forgiven = |complaint: &String| self.forgiven.iter().any(|part| complaint.contains(part));
        let complaints = self.driver.complaints();
        let complaints: Vec<&String> = complaints.iter().filter(|complaint| !forgiven(complaint)).collect();
        assert!(std::thread::panicking() || complaints.is_empty(), "the page complained: {complaints:?}");
    }
}

impl Driver for Browser {
    fn open(&mut self, url: &str) {
        self.open(url);
    }

    fn eval(&mut self, expression: &str) -> Result<Value, String> {
        self.try_eval(expression)
    }

    fn click_at(&mut self, x: f64, y: f64) {
        self.click_at(x, y);
    }

    fn key(&mut self, key: &str) {
        self.key(key);
    }

    fn complaints(&mut self) -> Vec<String> {
        self.take_complaints()
    }
}

/// A folder for what an engine keeps, and the environment that makes it keep everything there.
fn home(command: &mut std::process::Command) -> Scratch {
    let folder = Scratch::new();
    command.env("HOME", folder.path("")).env("TMPDIR", folder.path(""));
    for key in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
        command.env(key, folder.path(""));
    }
    folder
}

/// The WebDriver key value of a key's name (WebDriver, section 17.4.2); characters stand for themselves.
fn key_value(key: &str) -> String {
    match key {
        "Enter" => "\u{E007}".into(),
        "ArrowRight" => "\u{E014}".into(),
        "Escape" => "\u{E00C}".into(),
        character => character.into(),
    }
}
