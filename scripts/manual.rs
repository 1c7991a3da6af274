//! Writes the manual page and the shell completions, from the command line as the program itself knows it.
use std::path::PathBuf;
use std::{env, fs, io};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use porthole::command::Command;

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or_else(|| io::Error::other("which folder?"))?);
    fs::create_dir_all(&folder)?;
    let mut command = Command::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "porthole", &folder)?;
    }
    clap_mangen::generate_to(command, folder)
}
