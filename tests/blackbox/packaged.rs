//! What is packaged beside the program: the unit for systemd, as far as systemd can judge it without running it, and
//! the configuration. `scripts/deb-test` installs and runs them.

use std::fs;
use std::process::Command;

use support::tools::program;
use support::{Scratch, finish, run, source_tree};

/// The unit as it is packaged, but for the path of the program, which is not installed here.
fn unit(scratch: &Scratch) -> String {
    let unit = fs::read_to_string(source_tree().join("scripts/package/porthole.service")).unwrap();
    assert_eq!(unit.matches("/usr/bin/porthole").count(), 2, "{unit}");
    let unit = unit.replace("/usr/bin/porthole", env!("CARGO_BIN_EXE_porthole"));
    scratch.file("porthole.service", unit).to_str().unwrap().to_owned()
}

#[test]
fn systemd_knows_every_word_of_the_unit() {
    let Some(analyze) = program("systemd-analyze", "systemd") else { return };
    let scratch = Scratch::new();
    let unit = unit(&scratch);
    let verify = |unit: &str| finish(Command::new(&analyze).args(["verify", "--man=no", unit]));
    let (code, _, error) = verify(&unit);
    // What it does not know it ignores, and says so.
    assert_eq!((code, error.as_str()), (0, ""));
    let wrong = fs::read_to_string(&unit).unwrap().replace("ProtectHome=", "ProtectHomes=");
    let wrong = scratch.file("wrong.service", wrong);
    let (_, _, error) = verify(wrong.to_str().unwrap());
    assert!(error.contains("ProtectHomes"), "it does not complain of what it does not know: {error}");
}

#[test]
fn systemd_finds_little_that_is_exposed_by_the_unit() {
    let Some(analyze) = program("systemd-analyze", "systemd") else { return };
    let scratch = Scratch::new();
    let unit = unit(&scratch);
    // Ten times the score of 0 to 10. A service without any restriction has 9.2 or more.
    let security = |threshold: &str, unit: &str| {
        let threshold = format!("--threshold={threshold}");
        finish(Command::new(&analyze).args(["security", "--offline=true", "--no-pager", &threshold, unit]))
    };
    let (code, out, error) = security("15", &unit);
    assert_eq!(code, 0, "{out}{error}");
    let open = fs::read_to_string(&unit).unwrap().replace("ProtectSystem=strict", "");
    let open = scratch.file("open.service", open.replace("CapabilityBoundingSet=", ""));
    let (code, out, _) = security("15", open.to_str().unwrap());
    assert_ne!(code, 0, "it does not see what is open: {out}");
}

#[test]
fn the_packaged_configuration_is_right_and_so_are_its_examples() {
    let packaged = fs::read_to_string(source_tree().join("scripts/package/porthole.toml")).unwrap();
    let scratch = Scratch::new();
    // What stands behind # without a space is an example.
    let lines = packaged.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    });
    let examples: String = lines.map(|line| format!("{line}\n")).collect();
    assert_ne!(packaged, examples);
    for (name, text) in [("packaged", &packaged), ("examples", &examples)] {
        let file = scratch.file(name, text);
        let (code, out, error) = run(&["check", "--config", file.to_str().unwrap()]);
        assert_eq!(code, 0, "{name}: {error}");
        assert!(out.contains("listen = \"0.0.0.0:8080\""), "{out}");
    }
}
