//! The keys of `network.toml`, and their validation. It reports all mistakes at once, as each attempt takes a walk with the
//! card. No error shows a secret.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use porthole::document::{
    self, DeValue, DocumentError, FromToml, OneOrMore, Spanned, ToToml, line_of, toml_table,
};
use porthole::web::PasswordHash;
use serde::Serialize;

use super::address::{Addresses, Subnet};
use super::error::SettingsError;
use super::text::own_lines;
use super::{ssh_key, wifi};

toml_table! {
    /// The whole file.
    #[derive(Debug, Default)]
    struct NetworkFile {
        hostname: Option<Spanned<String>>,
        password: Option<Spanned<Secret>>,
        admin_password: Option<Spanned<Secret>>,
        ssh_key: Option<Spanned<OneOrMore>>,
        wifi: Option<Spanned<WifiSection>>,
        second_wifi: Option<Spanned<WifiKeys>>,
        ethernet: Option<Spanned<AddressKeys>>,
    }
}

toml_table! {
    /// `[wifi]`
    #[derive(Debug, Default)]
    struct WifiSection {
        country: Option<Spanned<String>>,
        ssid: Option<Spanned<String>>,
        passphrase: Option<Spanned<Secret>>,
        open: Option<Spanned<bool>>,
        hidden: Option<Spanned<bool>>,
        wpa3: Option<Spanned<bool>>,
        address: Option<Spanned<OneOrMore>>,
        gateway: Option<Spanned<OneOrMore>>,
        dns: Option<Spanned<OneOrMore>>,
    }
}

toml_table! {
    /// `[second_wifi]`, and the same keys of `[wifi]`.
    #[derive(Debug, Default)]
    struct WifiKeys {
        ssid: Option<Spanned<String>>,
        passphrase: Option<Spanned<Secret>>,
        open: Option<Spanned<bool>>,
        hidden: Option<Spanned<bool>>,
        wpa3: Option<Spanned<bool>>,
    }
}

toml_table! {
    /// `[ethernet]`, and the same keys of `[wifi]`.
    #[derive(Debug, Default)]
    struct AddressKeys {
        address: Option<Spanned<OneOrMore>>,
        gateway: Option<Spanned<OneOrMore>>,
        dns: Option<Spanned<OneOrMore>>,
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromToml for Secret {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let text = String::from_toml(value, span.clone());
        // Its own message has the value.
        text.map(Self).map_err(|_| DocumentError::new(&span, "must be text in quotes".into()))
    }
}

impl ToToml for Secret {
    fn to_toml(&self) -> String {
        "***".into()
    }
}

/// The network of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Network {
    /// Its name in the network.
    pub(super) hostname: Option<String>,
    /// Public keys that may log in by SSH, as in `authorized_keys`.
    pub(super) ssh_key: Vec<String>,
    /// Addresses of its Ethernet.
    pub(super) ethernet: Addresses,
    /// The Wi-Fi it joins.
    pub(super) wifi: Option<Wifi>,
    /// Another, which it joins where that one is not to be had.
    pub(super) second_wifi: Option<WifiNetwork>,
}

/// A Wi-Fi to join, and what is the same in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Wifi {
    /// Country, which decides the channels that are allowed (ISO 3166-1).
    pub(super) country: String,
    #[serde(flatten)]
    pub(super) network: WifiNetwork,
    /// Addresses of this machine there.
    #[serde(flatten)]
    pub(super) addresses: Addresses,
}

/// What a Wi-Fi is called, and how to get into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct WifiNetwork {
    /// Its name.
    pub(super) ssid: String,
    /// Its key, 64 hexadecimal digits; with WPA3 the passphrase itself; `None` for one that is open.
    pub(super) passphrase: Option<String>,
    /// Whether it is open.
    pub(super) open: bool,
    /// Whether it does not announce its name.
    pub(super) hidden: bool,
    /// Whether it takes WPA3 only.
    pub(super) wpa3: bool,
}

/// What the file says of a password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Password {
    /// Nothing: the one that is kept stays.
    #[default]
    Kept,
    /// It is removed.
    None,
    /// It is replaced.
    New(PasswordHash),
}

/// A file that is right.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) network: Network,
    /// For watching.
    pub(super) password: Password,
    /// For the camera's controls.
    pub(super) admin_password: Password,
    /// Keys and the places of values that must not stay in the file.
    pub(super) secrets: Vec<(&'static str, Range<usize>)>,
}

impl Network {
    /// Those that it joins, in the order in which it prefers them.
    pub(super) fn wifi_networks(&self) -> impl Iterator<Item = &WifiNetwork> {
        self.wifi.iter().map(|wifi| &wifi.network).chain(&self.second_wifi)
    }

    /// A file that says the same.
    pub(super) fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| unreachable!("texts, switches and lists: {error}"))
    }
}

/// Checks `text`. A Wi-Fi of the same name as one of `kept` may leave out its passphrase.
///
/// # Errors
/// All mistakes.
pub(super) fn check(path: &Path, text: &str, kept: Option<&Network>) -> Result<Checked, Vec<SettingsError>> {
    let file: NetworkFile = document::parse(text).map_err(|error| vec![malformed(path, text, error)])?;
    let mut checker = Checker { path, text, mistakes: Vec::new(), secrets: Vec::new() };
    let hostname = checker.value("hostname", file.hostname, |text| hostname(text));
    let ssh_key = checker.value("ssh_key", file.ssh_key, |OneOrMore(keys)| {
        keys.iter().map(|line| ssh_key::authorized(line)).collect::<Result<Vec<_>, _>>()
    });
    let mut password = |name, value| {
        let new = checker.secret(name, value, |text| match text {
            "" => Ok(Password::None),
            text => PasswordHash::make(text).map(Password::New),
        });
        new.unwrap_or_default()
    };
    let password = [password("password", file.password), password("admin_password", file.admin_password)];
    let ethernet = checker.addresses(file.ethernet.map(Spanned::into_inner).unwrap_or_default());
    let has_wifi = file.wifi.is_some();
    let wifi = file.wifi.and_then(|wifi| checker.wifi(wifi, kept));
    let second_wifi = file.second_wifi.and_then(|second| checker.second_wifi(second, has_wifi, kept));
    let Checker { mistakes, secrets, .. } = checker;
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let [password, admin_password] = password;
    let network = Network { hostname, ssh_key: ssh_key.unwrap_or_default(), ethernet, wifi, second_wifi };
    Ok(Checked { network, password, admin_password, secrets })
}

fn malformed(path: &Path, text: &str, error: DocumentError) -> SettingsError {
    let line = error.line(text);
    // What stands behind the first = may be a secret.
    let code = text.lines().nth(line - 1).unwrap_or_default();
    let code = code.split('=').next().unwrap_or_default().trim().to_owned();
    SettingsError::Malformed { path: path.into(), line, code, message: error.message }
}

/// Checks one value after the other, and goes on after a mistake.
struct Checker<'a> {
    path: &'a Path,
    text: &'a str,
    mistakes: Vec<SettingsError>,
    secrets: Vec<(&'static str, Range<usize>)>,
}

impl Checker<'_> {
    /// The value as `check` makes of it; `None` where there is none, or one that is not right.
    fn value<T: ToToml, U>(
        &mut self,
        key: &'static str,
        value: Option<Spanned<T>>,
        check: impl FnOnce(&T) -> Result<U, String>,
    ) -> Option<U> {
        let value = value?;
        let checked = check(value.get_ref());
        let shown = || value.get_ref().to_toml();
        checked.map_err(|message| self.mistake(key, shown(), value.span().start, message)).ok()
    }

    fn mistake(&mut self, key: &'static str, value: String, at: usize, message: String) {
        let line = line_of(self.text, at);
        self.mistakes.push(SettingsError::Value { path: self.path.into(), line, key, value, message });
    }

    /// The same for a value that must not stay in the file.
    fn secret<U>(
        &mut self,
        key: &'static str,
        value: Option<Spanned<Secret>>,
        check: impl FnOnce(&str) -> Result<U, String>,
    ) -> Option<U> {
        let span = value.as_ref()?.span();
        let is_removable = own_lines(self.text, &span).is_some();
        self.secrets.push((key, span));
        self.value(key, value, |Secret(text)| {
            if !is_removable {
                return Err(
                    "must stand on a line of its own, from which it can be taken when it has been applied"
                        .into(),
                );
            }
            check(text)
        })
    }

    fn addresses(&mut self, keys: AddressKeys) -> Addresses {
        let AddressKeys { address, gateway, dns } = keys;
        let address = self.value("address", address, |OneOrMore(all)| {
            all.iter().map(|one| one.parse::<Subnet>()).collect::<Result<Vec<_>, _>>()
        });
        let subnets = address.as_deref().unwrap_or_default();
        let gateway = self.value("gateway", gateway, |OneOrMore(all)| {
            all.iter().map(|one| Subnet::gateway(subnets, one)).collect::<Result<Vec<_>, _>>()
        });
        let dns = self.value("dns", dns, |OneOrMore(all)| all.iter().map(|one| ip(one)).collect());
        Addresses {
            address: subnets.to_vec(),
            gateway: gateway.unwrap_or_default(),
            dns: dns.unwrap_or_default(),
        }
    }

    fn wifi(&mut self, section: Spanned<WifiSection>, kept: Option<&Network>) -> Option<Wifi> {
        let start = section.span().start;
        let WifiSection { country, ssid, passphrase, open, hidden, wpa3, address, gateway, dns } =
            section.into_inner();
        let addresses = self.addresses(AddressKeys { address, gateway, dns });
        let has_country = country.is_some();
        let country = self.value("country", country, |text| wifi::country(text));
        if let Some(ssid) = ssid.as_ref().filter(|_| !has_country) {
            let message = "needs beside it the country it is in: add country = \"DE\", or whichever it is";
            self.mistake("ssid", ssid.get_ref().to_toml(), ssid.span().start, message.into());
        }
        let keys = WifiKeys { ssid, passphrase, open, hidden, wpa3 };
        let network = self.wifi_network("[wifi]", start, keys, kept);
        Some(Wifi { country: country?, network: network?, addresses })
    }

    fn second_wifi(
        &mut self,
        section: Spanned<WifiKeys>,
        has_wifi: bool,
        kept: Option<&Network>,
    ) -> Option<WifiNetwork> {
        const TABLE: &str = "[second_wifi]";
        let start = section.span().start;
        if !has_wifi {
            let message =
                "is joined where the first is not to be had: write this one as [wifi], or add that one";
            self.mistake(TABLE, "...".into(), start, message.into());
        }
        self.wifi_network(TABLE, start, section.into_inner(), kept)
    }

    /// The keys of `table`, which begins at `start`.
    fn wifi_network(
        &mut self,
        table: &'static str,
        start: usize,
        keys: WifiKeys,
        kept: Option<&Network>,
    ) -> Option<WifiNetwork> {
        let WifiKeys { ssid, passphrase, open, hidden, wpa3 } = keys;
        let place = ssid.as_ref().map_or(start, |ssid| ssid.span().start);
        let has_ssid = ssid.is_some();
        let shown = ssid.as_ref().map(|ssid| ssid.get_ref().to_toml()).unwrap_or_default();
        let ssid = self.value("ssid", ssid, |text| wifi::ssid(text));
        if !has_ssid {
            let message = "needs the network's name: add ssid = \"...\"";
            self.mistake(table, "...".into(), start, message.into());
        }
        let has_passphrase = passphrase.is_some();
        let name = ssid.clone().unwrap_or_default();
        let is_open = open.as_ref().is_some_and(|open| *open.get_ref());
        let wpa3 = self.value("wpa3", wpa3, |&wpa3| match (wpa3, is_open) {
            (true, true) => Err("and open = true cannot both be: leave out one of them".into()),
            (wpa3, _) => Ok(wpa3),
        });
        let is_wpa3 = wpa3 == Some(true);
        let new = self.secret("passphrase", passphrase, |text| match is_wpa3 {
            true => wifi::passphrase(text),
            false => wifi::key(&name, text),
        });
        self.value("open", open, |&open| match (open, has_passphrase) {
            (true, true) => Err("and a passphrase cannot both be: leave out one of them".into()),
            (open, _) => Ok(open),
        });
        let known = kept.into_iter().flat_map(Network::wifi_networks);
        let mut known = known.filter(|known| known.ssid == name && known.wpa3 == is_wpa3 && !is_open);
        let passphrase = match has_passphrase {
            true => new,
            false => known.find_map(|known| known.passphrase.clone()),
        };
        if !name.is_empty() && !has_passphrase && !is_open && passphrase.is_none() {
            let message =
                "needs its passphrase beside it: add passphrase = \"...\", or open = true if it has none";
            self.mistake("ssid", shown, place, message.into());
        }
        let hidden = hidden.is_some_and(Spanned::into_inner);
        Some(WifiNetwork { ssid: ssid?, passphrase, open: is_open, hidden, wpa3: is_wpa3 })
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
