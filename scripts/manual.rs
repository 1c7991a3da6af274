//! Writes what teaches the program, from the command line and the table of keys as the program itself has them: manual
//! pages, shell completions, the reference of configuration keys and the package's example configuration.
use std::path::PathBuf;
use std::{env, fs, io};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use porthole::command::Command;
use porthole::config::{Accepts, DefaultValue, Key, SECTIONS, Section};
use roff::{Roff, bold, italic, roman};

/// The key that the package's configuration sets; all others are shown as comments.
const SET_BY_PACKAGE: (&str, &str) = ("[server]", "listen");
/// Columns of the example configuration, as in the rest of the source tree.
const COLUMNS: usize = 120;

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or_else(|| io::Error::other("which folder?"))?);
    fs::create_dir_all(&folder)?;
    let mut command = Command::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "porthole", &folder)?;
    }
    clap_mangen::generate_to(command, &folder)?;
    fs::write(folder.join("porthole.toml.5"), manual_page())?;
    fs::write(folder.join("configuration.md"), reference())?;
    fs::write(folder.join("porthole.toml"), example())
}

/// The type of a key, with the values that it accepts.
fn accepted(key: &Key) -> String {
    let Key { type_name, unit, .. } = key;
    match key.accepts {
        Accepts::Any => (*type_name).to_owned(),
        Accepts::Between(least, most) => {
            format!("{type_name}, {least} to {most} {unit}").trim_end().to_owned()
        }
        Accepts::OneOf(choices) => format!("{type_name}, one of {}", choices.join(", ")),
        Accepts::Form(words) => format!("{type_name}; {words} {unit}").trim_end().to_owned(),
    }
}

/// The default of a key, in words.
fn default(key: &Key) -> &'static str {
    match key.default {
        DefaultValue::Value(text) | DefaultValue::Rule(text) => text,
        DefaultValue::Required => "none; the key is required",
    }
}

/// A value to show: the example, or the default where that is one.
fn shown(key: &Key) -> Option<&'static str> {
    match key.default {
        _ if !key.example.is_empty() => Some(key.example),
        DefaultValue::Value(text) => Some(text),
        _ => None,
    }
}

fn is_table(key: &Key) -> bool {
    key.type_name == "table"
}

/// porthole.toml(5).
fn manual_page() -> String {
    let version = format!("porthole {}", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", ["porthole.toml", "5", "", &version, "File formats"]);
    page.control("SH", ["NAME"]).text([roman("porthole.toml - configuration of porthole")]);
    page.control("SH", ["SYNOPSIS"]).text([italic("/etc/porthole/porthole.toml")]);
    page.control("SH", ["DESCRIPTION"]).text([
        roman(
            "The file is in TOML. Every key has a default, and no file at all is a configuration. Flags of ",
        ),
        bold("porthole"),
        roman("(1) override the file, for the first camera. "),
        bold("porthole check"),
        roman(
            " checks the file and shows every value in force with its origin. Changes count after a restart.",
        ),
    ]);
    for Section { header, help, keys } in SECTIONS {
        page.control("SH", [if header.is_empty() { "TOP LEVEL" } else { header }]).text([roman(help)]);
        for key in keys {
            page.control("TP", []).text([bold(key.name)]);
            page.text([roman(format!("{}.", key.help))]);
            let flag = if key.flag.is_empty() { String::new() } else { format!(" Flag: {}.", key.flag) };
            page.control("br", []);
            page.text([roman(format!("Type: {}. Default: {}.{flag}", accepted(key), default(key)))]);
        }
    }
    page.control("SH", ["EXAMPLES"]).text([roman("Two cameras, which the whole network may watch:")]);
    page.control("PP", []).control("nf", []).text([roman(
        "[server]\nlisten = \"0.0.0.0:8080\"\n\n[[camera]]\nname = \"front\"\nsource = \"/dev/video0\"\n\n\
         [[camera]]\nname = \"back\"\nsource = \"/dev/video2\"\nrotate = 180",
    )]);
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]).text([bold("porthole"), roman("(1)")]);
    page.render()
}

/// The chapter of the manual, with a heading for each key.
fn reference() -> String {
    let mut text = String::from(
        "<!-- Written by scripts/manual from the table in src/config/keys.rs. -->\n# Configuration\n\nPorthole reads \
         `/etc/porthole/porthole.toml`, or the file of `--config`. Every key has a default. Flags override the file\n\
         for the first camera. `porthole check` shows every value in force and its origin. A change counts after a \
         restart.\n",
    );
    for Section { header, help, keys } in SECTIONS {
        let title = if header.is_empty() { "Top level".to_owned() } else { format!("`{header}`") };
        text += &format!("\n## {title}\n\n{help}\n");
        for key in keys {
            let flag = if key.flag.is_empty() { String::new() } else { format!("- Flag: `{}`\n", key.flag) };
            let default = match key.default {
                DefaultValue::Value(value) => format!("`{value}`"),
                _ => default(key).to_owned(),
            };
            let type_name = accepted(key);
            let name = key.name;
            text += &format!(
                "\n### {name}\n\n{}.\n\n- Type: {type_name}\n- Default: {default}\n{flag}",
                key.help
            );
        }
    }
    text
}

/// The configuration that the package installs. A line with # and no space behind it is a key that can be set.
fn example() -> String {
    let mut text = comment(
        "What Porthole serves, and to whom. Every key has a default; a key counts when the # in front of it is gone, \
         and that in front of its section. `porthole check` says whether all is well, and shows every value in force; \
         then: sudo systemctl restart porthole. porthole.toml(5) is the manual page. Written by scripts/manual.",
    );
    for Section { header, help, keys } in SECTIONS {
        text += &format!("\n{}", comment(help));
        let (section, key_set) = SET_BY_PACKAGE;
        if !header.is_empty() {
            text += &format!("{}{header}\n", if header == section { "" } else { "#" });
        }
        for key in keys {
            let mark = if (header, key.name) == (section, key_set) { "" } else { "#" };
            match shown(key) {
                Some(value) if is_table(key) => {
                    text += &comment(&format!("{}.", key.help));
                    text += &format!("#[{}.{}]\n#{value}\n", header.trim_matches(['[', ']']), key.name);
                }
                Some(value) => {
                    text += &comment(&format!("{} ({}).", key.help, accepted(key)));
                    text += &format!("{mark}{} = {value}\n", key.name);
                }
                None => text += &comment(&format!("{}: {} ({}).", key.name, key.help, accepted(key))),
            }
        }
    }
    text
}

/// Lines of a comment.
fn comment(words: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in words.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= COLUMNS => line.extend([" ", word]),
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
