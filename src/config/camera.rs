//! Validation of `[[camera]]`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ValueOrigin};
use super::flags::Flags;
use super::key::Field;
use super::keys::CameraSection;
use super::resolver::{Resolver, Unchecked};
use crate::camera::{
    self, ControlValue, EdidChoice, H264Mode, H264Settings, InputChoice, InputSettings, LONGEST_NAME,
    RemoteSettings, Scheme, SourceSpec,
};
use crate::client::RemoteSecret;
use crate::document::Spanned;
use crate::frame::{PixelFormat, Resolution};
use crate::jpeg;
use crate::jpeg::exif::Rotation;
use crate::jpeg::yuv::Subsampling;
#[cfg(feature = "mqtt")]
use crate::mqtt::BrokerUrl;

/// The name that stands for the names of all cameras that a broker announces.
pub(super) const ANY_NAME: &str = "*";

/// Resolves a camera; `before` are those that stand above it in the file.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    flags: &Flags,
    section: CameraSection,
    state_dir: &Path,
    before: &[camera::CameraSettings],
) -> Result<camera::CameraSettings, ConfigError> {
    resolver.report_section("[[camera]]");
    let default =
        if before.is_empty() { "camera".to_owned() } else { format!("camera-{}", before.len() + 1) };
    let name = resolver.value_or(section.name, None, default).check(|name| check_name(name, before))?;
    let source: SourceSpec =
        resolver.value(section.source, flags.source.clone()).check(|text| source(text, &name))?;
    let remote = remote(
        resolver,
        &source,
        section.source_token,
        section.source_password_file,
        section.source_fingerprint,
    )?;
    let resolution = resolution(resolver, flags, section.width, section.height)?;
    let fps = resolver.value(section.fps, flags.fps).float()? as f32;
    let format = resolver.value(section.format, flags.format.clone()).check(|name| pixel_format(name))?;
    let inputs = inputs(resolver, section.input, section.standard, section.edid)?;
    let rpicam_options = rpicam_options(resolver, &source, section.rpicam_options)?;
    let quality = resolver.value(section.quality, flags.quality).number()?;
    let subsampling = resolver.value(section.subsampling, None).choice(|text| match text {
        "4:2:2" => Ok(Subsampling::Cs422),
        _ => Ok(Subsampling::Cs420),
    })?;
    let validate = resolver.value(section.validate, None).accept();
    let h264 = h264(resolver, section.h264, section.h264_quality, section.h264_kbps)?;
    let rotation = resolver.value(section.rotate, None).check(|&degrees| {
        Rotation::from_degrees(degrees).ok_or("must be 0, 90, 180 or 270, degrees clockwise".into())
    })?;
    let linger = resolver.value(section.linger_s, flags.linger).seconds()?;
    let skip_first = resolver.value(section.skip_first, None).number()?;
    let keep = resolver.value(section.keep_controls, None).accept();
    let controls = controls(resolver, section.controls);
    let controls_file = (keep && name != ANY_NAME).then(|| state_dir.join(format!("controls-{name}.json")));
    Ok(camera::CameraSettings {
        name,
        source,
        remote,
        resolution,
        fps,
        format,
        jpeg: jpeg::JpegSettings { quality, subsampling, validate, rotation },
        h264,
        linger,
        skip_first,
        inputs,
        rpicam_options,
        controls,
        controls_file,
    })
}

fn check_name(name: &str, before: &[camera::CameraSettings]) -> Result<String, String> {
    match name {
        ANY_NAME if cfg!(feature = "mqtt") => Ok(name.to_owned()),
        "" => Err("must not be empty".into()),
        name if !camera::is_camera_name(name) => {
            Err(format!("must be up to {LONGEST_NAME} letters, digits, - and _, as it is part of URLs"))
        }
        name if before.iter().any(|camera| camera.name == name) => {
            Err("is the name of another camera already".into())
        }
        name => Ok(name.to_owned()),
    }
}

/// Parses the source of the camera `name`.
fn source(text: &str, name: &str) -> Result<SourceSpec, String> {
    let source: SourceSpec = text.parse()?;
    let is_any_name = name == ANY_NAME;
    match source.is_many() {
        true if !is_any_name => {
            Err(format!("stands for more than one camera; set name = \"{ANY_NAME}\" for them"))
        }
        false if is_any_name => Err(format!(
            "is one camera, and name = \"{ANY_NAME}\" is for all that a broker announces, such as mqtt://BROKER/porthole/+/+; \
             give the camera a name, or change its source"
        )),
        _ => Ok(source),
    }
}

/// What belongs to the URL of a camera on another machine.
fn remote(
    resolver: &mut Resolver<'_>,
    source: &SourceSpec,
    token: Field<String>,
    password_file: Field<PathBuf>,
    fingerprint: Field<String>,
) -> Result<RemoteSettings, ConfigError> {
    #[cfg(feature = "mqtt")]
    if let SourceSpec::Broker(url) = source {
        return published(resolver, url, token, password_file, fingerprint);
    }
    let url = match source {
        SourceSpec::Remote(url) => Ok(url),
        _ => Err(String::from("is for a source on another machine, such as http://HOST/PATH; remove it")),
    };
    let with_credentials = || match url.clone()? {
        url if url.scheme() != Scheme::Tcp => Ok(url),
        _ => Err(String::from("has no meaning for tcp://, which knows no credentials; remove it")),
    };
    let key = token.key.name;
    let token = resolver.secret(key, token.value, |token| match with_credentials()? {
        url if url.has_user() => Err("cannot be used beside a user in the URL; remove one of them".into()),
        _ if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) => {
            Err("must be printable ASCII without spaces".to_owned())
        }
        _ => Ok(RemoteSecret::new(token)),
    })?;
    let token = token.map(|(token, _)| token);
    let password_file = resolver.given(password_file).map(|file| {
        file.check(|path| match with_credentials()? {
            _ if token.is_some() => Err("cannot be used beside source_token; remove one of them".to_owned()),
            url if url.has_password() => {
                Err("cannot be used beside a password in the URL; remove one of them".into())
            }
            _ => Ok(path.clone()),
        })
    });
    let fingerprint = resolver.given(fingerprint).map(|fingerprint| {
        fingerprint.check(|text| match url.clone()? {
            url if !url.scheme().is_encrypted() => {
                Err("is for https:// and wss:// only; change the source".to_owned())
            }
            _ => text.parse(),
        })
    });
    Ok(RemoteSettings {
        token,
        password_file: password_file.transpose()?,
        fingerprint: fingerprint.transpose()?,
    })
}

/// What belongs to the URL of a camera that is published to a broker.
#[cfg(feature = "mqtt")]
fn published(
    resolver: &mut Resolver<'_>,
    url: &BrokerUrl,
    token: Field<String>,
    password_file: Field<PathBuf>,
    fingerprint: Field<String>,
) -> Result<RemoteSettings, ConfigError> {
    let key = token.key.name;
    resolver.secret(key, token.value, |_| {
        Err::<(), _>("has no meaning for a broker; use a user in the URL and source_password_file".to_owned())
    })?;
    let password_file = resolver.given(password_file).map(|file| {
        file.check(|path| match url {
            url if !url.has_user() => {
                Err("needs a user in the URL, such as mqtt://USER@HOST/TOPIC".to_owned())
            }
            url if url.has_password() => {
                Err("cannot be used beside a password in the URL; remove one of them".into())
            }
            _ => Ok(path.clone()),
        })
    });
    let fingerprint = resolver.given(fingerprint).map(|fingerprint| {
        fingerprint.check(|text| match url {
            url if !url.is_encrypted() => Err("is for mqtts:// only; change the source".to_owned()),
            _ => text.parse(),
        })
    });
    Ok(RemoteSettings {
        token: None,
        password_file: password_file.transpose()?,
        fingerprint: fingerprint.transpose()?,
    })
}

fn pixel_format(name: &str) -> Result<Option<PixelFormat>, String> {
    if name.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    let known = || PixelFormat::ALL.map(PixelFormat::name).join(", ");
    PixelFormat::from_name(name).map(Some).ok_or_else(|| {
        format!("must be auto or one of {}, or the code that V4L2 has for it, like MJPG", known())
    })
}

fn h264(
    resolver: &mut Resolver<'_>,
    mode: Field<String>,
    quality: Field<i64>,
    kbps: Field<i64>,
) -> Result<H264Settings, ConfigError> {
    let mode = resolver.value(mode, None).choice(|text| match text {
        "off" => Ok(H264Mode::Off),
        "copy" => Ok(H264Mode::Copy),
        "hardware" => Ok(H264Mode::Hardware),
        "software" if !cfg!(feature = "h264") => {
            Err("is not part of this build, which has no feature h264; use auto, copy or hardware".into())
        }
        "software" => Ok(H264Mode::Software),
        _ => Ok(H264Mode::Auto),
    })?;
    let quality = resolver.value(quality, None).number()?;
    let kbps = resolver.given(kbps).map(Unchecked::number).transpose()?;
    Ok(H264Settings { mode, quality, kbps })
}

/// Any input and standard is right: which there are is known when the camera is opened.
fn inputs(
    resolver: &mut Resolver<'_>,
    input: Field<InputChoice>,
    standard: Field<String>,
    edid: Field<String>,
) -> Result<InputSettings, ConfigError> {
    let input = resolver.given(input).map(Unchecked::accept);
    let standard = resolver.given(standard).map(Unchecked::accept);
    let edid = resolver.given(edid).map(|edid| edid.check(|text| text.parse::<EdidChoice>())).transpose()?;
    Ok(InputSettings { input, standard, edid })
}

/// Options that have a meaning here, and the key to set instead.
const RESERVED_RPICAM_OPTIONS: [(&[&str], &str); 8] = [
    (&["--width", "--height"], "set width and height instead"),
    (&["--framerate"], "set fps instead"),
    (&["--quality", "-q"], "set quality instead"),
    (&["--rotation"], "set rotate instead"),
    (&["--camera"], "name the camera in source, such as rpicam:1, instead"),
    (
        &["--output", "-o", "--codec", "--flush"],
        "the pictures come through a pipe, as JPEGs, or as H.264 with h264 = \"copy\"",
    ),
    (&["--timeout", "-t", "--nopreview", "-n"], "the program runs while there are viewers"),
    (&["--list-cameras", "--help", "-h", "--version"], "run it by hand"),
];

fn rpicam_options(
    resolver: &mut Resolver<'_>,
    source: &SourceSpec,
    field: Field<Vec<String>>,
) -> Result<Vec<String>, ConfigError> {
    let Some(options) = resolver.given(field) else { return Ok(Vec::new()) };
    options.check(|options| {
        if !matches!(source, SourceSpec::RpiCam(_) | SourceSpec::Auto) {
            return Err("is for the sources rpicam and auto; remove it".to_owned());
        }
        for option in options {
            let name = option.split('=').next().unwrap_or_default();
            if let Some((_, instead)) =
                RESERVED_RPICAM_OPTIONS.iter().find(|(names, _)| names.contains(&name))
            {
                return Err(format!("must not have {name}: {instead}"));
            }
        }
        Ok(options.clone())
    })
}

/// Any name is right: which controls there are is known when the camera is opened.
fn controls(
    resolver: &mut Resolver<'_>,
    field: Field<BTreeMap<String, Spanned<ControlValue>>>,
) -> BTreeMap<String, ControlValue> {
    let Some(given) = field.value.map(Spanned::into_inner).filter(|given| !given.is_empty()) else {
        return BTreeMap::new();
    };
    resolver.report_section("[camera.controls]");
    let mut controls = BTreeMap::new();
    for (name, setting) in given {
        let origin = resolver.origin(&setting);
        resolver.report_value(&name, setting.get_ref(), origin);
        controls.insert(name.to_ascii_lowercase(), setting.into_inner());
    }
    controls
}

/// The size that is asked for, if any: by `--size`, or by `width` and `height` together.
fn resolution(
    resolver: &mut Resolver<'_>,
    flags: &Flags,
    width: Field<i64>,
    height: Field<i64>,
) -> Result<Option<Resolution>, ConfigError> {
    if let Some(size) = &flags.size {
        let size: Resolution = Unchecked::of_flag("--size", size.clone()).check(|s| s.parse())?;
        resolver.report_value("width", &i64::from(size.width), ValueOrigin::Flag("--size"));
        resolver.report_value("height", &i64::from(size.height), ValueOrigin::Flag("--size"));
        return Ok(Some(size));
    }
    match (resolver.given(width), resolver.given(height)) {
        (None, None) => {
            let default = camera::DEFAULT_RESOLUTION;
            let text = format!("width and height: {default}, or what the camera has nearest to it");
            resolver.report_comment(text, ValueOrigin::Default);
            Ok(None)
        }
        (Some(width), Some(height)) => Ok(Some(Resolution::new(width.number()?, height.number()?))),
        (Some(width), None) => width.check(|_| Err("needs height beside it".into())),
        (None, Some(height)) => height.check(|_| Err("needs width beside it".into())),
    }
}
