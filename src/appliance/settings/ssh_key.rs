//! Public keys for SSH.
#![forbid(unsafe_code)]

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Kinds of key that the SSH server of the image knows.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A line of `authorized_keys`: kind, key and remark, without options.
pub(super) fn authorized(line: &str) -> Result<String, String> {
    let line = line.trim();
    if line.contains("PRIVATE KEY") {
        return Err("is a private key, which nobody else should have: give the public one, of the file that ends with .pub".into());
    }
    let mut words = line.split_whitespace();
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let blob = BASE64_STANDARD.decode(key).unwrap_or_default();
    // A key begins with its kind, behind that one's length (RFC 4253, section 6.6).
    let inner = blob.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
    let named = inner.and_then(|length| blob.get(4..)?.get(..length));
    let is_one = KINDS.contains(&kind) && named == Some(kind.as_bytes()) && !line.contains(char::is_control);
    if is_one {
        Ok(line.to_owned())
    } else {
        Err("must be a public key on one line, as in ~/.ssh/id_ed25519.pub".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILBDFfrirOnMyArsZETkAF5kJWaoaWk8WSyH7g9ngch me@laptop";

    #[test]
    fn keys_are_told_from_other_text() {
        assert_eq!(authorized(&format!(" {KEY}\n")).unwrap(), KEY);
        for wrong in [
            "",
            "ssh-ed25519",
            &KEY.replace("ssh-ed25519 ", "ssh-rsa "),
            &KEY.replace("AAAAC3", "AAAAC"),
            &KEY.replace(" me", "\nssh-rsa"),
            "command=\"/bin/sh\" ssh-ed25519 AAAA",
        ] {
            assert!(authorized(wrong).unwrap_err().starts_with("must be a public key"), "{wrong}");
        }
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk";
        assert!(authorized(private).unwrap_err().contains("ends with .pub"));
    }
}
