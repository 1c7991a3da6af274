//! From `network.toml` as written to settings that are right, with everything that is wrong told at once: whoever wrote it
//! has to carry the card to and fro.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use porthole::web::PasswordHash;
use serde::Serialize;
use toml::Spanned;

use super::address::{Addresses, Subnet};
use super::error::SettingsError;
use super::raw::{self, Raw, Secret, Several};
use super::text::{line_of, own_lines};
use super::{key, wifi};

/// What the system needs to know. Written as TOML, it is a file that says the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Network {
    /// What it is called in the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<String>,
    /// Public keys of those who may log in by SSH, as in `authorized_keys`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ssh_key: Vec<String>,
    /// How its Ethernet gets its address.
    pub(super) ethernet: Addresses,
    /// The Wi-Fi it joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wifi: Option<Wifi>,
}

/// A Wi-Fi to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Wifi {
    /// Where it is, by which its channels are allowed (ISO 3166-1).
    pub(super) country: String,
    /// Its name.
    pub(super) ssid: String,
    /// Its key, 64 hexadecimal digits; `None` for one that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) passphrase: Option<String>,
    /// Whether it is open.
    pub(super) open: bool,
    /// Whether it does not tell its name.
    pub(super) hidden: bool,
    /// How this machine gets its address there.
    #[serde(flatten)]
    pub(super) addresses: Addresses,
}

/// A password as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Password {
    /// Nothing is said: the one that is kept stays.
    #[default]
    Kept,
    /// It is taken away.
    None,
    /// It is this from now on.
    New(PasswordHash),
}

/// A file that is right.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) network: Network,
    /// Of those who watch.
    pub(super) password: Password,
    /// Of those who may turn the camera's controls.
    pub(super) admin_password: Password,
    /// Keys and values that are not to stay where they are.
    pub(super) secrets: Vec<(&'static str, Range<usize>)>,
}

/// Checks `text`. A Wi-Fi of the same name as that of `kept` may leave out its passphrase.
///
/// # Errors
/// All that is not right.
pub(super) fn settle(path: &Path, text: &str, kept: Option<&Network>) -> Result<Settled, Vec<SettingsError>> {
    let raw: Raw = toml::from_str(text).map_err(|error| vec![malformed(path, text, &error)])?;
    let mut check = Check { path, text, wrong: Vec::new(), secrets: Vec::new() };
    let hostname = check.value("hostname", raw.hostname, |text| hostname(text));
    let ssh_key = check.value("ssh_key", raw.ssh_key, |Several(keys)| {
        keys.iter().map(|line| key::authorized(line)).collect::<Result<Vec<_>, _>>()
    });
    let mut password = |name, raw| {
        let new = check.secret(name, raw, |text| match text {
            "" => Ok(Password::None),
            text => PasswordHash::make(text).map(Password::New),
        });
        new.unwrap_or_default()
    };
    let password = [password("password", raw.password), password("admin_password", raw.admin_password)];
    let ethernet = check.addresses(raw.ethernet);
    let kept = kept.and_then(|kept| kept.wifi.as_ref());
    let wifi = raw.wifi.and_then(|raw| check.wifi(raw, kept));
    let Check { wrong, secrets, .. } = check;
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let [password, admin_password] = password;
    let network = Network { hostname, ssh_key: ssh_key.unwrap_or_default(), ethernet, wifi };
    Ok(Settled { network, password, admin_password, secrets })
}

fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> SettingsError {
    let line = line_of(text, error.span().map_or(0, |span| span.start));
    let code = text.lines().nth(line - 1).unwrap_or_default();
    let code = code.split('=').next().unwrap_or_default().trim().to_owned();
    let message = [("unknown field", "unknown key"), ("expected a string", "expected text in quotes")]
        .into_iter()
        .fold(error.message().trim().replace('\n', ", "), |text, (from, to)| text.replace(from, to));
    SettingsError::Malformed { path: path.into(), line, code, message }
}

/// What can be shown of a value that is wrong.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

impl Shown for Several {
    fn shown(&self) -> String {
        match &self.0[..] {
            [one] => one.shown(),
            several => format!("{several:?}"),
        }
    }
}

impl Shown for Secret {
    fn shown(&self) -> String {
        "***".into()
    }
}

/// Checks one value after the other, and goes on where one is wrong.
struct Check<'a> {
    path: &'a Path,
    text: &'a str,
    wrong: Vec<SettingsError>,
    secrets: Vec<(&'static str, Range<usize>)>,
}

impl Check<'_> {
    /// The value as `check` makes of it; `None` where there is none, or a wrong one.
    fn value<T: Shown, U>(
        &mut self,
        key: &'static str,
        raw: Option<Spanned<T>>,
        check: impl FnOnce(&T) -> Result<U, String>,
    ) -> Option<U> {
        let raw = raw?;
        let checked = check(raw.get_ref());
        checked.map_err(|message| self.complain(key, raw.get_ref().shown(), raw.span().start, message)).ok()
    }

    fn complain(&mut self, key: &'static str, value: String, at: usize, message: String) {
        let line = line_of(self.text, at);
        self.wrong.push(SettingsError::Value { path: self.path.into(), line, key, value, message });
    }

    /// The same for one that must not stay in the file.
    fn secret<U>(
        &mut self,
        key: &'static str,
        raw: Option<Spanned<Secret>>,
        check: impl FnOnce(&str) -> Result<U, String>,
    ) -> Option<U> {
        let span = raw.as_ref()?.span();
        let can_be_taken_out = own_lines(self.text, &span).is_some();
        self.secrets.push((key, span));
        self.value(key, raw, |Secret(text)| {
            if !can_be_taken_out {
                return Err(
                    "must stand on a line of its own, from which it can be taken when it has been applied"
                        .into(),
                );
            }
            check(text)
        })
    }

    fn addresses(&mut self, raw: raw::Addresses) -> Addresses {
        let raw::Addresses { address, gateway, dns } = raw;
        let address = self.value("address", address, |Several(all)| {
            all.iter().map(|one| one.parse::<Subnet>()).collect::<Result<Vec<_>, _>>()
        });
        let subnets = address.as_deref().unwrap_or_default();
        let gateway = self.value("gateway", gateway, |Several(all)| {
            all.iter().map(|one| Subnet::gateway(subnets, one)).collect::<Result<Vec<_>, _>>()
        });
        let dns = self.value("dns", dns, |Several(all)| all.iter().map(|one| ip(one)).collect());
        Addresses {
            address: subnets.to_vec(),
            gateway: gateway.unwrap_or_default(),
            dns: dns.unwrap_or_default(),
        }
    }

    fn wifi(&mut self, raw: Spanned<raw::Wifi>, kept: Option<&Wifi>) -> Option<Wifi> {
        let start = raw.span().start;
        let raw::Wifi { country, ssid, passphrase, open, hidden, address, gateway, dns } = raw.into_inner();
        let addresses = self.addresses(raw::Addresses { address, gateway, dns });
        let place = ssid.as_ref().map_or(start, |ssid| ssid.span().start);
        let (has_country, has_ssid) = (country.is_some(), ssid.is_some());
        let shown = ssid.as_ref().map(|ssid| ssid.get_ref().shown()).unwrap_or_default();
        let country = self.value("country", country, |text| wifi::country(text));
        let ssid = self.value("ssid", ssid, |text| wifi::ssid(text));
        if !has_ssid {
            self.complain(
                "[wifi]",
                "...".into(),
                start,
                "needs the network's name: add ssid = \"...\"".into(),
            );
        } else if !has_country {
            let message = "needs beside it the country it is in: add country = \"DE\", or whichever it is";
            self.complain("ssid", shown.clone(), place, message.into());
        }
        let has_passphrase = passphrase.is_some();
        let name = ssid.clone().unwrap_or_default();
        let new = self.secret("passphrase", passphrase, |text| wifi::key(&name, text));
        let open = self.value("open", open, |&open| match (open, has_passphrase) {
            (true, true) => Err("and a passphrase cannot both be: leave out one of them".into()),
            (open, _) => Ok(open),
        });
        let is_open = open == Some(true);
        let passphrase = match has_passphrase {
            true => new,
            false => {
                kept.filter(|kept| kept.ssid == name && !is_open).and_then(|kept| kept.passphrase.clone())
            }
        };
        if !name.is_empty() && !has_passphrase && !is_open && passphrase.is_none() {
            let message =
                "needs its passphrase beside it: add passphrase = \"...\", or open = true if it has none";
            self.complain("ssid", shown, place, message.into());
        }
        Some(Wifi {
            country: country?,
            ssid: ssid?,
            passphrase,
            open: is_open,
            hidden: hidden.unwrap_or_default(),
            addresses,
        })
    }
}

/// A label of a host name (RFC 1123, section 2.1).
fn hostname(text: &str) -> Result<String, String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let is_one = (1..=63).contains(&text.len()) && text.bytes().all(letter);
    if !is_one || text.starts_with('-') || text.ends_with('-') {
        return Err("must be 1 to 63 letters, digits and -, not at the ends, and no dot".into());
    }
    Ok(text.to_ascii_lowercase())
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address, as 192.168.1.1 is one"))
}
