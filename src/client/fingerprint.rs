//! The fingerprint of a certificate.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// The SHA-256 of a certificate in DER, which recognizes a server without an authority.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CertificateFingerprint(pub(super) [u8; 32]);

impl FromStr for CertificateFingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim().strip_prefix("sha256:").or_else(|| text.trim().strip_prefix("SHA256:"));
        let digits: Option<String> = digits.map(|text| text.chars().filter(|c| *c != ':').collect());
        let bytes = digits.and_then(|digits| hex::decode(digits).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| {
            "must be sha256: and 64 hexadecimal digits, the SHA-256 of the server's certificate".into()
        })
    }
}

impl fmt::Display for CertificateFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for CertificateFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_with_and_without_colons() {
        let plain = format!("sha256:{}", "ab".repeat(32));
        let colons = format!("sha256:{}", ["AB"; 32].join(":"));
        let parsed: CertificateFingerprint = plain.parse().unwrap();
        assert_eq!(parsed, colons.parse().unwrap());
        assert_eq!(parsed.to_string(), plain);
        for text in ["", "sha256:", "sha256:abcd", "sha1:ab", &plain[7..], &format!("{plain}00")] {
            assert!(text.parse::<CertificateFingerprint>().is_err(), "{text}");
        }
    }
}
