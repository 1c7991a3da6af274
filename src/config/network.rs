//! What the operator says about the network.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::pick::{ConfigError, Origin, Picked, Picker};
use super::raw::{self, Several};
use super::{Flags, seconds, whole};
use crate::document::Spanned;
use crate::web::{self, ConnectionLimits, Encryption, ListenAddress, WebLimits};

/// Where the service listens when nobody says: for this machine alone.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// More addresses than anybody has.
const MOST_ADDRESSES: usize = 16;

/// Where to listen. What the service manager hands over comes before what is configured: a socket unit says where.
pub(super) fn listen(
    pick: &mut Picker<'_>,
    flags: &Flags,
    file: Option<Spanned<Several>>,
) -> Result<Vec<ListenAddress>, ConfigError> {
    let activated = web::activated_sockets()?;
    if !activated.is_empty() {
        let texts = activated.iter().map(ListenAddress::to_string).collect();
        pick.note("listen", &Several(texts), Origin::ServiceManager);
        return Ok(activated);
    }
    let given = Some(&flags.listen).filter(|given| !given.is_empty()).cloned().map(Several);
    let picked = pick.value("listen", "--listen", given, file, Several(vec![DEFAULT_LISTEN.into()]));
    picked.check(|Several(texts)| {
        if !(1..=MOST_ADDRESSES).contains(&texts.len()) {
            return Err(format!("must be 1 to {MOST_ADDRESSES} addresses"));
        }
        texts.iter().map(|text| text.parse()).collect()
    })
}

/// Where it listens for this user and root alone, if anywhere; beside all others, whoever says which those are.
pub(super) fn local_socket(
    pick: &mut Picker<'_>,
    flags: &Flags,
) -> Result<Option<ListenAddress>, ConfigError> {
    let Some(path) = &flags.local_socket else { return Ok(None) };
    let text = path.display().to_string();
    let address = Picked::of_flag("local_socket", "--local-socket", text).check(|text| {
        match format!("unix:{text}").parse() {
            Ok(ListenAddress::Unix(path)) => Ok(ListenAddress::Local(path)),
            _ => Err("must be a whole path of at most 107 bytes, like /run/porthole/local.sock".into()),
        }
    })?;
    pick.remark(format!("and, for this user and root, {address}"), Origin::Flag("--local-socket"));
    Ok(Some(address))
}

/// Whether, and with which certificate, HTTPS is spoken.
pub(super) fn tls(pick: &mut Picker<'_>, flags: &Flags, file: raw::Tls) -> Result<Encryption, ConfigError> {
    let possible = || match cfg!(feature = "tls") {
        true => Ok(()),
        false => {
            Err("this porthole was built without TLS (its feature tls): take one with it, or let a web \
                      server in front of it speak HTTPS"
                .to_owned())
        }
    };
    if let Some(mode) = &flags.tls {
        let self_signed =
            Picked::of_flag("tls", "--tls", mode.clone()).check(|mode| match mode.as_str() {
                "self-signed" => possible().map(|()| true),
                "none" => Ok(false),
                _ => Err("must be \"self-signed\" or \"none\"".into()),
            })?;
        pick.note("self_signed", &self_signed, Origin::Flag("--tls"));
        return Ok(if self_signed { Encryption::SelfSigned } else { Encryption::None });
    }
    let has_files = file.certificate.is_some() || file.key.is_some();
    let self_signed = pick.value("self_signed", "", None, file.self_signed, false).check(|&wanted| {
        if wanted && has_files {
            return Err("cannot be beside certificate and key: leave out one or the other".into());
        }
        if wanted { possible().map(|()| true) } else { Ok(false) }
    })?;
    if self_signed {
        return Ok(Encryption::SelfSigned);
    }
    let (has_certificate, has_key) = (file.certificate.is_some(), file.key.is_some());
    let mut path = |key: &str, path: Option<Spanned<_>>, (other, has_other): (&str, bool)| {
        let Some(path) = path else { return Ok(None) };
        let picked = pick.value(key, "", None, Some(path), Default::default());
        picked.check(|path: &PathBuf| {
            possible()?;
            if has_other { Ok(Some(path.clone())) } else { Err(format!("needs {other} beside it")) }
        })
    };
    let certificate = path("certificate", file.certificate, ("key", has_key))?;
    let key = path("key", file.key, ("certificate", has_certificate))?;
    Ok(match (certificate, key) {
        (Some(certificate), Some(key)) => Encryption::Files { certificate, key },
        _ => Encryption::None,
    })
}

/// Connections besides those of viewers: pages, states, and whoever has just come.
const SPARE_CONNECTIONS: usize = 64;
/// More connections than one process may have descriptors.
const MOST_CONNECTIONS: i64 = 100_000;

/// How much of everything there may be.
pub(super) fn limits(
    pick: &mut Picker<'_>,
    file: raw::Limits,
    max_viewers: usize,
) -> Result<WebLimits, ConfigError> {
    let mut number = |key, value, default: usize| {
        pick.value(key, "", None, value, default as i64).check(|&n| whole(n, 1..=MOST_CONNECTIONS))
    };
    let total = number("connections", file.connections, max_viewers + SPARE_CONNECTIONS)?;
    let per_address = number("connections_per_address", file.connections_per_address, 64)?;
    let waiting = number("waiting", file.waiting, SPARE_CONNECTIONS)?;
    let waiting_per_address = number("waiting_per_address", file.waiting_per_address, 16)?;
    let viewers_per_address = number("viewers_per_address", file.viewers_per_address, 32)?;
    let request = pick.value("request_timeout_s", "", None, file.request_timeout_s, 10.0);
    let request_timeout = request.check(|&s| seconds(s, 1.0..=600.0))?;
    let pong = pick.value("silence_timeout_s", "", None, file.silence_timeout_s, 50.0);
    let pong_timeout = pong.check(|&s| seconds(s, 2.0..=3600.0))?;
    let connections = ConnectionLimits { total, per_address, waiting, waiting_per_address };
    Ok(WebLimits { connections, viewers_per_address, request_timeout, pong_timeout })
}
