//! WebKitGTK's own small browser on a screen in memory, spoken to over WebDriver, <https://www.w3.org/TR/webdriver2/>.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Driver, home, key_value};
use crate::http::{post, request};
use crate::tools::{Running, free_port};
use crate::{Scratch, until};

pub(super) struct WebKit {
    address: SocketAddr,
    session: String,
    _driver: Running,
    _screen: Screen,
    _home: Scratch,
}

/// An X server without a screen to look at. Killed when dropped.
struct Screen(Child);

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Screen {
    /// Starts it, and gives the number that it took.
    #[track_caller]
    fn start(program: &Path) -> (Self, String) {
        let mut command = Command::new(program);
        command.args(["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut this = Self(child.unwrap());
        let mut number = String::new();
        BufReader::new(this.0.stdout.take().unwrap()).read_line(&mut number).unwrap();
        assert!(!number.is_empty(), "the X server did not start");
        (this, format!(":{}", number.trim()))
    }
}

/// The browser, which no folder for programs holds.
#[track_caller]
fn mini_browser() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let programs = folders.map(|folder| folder.join("webkit2gtk-4.1/MiniBrowser"));
    programs.into_iter().find(|path| path.is_file()).expect("libwebkit2gtk-4.1-0 holds MiniBrowser")
}

impl WebKit {
    #[track_caller]
    pub(super) fn start(driver: &Path, screen: &Path) -> Self {
        let (screen, display) = Screen::start(screen);
        let port = free_port();
        let mut command = Command::new(driver);
        let home = home(&mut command);
        command.arg(format!("--port={port}")).env("DISPLAY", display).env_remove("WAYLAND_DISPLAY");
        let driver = Running::start(&mut command);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until("the driver listens", || std::net::TcpStream::connect(address).ok());
        let mut this =
            Self { address, session: String::new(), _driver: driver, _screen: screen, _home: home };
        let options = json!({ "binary": mini_browser(), "args": ["--automation"] });
        let wanted = json!({ "alwaysMatch": { "webkitgtk:browserOptions": options } });
        let made = this.call("/session", &json!({ "capabilities": wanted })).unwrap();
        this.session = format!("/session/{}", made["sessionId"].as_str().expect("a session"));
        this
    }

    fn call(&mut self, path: &str, body: &Value) -> Result<Value, String> {
        let path = format!("{}{path}", self.session);
        let answer = post(self.address, &path, &[], &body.to_string());
        let mut parsed: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        match answer.status {
            200 => Ok(parsed["value"].take()),
            _ => Err(parsed["value"].to_string()),
        }
    }

    #[track_caller]
    fn perform(&mut self, actions: &Value) {
        self.call("/actions", &json!({ "actions": [actions] })).unwrap();
    }
}

impl Driver for WebKit {
    fn open(&mut self, url: &str) {
        self.call("/url", &json!({ "url": url })).unwrap();
    }

    fn eval(&mut self, expression: &str) -> Result<Value, String> {
        let script = format!(
            "const done = arguments[0];
             (async () => JSON.stringify((await ({expression})) ?? null))().then(
                 (value) => done([value, null]), (error) => done([null, String(error)]));"
        );
        let answer = self.call("/execute/async", &json!({ "script": script, "args": [] }))?;
        match (answer[0].as_str(), answer[1].as_str()) {
            (Some(value), _) => serde_json::from_str(value).map_err(|error| error.to_string()),
            (None, error) => Err(error.unwrap_or("no value").to_owned()),
        }
    }

    fn click_at(&mut self, x: f64, y: f64) {
        let (x, y) = (x.round() as i64, y.round() as i64);
        self.perform(&json!({ "type": "pointer", "id": "mouse", "actions": [
            { "type": "pointerMove", "x": x, "y": y, "duration": 0 },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]}));
    }

    fn key(&mut self, key: &str) {
        let value = key_value(key);
        self.perform(&json!({ "type": "key", "id": "keys", "actions": [
            { "type": "keyDown", "value": value }, { "type": "keyUp", "value": value },
        ]}));
    }

    /// This protocol does not tell them.
    fn complaints(&mut self) -> Vec<String> {
        vec![]
    }
}

impl Drop for WebKit {
    fn drop(&mut self) {
        // The driver ends the browser.
        if !self.session.is_empty() && !std::thread::panicking() {
            request(self.address, "DELETE", &self.session, &[]);
        }
    }
}
