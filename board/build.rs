//! Prepares what is embedded: a table of the board profiles in this folder, and the files of the page, packed. Adding
//! one of either takes no change of Rust code. Tells the linker where the C++ runtime is that goes into the program.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The files of the page by how their names end, and what each is to a browser.
const PAGE: [(&str, &str); 6] = [
    ("css", "text/css; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("webmanifest", "application/manifest+json"),
];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    println!("cargo:rerun-if-changed=board");
    // Relocations as a bit map: a tenth of their size. Linkers and C libraries since 2022 know it.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo:rerun-if-changed=src/web/page");
    #[cfg(feature = "h264")]
    static_cpp_runtime(&out)?;
    fs::write(out.join("boards.rs"), boards(&root.join("board"))?)?;
    fs::write(out.join("page.rs"), page(&root.join("src/web/page"), &out)?)
}

/// openh264 asks for the C++ runtime by its name, and the linker takes the first that it finds. In this folder it finds the
/// static one: the program then needs no libstdc++ where it runs. With a compiler that has no static one it does.
#[cfg(feature = "h264")]
fn static_cpp_runtime(out: &Path) -> io::Result<()> {
    const NAME: &str = "libstdc++.a";
    let compiler = cc::Build::new().cpp(true).try_get_compiler().map_err(io::Error::other)?;
    let answer = compiler.to_command().arg(format!("-print-file-name={NAME}")).output()?;
    let found = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    // A compiler that does not know where it is says the name only.
    if !found.is_absolute() || !found.exists() {
        return Ok(());
    }
    let folder = out.join("static");
    fs::create_dir_all(&folder)?;
    let _ = fs::remove_file(folder.join(NAME));
    std::os::unix::fs::symlink(found, folder.join(NAME))?;
    println!("cargo:rustc-link-search=native={}", folder.display());
    Ok(())
}

/// The files of a folder whose names end so, in order.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<_> =
        paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    Ok(paths)
}

/// Pairs of a board's id and its profile.
fn boards(folder: &Path) -> io::Result<String> {
    let mut table = String::from("&[\n");
    for path in files(folder, "toml")? {
        let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // Without the comments, which are for whoever reads the file, and of its sources more than of its facts.
        let text = fs::read_to_string(&path)?;
        let facts: Vec<&str> =
            text.lines().map(|line| if line.starts_with('#') { "" } else { line }).collect();
        writeln!(table, "    ({id:?}, {:?}),", facts.join("\n")).map_err(io::Error::other)?;
    }
    table.push(']');
    Ok(table)
}

/// The page's files, packed, each with a tag that changes with its content.
fn page(folder: &Path, out: &Path) -> io::Result<String> {
    let mut table = String::from("&[\n");
    for (extension, content_type) in PAGE {
        for path in files(folder, extension)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let plain = fs::read(&path)?;
            let mut tag = DefaultHasher::new();
            plain.hash(&mut tag);
            let tag = tag.finish();
            let packed = out.join(format!("{name}.gz"));
            // Without a name or any other field, so that the header is of fixed length.
            let mut encoder = GzEncoder::new(fs::File::create(&packed)?, Compression::best());
            encoder.write_all(&plain)?;
            encoder.finish()?;
            writeln!(
                table,
                "    Asset {{\n        name: {name:?},\n        content_type: {content_type:?},\n        \
                 plain_tag: \"\\\"{tag:016x}\\\"\",\n        packed_tag: \"\\\"{tag:016x}-gzip\\\"\",\n        \
                 packed: include_bytes!({packed:?}),\n    }},"
            )
            .map_err(io::Error::other)?;
        }
    }
    table.push(']');
    Ok(table)
}
