//! The file that brings a system: a signed manifest, and the content that it describes, which is checked piece by piece
//! before any of it is used.
//!
//! ```text
//! porthole-system 1 MANIFEST-BYTES SIGNATURE-BYTES\n
//! manifest    JSON: what it is, for which boards, and the BLAKE2b-512 of each MiB of its two parts
//! signature   of the manifest, as minisign writes it
//! boot        the pieces of the FAT partition, without those of zeros only
//! system      the pieces of the squashfs, likewise
//! ```
//! `scripts/system-bundle` writes it. The signature covers every byte: those of the manifest at once, the others by their
//! checksums, so that a card of any size needs memory for one piece only.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Read};

use blake2::{Blake2b512, Digest};
use minisign_verify::{Error, PublicKey, Signature};
use serde::Deserialize;

use super::table::{SECTOR, SLOT};

/// Bytes of a piece; the last one of a part may be shorter.
pub(super) const PIECE: usize = 1 << 20;
/// Longest first line, and most bytes of a manifest and of a signature: more than twice of what any has.
const MOST_LINE: u64 = 64;
const MOST_MANIFEST: u64 = 64 << 10;
const MOST_SIGNATURE: u64 = 2 << 10;
/// Digits of a BLAKE2b-512 in hexadecimal.
const SUM_DIGITS: usize = 128;
/// A date such as `20261122T120000Z`: compared as text, the newer one is greater.
const DATE: &[u8] = b"00000000T000000Z";

/// What a bundle brings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SystemManifest {
    /// The version of Porthole in it.
    pub(super) version: String,
    /// The date of its newest part, by which older and newer are told apart.
    pub(super) made: String,
    /// As Debian calls it.
    pub(super) architecture: String,
    /// What the device trees in it are for: `compatible` of their roots.
    pub(super) boards: Vec<String>,
    pub(super) boot: Content,
    pub(super) system: Content,
}

/// A part of a slot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    pub(super) bytes: u64,
    /// The checksum of each piece; an empty one stands for zeros, which are not sent.
    pub(super) pieces: Vec<String>,
}

impl Content {
    pub(super) fn sectors(&self) -> u64 {
        self.bytes / SECTOR as u64
    }

    /// The length and the checksum of each piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut left = self.bytes;
        self.pieces.iter().map(move |sum| {
            let length = left.min(PIECE as u64);
            left -= length;
            (length as usize, sum.as_str())
        })
    }

    fn is_sound(&self) -> bool {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        self.bytes > 0
            && self.bytes.is_multiple_of(SECTOR as u64)
            && self.pieces.len() as u64 == self.bytes.div_ceil(PIECE as u64)
            && self
                .pieces
                .iter()
                .all(|sum| sum.is_empty() || (sum.len() == SUM_DIGITS && sum.bytes().all(digit)))
    }
}

impl SystemManifest {
    fn is_sound(&self) -> bool {
        let word = |text: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b".,+-~_".contains(&b);
            (1..=80).contains(&text.len()) && text.bytes().all(allowed)
        };
        is_date(&self.made)
            && word(&self.version)
            && word(&self.architecture)
            && self.boards.iter().all(|board| word(board))
            && self.boot.is_sound()
            && self.system.is_sound()
    }

    /// Whether both parts fit into a slot.
    pub(super) fn fits(&self) -> bool {
        self.boot.sectors().saturating_add(self.system.sectors()) <= u64::from(SLOT)
    }
}

/// Whether it is a date as manifests have them.
pub(super) fn is_date(text: &str) -> bool {
    let same = |(a, b): (u8, &u8)| if *b == b'0' { a.is_ascii_digit() } else { a == *b };
    text.len() == DATE.len() && text.bytes().zip(DATE).all(same)
}

/// Reads the manifest of a bundle, which one of `keys` has signed; the content follows.
///
/// # Errors
/// Why it is refused.
pub(super) fn open(from: &mut dyn BufRead, keys: &str) -> Result<SystemManifest, String> {
    let (manifest, signature) = read_head(from)?;
    verify(&manifest, &signature, keys)?;
    let manifest: SystemManifest = serde_json::from_slice(&manifest).map_err(|error| {
        format!("its manifest is for a newer or older appliance ({error}): flash the card again")
    })?;
    match manifest.is_sound() {
        true => Ok(manifest),
        false => Err("its manifest makes no sense: make the system again with scripts/image".into()),
    }
}

/// The manifest and its signature.
fn read_head(from: &mut dyn BufRead) -> Result<(Vec<u8>, String), String> {
    let mut line = Vec::new();
    let read = (&mut *from).take(MOST_LINE).read_until(b'\n', &mut line);
    read.map_err(|cause| format!("it cannot be read: {cause}"))?;
    let line = String::from_utf8(line).unwrap_or_default();
    let lengths = line.strip_prefix("porthole-system ").and_then(|line| line.strip_suffix('\n'));
    let lengths = lengths.ok_or("it is no system for an SD card: bring target/image/porthole.system")?;
    let lengths = match lengths.split(' ').collect::<Vec<_>>()[..] {
        ["1", manifest, signature] => manifest.parse().ok().zip(signature.parse().ok()),
        _ => return Err("it is of a format that this card does not know yet: flash the card again".into()),
    };
    let lengths: Option<(u64, u64)> =
        lengths.filter(|(manifest, signature)| *manifest <= MOST_MANIFEST && *signature <= MOST_SIGNATURE);
    let (manifest, signature) =
        lengths.ok_or("its first line makes no sense: make the system again with scripts/image")?;
    let mut take = |length: u64| {
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes).map_err(cut_short).map(|()| bytes)
    };
    let (manifest, signature) = (take(manifest)?, take(signature)?);
    Ok((manifest, String::from_utf8_lossy(&signature).into_owned()))
}

/// Checks that one of `keys` has signed the manifest. There is a key on each line that is no comment.
fn verify(manifest: &[u8], signature: &str, keys: &str) -> Result<(), String> {
    let signature = Signature::decode(signature).map_err(|error| {
        format!("its signature is not minisign's ({error}): sign it again with scripts/image")
    })?;
    let lines = keys.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains(' '));
    let mut are_there = false;
    for key in lines.filter_map(|line| PublicKey::from_base64(line).ok()) {
        are_there = true;
        match key.verify(manifest, &signature, false) {
            Ok(()) => return Ok(()),
            Err(Error::UnexpectedKeyId) => {}
            Err(error) => {
                return Err(format!("its signature is wrong ({error}): it was changed after it was signed"));
            }
        }
    }
    match are_there {
        true => Err(
            "it is signed with a key that this card does not know: sign it with the key of the image that \
                     is on the card, or flash the card again"
                .into(),
        ),
        false => Err("this card knows no key, so that it takes no systems: flash it again".into()),
    }
}

/// Reads the next piece into `piece`, whose length it has.
///
/// # Errors
/// Why it is refused. Then `piece` holds what nobody has signed.
pub(super) fn read_piece(from: &mut dyn Read, sum: &str, piece: &mut [u8]) -> Result<(), String> {
    if sum.is_empty() {
        piece.fill(0);
        return Ok(());
    }
    from.read_exact(piece).map_err(cut_short)?;
    match is_piece(piece, sum) {
        true => Ok(()),
        false => Err("its content is not what was signed: send it again".into()),
    }
}

/// Whether a piece has this checksum.
pub(super) fn is_piece(piece: &[u8], sum: &str) -> bool {
    match sum {
        "" => piece.iter().all(|byte| *byte == 0),
        sum => hex::encode(Blake2b512::digest(piece)) == sum,
    }
}

fn cut_short(cause: io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early: send it again".into(),
        _ => format!("it cannot be read: {cause}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with minisign 0.11: `printf porthole | minisign -S`.
    const SIGNED: &str = "untrusted comment: signature from minisign secret key\n\
        RUSG4OWyyOG7N9e13EaS59iLnu7SggiHKn47dk2WL9Wmpr3OOvzMkD5iHCgPr7u9dTuIGK059pQ6L82mDTQ7vtQ/lL6G0NgvFAw=\n\
        trusted comment: timestamp:1795873864\tfile:m\thashed\n\
        ECizZH1N9wmbA1gYEvYaCQBVMe3POfvCitS3LhLR14v98ifcQMPIXW/cEJ/ogS2yRzyYPv/xqatpwK4EUMEzAQ==\n";
    const KEY: &str = "RWSG4OWyyOG7NzYQr+rnhvtiXldM6nSfjnFD0SoCTh+6v0uVzUhMbhUa";
    const OTHER_KEY: &str = "RWT9lZeGwlJQOCqJfaHX1Y55kHPihRgn8fmPMVs0vSive8syj8mhl5Fj";

    #[test]
    fn only_a_known_key_signs_and_only_what_it_has_signed_counts() {
        let keys = format!("untrusted comment: minisign public key\n{OTHER_KEY}\n{KEY}\n");
        verify(b"porthole", SIGNED, &keys).unwrap();
        let why = |content: &[u8], signature: &str, keys: &str| verify(content, signature, keys).unwrap_err();
        assert!(why(b"Porthole", SIGNED, &keys).starts_with("its signature is wrong ("));
        let comment = SIGNED.replace("timestamp:1", "timestamp:2");
        assert_ne!(comment, SIGNED);
        assert!(why(b"porthole", &comment, &keys).starts_with("its signature is wrong ("));
        assert!(
            why(b"porthole", SIGNED, OTHER_KEY)
                .starts_with("it is signed with a key that this card does not")
        );
        for none in ["", "untrusted comment: nothing\n", "RWnonsense\n"] {
            assert!(why(b"porthole", SIGNED, none).starts_with("this card knows no key"), "{none:?}");
        }
        for broken in ["", "\n\n\n\n", "untrusted comment: x\nRU=\ntrusted comment: y\n=\n", KEY] {
            assert!(why(b"porthole", broken, &keys).starts_with("its signature is not minisign's ("));
        }
    }

    #[test]
    fn what_is_no_bundle_is_refused_before_memory_is_taken_for_it() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "it is no system"),
            (b"hsqs and so on", "it is no system"),
            (b"porthole-system 1 10 10", "it is no system"),
            (b"porthole-system 2 10 10\n", "it is of a format that"),
            (b"porthole-system 1 10 10 10\n", "it is of a format that"),
            (b"porthole-system 1 -1 10\n", "its first line makes no sense"),
            (b"porthole-system 1 99999999999 10\n", "its first line makes no sense"),
            (b"porthole-system 1 10 99999\n", "its first line makes no sense"),
            (b"porthole-system 1 10 10\n0123456789", "it ends too early"),
        ];
        for (bytes, why) in cases {
            let said = open(&mut &bytes[..], KEY).unwrap_err();
            assert!(said.starts_with(why), "{:?}: {said}", String::from_utf8_lossy(bytes));
        }
    }

    fn manifest(made: &str, version: &str, bytes: u64, pieces: &[String]) -> SystemManifest {
        let content = || Content { bytes, pieces: pieces.to_vec() };
        SystemManifest {
            version: version.into(),
            made: made.into(),
            architecture: "arm64".into(),
            boards: vec!["raspberrypi,4-model-b".into()],
            boot: content(),
            system: content(),
        }
    }

    #[test]
    fn a_manifest_must_make_sense() {
        let (made, sum, mib) = ("20261122T120000Z", "a".repeat(SUM_DIGITS), PIECE as u64);
        let two = [sum.clone(), String::new()];
        assert!(manifest(made, "0.1.0", mib + 512, &two).is_sound());
        for date in ["20261122", "20261122T120000", "2026-11-22T1200Z", "20261122T12000XZ", ""] {
            assert!(!manifest(date, "0.1.0", mib + 512, &two).is_sound(), "{date}");
        }
        for version in ["", "\u{1b}[31m", "1 2"] {
            assert!(!manifest(made, version, mib + 512, &two).is_sound(), "{version}");
        }
        for bytes in [0, 512, mib + 511, 2 * mib + 512, u64::MAX - 511, u64::MAX] {
            assert!(!manifest(made, "0.1.0", bytes, &two).is_sound(), "{bytes}");
        }
        for sum in ["a", &"A".repeat(SUM_DIGITS), &"g".repeat(SUM_DIGITS)] {
            assert!(!manifest(made, "0.1.0", 512, &[sum.to_owned()]).is_sound(), "{sum}");
        }
        let half = u64::from(SLOT) * SECTOR as u64 / 2;
        assert!(manifest(made, "0.1.0", half, &two).fits());
        assert!(!manifest(made, "0.1.0", half + 512, &two).fits());
    }

    #[test]
    fn pieces_are_what_was_signed_or_refused() {
        let content = Content { bytes: PIECE as u64 + 512, pieces: vec![String::new(), "b".into()] };
        assert_eq!(content.pieces().collect::<Vec<_>>(), [(PIECE, ""), (512, "b")]);
        let sum = hex::encode(Blake2b512::digest(b"piece"));
        let mut piece = *b".....";
        read_piece(&mut &b"piece and more"[..], &sum, &mut piece).unwrap();
        assert!(&piece == b"piece" && is_piece(&piece, &sum));
        assert!(
            read_piece(&mut &b"peace"[..], &sum, &mut piece).unwrap_err().contains("not what was signed")
        );
        assert!(read_piece(&mut &b"pie"[..], &sum, &mut piece).unwrap_err().contains("too early"));
        read_piece(&mut &b""[..], "", &mut piece).unwrap();
        assert!(piece == [0; 5] && is_piece(&piece, "") && !is_piece(b"\0\0\x01", ""));
    }
}
