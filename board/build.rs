//! Writes a table of the board profiles in this folder, so that adding one takes no change of Rust code.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=board");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("board");
    let mut profiles: Vec<_> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .filter(|path: &io::Result<_>| {
            path.as_ref().is_ok_and(|p| p.extension().is_some_and(|e| e == "toml"))
        })
        .collect::<io::Result<_>>()?;
    profiles.sort();
    let mut table = String::from("&[\n");
    for path in profiles {
        let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(table, "    ({id:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    table.push(']');
    fs::write(Path::new(&env::var("OUT_DIR").map_err(io::Error::other)?).join("boards.rs"), table)
}
