//! From the configuration file and the command line to the checked settings of each stage.
//!
//! A value comes from the command line, else from the file, else from the board profile, else from its default; no file
//! at all is a working configuration. Every value is checked here, and an error names the place, the key, the value and
//! what would be right. Stages get their own settings and do not know where a value came from. The keys are in
//! [`keys`]; what they mean is in `src/manual/configuration.md`, which is made from them.
#![forbid(unsafe_code)]

mod access;
mod camera;
mod error;
mod flags;
mod key;
mod keys;
mod led;
#[cfg_attr(not(feature = "mqtt"), path = "mqtt/absent.rs")]
mod mqtt;
mod mqtt_keys;
mod network;
mod resolver;
mod values;

use std::path::{Path, PathBuf};

pub use error::{ConfigError, ValueOrigin};
pub use flags::Flags;
pub use key::{Accepts, DefaultValue, Key, Section};
pub use keys::SECTIONS;

use crate::board::{self, Board};
use crate::document::Spanned;
use keys::{CameraSection, ConfigFile};
use network::WebSections;
pub use resolver::ReportLine;
use resolver::{Resolver, parse};

/// The configuration file where `--config` does not name one.
pub const DEFAULT_FILE: &str = "/etc/porthole/porthole.toml";

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The machine this runs on.
    pub board: Board,
    /// For the web stage.
    pub web: crate::web::WebSettings,
    /// For the capture threads.
    pub cameras: Vec<crate::camera::CameraSettings>,
    /// The brokers whose cameras are shown as they are announced. There is one of them or a camera at least.
    #[cfg(feature = "mqtt")]
    pub announced: Vec<crate::announced::AnnouncedSettings>,
    /// For the MQTT broker that cameras are published to, if there is one.
    #[cfg(feature = "mqtt")]
    pub mqtt: Option<crate::publisher::PublisherSettings>,
    /// For the LEDs; none unless they are listed.
    pub leds: Vec<crate::led::LedSettings>,
    /// A file whose text is a warning for as long as it is there.
    pub warning_file: Option<PathBuf>,
    /// Every value with where it came from.
    pub report: Vec<ReportLine>,
}

/// Reads the file that `flags` or the default names, and resolves every value.
///
/// # Errors
/// [`ConfigError`] for the first mistake.
pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
    let (path, text) = read(flags)?;
    resolve(flags, &path, &text)
}

/// The state directory alone, whatever is wrong elsewhere: so that a password that is missing can be set.
///
/// # Errors
/// [`ConfigError`] when the file cannot be read or understood.
pub fn load_state_dir(flags: &Flags) -> Result<PathBuf, ConfigError> {
    let (path, text) = read(flags)?;
    let ConfigFile { server, .. } = parse(&path, &text)?;
    Ok(network::state_dir(flags, server.state_dir.value.map(Spanned::into_inner)))
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
        Err(source) => return Err(ConfigError::Unreadable { path, source }),
    };
    Ok((path, text))
}

/// Resolves every value from `flags` and the `text` of the file at `path`.
///
/// # Errors
/// [`ConfigError`] for the first mistake.
pub fn resolve(flags: &Flags, path: &Path, text: &str) -> Result<Config, ConfigError> {
    let ConfigFile { general, server, tls, limits, auth, mut cameras, mqtt, leds } = parse(path, text)?;
    let mut resolver = Resolver::new(path, text);

    let board = resolver.value(general.board, flags.board.clone());
    let is_auto = board.is("auto");
    let board = board.check(|id| board::find(id))?;
    if is_auto {
        resolver.report_comment(format!("this machine is {}", board.id()), ValueOrigin::Default);
    }
    let web = network::resolve(&mut resolver, flags, WebSections { server, limits, tls, auth }, board.id())?;
    if cameras.is_empty() {
        cameras.push(CameraSection::default());
    }
    let no_flags = Flags::default();
    let mut camera_settings = Vec::with_capacity(cameras.len());
    for (index, section) in cameras.into_iter().enumerate() {
        let flags = if index == 0 { flags } else { &no_flags };
        let camera = camera::resolve(&mut resolver, flags, section, &web.state_dir, &camera_settings)?;
        camera_settings.push(camera);
    }
    #[cfg(feature = "mqtt")]
    let announced = mqtt::announced(&mut camera_settings);
    #[cfg(feature = "mqtt")]
    let mqtt = mqtt::resolve(&mut resolver, mqtt)?;
    #[cfg(not(feature = "mqtt"))]
    mqtt::resolve(&mut resolver, mqtt)?;
    let mut led_settings = Vec::with_capacity(leds.len());
    for section in leds {
        led_settings.push(led::resolve(&mut resolver, section, &board, &led_settings)?);
    }
    Ok(Config {
        board,
        web,
        cameras: camera_settings,
        #[cfg(feature = "mqtt")]
        announced,
        #[cfg(feature = "mqtt")]
        mqtt,
        leds: led_settings,
        warning_file: flags.warning_file.clone(),
        report: resolver.into_report(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::led::LedRole;

    /// What the report says of each section: values by key, with their origin.
    type Reported = BTreeMap<(&'static str, String), (String, ValueOrigin)>;

    fn reported(text: &str) -> Reported {
        let config = resolve(&Flags::default(), Path::new("test.toml"), text).unwrap();
        let (mut section, mut values) = ("", Reported::new());
        for line in config.report {
            match line {
                ReportLine::Section(header) => section = header,
                ReportLine::Value { key, value, origin } => {
                    drop(values.insert((section, key), (value, origin)))
                }
                ReportLine::Comment(..) => {}
            }
        }
        values
    }

    #[test]
    fn each_default_in_the_table_is_the_one_in_force() {
        let values = reported("[[led]]\nrole = \"fault\"\nline = \"GPIO1\"\n");
        let mut checked = 0;
        for section in SECTIONS {
            for key in section.keys {
                let DefaultValue::Value(default) = key.default else { continue };
                let (value, origin) = &values[&(section.header, key.name.to_owned())];
                // 10 and 10.0 are the same.
                let same = value == default || value.strip_suffix(".0") == Some(default);
                assert!(same, "{} {}: {value} is in force, not {default}", section.header, key.name);
                assert_eq!(*origin, ValueOrigin::Default);
                checked += 1;
            }
        }
        assert!(checked >= 24, "only {checked} defaults were compared");
        assert_eq!(values[&("[limits]", "connections".into())].0, "128");
        assert_eq!(values[&("[[camera]]", "name".into())].0, "\"camera\"");
        let values = reported("[server]\nmax_viewers = 3\nlisten = \"0.0.0.0:1\"\nstate_dir = \"/none\"\n");
        assert_eq!(values[&("[limits]", "connections".into())].0, "67");
        assert_eq!(values[&("[auth]", "mode".into())].0, "\"token\"");
    }

    #[test]
    fn each_section_reads_the_keys_of_the_table_and_no_others() {
        for section in SECTIONS {
            let role = if section.header == "[[led]]" { "role = \"fault\"\n" } else { "" };
            let text = format!("{}\n{role}no_such_key = 1\n", section.header);
            let error = resolve(&Flags::default(), Path::new("test.toml"), &text).unwrap_err().to_string();
            let mut known: Vec<String> = section.keys.iter().map(|key| format!("`{}`", key.name)).collect();
            if section.header.is_empty() {
                known.extend(
                    ["server", "tls", "limits", "auth", "camera", "mqtt", "led"]
                        .map(|name| format!("`{name}`")),
                );
            }
            let expected = format!("unknown key `no_such_key`, expected one of {}", known.join(", "));
            assert!(error.ends_with(&expected), "{error}, not {expected}");
        }
        let heads: Vec<&str> = SECTIONS.iter().map(|section| section.header).collect();
        assert_eq!(heads, ["", "[server]", "[auth]", "[tls]", "[limits]", "[[camera]]", "[mqtt]", "[[led]]"]);
    }

    #[test]
    fn each_key_is_explained() {
        for section in SECTIONS {
            for key in section.keys {
                assert!(!key.help.is_empty() && !key.help.ends_with('.'), "{}: {:?}", key.name, key.help);
            }
        }
        let leds = SECTIONS.iter().find(|section| section.header == "[[led]]").unwrap();
        let Accepts::OneOf(roles) = leds.keys[0].accepts else { panic!("role has no choices") };
        assert_eq!(roles, LedRole::ALL.map(LedRole::name));
    }

    #[test]
    fn values_are_shown_without_passwords_in_urls() {
        for (source, shown) in [
            ("exec:ffmpeg -i rtsp://me:se@cret@cam/x -o -", "exec:ffmpeg -i rtsp://me:***@cam/x -o -"),
            ("exec:curl http://cam/a?b:c@d", "exec:curl http://cam/a?b:c@d"),
            ("exec:x http://user@host ftp://a:b@c", "exec:x http://user@host ftp://a:***@c"),
        ] {
            let values = reported(&format!("[[camera]]\nsource = {source:?}\n"));
            assert_eq!(values[&("[[camera]]", "source".into())].0, format!("{shown:?}"));
        }
    }

    #[test]
    fn words_are_understood_in_any_case_and_formats_by_their_codes_too() {
        let settings = |text: &str| {
            let config = resolve(&Flags::default(), Path::new("test.toml"), text).unwrap();
            format!("{:?} {:?} {:?} {:?}", config.board.id(), config.web, config.cameras, config.leds)
        };
        let text = |words: &dyn Fn(&str) -> String| {
            format!(
                "board = \"{}\"\n[server]\nlisten = \"{}/x\"\n[auth]\nmode = \"{}\"\n\
                 [[camera]]\nsource = \"{}\"\nformat = \"{}\"\nsubsampling = \"4:2:2\"\n\
                 [[camera]]\nsource = \"{}Some Clip\"\nformat = \"{}\"\n\
                 [[camera]]\nsource = \"{}Some Command\"\n\
                 [[camera]]\nsource = \"{}\"\n[camera.controls]\n{} = 3\n\
                 [[led]]\nrole = \"{}\"\nline = \"{}Some LED\"\n",
                words("rpi-4b"),
                words("unix:"),
                words("token"),
                words("pattern"),
                words("yuyv"),
                words("file:"),
                words("auto"),
                words("exec:"),
                words("auto"),
                words("brightness"),
                words("on-air"),
                words("led:"),
            )
        };
        let lower = settings(&text(&str::to_owned));
        assert_eq!(settings(&text(&str::to_uppercase)), lower);
        for (format, name) in
            [("MJPEG", "mjpeg"), ("MJPG", "mjpeg"), ("jpeg", "mjpeg"), ("Y16", "y16"), ("XR24", "bgrx")]
        {
            let text = format!("[[camera]]\nformat = \"{format}\"\n");
            let config = resolve(&Flags::default(), Path::new("test.toml"), &text).unwrap();
            assert_eq!(config.cameras[0].format.unwrap().name(), name, "{format}");
        }
        let flags = Flags { tls: Some("NONE".into()), ..Flags::default() };
        assert!(resolve(&flags, Path::new("test.toml"), "").is_ok());
    }
}
