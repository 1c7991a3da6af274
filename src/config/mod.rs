//! From what the operator wrote to what each stage needs.
//!
//! Three places may say something: the command line, the configuration file and the board profile, in this order;
//! what none of them says has a default, so that no file at all is a working configuration. Every value is checked
//! here, and an error names the place, the key, the value and what would be right. Stages get their own `Settings`
//! and never see where they came from.
#![forbid(unsafe_code)]

mod access;
mod flags;
mod network;
mod pick;
mod raw;

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use flags::Flags;
pub use pick::{ConfigError, Note, Origin};

use crate::board::{self, Board};
use crate::camera::{self, ControlValue, SourceSpec};
use crate::document::Spanned;
use crate::frame::{PixelFormat, Resolution};
use crate::jpeg;
use crate::jpeg::exif::Rotation;
use crate::jpeg::yuv::Subsampling;
use crate::led;
use crate::web::{self, Address};
use pick::{Picked, Picker};
use raw::Raw;

/// Where the configuration file is when nobody says.
pub const DEFAULT_FILE: &str = "/etc/porthole/porthole.toml";

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The machine this runs on.
    pub board: Board,
    /// For the web stage.
    pub web: web::Settings,
    /// For the capture threads, at least one.
    pub cameras: Vec<camera::CameraSettings>,
    /// For the LEDs; none unless they are asked for.
    pub leds: Vec<led::LedSettings>,
    /// Whose text is a warning for as long as it is there.
    pub warning_file: Option<PathBuf>,
    /// Every value with where it came from.
    pub notes: Vec<Note>,
}

/// Reads the file that `flags` or the default names, and settles every value.
///
/// # Errors
/// [`ConfigError`] for the first thing that is not right.
pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
    let (path, text) = read(flags)?;
    resolve(flags, &path, &text)
}

/// The state directory alone, whatever is not right elsewhere: so that a password that is missing can be set.
///
/// # Errors
/// [`ConfigError`] when the file cannot be read or understood.
pub fn load_state_dir(flags: &Flags) -> Result<PathBuf, ConfigError> {
    let (path, text) = read(flags)?;
    let Raw { server, .. } = pick::parse(&path, &text)?;
    let given = server.state_dir.map(Spanned::into_inner);
    Ok(flags.state_dir.clone().or(given).unwrap_or_else(state_dir))
}

/// The configuration file and its text.
fn read(flags: &Flags) -> Result<(PathBuf, String), ConfigError> {
    let (path, required) = match &flags.config {
        Some(path) => (path.clone(), true),
        None => (PathBuf::from(DEFAULT_FILE), false),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => String::new(),
        Err(source) => return Err(ConfigError::unreadable(&path, source)),
    };
    Ok((path, text))
}

/// Settles every value from `flags` and the `text` of the file at `path`.
///
/// # Errors
/// [`ConfigError`] for the first thing that is not right.
pub fn resolve(flags: &Flags, path: &Path, text: &str) -> Result<Config, ConfigError> {
    let Raw { board, server, tls, limits, auth, mut camera, led } = pick::parse(path, text)?;
    let mut pick = Picker::new(path, text);

    let board = pick.value("board", "--board", flags.board.clone(), board, "auto".to_owned());
    let is_auto = board.is("auto");
    let board = board.check(|id| board::find(id))?;
    if is_auto {
        pick.remark(format!("this machine is {}", board.id()), Origin::Default);
    }

    if camera.is_empty() {
        camera.push(raw::Camera::default());
    }
    let web = resolve_web(&mut pick, flags, (server, limits, tls, auth), board.id())?;
    let none = Flags::default();
    let mut cameras = Vec::with_capacity(camera.len());
    for (index, raw) in camera.into_iter().enumerate() {
        let flags = if index == 0 { flags } else { &none };
        cameras.push(resolve_camera(&mut pick, flags, raw, &web.state_dir, &cameras)?);
    }
    let mut leds = Vec::with_capacity(led.len());
    for raw in led {
        leds.push(resolve_led(&mut pick, raw, &board, &leds)?);
    }
    let warning_file = flags.warning_file.clone();
    Ok(Config { board, web, cameras, leds, warning_file, notes: pick.into_notes() })
}

fn resolve_web(
    pick: &mut Picker<'_>,
    flags: &Flags,
    (server, limits, tls, auth): (raw::Server, raw::Limits, raw::Tls, raw::Auth),
    board: &str,
) -> Result<web::Settings, ConfigError> {
    pick.table("[server]");
    let mut listen = network::listen(pick, flags, server.listen)?;
    listen.extend(network::local_socket(pick, flags)?);

    let viewers = pick.value("max_viewers", "--max-viewers", flags.max_viewers, server.max_viewers, 64);
    let max_viewers = viewers.check(|&n| whole(n, 1..=1000))?;

    let timeout = pick.value("progress_timeout_s", "", None, server.progress_timeout_s, 10.0);
    let patience = timeout.check(|&s| seconds(s, 1.0..=600.0))?;

    let given = flags.state_dir.clone();
    let state_dir = pick.value("state_dir", "--state-dir", given, server.state_dir, state_dir()).take();

    let hosts = pick.value("hosts", "", None, server.hosts, vec![]);
    let hosts = hosts.check(|all| all.iter().map(|one| web::host(one)).collect())?;
    let origins = pick.value("allow_origins", "", None, server.allow_origins, vec![]);
    let allow_origins = origins.check(|all| all.iter().map(|one| web::origin(one)).collect())?;

    pick.table("[limits]");
    let limits = network::limits(pick, limits, max_viewers)?;

    pick.table("[tls]");
    let encryption = network::tls(pick, flags, tls)?;

    let is_local = listen.iter().all(Address::is_local);
    let auth = access::resolve(pick, flags, auth, (is_local, &state_dir))?;

    Ok(web::Settings {
        listen,
        max_viewers,
        limits,
        patience,
        encryption,
        auth,
        hosts,
        allow_origins,
        state_dir,
        board: board.to_owned(),
        leds: vec![],
    })
}

fn resolve_camera(
    pick: &mut Picker<'_>,
    flags: &Flags,
    raw: raw::Camera,
    state_dir: &Path,
    before: &[camera::CameraSettings],
) -> Result<camera::CameraSettings, ConfigError> {
    pick.table("[[camera]]");
    let default =
        if before.is_empty() { "camera".to_owned() } else { format!("camera-{}", before.len() + 1) };
    let name = pick.value("name", "", None, raw.name, default).check(|name| {
        let taken: HashSet<&str> = before.iter().map(|camera| camera.name.as_str()).collect();
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        match name.as_str() {
            "" => Err("must not be empty".into()),
            name if name.len() > 40 || !name.bytes().all(letter) => {
                Err("must be up to 40 letters, digits, - and _, as it is part of URLs".into())
            }
            name if taken.contains(name) => Err("is the name of another camera already".into()),
            name => Ok(name.to_owned()),
        }
    })?;

    let source = pick.value("source", "--source", flags.source.clone(), raw.source, "auto".to_owned());
    let source: SourceSpec = source.check(|text| text.parse())?;

    let resolution = resolution(pick, flags, raw.width, raw.height)?;
    let fps = pick.value("fps", "--fps", flags.fps, raw.fps, 30.0);
    let fps = fps.check(|&fps| {
        if (0.1..=240.0).contains(&fps) { Ok(fps as f32) } else { Err("must be 0.1 to 240".into()) }
    })?;
    let format = pick.value("format", "--format", flags.format.clone(), raw.format, "auto".to_owned());
    let format = format.check(|name| {
        let known = PixelFormat::ALL.iter().find(|format| format.name() == name);
        let names = || PixelFormat::ALL.map(PixelFormat::name).join(", ");
        match (name.as_str(), known) {
            ("auto", _) => Ok(None),
            (_, Some(format)) => Ok(Some(*format)),
            _ => Err(format!("must be auto or one of {}", names())),
        }
    })?;
    let quality = pick.value("quality", "--quality", flags.quality, raw.quality, 80);
    let quality = quality.check(|&q| whole(q, 1..=100))? as u8;
    let subsampling = pick.value("subsampling", "", None, raw.subsampling, "4:2:0".to_owned());
    let subsampling = subsampling.check(|text| match text.as_str() {
        "4:2:0" => Ok(Subsampling::Cs420),
        "4:2:2" => Ok(Subsampling::Cs422),
        _ => Err("must be \"4:2:0\" or \"4:2:2\"".into()),
    })?;
    let validate = pick.value("validate", "", None, raw.validate, true).take();
    let rotation = pick.value("rotate", "", None, raw.rotate, 0).check(|&degrees| {
        Rotation::from_degrees(degrees).ok_or("must be 0, 90, 180 or 270, degrees clockwise".into())
    })?;
    let linger = pick.value("linger_s", "--linger", flags.linger, raw.linger_s, 15.0);
    let linger = linger.check(|&s| seconds(s, 0.0..=86_400.0))?;
    let skip_first =
        pick.value("skip_first", "", None, raw.skip_first, 0).check(|&n| whole(n, 0..=300))? as u32;
    let keep = pick.value("keep_controls", "", None, raw.keep_controls, false).take();
    let mut controls = BTreeMap::new();
    let wanted = raw.controls.map(Spanned::into_inner).unwrap_or_default();
    if !wanted.is_empty() {
        pick.table("[camera.controls]");
    }
    for (control, setting) in wanted {
        let setting = pick.value(&control, "", None, Some(setting), ControlValue::Number(0)).take();
        controls.insert(control, setting);
    }
    let controls_file = keep.then(|| state_dir.join(format!("controls-{name}.json")));
    Ok(camera::CameraSettings {
        name,
        source,
        resolution,
        fps,
        format,
        jpeg: jpeg::JpegSettings { quality, subsampling, validate, rotation },
        linger,
        skip_first,
        controls,
        controls_file,
    })
}

/// The size, if any is asked for: `--size`, or `width` and `height` together.
fn resolution(
    pick: &mut Picker<'_>,
    flags: &Flags,
    width: Option<Spanned<i64>>,
    height: Option<Spanned<i64>>,
) -> Result<Option<Resolution>, ConfigError> {
    if let Some(size) = &flags.size {
        let size: Resolution = Picked::of_flag("size", "--size", size.clone()).check(|s| s.parse())?;
        pick.note("width", &i64::from(size.width), Origin::Flag("--size"));
        pick.note("height", &i64::from(size.height), Origin::Flag("--size"));
        return Ok(Some(size));
    }
    if width.is_none() && height.is_none() {
        let default = camera::DEFAULT_RESOLUTION;
        pick.remark(
            format!("width and height: {default}, or what the camera has nearest to it"),
            Origin::Default,
        );
        return Ok(None);
    }
    let default = camera::DEFAULT_RESOLUTION;
    let alone = width.is_some() != height.is_some();
    let mut side = |key, raw, default: u16| {
        let other = if key == "width" { "height" } else { "width" };
        pick.value(key, "", None, raw, i64::from(default)).check(|&side| {
            if alone { Err(format!("needs {other} beside it")) } else { whole(side, 1..=65_535) }
        })
    };
    // The one that is there is the one to complain of.
    let height_first = width.is_none();
    let (width, height) = if height_first {
        let height = side("height", height, default.height)?;
        (side("width", width, default.width)?, height)
    } else {
        (side("width", width, default.width)?, side("height", height, default.height)?)
    };
    Ok(Some(Resolution::new(width as u16, height as u16)))
}

fn resolve_led(
    pick: &mut Picker<'_>,
    raw: raw::Led,
    board: &Board,
    before: &[led::LedSettings],
) -> Result<led::LedSettings, ConfigError> {
    pick.table("[[led]]");
    let has_line = raw.line.is_some();
    let role = pick.value("role", "", None, Some(raw.role), String::new()).check(|text| {
        let role: led::LedRole = text.parse()?;
        if before.iter().any(|led| led.role == role) {
            return Err("has an LED already".into());
        }
        if !has_line && board.led(role).is_empty() {
            return Err(format!(
                "needs a line, as board {} has none for it: add line = \"GPIO17\"",
                board.id()
            ));
        }
        Ok(role)
    })?;
    let taken = |line: &led::LedLine| before.iter().find(|led| led.lines.contains(line)).map(|led| led.role);
    let lines = match raw.line {
        Some(line) => {
            vec![pick.value("line", "", None, Some(line), String::new()).check(|text| text.parse())?]
        }
        None => {
            let lines = board.led(role).to_vec();
            let origin = Origin::Board(board.id().to_owned());
            let text: Vec<String> = lines.iter().map(led::LedLine::to_string).collect();
            match &text[..] {
                [line] => pick.note("line", line, origin),
                _ => pick.remark(format!("line: {}, whichever there is first", text.join(" or ")), origin),
            }
            lines
        }
    };
    if let Some((line, other)) = lines.iter().find_map(|line| Some((line, taken(line)?))) {
        return Err(ConfigError::Led { role, line: line.to_string(), other });
    }
    let active_low = pick.value("active_low", "", None, raw.active_low, false).take();
    let required = pick.value("required", "", None, raw.required, false).take();
    Ok(led::LedSettings { role, lines, active_low, required })
}

/// The state directory when nobody says: systemd's, the user's, or the system's.
fn state_dir() -> PathBuf {
    let under =
        |key: &str, rest: &str| Some(Path::new(&env::var_os(key).filter(|v| !v.is_empty())?).join(rest));
    under("STATE_DIRECTORY", "")
        .or_else(|| under("XDG_STATE_HOME", "porthole"))
        .or_else(|| under("HOME", ".local/state/porthole"))
        .unwrap_or_else(|| "/var/lib/porthole".into())
}

fn whole(value: i64, range: std::ops::RangeInclusive<i64>) -> Result<usize, String> {
    let error = || format!("must be {} to {}", range.start(), range.end());
    if range.contains(&value) { usize::try_from(value).map_err(|_| error()) } else { Err(error()) }
}

fn seconds(value: f64, range: std::ops::RangeInclusive<f64>) -> Result<Duration, String> {
    let error = || format!("must be {} to {} seconds", range.start(), range.end());
    if range.contains(&value) {
        Duration::try_from_secs_f64(value).map_err(|_| error())
    } else {
        Err(error())
    }
}
