//! Validation of `[server]`, `[limits]` and `[tls]`.
#![forbid(unsafe_code)]

use std::env;
use std::path::{Path, PathBuf};

use super::access;
use super::error::{ConfigError, ValueOrigin};
use super::flags::Flags;
use super::key::Field;
use super::keys::{AuthSection, LimitsSection, ServerSection, TlsSection};
use super::resolver::{Resolver, Unchecked};
use crate::document::OneOrMore;
use crate::web::{self, ConnectionLimits, Encryption, ListenAddress, WebLimits};

/// More addresses than anybody has.
const MOST_ADDRESSES: usize = 16;
/// Connections besides those of viewers, where the file does not say: for pages, figures, and clients that just came.
const SPARE_CONNECTIONS: i64 = 64;

/// The sections that concern the web.
pub(super) struct WebSections {
    pub(super) server: ServerSection,
    pub(super) limits: LimitsSection,
    pub(super) tls: TlsSection,
    pub(super) auth: AuthSection,
}

/// Resolves everything that concerns the web.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    flags: &Flags,
    sections: WebSections,
    board: &str,
) -> Result<web::WebSettings, ConfigError> {
    let WebSections { server, limits, tls, auth } = sections;
    resolver.report_section("[server]");
    let mut listen = addresses(resolver, flags, server.listen)?;
    listen.extend(local_socket(resolver, flags)?);
    let max_viewers = resolver.value(server.max_viewers, flags.max_viewers).number()?;
    let write_timeout = resolver.value(server.progress_timeout_s, None).seconds()?;
    let state_dir =
        resolver.value_or(server.state_dir, flags.state_dir.clone(), default_state_dir()).accept();
    let hosts = resolver.value(server.hosts, None);
    let hosts = hosts.check(|all| all.iter().map(|one| web::host(one)).collect())?;
    let origins = resolver.value(server.allow_origins, None);
    let allow_origins = origins.check(|all| all.iter().map(|one| web::origin(one)).collect())?;

    resolver.report_section("[limits]");
    let limits = resolve_limits(resolver, limits, max_viewers)?;
    resolver.report_section("[tls]");
    let encryption = resolve_tls(resolver, flags, tls)?;
    let is_local = listen.iter().all(ListenAddress::is_local);
    let auth = access::resolve(resolver, flags, auth, (is_local, &state_dir))?;

    Ok(web::WebSettings {
        listen,
        max_viewers,
        limits,
        write_timeout,
        encryption,
        auth,
        hosts,
        allow_origins,
        state_dir,
        board: board.to_owned(),
        leds: vec![],
    })
}

/// Where the state is kept, from `given` of the file: without the rest of the configuration, which may be wrong.
pub(super) fn state_dir(flags: &Flags, given: Option<PathBuf>) -> PathBuf {
    flags.state_dir.clone().or(given).unwrap_or_else(default_state_dir)
}

/// systemd's state directory, else the user's, else the system's.
fn default_state_dir() -> PathBuf {
    let under =
        |key: &str, rest: &str| Some(Path::new(&env::var_os(key).filter(|v| !v.is_empty())?).join(rest));
    under("STATE_DIRECTORY", "")
        .or_else(|| under("XDG_STATE_HOME", "porthole"))
        .or_else(|| under("HOME", ".local/state/porthole"))
        .unwrap_or_else(|| "/var/lib/porthole".into())
}

/// The addresses to listen on. Sockets from the service manager take the place of those that are configured.
fn addresses(
    resolver: &mut Resolver<'_>,
    flags: &Flags,
    field: Field<OneOrMore>,
) -> Result<Vec<ListenAddress>, ConfigError> {
    let activated = web::activated_sockets()?;
    if !activated.is_empty() {
        let texts = activated.iter().map(ListenAddress::to_string).collect();
        resolver.report_value("listen", &OneOrMore(texts), ValueOrigin::ServiceManager);
        return Ok(activated);
    }
    let flag = Some(&flags.listen).filter(|flag| !flag.is_empty()).cloned().map(OneOrMore);
    resolver.value(field, flag).check(|OneOrMore(texts)| {
        if !(1..=MOST_ADDRESSES).contains(&texts.len()) {
            return Err(format!("must be 1 to {MOST_ADDRESSES} addresses"));
        }
        texts.iter().map(|text| text.parse()).collect()
    })
}

/// The socket for this user and root, beside all other addresses.
fn local_socket(resolver: &mut Resolver<'_>, flags: &Flags) -> Result<Option<ListenAddress>, ConfigError> {
    let Some(path) = &flags.local_socket else { return Ok(None) };
    let text = path.display().to_string();
    let address =
        Unchecked::of_flag("--local-socket", text).check(|text| match format!("unix:{text}").parse() {
            Ok(ListenAddress::Unix(path)) => Ok(ListenAddress::Local(path)),
            _ => Err("must be an absolute path of at most 107 bytes, like /run/porthole/local.sock".into()),
        })?;
    let text = format!("and, for this user and root, {address}");
    resolver.report_comment(text, ValueOrigin::Flag("--local-socket"));
    Ok(Some(address))
}

fn resolve_limits(
    resolver: &mut Resolver<'_>,
    section: LimitsSection,
    max_viewers: usize,
) -> Result<WebLimits, ConfigError> {
    // At most 1000 viewers, so this is no loss.
    let total = max_viewers as i64 + SPARE_CONNECTIONS;
    let connections = ConnectionLimits {
        total: resolver.value_or(section.connections, None, total).number()?,
        per_address: resolver.value(section.connections_per_address, None).number()?,
        waiting: resolver.value(section.waiting, None).number()?,
        waiting_per_address: resolver.value(section.waiting_per_address, None).number()?,
    };
    Ok(WebLimits {
        connections,
        viewers_per_address: resolver.value(section.viewers_per_address, None).number()?,
        request_timeout: resolver.value(section.request_timeout_s, None).seconds()?,
        pong_timeout: resolver.value(section.silence_timeout_s, None).seconds()?,
    })
}

/// HTTPS, and its certificate.
fn resolve_tls(
    resolver: &mut Resolver<'_>,
    flags: &Flags,
    section: TlsSection,
) -> Result<Encryption, ConfigError> {
    if let Some(mode) = &flags.tls {
        let self_signed = Unchecked::of_flag("--tls", mode.clone()).check(|mode| {
            match mode.to_ascii_lowercase().as_str() {
                "self-signed" => check_built_with_tls().map(|()| true),
                "none" => Ok(false),
                _ => Err("must be \"self-signed\" or \"none\"".into()),
            }
        })?;
        resolver.report_value("self_signed", &self_signed, ValueOrigin::Flag("--tls"));
        return Ok(if self_signed { Encryption::SelfSigned } else { Encryption::None });
    }
    let has_files = section.certificate.value.is_some() || section.key.value.is_some();
    let self_signed =
        resolver.value(section.self_signed, None).check(|&self_signed| match (self_signed, has_files) {
            (false, _) => Ok(false),
            (true, true) => Err("cannot be beside certificate and key: leave out one or the other".into()),
            (true, false) => check_built_with_tls().map(|()| true),
        })?;
    if self_signed {
        return Ok(Encryption::SelfSigned);
    }
    let path = |file: Unchecked<PathBuf>, other: Option<&str>| {
        file.check(|path| match other {
            Some(other) => Err(format!("needs {other} beside it")),
            None => check_built_with_tls().map(|()| path.clone()),
        })
    };
    Ok(match (resolver.given(section.certificate), resolver.given(section.key)) {
        (None, None) => Encryption::None,
        (Some(certificate), Some(key)) => {
            Encryption::Files { certificate: path(certificate, None)?, key: path(key, None)? }
        }
        (Some(certificate), None) => path(certificate, Some("key")).map(|_| Encryption::None)?,
        (None, Some(key)) => path(key, Some("certificate")).map(|_| Encryption::None)?,
    })
}

fn check_built_with_tls() -> Result<(), String> {
    if cfg!(feature = "tls") {
        return Ok(());
    }
    Err("this porthole was built without TLS (its feature tls): take one with it, or let a web server in front of it \
         speak HTTPS"
        .into())
}
