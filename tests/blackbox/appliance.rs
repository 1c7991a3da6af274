//! The SD card's program. It is a package of its own, and Cargo builds only this package's programs for these tests, so
//! it is built when a test first asks for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{built, cargo, source_tree};

/// The program, up to date and built as the service under test is.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = built("porthole");
        let folder = folder.parent().unwrap();
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--locked", "--package=porthole-appliance", "--target-dir"]);
        cargo.arg(folder.parent().unwrap()).current_dir(source_tree());
        cargo.args((!cfg!(debug_assertions)).then_some("--release"));
        cargo.args((!cfg!(feature = "tls")).then_some("--no-default-features"));
        let built = cargo.output().unwrap();
        assert!(built.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&built.stderr));
        folder.join("porthole-appliance")
    })
}

/// A command that runs it, with nothing of this environment that it would listen to.
pub fn appliance() -> Command {
    let mut command = Command::new(program());
    for key in ["PORTHOLE_LOG", "JOURNAL_STREAM", "LD_PRELOAD"] {
        command.env_remove(key);
    }
    command
}
