//! Settings that somebody writes onto the card with any PC, made into what the image's programs read.
//!
//! ```text
//! BOOT/network.toml   ─┐ right?  ─▶ STATE/settings/…          the last right ones
//! BOOT/porthole.toml  ─┘  │      ─▶ STATE/private/porthole/…  passwords as hashes, the token
//!                         │      ─▶ RUN/…                     for networkd, wpa_supplicant, SSH, porthole
//!                         ▼      ─▶ BOOT/network.toml         without its secrets, once they are kept
//!   BOOT/porthole-error.txt, RUN/porthole-appliance/fault     what is wrong, while anything is
//! ```
//! A file that is wrong counts for nothing: the last right one does, and before there was any, defaults that need no
//! settings. The same goes for a file that is gone, as a card may lose one; a file that is there and empty is right, and
//! says that everything is to be as by default. Whatever goes wrong, the system gets its settings; only when they cannot
//! be written is that an error. Applied a second time it writes nothing.
#![forbid(unsafe_code)]

mod address;
mod effective;
mod error;
mod files;
mod key;
mod network;
mod raw;
mod render;
mod text;
mod wifi;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use log::{info, warn};
use porthole::web::{
    AuthMode, Encryption, ListenAddress, Passwords, UserRole, keep_passwords, keep_token, kept_passwords,
    passwords_file,
};

use effective::{Effective, Given};
pub(crate) use error::SettingsError;
use files::Change;
use network::{Network, Password, Settled};

/// What `porthole-appliance settings` is told.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The part of the card that any PC can write
    #[arg(long, value_name = "DIR", default_value = "/boot")]
    boot: PathBuf,

    /// What lasts from boot to boot [default: /state, where a file system must be mounted]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// What lasts until the next boot
    #[arg(long, value_name = "DIR", default_value = "/run")]
    run: PathBuf,

    /// Board profile, as `porthole boards` lists them [default: this machine's]
    #[arg(long, value_name = "ID")]
    board: Option<String>,
}

/// Where the image mounts what lasts. What is written there while nothing is mounted lies in memory.
const STATE: &str = "/state";
/// The name of an image that nobody gave one.
const HOSTNAME: &str = "porthole";
const NETWORK: &str = "network.toml";
const PORTHOLE: &str = "porthole.toml";
const ERROR: &str = "porthole-error.txt";
const URL: &str = "porthole-url.txt";

/// Applies the settings.
///
/// # Errors
/// [`SettingsError`] when the rest of the system cannot be told. What is wrong with the settings is no error.
pub(crate) fn run(arguments: Arguments) -> Result<(), SettingsError> {
    let Arguments { boot, state, run, board } = arguments;
    let must_be_mounted = state.is_none();
    let mut boot = Boot { boot, state: state.unwrap_or_else(|| STATE.into()), run, faults: Vec::new() };
    let lasts = !must_be_mounted || boot.lasts();
    let (network, written) = boot.network();
    let (unkept, are_kept) = boot.passwords(&written);
    let is_kept = written.text.is_some() && boot.keep_network(&network);
    // Without it the image's own is served, and there is a network by which that can be seen to.
    let effective = boot.configuration(board.as_deref(), &unkept);
    let url = effective.as_ref().ok().map(|effective| boot.url(&network, effective));

    let clean = written.text.filter(|_| lasts && is_kept && are_kept && !written.secrets.is_empty());
    let clean = clean.map(|text| text::without(&text, &written.secrets));
    boot.write_card(clean, url);
    boot.render(&network, &effective)?;
    effective.map(drop)
}

/// One application of the settings: where everything is, and what has gone wrong so far.
struct Boot {
    boot: PathBuf,
    state: PathBuf,
    run: PathBuf,
    faults: Vec<Fault>,
}

/// Something that is wrong, and what counts instead.
struct Fault {
    error: SettingsError,
    instead: &'static str,
}

/// What `network.toml` says besides what is kept of it.
#[derive(Default)]
struct Written {
    /// The file, if it is right.
    text: Option<String>,
    secrets: Vec<(&'static str, Range<usize>)>,
    password: Password,
    admin_password: Password,
}

const LAST: &str = "what this file said when it was right last";
const DEFAULTS: &str = "the defaults";

impl Boot {
    fn fault(&mut self, error: SettingsError, instead: &'static str) {
        warn!("{error}{}", if instead.is_empty() { String::new() } else { format!("; in force: {instead}") });
        self.faults.push(Fault { error, instead });
    }

    /// Where the service keeps its state: systemd's private folder for it, which `/var/lib/private` is.
    fn service_state(&self) -> PathBuf {
        self.state.join("private/porthole")
    }

    /// Whether what is kept is there at the next boot.
    fn lasts(&mut self) -> bool {
        let is_mounted = files::is_mounted(&self.state);
        let why = match is_mounted {
            Ok(true) => return true,
            Ok(false) => io::Error::other("no file system is mounted there"),
            Err(error) => error,
        };
        let error = SettingsError::Keep { path: self.state.clone(), what: "what is set", source: why };
        self.fault(error, "");
        false
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.state.join("settings").join(name)
    }

    /// The text of a file on the card, if there is one.
    fn text(&self, name: &str) -> Result<Option<(PathBuf, String)>, SettingsError> {
        let path = self.boot.join(name);
        match files::read(&path) {
            Ok(Some(bytes)) => text::decode(&path, &bytes).map(|text| Some((path, text))),
            Ok(None) => {
                // Windows hides such endings.
                let found = self.boot.join(format!("{name}.txt"));
                if found.exists() { Err(SettingsError::Misnamed { found, path }) } else { Ok(None) }
            }
            Err(source) => Err(SettingsError::Unreadable { path, source }),
        }
    }

    /// The text that was right last.
    fn last(&mut self, name: &'static str) -> Option<(PathBuf, String)> {
        let path = self.kept(name);
        let read = files::read(&path).map(|bytes| bytes.map(String::from_utf8));
        let why = match read {
            Ok(None) => return None,
            Ok(Some(Ok(text))) => return Some((path, text)),
            Ok(Some(Err(_))) => "is no text".to_owned(),
            Err(error) => error.to_string(),
        };
        self.lose(path, why);
        None
    }

    fn lose(&mut self, path: PathBuf, why: String) {
        let remedy = "write it into the files on the card again";
        // Where it cannot be moved it is in the way of the next, too, and told then.
        let _ = files::put_aside(&path);
        self.fault(SettingsError::Damaged { path, why, remedy }, "");
    }

    /// What `network.toml` says.
    fn network(&mut self) -> (Network, Written) {
        let last = self.last(NETWORK).and_then(|(path, text)| match network::settle(&path, &text, None) {
            Ok(settled) => Some(settled.network),
            Err(_) => {
                self.lose(path, "is not as this program writes it".into());
                None
            }
        });
        let settled = self.text(NETWORK).map_err(|error| vec![error]).and_then(|found| {
            let Some((path, text)) = found else { return Ok(None) };
            network::settle(&path, &text, last.as_ref()).map(|settled| Some((text, settled)))
        });
        match settled {
            Ok(Some((text, Settled { network, password, admin_password, secrets }))) => {
                (network, Written { text: Some(text), secrets, password, admin_password })
            }
            Ok(None) => (last.unwrap_or_default(), Written::default()),
            Err(errors) => {
                let instead = if last.is_some() { LAST } else { DEFAULTS };
                errors.into_iter().for_each(|error| self.fault(error, instead));
                (last.unwrap_or_default(), Written::default())
            }
        }
    }

    /// Keeps new passwords where the service reads them. Returns those that it has to be told otherwise, and whether
    /// there are none.
    fn passwords(&mut self, written: &Written) -> (Passwords, bool) {
        let folder = self.service_state();
        let path = passwords_file(&folder);
        let old = kept_passwords(&folder).unwrap_or_else(|error| {
            let remedy = "write the passwords into network.toml again";
            let _ = files::put_aside(&path);
            self.fault(SettingsError::Damaged { path: path.clone(), why: error.to_string(), remedy }, "");
            Passwords::default()
        });
        let new = changed(&old, written);
        if new == old {
            return (Passwords::default(), true);
        }
        let kept = files::folder(&folder, 0o700).and_then(|()| keep_passwords(&folder, &new));
        match kept.map_err(SettingsError::keep(&path, "a password")) {
            Ok(()) => (Passwords::default(), true),
            Err(error) => {
                self.fault(error, "");
                (new, false)
            }
        }
    }

    /// Keeps a file that was right.
    fn keep(&mut self, name: &'static str, text: String) -> bool {
        let path = self.kept(name);
        let kept = files::folder(&self.state.join("settings"), 0o700)
            .and_then(|()| files::write(&path, text.as_bytes(), 0o600));
        let kept = kept.map_err(SettingsError::keep(&path, "what this file says"));
        kept.map_err(|error| self.fault(error, "")).is_ok()
    }

    fn keep_network(&mut self, network: &Network) -> bool {
        match toml::to_string(network) {
            Ok(text) => self.keep(NETWORK, text),
            Err(why) => {
                self.fault(SettingsError::Completion(why.to_string()), "");
                false
            }
        }
    }

    /// What `porthole.toml` says, completed.
    fn configuration(&mut self, board: Option<&str>, unkept: &Passwords) -> Result<Effective, SettingsError> {
        let state_dir = self.service_state();
        let given = Given { board, state_dir: &state_dir, unkept };
        let found = self.text(PORTHOLE).and_then(|found| {
            let Some((path, text)) = found else { return Ok(None) };
            effective::complete(&path, &text, &given).map(|effective| Some((text, effective)))
        });
        let wrong = match found {
            Ok(Some((text, effective))) => {
                self.keep(PORTHOLE, text);
                return Ok(effective);
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        let last = self.last(PORTHOLE).and_then(|(path, text)| {
            let completed = effective::complete(&path, &text, &given);
            // What was right need not be any more: its passwords may be gone, or the board another one.
            completed.map_err(|error| self.fault(error, DEFAULTS)).ok()
        });
        if let Some(wrong) = wrong {
            self.fault(wrong, if last.is_some() { LAST } else { DEFAULTS });
        }
        last.map_or_else(|| effective::complete(Path::new("the defaults"), "", &given), Ok)
    }

    /// What to type into a browser; with the token, where there is no password that could be asked for.
    fn url(&mut self, network: &Network, effective: &Effective) -> String {
        let web = &effective.config.web;
        let (scheme, usual) = match web.encryption {
            Encryption::None => ("http", 80),
            _ => ("https", 443),
        };
        let mut tcp = web.listen.iter().filter_map(|address| match address {
            ListenAddress::Tcp(address) => Some(address.port()),
            _ => None,
        });
        let port =
            tcp.next().filter(|&port| port != usual).map(|port| format!(":{port}")).unwrap_or_default();
        let hostname = network.hostname.as_deref().unwrap_or(HOSTNAME);
        let mut url = format!("{scheme}://{hostname}.local{port}/");
        if web.auth == AuthMode::Token {
            let folder = self.service_state();
            let token = files::folder(&folder, 0o700)
                .map_err(SettingsError::keep(&folder, "the token"))
                .and_then(|()| Ok(keep_token(&folder)?));
            match token {
                Ok(token) => url.push_str(&format!("?token={token}")),
                Err(error) => self.fault(error, ""),
            }
        }
        url
    }

    /// Brings the card up to date, and leaves it alone if it is.
    fn write_card(&mut self, clean: Option<String>, url: Option<String>) {
        let mut changes = Vec::new();
        changes.extend(clean.map(|text| Change::Erase(self.boot.join(NETWORK), text)));
        changes.extend(url.map(|url| Change::Write(self.boot.join(URL), format!("{url}\r\n"))));
        changes.push(match self.report() {
            Some(report) => Change::Write(self.boot.join(ERROR), report),
            None => Change::Remove(self.boot.join(ERROR)),
        });
        changes.retain(Change::is_due);
        let Some(first) = changes.first() else { return };
        let card = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| SettingsError::Card { path, source }
        };
        let folder = self.boot.clone();
        let written = files::writable(&folder).map_err(card(first.path())).and_then(|_writable| {
            changes.iter().try_for_each(|change| change.make().map_err(card(change.path())))
        });
        if let Err(error) = written {
            self.fault(error, "");
        }
    }

    /// What is wrong, in words for whoever has the card in a PC; `None` if all is well.
    fn report(&self) -> Option<String> {
        let mut lines = vec!["Porthole runs, but not everything here is right:".to_owned()];
        for Fault { error, instead } in &self.faults {
            lines.extend([String::new(), error.to_string()]);
            lines.extend((!instead.is_empty()).then(|| format!("In force instead: {instead}.")));
        }
        lines.extend([
            String::new(),
            "When all is well, this file goes away by itself at the next start.".into(),
        ]);
        (!self.faults.is_empty()).then(|| lines.iter().map(|line| format!("{line}\r\n")).collect())
    }

    /// Tells the rest of the system.
    fn render(
        &self,
        network: &Network,
        effective: &Result<Effective, SettingsError>,
    ) -> Result<(), SettingsError> {
        let (networks, own) = (self.run.join("systemd/network"), self.run.join("porthole-appliance"));
        for folder in [&networks, &own] {
            files::folder(folder, 0o755).map_err(SettingsError::render(folder))?;
        }
        let faults = self.faults.iter().map(|fault| &fault.error).chain(effective.as_ref().err());
        let faults: Vec<String> = faults.map(SettingsError::to_string).collect();
        let fault = Some(faults.join("\n") + "\n").filter(|_| !faults.is_empty());
        let mut rendered = vec![
            (own.join("wpa_supplicant.conf"), network.wifi.as_ref().map(render::wpa_supplicant), 0o600),
            (own.join("authorized_keys"), render::authorized_keys(network), 0o600),
            (own.join("hostname"), network.hostname.as_ref().map(|name| format!("{name}\n")), 0o644),
            (own.join("fault"), fault, 0o644),
        ];
        let effective = effective.as_ref().ok();
        rendered.extend(effective.map(|effective| (own.join(PORTHOLE), Some(effective.text.clone()), 0o644)));
        rendered.extend(render::networks(network).map(|(name, text)| (networks.join(name), text, 0o644)));
        for (path, text, mode) in rendered {
            let done = match text {
                Some(text) => files::write(&path, text.as_bytes(), mode),
                None => files::remove(&path),
            };
            done.map_err(SettingsError::render(&path))?;
        }
        info!("settings: applied, {} faults", self.faults.len());
        Ok(())
    }
}

/// The passwords from now on. One that is set alone is for everything; where the controls have one of their own, the other
/// is for looking only.
fn changed(old: &Passwords, written: &Written) -> Passwords {
    let mut new = old.clone();
    let has_own = old.admin.is_some() && old.admin != old.viewer;
    let passwords = [(UserRole::Viewer, &written.password), (UserRole::Admin, &written.admin_password)];
    for (role, password) in passwords {
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
