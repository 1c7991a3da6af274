//! Validation of a Wi-Fi's country, name and key.
#![forbid(unsafe_code)]

use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;

/// Rounds that turn a passphrase into a key (IEEE 802.11, annex J.4).
const ROUNDS: u32 = 4096;
const KEY_BYTES: usize = 32;

/// A country, which decides the channels that are allowed.
pub(super) fn country(text: &str) -> Result<String, String> {
    match text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
        true => Ok(text.to_ascii_uppercase()),
        false => Err("must be the two letters of a country (ISO 3166-1), as \"DE\" or \"US\"".into()),
    }
}

/// A network's name.
pub(super) fn ssid(text: &str) -> Result<String, String> {
    match text.len() {
        1..=32 => Ok(text.to_owned()),
        _ => Err("must be of 1 to 32 bytes".into()),
    }
}

/// The passphrase of a network with WPA3, as it is: SAE proves to know it anew each time, and there is no key to keep instead
/// (IEEE 802.11-2020, 12.4).
pub(super) fn passphrase(text: &str) -> Result<String, String> {
    match (8..=63).contains(&text.len()) && is_printable(text) {
        true => Ok(text.to_owned()),
        false => Err("must be 8 to 63 letters, digits and signs of a US keyboard; with wpa3 = true there is no key of 64 \
                      digits instead"
            .into()),
    }
}

/// The key of a network, from its passphrase or as it is. The key opens this network only, and does not reveal the
/// passphrase, which may be used elsewhere too.
pub(super) fn key(ssid: &str, passphrase: &str) -> Result<String, String> {
    match passphrase.len() {
        8..=63 if is_printable(passphrase) => {
            let mut key = [0; KEY_BYTES];
            pbkdf2_hmac::<Sha1>(passphrase.as_bytes(), ssid.as_bytes(), ROUNDS, &mut key);
            Ok(hex::encode(key))
        }
        64 if passphrase.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(passphrase.to_ascii_lowercase()),
        _ => Err("must be 8 to 63 letters, digits and signs of a US keyboard, or a key of 64 hexadecimal digits; a \
                  network that has none is written open = true"
            .into()),
    }
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_standard() {
        // IEEE 802.11-2016, annex J.4.2.
        for (passphrase, ssid, psk) in [
            ("password", "IEEE", "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"),
            (
                "ThisIsAPassword",
                "ThisIsASSID",
                "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af",
            ),
        ] {
            assert_eq!(key(ssid, passphrase).unwrap(), psk);
            assert_eq!(key(ssid, &psk.to_uppercase()).unwrap(), psk, "a key is one already");
        }
    }

    #[test]
    fn what_joins_no_network_is_refused() {
        let (long, no_hex) = ("x".repeat(65), "x".repeat(64));
        for text in ["", "seven77", "umlaut \u{fc}ber", "tab\tbed here", &long, &no_hex] {
            assert!(key("a", text).unwrap_err().starts_with("must be 8 to 63"), "{text}");
            assert!(passphrase(text).unwrap_err().starts_with("must be 8 to 63"), "{text}");
        }
        assert!(passphrase(&"ab".repeat(32)).is_err() && passphrase("eight la") == Ok("eight la".into()));
        assert!(ssid("").is_err() && ssid(&"x".repeat(33)).is_err() && ssid(&"x".repeat(32)).is_ok());
        assert_eq!(country("de").unwrap(), "DE");
        assert!(["", "D", "DEU", "4x"].iter().all(|text| country(text).is_err()));
    }
}
