//! Firefox without a screen, spoken to over WebDriver BiDi, <https://www.w3.org/TR/webdriver-bidi/>.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::{Driver, home, key_value};
use crate::tools::Running;
use crate::{DEADLINE, Scratch, until};

/// Settings of the profile: nothing that goes to the network, or asks, by itself.
const SETTINGS: &str = r#"
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.page", 0);
user_pref("browser.translations.enable", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "");
user_pref("toolkit.telemetry.enabled", false);
user_pref("media.autoplay.default", 0);
user_pref("privacy.reduceTimerPrecision", false);
"#;

pub(super) struct Firefox {
    socket: WebSocket<TcpStream>,
    context: Value,
    next_id: u64,
    complaints: Vec<String>,
    _process: Running,
    _home: Scratch,
}

impl Firefox {
    #[track_caller]
    pub(super) fn start(program: &Path) -> Self {
        let mut command = Command::new(program);
        let home = home(&mut command);
        let profile = home.path("profile");
        std::fs::create_dir_all(&profile).unwrap();
        std::fs::write(profile.join("user.js"), SETTINGS).unwrap();
        command.args(["--headless", "--no-remote", "--width", "1280", "--height", "900", "--profile"]);
        command.arg(&profile).args(["--remote-debugging-port", "0", "about:blank"]);
        let process = Running::start(&mut command);
        let port = until("Firefox says where to reach it", || {
            let text = std::fs::read_to_string(profile.join("WebDriverBiDiServer.json")).ok()?;
            serde_json::from_str::<Value>(&text).ok()?["ws_port"].as_u64()
        });
        let stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://127.0.0.1:{port}/session"), stream).unwrap();
        let (context, complaints) = (Value::Null, vec![]);
        let mut this = Self { socket, context, next_id: 0, complaints, _process: process, _home: home };
        this.call("session.new", &json!({ "capabilities": {} }));
        let tree = this.call("browsingContext.getTree", &json!({}));
        this.context = tree["contexts"][0]["context"].clone();
        this.call("session.subscribe", &json!({ "events": ["log.entryAdded"] }));
        let size = json!({ "context": this.context, "viewport": { "width": 1280, "height": 800 } });
        this.call("browsingContext.setViewport", &size);
        this
    }

    #[track_caller]
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    #[track_caller]
    fn try_call(&mut self, method: &str, parameters: &Value) -> Result<Value, String> {
        self.next_id += 1;
        let message = json!({ "id": self.next_id, "method": method, "params": parameters });
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"))
            else {
                continue;
            };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.next_id {
                return match answer["type"].as_str() {
                    Some("success") => Ok(answer["result"].take()),
                    _ => Err(answer.to_string()),
                };
            }
            let entry = &answer["params"];
            if answer["method"] == "log.entryAdded"
                && matches!(entry["level"].as_str(), Some("error" | "warn"))
            {
                self.complaints.push(format!("{} {}", entry["text"], entry["stackTrace"]));
            }
        }
    }

    fn perform(&mut self, actions: &Value) {
        let actions = json!({ "context": self.context, "actions": [actions] });
        self.call("input.performActions", &actions);
    }
}

impl Driver for Firefox {
    fn open(&mut self, url: &str) {
        let there = json!({ "context": self.context, "url": url, "wait": "complete" });
        self.call("browsingContext.navigate", &there);
    }

    fn eval(&mut self, expression: &str) -> Result<Value, String> {
        let call = json!({
            "expression": format!("(async () => JSON.stringify((await ({expression})) ?? null))()"),
            "target": { "context": self.context }, "awaitPromise": true, "userActivation": true,
        });
        let answer = self.try_call("script.evaluate", &call)?;
        match answer["type"].as_str() {
            Some("success") => serde_json::from_str(answer["result"]["value"].as_str().unwrap_or("null"))
                .map_err(|e| e.to_string()),
            _ => Err(answer["exceptionDetails"]["text"].to_string()),
        }
    }

    fn click_at(&mut self, x: f64, y: f64) {
        let (x, y) = (x.round() as i64, y.round() as i64);
        self.perform(&json!({ "type": "pointer", "id": "mouse", "actions": [
            { "type": "pointerMove", "x": x, "y": y },
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

    fn complaints(&mut self) -> Vec<String> {
        // Whatever was said up to now comes before the answer to this.
        if !std::thread::panicking() {
            let _ = self.eval("0");
        }
        std::mem::take(&mut self.complaints)
    }
}
