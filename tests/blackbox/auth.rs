//! Tokens and passwords: how they are set, shown, refused, guessed, and never seen.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use support::http::{Response, get, post, request};
use support::prometheus::Exposition;
use support::tools::program;
use support::{Porthole, Scratch, finish, porthole, proc_status, run, until};

pub const VIEWER: &str = "only for looking";
pub const ADMIN: &str = "for looking & more";

/// Sets a password as somebody does in a script.
#[track_caller]
fn set_password(state: &Path, role: &str, password: &str) {
    let mut child = porthole()
        .args(["passwd", role, "--state-dir"])
        .arg(state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.contains("restart porthole") && !said.contains(password), "{said}");
}

/// A state directory with both passwords, and the flags that name it.
pub fn with_passwords(scratch: &Scratch) -> PathBuf {
    let state = scratch.path("state");
    set_password(&state, "viewer", VIEWER);
    set_password(&state, "admin", ADMIN);
    state
}

/// A service that asks for passwords, with whatever more arguments there are.
pub fn with_state(state: &Path, more: &[&str]) -> Porthole {
    let mut command = porthole();
    command.args(["--source", "pattern", "--size", "320x240", "--state-dir"]).arg(state).args(more);
    if !more.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    Porthole::spawn(&mut command)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}").as_bytes()))
}

fn with(address: SocketAddr, target: &str, authorization: &str) -> Response {
    request(address, "GET", target, &[("Authorization", authorization)])
}

fn metrics(service: &Porthole, authorization: &str) -> Exposition {
    Exposition::parse(&with(service.address, "/metrics", authorization).text())
}

#[test]
fn passwords_that_are_set_are_asked_for_and_each_has_its_role() {
    let scratch = Scratch::new();
    let state = with_passwords(&scratch);
    let file = state.join("passwords.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = fs::read_to_string(&file).unwrap();
    assert!(
        kept.contains("viewer_password = \"$argon2id$") && kept.contains("admin_password = \"$argon2id$"),
        "{kept}"
    );
    let service = with_state(&state, &[]);
    assert!(!service.url.contains("token"), "{}", service.url);
    let refused = get(service.address, "/snapshot");
    assert_eq!(
        (refused.status, refused.header("www-authenticate").unwrap().starts_with("Basic ")),
        (401, true)
    );

    for (user, password, role) in [
        ("", VIEWER, "viewer"),
        ("octoprint", VIEWER, "viewer"),
        ("admin", VIEWER, "viewer"),
        ("viewer", ADMIN, "admin"),
    ] {
        let answer = with(service.address, "/state", &basic(user, password));
        assert_eq!(answer.header("porthole-access"), Some(&*format!("{role}; by=basic")));
    }
    assert_eq!(with(service.address, "/snapshot", &format!("Bearer {VIEWER}")).status, 200);
    assert_eq!(get(service.address, "/snapshot?token=only+for%20looking").status, 200);
    assert_eq!(with(service.address, "/snapshot", &basic("", "something else")).status, 401);

    let put = |password: &str| {
        request(
            service.address,
            "PUT",
            "/controls/brightness",
            &[("Authorization", &basic("x", password)), ("Content-Length", "0")],
        )
    };
    let refused = put(VIEWER);
    assert!(refused.status == 403 && refused.text().contains("porthole passwd admin"), "{}", refused.text());
    // A test pattern has no controls, but it is asked.
    assert_ne!(put(ADMIN).status, 403);
    let figures = metrics(&service, &basic("", VIEWER));
    assert_eq!(figures.value("porthole_requests_forbidden_total", &[("reason", "role")]), 1.0);
    assert_eq!(figures.value("porthole_requests_unauthorized_total", &[]), 2.0);
    assert_eq!(figures.value("porthole_sessions", &[]), 0.0);
}

#[test]
fn curl_shows_a_password_as_people_do() {
    let Some(curl) = program("curl", "curl") else { return };
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    let (user, bearer) = (format!("me:{VIEWER}"), format!("Authorization: Bearer {VIEWER}"));
    let token = format!("token={VIEWER}");
    for ways in [
        &["-u", &user][..],
        &["--anyauth", "-u", &user],
        &["-H", &bearer],
        &["--get", "--data-urlencode", &token],
    ] {
        let mut command = Command::new(&curl);
        command
            .args(["-sSf", "-o", "/dev/null"])
            .args(ways)
            .arg(format!("http://{}/snapshot", service.address));
        let (code, _, error) = finish(&mut command);
        assert_eq!(code, 0, "{ways:?}: {error}");
    }
}

#[test]
fn the_password_command_takes_what_it_is_given_and_nothing_unsound() {
    let scratch = Scratch::new();
    let give = |input: &str, arguments: &[&str]| {
        let file = scratch.file("input", input);
        let mut command = porthole();
        command.args(["passwd", "--state-dir"]).arg(scratch.path("state")).args(arguments);
        finish(command.stdin(fs::File::open(file).unwrap()))
    };
    let (code, out, error) = give("a good password\n", &["--print"]);
    assert!(
        code == 0 && out.starts_with("admin_password = \"$argon2id$v=19$m=7168,t=5,p=1$"),
        "{out}{error}"
    );
    assert!(!scratch.path("state").exists(), "something was kept");
    // What is printed is what the configuration takes, and its check does not show it.
    let config = scratch.file("porthole.toml", format!("[auth]\n{out}"));
    let (code, shown, error) = run(&[
        "check",
        "--config",
        config.to_str().unwrap(),
        "--state-dir",
        scratch.path("state").to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{error}");
    assert!(
        shown.contains("mode = \"password\"  # default\n# admin_password is set, and not shown ("),
        "{shown}"
    );
    assert!(!shown.contains("argon2"), "{shown}");
    for (input, wrong) in
        [("", "no password came"), ("short\n", "at least 8 characters"), ("\n", "at least 8 characters")]
    {
        let (code, _, error) = give(input, &["viewer"]);
        assert!(code == 1 && error.contains(wrong), "{input:?}: {error}");
    }
    let (code, _, error) = give("a good password\n", &["root"]);
    assert!(code == 1 && error.contains("viewer or admin"), "{error}");
    // Where a password is wanted and none is set, it can be set.
    let config = scratch.file("porthole.toml", "[auth]\nmode = \"password\"\n");
    let flags = ["--config", config.to_str().unwrap()];
    let state = scratch.path("state");
    let (code, _, error) = run(&[&["check", "--state-dir", state.to_str().unwrap()], &flags[..]].concat());
    assert!(
        code == 1 && error.contains("mode = \"password\": needs a password: run `porthole passwd`"),
        "{error}"
    );
    assert_eq!(give("a good password\n", &flags).0, 0);
    assert_eq!(run(&[&["check", "--state-dir", state.to_str().unwrap()], &flags[..]].concat()).0, 0);
}

#[test]
fn on_a_terminal_a_password_is_asked_for_twice_and_not_shown() {
    let Some(script) = program("script", "bsdutils") else { return };
    let scratch = Scratch::new();
    let state = scratch.path("state");
    let ask = |typed: &str| {
        let command =
            format!("{} passwd viewer --state-dir {}", env!("CARGO_BIN_EXE_porthole"), state.display());
        let mut terminal = Command::new(&script)
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
        let mut seen = Vec::new();
        // Each line when it is asked for: what is typed before is thrown away.
        for (question, line) in ["New viewer password: ", "The same again: "].iter().zip(typed.split(' ')) {
            read_until(&mut screen, &mut seen, question);
            keys.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        read_until(
            &mut screen,
            &mut seen,
            if typed.contains("other") { "nothing is changed" } else { "is kept in" },
        );
        // It ends by itself, keys or not.
        let status = terminal.wait().unwrap();
        (status.code().unwrap(), String::from_utf8(seen).unwrap())
    };
    let (code, seen) = ask("secret-of-mine other-of-mine");
    assert!(code == 1 && seen.contains("nothing is changed") && !state.exists(), "{seen}");
    let (code, seen) = ask("secret-of-mine secret-of-mine");
    assert!(code == 0 && !seen.contains("secret-of-mine"), "{seen}");
    let service = with_state(&state, &[]);
    assert_eq!(with(service.address, "/state", &basic("", "secret-of-mine")).status, 200);
}

/// Reads until the end of what was read is in `seen`.
#[track_caller]
fn read_until(from: &mut impl std::io::Read, seen: &mut Vec<u8>, what: &str) {
    let mut byte = [0];
    while !String::from_utf8_lossy(seen).contains(what) {
        let read = from.read(&mut byte).unwrap();
        assert_eq!(read, 1, "it ended without saying {what:?}: {}", String::from_utf8_lossy(seen));
        seen.push(byte[0]);
    }
}

#[test]
fn passwords_in_the_configuration_are_hashes_and_are_not_repeated() {
    let scratch = Scratch::new();
    for (config, expected) in [
        (
            "[auth]\nadmin_password = \"hunter2-hunter2\"\n",
            ":2: admin_password = ***: must be an argon2id hash, not the password itself: run `porthole passwd`",
        ),
        (
            "[auth]\nmode = \"token\"\nviewer_password = \"hunter2-hunter2\"\n",
            ":3: viewer_password = ***: must be",
        ),
        ("[auth]\nviewer_password = 22222222\n", ":2: `viewer_password = ***`: must be text in quotes"),
        (
            "[auth]\nviewer_password = \"hunter2-hunter2\n",
            ":2: `viewer_password = ***`: must be text in quotes",
        ),
        (
            "[auth]\nviewer_passwort = \"hunter2-hunter2\"\n",
            ":2: `viewer_passwort = ***`: unknown key `viewer_passwort`",
        ),
        (
            "[server]\nhosts = [\"https://cam.example\"]\n",
            ":2: hosts = [\"https://cam.example\"]: must be a host name",
        ),
        (
            "[server]\nallow_origins = [\"cam.example\"]\n",
            ":2: allow_origins = [\"cam.example\"]: must be a scheme, a host",
        ),
    ] {
        let file = scratch.file("porthole.toml", config);
        let (code, _, error) = run(&["check", "--config", file.to_str().unwrap()]);
        assert!(code == 1 && error.contains(expected), "{config:?} gave {error}");
        assert!(!error.contains("hunter2") && !error.contains("2222"), "{error}");
    }
    // A file that may not be read is not a file that is not there.
    let state = scratch.path("state");
    fs::create_dir_all(state.join("passwords.toml")).unwrap();
    let (code, _, error) = run(&["check", "--state-dir", state.to_str().unwrap()]);
    assert!(code == 1 && error.contains("passwords.toml: Is a directory"), "{error}");
}

#[test]
fn no_address_but_loopback_is_served_openly_unless_that_is_said() {
    let scratch = Scratch::new();
    let mode = |listen: &str, more: &[&str]| {
        let state = scratch.path("nothing");
        let (code, shown, error) =
            run(&[&["check", "--listen", listen, "--state-dir", state.to_str().unwrap()], more].concat());
        assert_eq!(code, 0, "{error}");
        let line = shown.lines().find(|line| line.starts_with("mode = ")).unwrap().to_owned();
        line.split('"').nth(1).unwrap().to_owned()
    };
    for loopback in ["127.0.0.1:8080", "127.9.9.9:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080"] {
        assert_eq!(mode(loopback, &[]), "none", "{loopback}");
    }
    for other in [
        "0.0.0.0:80",
        "[::]:80",
        "192.0.2.1:80",
        "[2001:db8::1]:80",
        "[::ffff:192.0.2.1]:80",
        "[::ffff:0.0.0.0]:80",
        "[fe80::1]:80",
    ] {
        assert_eq!(mode(other, &[]), "token", "{other}");
        assert_eq!(mode(other, &["--auth", "none"]), "none", "{other}");
    }
    // The same in earnest, over both protocols.
    if TcpListener::bind("[::1]:0").is_err() {
        return support::tools::missing("there is no IPv6 here");
    }
    let state = scratch.path("state");
    let mut command = porthole();
    command
        .args(["--source", "pattern", "--size", "320x240", "--listen", "[::]:0", "--state-dir"])
        .arg(&state);
    let service = Porthole::spawn(&mut command);
    let port = service.address.port();
    for address in [SocketAddr::from(([127, 0, 0, 1], port)), format!("[::1]:{port}").parse().unwrap()] {
        assert_eq!(get(address, "/state").status, 401, "{address}");
        assert_eq!(get(address, "/ws").status, 401, "{address}");
    }
}

#[test]
fn who_guesses_has_to_wait_and_who_knows_has_not() {
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    let viewer = basic("", VIEWER);
    assert_eq!(with(service.address, "/state", &viewer).status, 200);
    // With a wrong one again and again, nothing happens.
    for _ in 0..50 {
        assert_eq!(with(service.address, "/state", &basic("", "an old password")).status, 401);
    }
    let mut guess = 0;
    let answer = until("a guess is not looked at", || {
        guess += 1;
        let answer = with(service.address, "/state", &basic("", &format!("guess {guess}")));
        (answer.status == 429).then_some(answer)
    });
    assert!(guess > 5, "refused after {guess} guesses");
    assert!((1..=4).contains(&answer.header("retry-after").unwrap().parse::<u32>().unwrap()));
    // From the same address.
    assert_eq!(with(service.address, "/state", &viewer).status, 200);
    let figures = metrics(&service, &viewer);
    assert!(figures.value("porthole_requests_throttled_total", &[("reason", "address")]) >= 1.0);
    assert_eq!(figures.value("porthole_requests_throttled_total", &[("reason", "busy")]), 0.0);
    // And it passes.
    until("the other password is looked at", || {
        (with(service.address, "/state", &basic("", ADMIN)).status == 200).then_some(())
    });
}

#[test]
fn many_who_guess_at_once_take_neither_memory_nor_the_picture() {
    let scratch = Scratch::new();
    let service = with_state(&with_passwords(&scratch), &[]);
    let viewer = basic("", VIEWER);
    assert_eq!(with(service.address, "/snapshot", &viewer).status, 200);
    let before = proc_status(service.pid(), "VmHWM");
    let guesses: Vec<_> = (0..40)
        .map(|n| {
            let address = service.address;
            std::thread::spawn(move || with(address, "/state", &basic("", &format!("guess {n}"))).status)
        })
        .collect();
    // Meanwhile.
    for _ in 0..10 {
        assert_eq!(with(service.address, "/snapshot", &viewer).status, 200);
    }
    let answers: Vec<u16> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
    assert!(answers.iter().all(|status| [401, 429, 503].contains(status)), "{answers:?}");
    let grown = proc_status(service.pid(), "VmHWM") - before;
    // Of two checks at a time it would be twice as much; connections and threads have a little of their own.
    assert!(grown < 7 * 1024 + 5 * 1024, "{grown} KiB more than before");
}

#[test]
fn nothing_that_is_logged_holds_a_secret() {
    let scratch = Scratch::new();
    let passwords = with_passwords(&scratch);
    let tokens = scratch.path("tokens");
    for state in [&passwords, &tokens] {
        let is_token = *state == tokens;
        let mut command = porthole();
        command.args([
            "--source",
            "pattern",
            "--size",
            "320x240",
            "--listen",
            "0.0.0.0:0",
            "--log",
            "trace",
            "--state-dir",
        ]);
        let mut service = Porthole::spawn(command.arg(state));
        let secret = match is_token {
            true => service.url.split("token=").nth(1).unwrap().to_owned(),
            false => ADMIN.to_owned(),
        };
        let coded = BASE64_STANDARD.encode(format!("me:{secret}").as_bytes());
        let escaped: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let by_url = get(service.address, &format!("/?token={escaped}"));
        assert_eq!(by_url.status, 200);
        let cookie = by_url.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(with(service.address, "/state", &format!("Basic {coded}")).status, 200);
        assert_eq!(with(service.address, "/snapshot", &format!("Bearer {secret}")).status, 200);
        assert_eq!(request(service.address, "GET", "/state", &[("Cookie", &cookie)]).status, 200);
        assert_eq!(post(service.address, "/login", &[], &format!("password={escaped}")).status, 303);
        assert_eq!(get(service.address, &format!("/snapshot?max_age=x&token={escaped}")).status, 400);
        let shown = [
            get(service.address, &format!("/state?token={escaped}")),
            get(service.address, &format!("/metrics?token={escaped}")),
        ];
        assert_eq!(service.stop(), Some(0));
        let kept = fs::read_to_string(state.join(if is_token { "token" } else { "passwords.toml" })).unwrap();
        let hashes = kept.split('"').filter(|part| part.starts_with('$')).map(str::to_owned);
        let value = cookie.split('=').nth(1).unwrap().to_owned();
        let log = service.log();
        for secret in [secret, coded, escaped, value].into_iter().chain(hashes) {
            assert!(!log.contains(&secret), "the log holds {secret:?}: {log}");
            assert!(shown.iter().all(|answer| !answer.text().contains(&secret)), "{secret:?} is shown");
        }
        assert!(log.contains("stopping"), "nothing was logged: {log}");
    }
}
