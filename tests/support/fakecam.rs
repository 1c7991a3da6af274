//! Fake cameras for the program under test: the table that controls them, and the environment that preloads them.

use std::ffi::OsString;
use std::io;
use std::path::Path;

pub use fakecam_table::{Counter, Setting, Table, hang, now_ns, sequence, signal, stamp};

use crate::library;

/// One camera as text for the environment; the keys are listed in `fakecam/spec.rs`.
#[derive(Clone, Debug)]
pub struct Camera(String);

impl Camera {
    /// A camera at this path (`/dev/videoN`), governed by this table.
    pub fn new(path: &str, table: &Table) -> Self {
        Self(format!("path={path} table={}", table.path().display()))
    }

    /// Two cameras, at `/dev/video90` and `/dev/video91` and different ports, with their tables in this folder.
    pub fn pair(folder: &Path) -> io::Result<([Table; 2], [Self; 2])> {
        let tables = [Table::create(folder.join("table90"))?, Table::create(folder.join("table91"))?];
        let camera = |i: usize| {
            let camera = Self::new(&format!("/dev/video9{i}"), &tables[i]);
            camera.with("card", format!("Camera_{i}")).with("bus", format!("usb-{i}"))
        };
        let cameras = [camera(0), camera(1)];
        Ok((tables, cameras))
    }

    pub fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.0 += &format!(" {key}={value}");
        self
    }
}

/// The environment that makes these cameras appear in a child process, for `Command::envs`.
pub fn environment(cameras: &[Camera]) -> [(&'static str, OsString); 2] {
    let cameras: Vec<&str> = cameras.iter().map(|camera| camera.0.as_str()).collect();
    [("LD_PRELOAD", library("fakecam").into()), ("FAKECAM", cameras.join(";").into())]
}
