//! Bad input of every kind: one line that names the thing, the value and the remedy, and the right exit code.

use std::net::TcpListener;

use support::{Porthole, Scratch, finish, porthole, run, source_tree};

/// Runs with a configuration file; the exit code and the one line it ends with.
#[track_caller]
fn refused(config: &str) -> String {
    let scratch = Scratch::new();
    let file = scratch.file("porthole.toml", config);
    let file = file.to_str().unwrap();
    let (code, _, error) = run(&["--config", file]);
    assert_eq!(code, 1, "{error}");
    let (check, _, same) = run(&["check", "--config", file]);
    assert_eq!((check, &same), (1, &error), "`check` sees it differently");
    assert_eq!(error.lines().count(), 1, "more than one line: {error}");
    assert!(!error.contains("panicked"), "{error}");
    error.trim_end().replace(file, "FILE")
}

#[test]
fn errors_in_the_file_name_line_key_value_and_remedy() {
    for (config, expected) in [
        (
            "[[camera]]\nqualty = 80\n",
            "FILE:2: `qualty = 80`: unknown key `qualty`, expected one of `name`, `source`",
        ),
        ("[sever]\n", "FILE:1: `[sever]`: unknown key `sever`, expected one of `board`, `server`"),
        ("[[camera]]\nfps = \"fast\"\n", "FILE:2: `fps = \"fast\"`: is text \"fast\", expected a number"),
        ("[[camera]]\n\nvalidate = 1\n", "FILE:3: `validate = 1`: is number 1, expected true or false"),
        ("[[camera]]\nname = \"a\n", "FILE:2: `name = \"a`: invalid basic string, expected `\"`"),
        (
            "board = \"toaster\"\n",
            "FILE:1: board = \"toaster\": must be auto, the path of a profile, or one of beagleplay, ",
        ),
        ("[[camera]]\nquality = 101\n", "FILE:2: quality = 101: must be 1 to 100"),
        ("[[camera]]\nfps = 0\n", "FILE:2: fps = 0.0: must be 0.1 to 240"),
        ("[[camera]]\nwidth = 0\nheight = 5\n", "FILE:2: width = 0: must be 1 to 65535"),
        ("[[camera]]\nwidth = 640\n", "FILE:2: width = 640: needs height beside it"),
        ("[[camera]]\nheight = 480\n", "FILE:2: height = 480: needs width beside it"),
        ("[[camera]]\nwidth = 1\nheight = 99999\n", "FILE:3: height = 99999: must be 1 to 65535"),
        ("[[camera]]\nformat = \"hevc\"\n", "FILE:2: format = \"hevc\": must be auto or one of mjpeg, yuyv"),
        ("[[camera]]\nsubsampling = \"4:1:1\"\n", "FILE:2: subsampling = \"4:1:1\": must be \"4:2:0\" or"),
        ("[[camera]]\nrotate = 45\n", "FILE:2: rotate = 45: must be 0, 90, 180 or 270, degrees clockwise"),
        ("[[camera]]\nlinger_s = -1\n", "FILE:2: linger_s = -1.0: must be 0 to 86400 seconds"),
        (
            "[[camera]]\nsource = \"video0\"\n",
            "FILE:2: source = \"video0\": source \"video0\" is not known; write auto",
        ),
        ("[[camera]]\nname = \"a b\"\n", "FILE:2: name = \"a b\": must be up to 40 letters, digits, - and _"),
        (
            "[[camera]]\nname=\"a\"\n[[camera]]\nname=\"a\"\n",
            "FILE:4: name = \"a\": is the name of another camera",
        ),
        (
            "[server]\nlisten = \"everywhere\"\n",
            "FILE:2: listen = \"everywhere\": must be an IP address and a port",
        ),
        ("[limits]\nconnections = 0\n", "FILE:2: connections = 0: must be 1 to 100000"),
        ("[limits]\nsilence_timeout_s = 1\n", "FILE:2: silence_timeout_s = 1.0: must be 2 to 3600 seconds"),
        ("[server]\nmax_viewers = 0\n", "FILE:2: max_viewers = 0: must be 1 to 1000"),
        (
            "[server]\nprogress_timeout_s = nan\n",
            "FILE:2: progress_timeout_s = NaN: must be 1 to 600 seconds",
        ),
        (
            "[[led]]\nrole = \"disco\"\n",
            "FILE:2: role = \"disco\": must be one of power, camera, on-air, fault",
        ),
        ("[[led]]\nline = \"GPIO17\"\n", "FILE:1: `[[led]]`: the key `role` is missing"),
        (
            "board = \"generic\"\n[[led]]\nrole = \"fault\"\n",
            "FILE:3: role = \"fault\": needs a line, as board generic has none for it: add line = ",
        ),
        (
            "[[led]]\nrole = \"fault\"\nline = \"A\"\n[[led]]\nrole = \"power\"\nline = \"A\"\n",
            "[[led]] power: A is the line of fault already; give one of them another line",
        ),
        ("[[led]]\nrole = \"fault\"\nline = \"led:\"\n", "FILE:3: line = \"led:\": needs the name of an LED"),
        ("[auth]\nmode = \"open\"\n", "FILE:2: mode = \"open\": must be \"password\", \"token\" or \"none\""),
    ] {
        let error = refused(config);
        assert!(
            error.starts_with(&format!("porthole: error: {expected}")),
            "{config:?} gave\n{error}, not\n{expected}"
        );
    }
}

#[test]
fn errors_on_the_command_line_name_the_flag() {
    for (arguments, expected) in [
        (&["--quality", "0"][..], "--quality = 0: must be 1 to 100"),
        (&["--size", "huge"], "--size = \"huge\": \"huge\" is not a picture size; write it as WIDTHxHEIGHT"),
        (&["--fps=-3"], "--fps = -3.0: must be 0.1 to 240"),
        (&["--board", "x"], "--board = \"x\": must be auto, the path of a profile, or one of"),
        (&["--listen", "localhost"], "--listen = \"localhost\": must be an IP address and a port"),
        (
            &["--config", "/nowhere/x.toml"],
            "/nowhere/x.toml: No such file or directory (os error 2); check the path",
        ),
    ] {
        let (code, _, error) = run(arguments);
        assert_eq!(code, 1, "{error}");
        assert!(error.starts_with(&format!("porthole: error: {expected}")), "{arguments:?} gave\n{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let (code, _, error) = run(&["--qualtiy", "80"]);
    assert_eq!(code, 1);
    assert!(error.contains("'--qualtiy'") && error.contains("'--quality'"), "{error}");
    let (code, _, error) = run(&["--quality", "good"]);
    assert_eq!(code, 1);
    assert!(error.contains("'good'") && error.contains("'--quality <N>'"), "{error}");
}

#[test]
fn what_is_in_force_is_shown_as_a_file_that_says_the_same_with_where_it_came_from() {
    let scratch = Scratch::new();
    let text = "board = \"rpi-4b\"\n[server]\nstate_dir = \"/srv/porthole\"\n[[camera]]\nquality = 70\nfps = 15\n\
        source = \"exec:ffmpeg -i rtsp://me:secret@cam/1 -\"\n[camera.controls]\ngain = 7\nauto_exposure = \"Manual Mode\"\n\
        [[camera]]\nname = \"back\"\nrotate = 90\n[[led]]\nrole = \"on-air\"\n[[led]]\nrole = \"power\"\nline = \"GPIO5\"\n";
    let file = scratch.file("porthole.toml", text);
    let file = file.to_str().unwrap();
    let (code, shown, error) = run(&["check", "--config", file, "--fps", "20", "--size", "640x480"]);
    assert_eq!(code, 0, "{error}");
    let expected = "\
board = \"rpi-4b\"  # FILE:1

[server]
listen = \"127.0.0.1:8080\"  # default
max_viewers = 64  # default
progress_timeout_s = 10.0  # default
state_dir = \"/srv/porthole\"  # FILE:3
hosts = []  # default
allow_origins = []  # default

[limits]
connections = 128  # default
connections_per_address = 64  # default
waiting = 64  # default
waiting_per_address = 16  # default
viewers_per_address = 32  # default
request_timeout_s = 10.0  # default
silence_timeout_s = 50.0  # default

[tls]
self_signed = false  # default

[auth]
mode = \"none\"  # default

[[camera]]
name = \"camera\"  # default
source = \"exec:ffmpeg -i rtsp://me:***@cam/1 -\"  # FILE:7
width = 640  # --size
height = 480  # --size
fps = 20.0  # --fps
format = \"auto\"  # default
quality = 70  # FILE:5
subsampling = \"4:2:0\"  # default
validate = true  # default
h264 = \"auto\"  # default
h264_quality = 50  # default
rotate = 0  # default
linger_s = 15.0  # default
skip_first = 0  # default
keep_controls = false  # default

[camera.controls]
auto_exposure = \"Manual Mode\"  # FILE:10
gain = 7  # FILE:9

[[camera]]
name = \"back\"  # FILE:12
source = \"auto\"  # default
# width and height: 1280x720, or what the camera has nearest to it (default)
fps = 30.0  # default
format = \"auto\"  # default
quality = 80  # default
subsampling = \"4:2:0\"  # default
validate = true  # default
h264 = \"auto\"  # default
h264_quality = 50  # default
rotate = 90  # FILE:13
linger_s = 15.0  # default
skip_first = 0  # default
keep_controls = false  # default

[mqtt]
topic = \"porthole/{host}\"  # default
snapshot_s = 0.0  # default
discovery = true  # default
discovery_prefix = \"homeassistant\"  # default

[[led]]
role = \"on-air\"  # FILE:15
line = \"GPIO17\"  # board rpi-4b
active_low = false  # default
required = false  # default

[[led]]
role = \"power\"  # FILE:17
line = \"GPIO5\"  # FILE:18
active_low = false  # default
required = false  # default

# The configuration is good.
";
    assert_eq!(shown.replace(file, "FILE"), expected);
    // What is shown is a configuration itself, and a configuration of the same.
    let again = scratch.file("again.toml", &shown);
    let (code, reread, error) = run(&["check", "--config", again.to_str().unwrap()]);
    assert_eq!(code, 0, "{error}");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&reread), values(&shown));
}

#[test]
fn boards_are_listed_and_shown() {
    let (code, list, _) = run(&["boards"]);
    assert_eq!(code, 0);
    assert!(list.contains("Raspberry Pi 4 Model B"), "{list}");
    let files = std::fs::read_dir(source_tree().join("board")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut ids: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".toml")?.to_owned())).collect();
    let mut listed: Vec<&str> =
        list.lines().map(|line| line[2..].split_whitespace().next().unwrap()).collect();
    ids.sort();
    listed.sort_unstable();
    assert_eq!(listed, ids);
    assert_eq!(
        list.lines().filter(|line| line.starts_with("* ")).count(),
        1,
        "this machine is not marked: {list}"
    );
    let (code, shown, _) = run(&["boards", "rpi-4b"]);
    assert!(code == 0 && shown.contains("GPIO17, pin 11"), "{shown}");
    let (code, _, error) = run(&["boards", "toaster"]);
    assert!(code == 1 && error.contains("board \"toaster\" must be auto"), "{error}");
}

#[test]
fn leds_that_cannot_be_had_are_reported_and_the_camera_runs_unless_they_are_required() {
    let scratch = Scratch::new();
    let config = |required| {
        format!(
            "[[camera]]\nsource = \"pattern\"\n[[led]]\nrole = \"on-air\"\nline = \"led:no-such\"\nrequired = {required}\n"
        )
    };
    let service = Porthole::configured(&scratch, &config(false));
    support::ws::Client::porthole(service.address, "/ws").acknowledged();
    let led = service.state()["leds"][0].clone();
    assert_eq!((led["role"].as_str(), led["line"].as_str()), (Some("on-air"), Some("led:no-such")));
    let pattern = led["pattern"].as_str().unwrap();
    assert!(pattern.starts_with("cannot be had: there is no /sys/class/leds/no-such, only "), "{pattern}");
    service.until_logged("led on-air: there is no /sys/class/leds/no-such");
    let file = scratch.file("required.toml", config(true));
    let (code, _, error) = run(&["--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 2);
    assert!(
        error.contains("led on-air: there is no /sys/class/leds/no-such")
            && error.contains("required = false")
    );
    let (code, _, error) = run(&["led", "on-air", "blink", "--config", file.to_str().unwrap()]);
    assert!(code == 2 && error.contains("there is no /sys/class/leds/no-such"), "{error}");
    let (code, _, error) = run(&["led", "fault", "on", "--config", file.to_str().unwrap()]);
    assert!(code == 1 && error.contains("no LED is configured for fault"), "{error}");
}

#[test]
fn no_file_at_all_is_a_configuration() {
    let (code, shown, error) = run(&["check"]);
    assert_eq!(code, 0, "{error}");
    assert!(shown.contains("board = \"auto\"  # default\n# this machine is generic (default)\n"), "{shown}");
    assert!(shown.contains("listen = \"127.0.0.1:8080\"  # default\n"), "{shown}");
    let scratch = Scratch::new();
    let empty = scratch.file("empty.toml", "");
    assert_eq!(run(&["check", "--config", empty.to_str().unwrap()]).0, 0);
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [&["--help"][..], &["--version"], &["help", "check"], &["boards"]] {
        let (code, out, error) = run(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
        assert!(!out.is_empty());
    }
    assert!(run(&["--version"]).1.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, error) = run(&["--source", "pattern", "--listen", &address]);
    assert_eq!(code, 2);
    let expected = format!(
        "porthole: error: cannot listen on {address}: Address already in use (os error 98); \
         another program has that port: stop it, or name another with --listen\n"
    );
    assert_eq!(error, expected);
    let (code, _, error) = run(&["--source", "pattern", "--listen", "192.0.2.1:8080", "--auth", "none"]);
    assert_eq!(code, 2);
    assert!(
        error.contains("192.0.2.1:8080") && error.contains("this machine has no such address"),
        "{error}"
    );
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let scratch = Scratch::new();
    let file = scratch.file("file", "in the way");
    let folder = file.join("state");
    let folder = folder.to_str().unwrap();
    let (code, _, error) = run(&["--source", "pattern", "--listen", "0.0.0.0:0", "--state-dir", folder]);
    assert_eq!(code, 2);
    assert!(error.starts_with(&format!("porthole: error: state_dir {folder}: ")), "{error}");
    assert!(error.contains("--state-dir") && error.lines().count() == 1, "{error}");
}

#[test]
fn beyond_loopback_the_token_is_asked_for_unless_it_is_waived() {
    use support::http::{get, request};
    let scratch = Scratch::new();
    let state = scratch.path("state");
    let start = |more: &[&str]| {
        let mut command = porthole();
        command.args(["--source", "pattern", "--size", "64x48", "--listen", "0.0.0.0:0", "--state-dir"]);
        Porthole::spawn(command.arg(&state).args(more))
    };
    let mut first = start(&[]);
    let token = first.url.split("/?token=").nth(1).expect("a ready URL").to_owned();
    assert!(!first.log().contains(&token), "the token is in the log");
    for target in ["/", "/state", "/snapshot", "/stream", "/ws", "/healthz", "/?token=wrong"] {
        let answer = get(first.address, target);
        assert_eq!(answer.status, 401, "{target}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic "));
    }
    // A browser would turn that into a prompt, in the middle of a picture, when it is a script that asks.
    for header in [("X-Requested-With", "porthole"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")] {
        let answer = request(first.address, "GET", "/state", &[header]);
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, Some("Bearer realm=\"porthole\""))
        );
    }
    let page = get(first.address, &format!("/?token={token}"));
    assert_eq!(page.status, 200);
    let cookie = page.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(request(first.address, "GET", "/state", &[("Cookie", &cookie)]).status, 200);
    let bearer = format!("Bearer {token}");
    assert_eq!(request(first.address, "GET", "/snapshot", &[("Authorization", &bearer)]).status, 200);
    assert_eq!(request(first.address, "OPTIONS", "/stream", &[]).status, 204);
    assert_eq!(first.stop(), Some(0));

    let second = start(&[]);
    assert!(!second.url.contains("token"), "the token was printed a second time: {}", second.url);
    assert_eq!(request(second.address, "GET", "/state", &[("Authorization", &bearer)]).status, 200);
    drop(second);
    let open = start(&["--auth", "none"]);
    assert_eq!(get(open.address, "/state").status, 200);
}

#[test]
fn a_reader_who_has_seen_enough_is_no_fault() {
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(format!("{} check | head -n 1", env!("CARGO_BIN_EXE_porthole")));
    let (code, out, error) = finish(&mut shell);
    assert_eq!((code, out.lines().count(), error.as_str()), (0, 1, ""));
}

#[cfg(not(feature = "mqtt"))]
#[test]
fn one_built_without_mqtt_says_so() {
    let scratch = Scratch::new();
    let file = scratch.file("porthole.toml", "[mqtt]\nurl = \"mqtt://broker\"\n");
    let file = file.to_str().unwrap();
    let (code, _, error) = run(&["check", "--config", file]);
    let expected = format!("{file}:2: url = \"mqtt://broker\": this porthole was built without MQTT");
    assert!(code == 1 && error.contains(&expected), "{error}");
}
