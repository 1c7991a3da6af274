//! Every key of the configuration file: one entry here, or in `mqtt_keys`, and its validation in a neighbour of this file.
//!
//! An entry makes the key known to the reader of the file, to `porthole check`, to the flag's help in `porthole --help`,
//! to the manual page porthole.toml(5), to the example configuration of the package and to the reference in
//! `src/manual/configuration.md`; `scripts/manual` writes these. What the file says is a [`Field`]; only its type is checked.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use super::key::{Accepts, DefaultValue, Field, Key, KeyType, Section, section};
use super::mqtt_keys::MqttSection;
use crate::camera::{ControlValue, InputChoice};
use crate::document::{DeValue, DocumentError, FromToml, OneOrMore, Spanned, TableReader};
use Accepts::{Between, Form, OneOf};
use DefaultValue::{Required, Rule, Value};

/// Every section with its keys.
pub const SECTIONS: [Section; 8] = [
    GeneralSection::SECTION,
    ServerSection::SECTION,
    AuthSection::SECTION,
    TlsSection::SECTION,
    LimitsSection::SECTION,
    CameraSection::SECTION,
    MqttSection::SECTION,
    LedSection::SECTION,
];

/// The help of a flag that sets a key: the key's own, its default and its range.
pub(super) fn flag_help(flag: &str) -> String {
    let key = SECTIONS.iter().flat_map(|section| section.keys).find(|key| key.flag == flag);
    let Some(key) = key else { return String::new() };
    let default = match key.default {
        Value(default) => {
            Some(format!("default: {} {}", default.trim_matches('"'), key.unit).trim().to_owned())
        }
        _ => None,
    };
    let range = match key.accepts {
        Between(least, most) => Some(format!("{least} to {most}")),
        _ => None,
    };
    let more: Vec<String> = [default, range].into_iter().flatten().collect();
    if more.is_empty() { key.help.to_owned() } else { format!("{} [{}]", key.help, more.join("; ")) }
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub(super) general: GeneralSection,
    pub(super) server: ServerSection,
    pub(super) tls: TlsSection,
    pub(super) limits: LimitsSection,
    pub(super) auth: AuthSection,
    pub(super) cameras: Vec<CameraSection>,
    pub(super) mqtt: MqttSection,
    pub(super) leds: Vec<LedSection>,
}

impl FromToml for ConfigFile {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let mut table = TableReader::new(value, span)?;
        let mut general = GeneralSection::default();
        general.read(&mut table)?;
        let file = Self {
            general,
            server: table.key::<Option<_>>("server")?.unwrap_or_default(),
            tls: table.key::<Option<_>>("tls")?.unwrap_or_default(),
            limits: table.key::<Option<_>>("limits")?.unwrap_or_default(),
            auth: table.key::<Option<_>>("auth")?.unwrap_or_default(),
            cameras: table.key::<Option<_>>("camera")?.unwrap_or_default(),
            mqtt: table.key::<Option<_>>("mqtt")?.unwrap_or_default(),
            leds: table.key::<Option<_>>("led")?.unwrap_or_default(),
        };
        table.finish()?;
        Ok(file)
    }
}

section! {
    /// Above all sections.
    GeneralSection "", "The machine that Porthole runs on." {
        board: String {
            default: Value("\"auto\""), flag: "--board",
            help: "Board profile: auto, an ID of `porthole boards`, or the path of a file",
        }
    }
}

section! {
    /// `[server]`
    ServerSection "[server]", "The addresses that are served, and the sites and names that may use them." {
        listen: OneOrMore {
            default: Value("\"127.0.0.1:8080\""),
            accepts: Form("up to 16; address 0.0.0.0 is any network, port 0 is any free port"),
            flag: "--listen",
            help: "Where to serve: ADDRESS:PORT or unix:PATH; several are possible",
            example: "\"0.0.0.0:8080\"",
        }
        max_viewers: i64 {
            default: Value("64"), accepts: Between(1.0, 1000.0), flag: "--max-viewers",
            help: "Most viewers at a time, of all cameras together",
        }
        progress_timeout_s: f64 {
            default: Value("10"), accepts: Between(1.0, 600.0), unit: "seconds",
            help: "A viewer that takes no data for this long is disconnected",
        }
        state_dir: PathBuf {
            flag: "--state-dir",
            default: Rule("$STATE_DIRECTORY, which systemd sets, else $XDG_STATE_HOME/porthole, else \
                ~/.local/state/porthole, else /var/lib/porthole"),
            help: "Directory for what must survive a restart: token, passwords, certificate, kept controls",
            example: "\"/var/lib/porthole\"",
        }
        hosts: Vec<String> {
            default: Value("[]"),
            help: "Names, besides its own, by which browsers may reach it, such as `cam.example`; `*` is any name",
        }
        allow_origins: Vec<String> {
            default: Value("[]"),
            help: "Sites whose pages may use it, such as `https://home.example:8123`; `*` is every site",
        }
    }
}

section! {
    /// `[auth]`
    AuthSection "[auth]", "Who may watch, and who may change controls." {
        mode: String {
            default: Rule("password if one is set, else none if only this machine can connect, else token"),
            accepts: OneOf(&["password", "token", "none"]), flag: "--auth",
            help: "Who may watch: token (whoever has the printed URL), password, or none (everybody)",
            example: "\"token\"",
        }
        viewer_password: String {
            accepts: Form("a hash that `porthole passwd viewer --print` shows"),
            help: "Password for watching",
        }
        admin_password: String {
            accepts: Form("a hash that `porthole passwd --print` shows"),
            help: "Password for watching and for changing the camera's controls",
        }
    }
}

section! {
    /// `[tls]`
    TlsSection "[tls]", "HTTPS. Plain HTTP on the same port is redirected to it." {
        self_signed: bool {
            default: Value("false"), flag: "--tls",
            help: "Serve HTTPS with a certificate that is made here for this machine's names and addresses",
        }
        certificate: PathBuf {
            help: "PEM file with a certificate, followed by those that vouch for it; needs key beside it",
            example: "\"/etc/porthole/cert.pem\"",
        }
        key: PathBuf {
            help: "PEM file with the private key of the certificate",
            example: "\"/etc/porthole/key.pem\"",
        }
    }
}

section! {
    /// `[limits]`
    LimitsSection "[limits]", "Limits on clients. Loopback and UNIX sockets are not counted by address; an IPv6 /64 is \
        one address." {
        connections: i64 {
            default: Rule("max_viewers + 64"), accepts: Between(1.0, 100_000.0),
            help: "Most connections at a time",
            example: "128",
        }
        connections_per_address: i64 {
            default: Value("64"), accepts: Between(1.0, 100_000.0),
            help: "Most connections at a time from one address",
        }
        waiting: i64 {
            default: Value("64"), accepts: Between(1.0, 100_000.0),
            help: "Most connections without a request; beyond it, the one without a request for longest is closed",
        }
        waiting_per_address: i64 {
            default: Value("16"), accepts: Between(1.0, 100_000.0),
            help: "Most connections without a request from one address",
        }
        viewers_per_address: i64 {
            default: Value("32"), accepts: Between(1.0, 100_000.0),
            help: "Most viewers at a time from one address",
        }
        request_timeout_s: f64 {
            default: Value("10"), accepts: Between(1.0, 600.0), unit: "seconds",
            help: "Longest time for a request to arrive, for the next one to begin, and for a TLS handshake",
        }
        silence_timeout_s: f64 {
            default: Value("50"), accepts: Between(2.0, 3600.0), unit: "seconds",
            help: "A WebSocket that answers no ping for this long is disconnected; browsers answer by themselves",
        }
    }
}

section! {
    /// `[[camera]]`
    CameraSection "[[camera]]", "A camera. Several may be listed; the first also answers at the addresses without a name." {
        name: String {
            default: Rule("camera, then camera-2, camera-3 and so on"),
            accepts: Form("up to 40 letters, digits, - and _; or * for all cameras that a broker announces"),
            help: "Name of the camera, as part of URLs",
            example: "\"front\"",
        }
        source: String {
            default: Value("\"auto\""), flag: "--source",
            help: "Source: auto, /dev/video0, rpicam, pattern, exec:COMMAND, file:PATH, URL",
            example: "\"/dev/video0\"",
        }
        source_token: String {
            help: "Token for a camera on another machine, sent as Bearer",
        }
        source_password_file: PathBuf {
            accepts: Form("a file whose first line is the password; the user stands in the URL"),
            help: "Password for a camera on another machine",
        }
        source_fingerprint: String {
            accepts: Form("sha256: and 64 hexadecimal digits, with or without colons"),
            help: "Certificate that the other machine must have; without it, one that the system's authorities have signed",
        }
        width: i64 {
            default: Rule("1280, or the nearest that the camera has"), accepts: Between(1.0, 65_535.0),
            unit: "pixels", flag: "--size",
            help: "Width of the picture; needs height beside it",
            example: "1280",
        }
        height: i64 {
            default: Rule("720, or the nearest that the camera has"), accepts: Between(1.0, 65_535.0),
            unit: "pixels", flag: "--size",
            help: "Height of the picture; needs width beside it",
            example: "720",
        }
        fps: f64 {
            default: Value("30"), accepts: Between(0.1, 240.0), unit: "frames a second", flag: "--fps",
            help: "Frame rate to ask the camera for",
        }
        format: String {
            default: Value("\"auto\""), flag: "--format",
            help: "Pixel format to ask for: auto, mjpeg, yuyv, or a V4L2 code such as NV12",
        }
        input: InputChoice {
            default: Rule("the one that is chosen in the device"),
            help: "Input of a device that has several, by number or name",
            example: "0",
        }
        standard: String {
            default: Rule("the one that is detected, or set in the device"),
            accepts: Form("PAL, NTSC, SECAM or a name that the device has"),
            help: "Standard of analog video",
            example: "\"PAL\"",
        }
        edid: String {
            default: Rule("the one that the device has"),
            accepts: Form("720p50, 720p60, 1080p24, 1080p25, 1080p30, 1080p50, 1080p60 or the path of a file, from /"),
            help: "EDID of an HDMI input: the picture that it asks of what is connected",
            example: "\"1080p30\"",
        }
        rpicam_options: Vec<String> {
            accepts: Form("options of rpicam-vid, such as \"--autofocus-mode\", \"continuous\""),
            help: "More options for the program that a Raspberry Pi's camera is read with",
        }
        quality: i64 {
            default: Value("80"), accepts: Between(1.0, 100.0), flag: "--quality",
            help: "Quality of JPEGs that are encoded here, not by the camera",
        }
        subsampling: String {
            default: Value("\"4:2:0\""), accepts: OneOf(&["4:2:0", "4:2:2"]),
            help: "Chroma subsampling of JPEGs that are encoded here",
        }
        validate: bool {
            default: Value("true"),
            help: "Hold back JPEGs from the camera that are not whole",
        }
        h264: String {
            default: Value("\"auto\""), accepts: OneOf(&["auto", "off", "copy", "hardware", "software"]),
            help: "Where H.264 comes from: the camera (copy), an encoder of the board (hardware) or of Porthole (software); \
                auto takes the first that works",
        }
        h264_quality: i64 {
            default: Value("50"), accepts: Between(1.0, 100.0),
            help: "Quality of H.264 that is encoded here; 25 more take twice the bits",
        }
        h264_kbps: i64 {
            default: Rule("by size, rate and h264_quality"), accepts: Between(50.0, 50_000.0), unit: "kbit a second",
            help: "Bit rate of H.264 that is encoded here",
            example: "2000",
        }
        rotate: i64 {
            default: Value("0"), accepts: Form("0, 90, 180 or 270"), unit: "degrees clockwise",
            help: "Orientation that viewers show the picture in (Exif); its pixels stay as they are",
            example: "180",
        }
        linger_s: f64 {
            default: Value("15"), accepts: Between(0.0, 86_400.0), unit: "seconds", flag: "--linger",
            help: "Time that the camera stays open without viewers",
        }
        skip_first: i64 {
            default: Value("0"), accepts: Between(0.0, 300.0), unit: "frames",
            help: "Frames to drop whenever the camera has been opened, while its exposure settles",
        }
        keep_controls: bool {
            default: Value("false"),
            help: "Keep the controls that viewers set over a restart",
        }
        controls: BTreeMap<String, Spanned<ControlValue>> {
            accepts: Form("names and values as `porthole cameras` lists them"),
            help: "Controls to set whenever the camera is opened, in a table [camera.controls]",
            example: "power_line_frequency = \"50 Hz\"",
        }
    }
}

section! {
    /// `[[led]]`
    LedSection "[[led]]", "A status LED. None is lit unless it is listed." {
        role: String {
            default: Required, accepts: OneOf(&["power", "camera", "on-air", "fault"]),
            help: "What the LED shows",
            example: "\"on-air\"",
        }
        line: String {
            default: Rule("the line that the board profile has for the role"),
            accepts: Form("GPIO17 by name, pinctrl-rp1:6 by chip and number, or led:ACT of /sys/class/leds"),
            help: "Line that the LED is on",
            example: "\"GPIO17\"",
        }
        active_low: bool {
            default: Value("false"),
            help: "The LED is lit by a low level",
        }
        required: bool {
            default: Value("false"),
            help: "Do not run without this LED; otherwise its absence is reported and the camera runs",
        }
    }
}
