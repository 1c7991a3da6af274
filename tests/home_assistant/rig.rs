//! A broker, Home Assistant's core, and the program with a camera.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use support::broker::Broker;
use support::fakecam::{Camera, Table, environment};
use support::mqtt::Session;
use support::tools::free_port;
use support::{DEADLINE, Porthole, Scratch, source_tree, until};

pub const NODE: &str = "/dev/video90";
/// Home Assistant loads for long where other tests run beside it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Said of a device whose entities were named one by one before it was cleared.
const EXPECTED: &str = "No device components to cleanup";

pub struct Rig {
    python: PathBuf,
    scratch: Scratch,
    broker: Broker,
    pub table: Table,
    camera: Camera,
}

impl Rig {
    /// A broker and a camera; `None` where Home Assistant is not.
    pub fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("PORTHOLE_HOME_ASSISTANT") else {
            eprintln!("skipped: scripts/home-assistant brings Home Assistant");
            return None;
        };
        let scratch = Scratch::new();
        let broker =
            Broker::mosquitto(&scratch, "allow_anonymous true").expect("the script brings mosquitto");
        std::fs::create_dir(scratch.path("home-assistant")).unwrap();
        let table = Table::create(scratch.path("table")).unwrap();
        let camera = Camera::new(NODE, &table).with("formats", "MJPG:640x480@30");
        Some(Self { python: python.into(), scratch, broker, table, camera })
    }

    /// The program with the camera `front`, and these more.
    #[track_caller]
    pub fn serve(&self, more_cameras: &str) -> Porthole {
        self.serve_with("", more_cameras)
    }

    /// The same with more in its section `[mqtt]`.
    #[track_caller]
    pub fn serve_with(&self, more: &str, more_cameras: &str) -> Porthole {
        let (state, port) = (self.scratch.path("state"), self.broker.address.port());
        let text = format!(
            "[server]\nstate_dir = {state:?}\n\
             [mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\ntopic = \"porthole/nest\"\n{more}\n\
             [[camera]]\nname = \"front\"\nsource = \"{NODE}\"\nlinger_s = 0\n{more_cameras}"
        );
        let file = self.scratch.file("porthole.toml", text);
        // For other machines: Home Assistant is told only of a page that they find.
        let mut command = support::porthole();
        command.envs(environment(std::slice::from_ref(&self.camera)));
        command.args(["--listen", "0.0.0.0:0", "--auth", "none", "--config"]).arg(file);
        Porthole::spawn(&mut command)
    }

    /// Home Assistant, with what it remembers from an earlier time.
    #[track_caller]
    pub fn home_assistant(&self) -> Core {
        let folder = self.scratch.path("home-assistant");
        let program = source_tree().join("tests/home_assistant/core.py");
        let mut child = Command::new(&self.python)
            .args([&program, &folder])
            .args([self.broker.address.port(), free_port()].map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let core = Core { child: RefCell::new(child), stdin: RefCell::new(stdin), answers };
        assert_eq!(core.answer(), json!("started"));
        core
    }

    /// Takes away what the broker keeps of a topic.
    #[track_caller]
    pub fn forget(&self, topic: &str) {
        Session::connect(self.broker.address, "forgets").retain(topic, b"");
    }
}

/// A running Home Assistant.
pub struct Core {
    child: RefCell<Child>,
    stdin: RefCell<ChildStdin>,
    answers: Receiver<String>,
}

impl Core {
    #[track_caller]
    pub fn ask(&self, request: Value) -> Value {
        writeln!(self.stdin.borrow_mut(), "{request}").unwrap();
        self.answer()
    }

    #[track_caller]
    fn answer(&self) -> Value {
        let line = self.answers.recv_timeout(PATIENCE).expect("Home Assistant answers");
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["error"], Value::Null);
        answer["answer"].take()
    }

    /// The names of a camera's entities, without those that Home Assistant has from earlier alone.
    #[track_caller]
    fn entities(&self, camera: &str) -> Vec<String> {
        let all = self.ask(json!({ "ask": "entities" }));
        let of_camera = format!("porthole_nest/{camera}/");
        let names = all.as_object().unwrap().keys().filter_map(|id| id.strip_prefix(&of_camera));
        let mut names: Vec<_> = names.map(ToOwned::to_owned).collect();
        names.sort();
        names
    }

    /// Waits until a camera has these entities and no others.
    #[track_caller]
    pub fn until_entities(&self, camera: &str, wanted: &[impl AsRef<str>]) {
        let wanted: Vec<&str> = wanted.iter().map(AsRef::as_ref).collect();
        self.wait(|| {
            let are = self.entities(camera);
            if are == wanted { Ok(()) } else { Err(format!("{camera} has {are:?} and not {wanted:?}")) }
        });
    }

    /// Looks until it is well, with pauses: each look costs Home Assistant time.
    #[track_caller]
    fn wait(&self, mut look: impl FnMut() -> Result<(), String>) {
        let give_up = Instant::now() + DEADLINE;
        while let Err(why) = look() {
            assert!(Instant::now() < give_up, "{why}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ID by which Home Assistant calls an entity.
    #[track_caller]
    pub fn entity(&self, camera: &str, name: &str) -> String {
        let id = format!("porthole_nest/{camera}/{name}");
        let entity = self.ask(json!({ "ask": "entities" }))[&id].as_str().map(ToOwned::to_owned);
        entity.unwrap_or_else(|| panic!("there is no {id}"))
    }

    /// The state of an entity and its attributes.
    #[track_caller]
    pub fn state(&self, camera: &str, name: &str) -> Value {
        let entity = self.entity(camera, name);
        self.ask(json!({ "ask": "states" }))[&entity].take()
    }

    /// Waits until the state of an entity is as wanted.
    #[track_caller]
    pub fn until_state(&self, camera: &str, name: &str, what: &str, is_wanted: impl Fn(&Value) -> bool) {
        let id = format!("porthole_nest/{camera}/{name}");
        self.wait(|| {
            let entity = self.ask(json!({ "ask": "entities" }))[&id].take();
            let entity = entity.as_str().ok_or_else(|| format!("there is no {id}"))?;
            let state = self.ask(json!({ "ask": "states" }))[entity].take();
            if is_wanted(&state) { Ok(()) } else { Err(format!("{id} is not {what}: {state}")) }
        });
    }

    /// Calls an action of Home Assistant on an entity: `number.set_value`.
    #[track_caller]
    pub fn call(&self, camera: &str, name: &str, action: &str, mut data: Value) {
        // It is registered before it is there, and until then the call would do nothing.
        let is_there = |state: &Value| state["state"].as_str().is_some_and(|state| state != "unavailable");
        self.until_state(camera, name, "there", is_there);
        let (domain, service) = action.split_once('.').unwrap();
        data["entity_id"] = self.entity(camera, name).into();
        self.ask(json!({ "ask": "call", "domain": domain, "service": service, "data": data }));
    }

    /// What the camera's picture is in Home Assistant; `None` if there has been none.
    #[track_caller]
    pub fn image(&self, camera: &str) -> Option<Vec<u8>> {
        let entity = self.entity(camera, "camera");
        let image = self.ask(json!({ "ask": "image", "entity": entity }));
        image.as_str().map(|text| BASE64_STANDARD.decode(text).unwrap())
    }

    /// Home Assistant took every message, and had nothing to say about what it was told.
    #[track_caller]
    pub fn had_nothing_to_complain_about(&self) {
        let complaints = self.ask(json!({ "ask": "complaints" }));
        let lines = complaints.as_array().unwrap().iter().filter_map(Value::as_str);
        let complaints: Vec<_> = lines.filter(|line| !line.contains(EXPECTED)).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    /// Ends it as an administrator does: it remembers its entities.
    #[track_caller]
    pub fn stop(self) {
        self.ask(json!({ "ask": "stop" }));
        until("Home Assistant has ended", || self.child.borrow_mut().try_wait().unwrap());
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let mut child = self.child.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}
