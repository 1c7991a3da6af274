//! What teaches: the help, the manual pages, the shell completions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use porthole::config::{Key, SECTIONS, Section};
use support::tools::program;
use support::{Scratch, finish, run, script, source_tree};

/// The folder that `scripts/manual` has written. Where the generator is not built yet it is built: that may take longer
/// than a test waits for other programs.
fn generate(scratch: &Scratch) -> PathBuf {
    let folder = scratch.path("manual");
    let made = script("manual").arg(&folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

#[test]
fn the_help_gives_examples_that_are_right() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert!(help.lines().all(|line| line.len() <= 120), "{help}");
    let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  porthole")).collect();
    assert!(examples.len() >= 7, "{help}");
    for example in examples {
        // Up to the explanation; `check` says whether the flags are right.
        let arguments = example.split("   ").next().unwrap();
        if ["cameras", "passwd", "health"].iter().any(|command| arguments.contains(command)) {
            continue;
        }
        let line = format!("{}{} check", env!("CARGO_BIN_EXE_porthole"), arguments.replace(" check", ""));
        let (code, out, error) = finish(Command::new("sh").arg("-c").arg(&line));
        assert!(code == 0 && out.contains("The configuration is good."), "{line}: {error}");
    }
}

#[test]
fn manual_pages_are_sound_and_say_what_the_help_says() {
    let scratch = Scratch::new();
    let folder = generate(&scratch);
    let page = fs::read_to_string(folder.join("porthole.1")).unwrap();
    for word in ["max\\-viewers", "PORTHOLE_LOG", "Exit codes", "rpicam", "porthole\\-cameras"] {
        assert!(page.contains(word), "the page says nothing of {word}");
    }
    for verb in ["run", "cameras", "boards", "led", "passwd", "check", "health"] {
        assert!(folder.join(format!("porthole-{verb}.1")).is_file(), "no page for {verb}");
    }
    if let Some(mandoc) = program("mandoc", "mandoc") {
        for page in ["porthole.1", "porthole.toml.5"] {
            let mut lint = Command::new(&mandoc);
            let (code, out, error) = finish(lint.args(["-Tlint", "-Werror"]).arg(folder.join(page)));
            assert_eq!(code, 0, "{out}{error}");
        }
    }
}

#[test]
fn what_the_source_tree_keeps_is_what_the_table_of_keys_gives() {
    let scratch = Scratch::new();
    let folder = generate(&scratch);
    for (made, kept) in [
        ("configuration.md", "src/manual/configuration.md"),
        ("porthole.toml", "scripts/package/porthole.toml"),
    ] {
        let [made, there] =
            [folder.join(made), source_tree().join(kept)].map(|path| fs::read_to_string(path).unwrap());
        assert!(made == there, "{kept} is not what the table of keys gives; run scripts/manual");
    }
}

#[test]
fn each_key_is_in_the_manual_page_the_reference_the_example_and_the_help() {
    let scratch = Scratch::new();
    let folder = generate(&scratch);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let [page, reference, example] = ["porthole.toml.5", "configuration.md", "porthole.toml"].map(read);
    let (_, help, _) = run(&["--help"]);
    let mut checked = 0;
    for Section { header, keys, .. } in SECTIONS {
        assert!(reference.contains(header) && page.contains(header) && example.contains(header), "{header}");
        for Key { name, flag, help: text, .. } in keys {
            assert!(reference.contains(&format!("\n### {name}\n\n{text}.\n")), "{name}: no heading");
            assert!(page.contains(&format!("\\fB{}\\fR\n", name.replace('-', "\\-"))), "{name}: no entry");
            assert!(
                example.lines().any(|line| line.trim_start_matches(['#', ' ', '[']).contains(name)),
                "{name}"
            );
            // One flag stands for both sides of the picture, one takes a word.
            if !["", "--size", "--tls"].contains(flag) {
                let entry = help.lines().find(|line| line.trim_start().starts_with(&format!("{flag} ")));
                assert!(entry.is_some_and(|line| line.contains(text)), "{flag}: {entry:?}");
            }
            checked += 1;
        }
    }
    assert!(checked > 35, "only {checked} keys");
}

#[test]
fn completions_are_taken_by_their_shells() {
    let scratch = Scratch::new();
    let folder = generate(&scratch);
    let check = |shell: &str, file: &Path| {
        let Some(program) = program(shell, shell) else { return };
        let (code, out, error) = finish(Command::new(program).arg("-n").arg(file));
        assert_eq!((code, error.as_str()), (0, ""), "{shell}: {out}");
    };
    check("bash", &folder.join("porthole.bash"));
    check("zsh", &folder.join("_porthole"));
    check("fish", &folder.join("porthole.fish"));
    let script = format!(
        ". {}; COMP_WORDS=(porthole --max); COMP_CWORD=1; _porthole porthole --max porthole; echo \"${{COMPREPLY[*]}}\"",
        folder.join("porthole.bash").display()
    );
    let (code, out, error) = finish(Command::new("bash").args(["-c", &script]));
    assert_eq!((code, out.trim()), (0, "--max-viewers"), "{error}");
}
