//! Settings that somebody writes onto the card with any PC, made into the files that the image's programs read.
//!
//! ```text
//! BOOT/network.toml   ─┐ right?  ─▶ STATE/settings/…          the last right files
//! BOOT/porthole.toml  ─┘  │      ─▶ STATE/private/porthole/…  hashes of passwords, the token
//!                         │      ─▶ RUN/…                     for networkd, wpa_supplicant, SSH, porthole
//!                         ▼      ─▶ BOOT/network.toml         without its secrets, once they are kept
//!   BOOT/porthole-error.txt, RUN/porthole-appliance/fault     the faults, while there are any
//! ```
//! A file with a mistake counts for nothing: the last right one does, and the defaults if there was none. The same holds
//! for a file that is gone, as a card may lose one. An empty file is right, and means the defaults. Whatever goes wrong,
//! the system gets its settings; it is an error only when these cannot be written. A second application writes nothing.
#![forbid(unsafe_code)]

mod address;
mod complete;
mod context;
mod error;
mod files;
mod network;
mod render;
mod ssh_key;
mod text;
mod wifi;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use log::info;
use porthole::storage;
use porthole::web::{
    AuthMode, Encryption, ListenAddress, Passwords, UserRole, keep_passwords, keep_token, kept_passwords,
    passwords_file,
};

use complete::{Completed, Given, complete};
use context::{Context, DEFAULTS, LAST};
pub(crate) use error::SettingsError;
use files::Change;
use network::{Checked, Network, Password};

/// Arguments of `porthole-appliance settings`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of the card that any PC can write
    #[arg(long, value_name = "DIR", default_value = "/boot")]
    boot: PathBuf,

    /// Directory that lasts from boot to boot [default: /state, where a file system must be mounted]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Directory that lasts until the next boot
    #[arg(long, value_name = "DIR", default_value = "/run")]
    run: PathBuf,

    /// Board profile, as `porthole boards` lists them [default: this machine's]
    #[arg(long, value_name = "ID")]
    board: Option<String>,
}

/// Where the image mounts the state partition. Without a mount, what is written there is lost at the next boot.
const STATE: &str = "/state";
/// The name of a machine whose settings have none.
const HOSTNAME: &str = "porthole";
const NETWORK: &str = "network.toml";
const PORTHOLE: &str = "porthole.toml";
const ERROR: &str = "porthole-error.txt";
const URL: &str = "porthole-url.txt";

/// What `network.toml` says besides what is kept of it.
#[derive(Default)]
struct OnCard {
    /// The file, if it is right.
    text: Option<String>,
    secrets: Vec<(&'static str, Range<usize>)>,
    password: Password,
    admin_password: Password,
}

/// Applies the settings.
///
/// # Errors
/// [`SettingsError`] when the rest of the system cannot get its settings. Mistakes in the settings are reported, and no
/// error.
pub(crate) fn run(arguments: Arguments) -> Result<(), SettingsError> {
    let Arguments { boot, state, run, board } = arguments;
    let must_be_mounted = state.is_none();
    let mut context = Context::new(boot, state.unwrap_or_else(|| STATE.into()), run);
    let lasts = !must_be_mounted || context.lasts();
    let (network, on_card) = network(&mut context);
    let (unkept, are_kept) = passwords(&mut context, &on_card);
    let is_kept = on_card.text.is_some() && context.keep(NETWORK, &network.to_toml());
    // Without a configuration the image's own is served, and there is a network to mend it by.
    let configuration = configuration(&mut context, board.as_deref(), &unkept);
    let url = configuration.as_ref().ok().map(|completed| url(&mut context, &network, completed));

    let clean = on_card.text.filter(|_| lasts && is_kept && are_kept && !on_card.secrets.is_empty());
    let clean = clean.map(|text| text::without(&text, &on_card.secrets));
    write_card(&mut context, clean, url);
    render(&context, &network, &configuration)?;
    configuration.map(drop)
}

/// Reads `network.toml`.
fn network(context: &mut Context) -> (Network, OnCard) {
    let last = context.last(NETWORK).and_then(|(path, text)| match network::check(&path, &text, None) {
        Ok(checked) => Some(checked.network),
        Err(_) => {
            let why = "is not as this program writes it".to_owned();
            context.put_aside(&path, why, "write it into the files on the card again");
            None
        }
    });
    let checked = context.text(NETWORK).map_err(|error| vec![error]).and_then(|found| {
        let Some((path, text)) = found else { return Ok(None) };
        network::check(&path, &text, last.as_ref()).map(|checked| Some((text, checked)))
    });
    match checked {
        Ok(Some((text, Checked { network, password, admin_password, secrets }))) => {
            (network, OnCard { text: Some(text), secrets, password, admin_password })
        }
        Ok(None) => (last.unwrap_or_default(), OnCard::default()),
        Err(errors) => {
            let in_force = if last.is_some() { LAST } else { DEFAULTS };
            errors.into_iter().for_each(|error| context.fault(error, in_force));
            (last.unwrap_or_default(), OnCard::default())
        }
    }
}

/// Keeps new passwords where the service reads them. Returns those that cannot be kept there, and whether all are.
fn passwords(context: &mut Context, on_card: &OnCard) -> (Passwords, bool) {
    let folder = context.service_state();
    let path = passwords_file(&folder);
    let old = kept_passwords(&folder).unwrap_or_else(|error| {
        context.put_aside(&path, error.to_string(), "write the passwords into network.toml again");
        Passwords::default()
    });
    let new = changed(&old, on_card);
    if new == old {
        return (Passwords::default(), true);
    }
    let kept = storage::create_folder(&folder, 0o700).and_then(|()| keep_passwords(&folder, &new));
    match kept.map_err(SettingsError::keep(&path, "a password")) {
        Ok(()) => (Passwords::default(), true),
        Err(error) => {
            context.fault(error, "");
            (new, false)
        }
    }
}

/// The passwords after the change. The viewers' password alone is for everything; beside one for the controls it is for
/// watching only.
fn changed(old: &Passwords, on_card: &OnCard) -> Passwords {
    let mut new = old.clone();
    let has_own = old.admin.is_some() && old.admin != old.viewer;
    for (role, password) in
        [(UserRole::Viewer, &on_card.password), (UserRole::Admin, &on_card.admin_password)]
    {
        let hash = match password {
            Password::Kept => continue,
            Password::None => None,
            Password::New(hash) => Some(hash.clone()),
        };
        if role == UserRole::Viewer && !has_own {
            new.set(UserRole::Admin, hash.clone());
        }
        new.set(role, hash);
    }
    new
}

/// Reads `porthole.toml`, and completes it.
fn configuration(
    context: &mut Context,
    board: Option<&str>,
    unkept: &Passwords,
) -> Result<Completed, SettingsError> {
    let state_dir = context.service_state();
    let given = Given { board, state_dir: &state_dir, unkept };
    let found = context.text(PORTHOLE).and_then(|found| {
        let Some((path, text)) = found else { return Ok(None) };
        complete(&path, &text, &given).map(|completed| Some((text, completed)))
    });
    let mistake = match found {
        Ok(Some((text, completed))) => {
            context.keep(PORTHOLE, &text);
            return Ok(completed);
        }
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let last = context.last(PORTHOLE).and_then(|(path, text)| {
        // It may no longer be right: its passwords may be gone, or the board may be another one.
        complete(&path, &text, &given).map_err(|error| context.fault(error, DEFAULTS)).ok()
    });
    if let Some(mistake) = mistake {
        context.fault(mistake, if last.is_some() { LAST } else { DEFAULTS });
    }
    last.map_or_else(|| complete(Path::new("the defaults"), "", &given), Ok)
}

/// The address to open in a browser, with the token where one is asked for.
fn url(context: &mut Context, network: &Network, completed: &Completed) -> String {
    let web = &completed.config.web;
    let (scheme, usual) = match web.encryption {
        Encryption::None => ("http", 80),
        _ => ("https", 443),
    };
    let mut tcp = web.listen.iter().filter_map(|address| match address {
        ListenAddress::Tcp(address) => Some(address.port()),
        _ => None,
    });
    let port = tcp.next().filter(|&port| port != usual).map(|port| format!(":{port}")).unwrap_or_default();
    let hostname = network.hostname.as_deref().unwrap_or(HOSTNAME);
    let mut url = format!("{scheme}://{hostname}.local{port}/");
    if web.auth == AuthMode::Token {
        let folder = context.service_state();
        let token = storage::create_folder(&folder, 0o700)
            .map_err(SettingsError::keep(&folder, "the token"))
            .and_then(|()| Ok(keep_token(&folder)?));
        match token {
            Ok(token) => url.push_str(&format!("?token={token}")),
            Err(error) => context.fault(error, ""),
        }
    }
    url
}

/// Brings the card up to date. It is not written if it already is.
fn write_card(context: &mut Context, clean: Option<String>, url: Option<String>) {
    let mut changes = Vec::new();
    changes.extend(clean.map(|text| Change::Erase(context.boot.join(NETWORK), text)));
    changes.extend(url.map(|url| Change::Write(context.boot.join(URL), format!("{url}\r\n"))));
    changes.push(match context.report() {
        Some(report) => Change::Write(context.boot.join(ERROR), report),
        None => Change::Remove(context.boot.join(ERROR)),
    });
    changes.retain(Change::is_due);
    let Some(first) = changes.first() else { return };
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| SettingsError::Card { path, source }
    };
    let folder = context.boot.clone();
    let written = files::make_writable(&folder).map_err(error(first.path())).and_then(|_writable| {
        changes.iter().try_for_each(|change| change.apply().map_err(error(change.path())))
    });
    if let Err(error) = written {
        context.fault(error, "");
    }
}

/// Writes the files that the rest of the system reads.
fn render(
    context: &Context,
    network: &Network,
    configuration: &Result<Completed, SettingsError>,
) -> Result<(), SettingsError> {
    let networks = context.run.join("systemd/network");
    let own = context.run.join("porthole-appliance");
    for folder in [&networks, &own] {
        storage::create_folder(folder, 0o755).map_err(SettingsError::render(folder))?;
    }
    let faults: String =
        context.faults().chain(configuration.as_ref().err()).map(|error| format!("{error}\n")).collect();
    let mut rendered = vec![
        (own.join("wpa_supplicant.conf"), render::wpa_supplicant(network), 0o600),
        (own.join("authorized_keys"), render::authorized_keys(network), 0o600),
        (own.join("hostname"), network.hostname.as_ref().map(|name| format!("{name}\n")), 0o644),
        (own.join("fault"), Some(faults).filter(|faults| !faults.is_empty()), 0o644),
    ];
    if let Ok(completed) = configuration {
        rendered.push((own.join(PORTHOLE), Some(completed.text.clone()), 0o644));
    }
    rendered.extend(render::networks(network).map(|(name, text)| (networks.join(name), text, 0o644)));
    for (path, text, mode) in rendered {
        let done = match text {
            Some(text) => files::replace_if_changed(&path, text.as_bytes(), mode),
            None => storage::remove(&path),
        };
        done.map_err(SettingsError::render(&path))?;
    }
    info!("settings: applied, {} faults", context.faults().len());
    Ok(())
}
