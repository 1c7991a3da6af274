//! A real browser: headless Chromium, spoken to over the Chrome DevTools Protocol.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::{DEADLINE, Scratch, folder_of_tests, until};

/// JavaScript: every camera for which nothing else is stored is shown in JPEG.
const JPEG_CHOSEN: &str = "(() => { const read = Storage.prototype.getItem;
    Storage.prototype.getItem = function (key) {
        return read.call(this, key) ?? (key.startsWith('porthole.view.') ? '{\"choice\":\"sharp\"}' : null);
    }; })()";

/// JavaScript: the middle of an element in the window, or false while it cannot be clicked or moves. A bar finds its place when
/// the first picture comes.
pub(crate) fn middle_of(selector: &str) -> String {
    format!(
        "new Promise((done) => {{ const e = document.querySelector({selector:?});
            e.scrollIntoView({{ block: 'nearest' }});
            const middle = () => {{ const r = e.getBoundingClientRect();
                return r.width && !e.disabled && [r.left + r.width / 2, r.top + r.height / 2]; }};
            const first = middle();
            const again = () => done(String(first) === String(middle()) && first);
            setTimeout(() => document.hidden ? again() : requestAnimationFrame(again), 30); }})"
    )
}

/// A browser with one page open.
pub struct Browser {
    process: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    next_id: u64,
    /// Errors and warnings of the page's scripts, exceptions they did not catch, and errors of the browser itself.
    complaints: Vec<String>,
    /// Parts of complaints that a test brings about on purpose.
    forgiven: Vec<String>,
    /// The URLs that have been asked for.
    pub requests: Vec<String>,
    profile: Scratch,
}

impl Browser {
    /// Starts Chromium with an empty profile and an empty page.
    ///
    /// # Panics
    /// If it is not installed; `scripts/test` installs it.
    #[track_caller]
    pub fn start() -> Self {
        let profile = Scratch::new();
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into());
        let process = Command::new(&program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args([
                "--disable-dev-shm-usage",
                "--mute-audio",
                "--remote-debugging-port=0",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path("").display()))
            .arg("about:blank")
            // What it would leave behind when it is killed goes with its profile.
            .env("TMPDIR", profile.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install chromium"));
        let (port, path) = until("Chromium says where to reach it", || {
            let text = std::fs::read_to_string(profile.path("DevToolsActivePort")).ok()?;
            let (port, path) = text.trim().split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.to_owned()))
        });
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream).unwrap();
        let mut this = Self {
            process,
            socket,
            session: String::new(),
            next_id: 0,
            complaints: vec![],
            forgiven: vec![],
            requests: vec![],
            profile,
        };
        let targets = this.call("Target.getTargets", &json!({}))["targetInfos"].take();
        let page =
            targets.as_array().unwrap().iter().find(|target| target["type"] == "page").expect("a page");
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = this.call("Target.attachToTarget", &attach);
        this.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            this.call(&format!("{domain}.enable"), &json!({}));
        }
        this.resize(1280, 800, 1.0);
        this
    }

    /// Starts Chromium for somebody who has chosen JPEG. The page's own choice follows the load of the machine, and a test of
    /// something else must not.
    #[track_caller]
    pub fn with_jpeg_chosen() -> Self {
        let mut this = Self::start();
        this.prepare(JPEG_CHOSEN);
        this
    }

    /// Makes the window this large, as a phone's if the device pixel ratio is above 1.
    pub fn resize(&mut self, width: u32, height: u32, ratio: f64) {
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": ratio, "mobile": ratio > 1.0 });
        self.call("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Forgives complaints that hold `part`; all others fail the test at its end.
    pub fn forgive(&mut self, part: &str) {
        self.forgiven.push(part.into());
    }

    /// Forgives what the browser itself says when a server does not answer.
    pub fn forgive_absence(&mut self) {
        for part in [
            "net::ERR_CONNECTION",
            "net::ERR_EMPTY_RESPONSE",
            "net::ERR_TIMED_OUT",
            "WebSocket connection to",
        ] {
            self.forgive(part);
        }
    }

    /// Runs a script in every page opened from now on, before the page's own.
    pub fn prepare(&mut self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
    }

    /// Presses and releases a key, as `s` or `Escape`.
    #[track_caller]
    pub fn key(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            character if character.len() == 1 => character,
            _ => "",
        };
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowRight" => 39,
            _ => key.to_ascii_uppercase().bytes().next().unwrap_or_default(),
        };
        for (kind, text) in [("keyDown", text), ("keyUp", "")] {
            let mut event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Clicks in the middle of an element once it stands still, on whatever lies on top there.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let middle = self.until(&middle_of(selector));
        self.click_at(middle[0].as_f64().unwrap(), middle[1].as_f64().unwrap());
    }

    /// Clicks at a place of the window.
    #[track_caller]
    pub fn click_at(&mut self, x: f64, y: f64) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// What the page complained of up to now; it is not reported again.
    pub(crate) fn take_complaints(&mut self) -> Vec<String> {
        // Whatever was said up to now comes before the answer to this.
        if !std::thread::panicking() {
            let _ = self.try_eval("0");
        }
        std::mem::take(&mut self.complaints)
    }

    /// Lets downloads go to a folder of this browser's own, and says which.
    pub fn downloads(&mut self) -> PathBuf {
        let folder = self.profile.path("downloads");
        self.on_browser(
            "Browser.setDownloadBehavior",
            &json!({ "behavior": "allow", "downloadPath": folder }),
        );
        folder
    }

    /// Puts another page before this one, so that nobody sees it; gives that one's id.
    #[track_caller]
    pub fn cover(&mut self) -> Value {
        let blank = json!({ "url": "about:blank" });
        self.on_browser("Target.createTarget", &blank)["targetId"].take()
    }

    /// Takes the covering page away.
    #[track_caller]
    pub fn uncover(&mut self, page: &Value) {
        self.on_browser("Target.closeTarget", &json!({ "targetId": page }));
        self.call("Page.bringToFront", &json!({}));
    }

    /// Sets a CSS media feature, as `prefers-color-scheme`.
    pub fn media(&mut self, feature: &str, value: &str) {
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": feature, "value": value }] }),
        );
    }

    /// Opens a URL. Scripts of the page may not have run yet.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", &json!({ "url": url }));
        assert_eq!(answer.get("errorText"), None, "{url}");
    }

    /// The value of a JavaScript expression in the page; a promise is waited for.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    pub(crate) fn try_eval(&mut self, expression: &str) -> Result<Value, String> {
        let call = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        // The page may just be leaving for another.
        let mut answer = self.try_call("Runtime.evaluate", &call)?;
        match answer.get("exceptionDetails") {
            Some(exception) => Err(exception.to_string()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Waits until an expression is true (in JavaScript's sense) and returns its value. One that cannot be evaluated is
    /// not true yet: what it speaks of may still be loading.
    #[track_caller]
    pub fn until(&mut self, expression: &str) -> Value {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let value = self.try_eval(expression);
            match value {
                Ok(Value::Null | Value::Bool(false)) | Err(_) => {}
                Ok(ref value) if *value == json!(0) || *value == json!("") => {}
                Ok(value) => return value,
            }
            if Instant::now() > give_up {
                let page = self.try_eval("document.body.innerText");
                panic!(
                    "not within {DEADLINE:?}: {expression}: {value:?}; the page says {page:?}; {:?}",
                    self.complaints
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the page looks like, as PNG.
    #[track_caller]
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        BASE64_STANDARD.decode(answer["data"].as_str().unwrap().as_bytes()).unwrap()
    }

    /// Writes a screenshot where people can look at it: `target/screenshots/NAME.png`.
    #[track_caller]
    pub fn keep_screenshot(&mut self, name: &str) {
        let folder = folder_of_tests().join("../../screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), self.screenshot()).unwrap();
    }

    /// Calls a method of the protocol that concerns the browser and not the page.
    #[track_caller]
    pub fn on_browser(&mut self, method: &str, parameters: &Value) -> Value {
        let session = std::mem::take(&mut self.session);
        let answer = self.call(method, parameters);
        self.session = session;
        answer
    }

    /// Calls a method of the protocol.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    #[track_caller]
    fn try_call(&mut self, method: &str, parameters: &Value) -> Result<Value, String> {
        self.next_id += 1;
        let mut message = json!({ "id": self.next_id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"))
            else {
                continue;
            };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.next_id {
                return match answer.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(answer["result"].take()),
                };
            }
            self.notice(&answer);
        }
    }

    fn notice(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(parameters["exceptionDetails"].to_string());
            }
            Some("Runtime.consoleAPICalled")
                if matches!(parameters["type"].as_str(), Some("error" | "warning")) =>
            {
                self.complaints.push(parameters["args"].to_string());
            }
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => {
                self.complaints
                    .push(format!("{}: {}", parameters["entry"]["text"], parameters["entry"]["url"]));
            }
            Some("Network.requestWillBeSent") => {
                self.requests.push(parameters["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            Some("Network.webSocketCreated") => {
                self.requests.push(parameters["url"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    /// # Panics
    /// If the page complained of anything that was not forgiven.
    fn drop(&mut self) {
        let complaints = self.take_complaints();
        let _ = self.process.kill();
        let _ = self.process.wait();
        let forgiven = |complaint: &String| self.forgiven.iter().any(|part| complaint.contains(part));
        let complaints: Vec<&String> = complaints.iter().filter(|complaint| !forgiven(complaint)).collect();
        assert!(std::thread::panicking() || complaints.is_empty(), "the page complained: {complaints:?}");
    }
}
