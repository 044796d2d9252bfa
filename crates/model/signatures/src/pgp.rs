//! OpenPGP: keys as `gpgv` takes them, and what it says of a signature.

use crate::{Error, MAX_KEYS, MAX_SIGNATURE, armor};

/// The shortest RSA key that counts, as in BuildKit.
const SHORTEST: u16 = 2048;
/// How far in the future a signature may have been made, seconds: clocks differ.
const AHEAD: u64 = 300;

/// Packets of keys (RFC 9580, section 5): what a keyring has to have. Others are left out.
const SIGNATURE: u8 = 2;
const PRIMARY: u8 = 6;
const USER: u8 = 13;
const SUBKEY: u8 = 14;
const ATTRIBUTE: u8 = 17;

/// Keys, as the packets that `gpgv --keyring` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// They.
    pub packets: Vec<u8>,
    /// The bits of a key that is left out since it is too short.
    pub short: Option<u16>,
}

/// Reads armored public keys, one block or several. RSA keys of less than 2048 bits, and subkeys of that kind, are left
/// out: nothing that they sign counts.
///
/// # Errors
///
/// There is none, or none that is long enough; something else is there.
pub fn keyring(text: &[u8]) -> Result<Keyring, Error> {
    if text.len() > MAX_KEYS {
        return Err(Error::Keyring("it is too long"));
    }
    let blocks = armor::blocks(text).map_err(Error::Keyring)?;
    if blocks.is_empty() {
        return Err(Error::Keyring("no armored data found"));
    }
    let mut keyring = Keyring { packets: Vec::new(), short: None };
    for (kind, bytes) in &blocks {
        if kind != "PGP PUBLIC KEY BLOCK" {
            return Err(Error::Keyring("expected public key block"));
        }
        keyring.add(bytes)?;
    }
    match (keyring.packets.is_empty(), keyring.short) {
        (true, Some(bits)) => Err(Error::Short(bits)),
        (true, None) => Err(Error::Keyring("no key found")),
        (false, _) => Ok(keyring),
    }
}

impl Keyring {
    /// Adds what of some packets belongs to keys that count.
    fn add(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut rest = bytes;
        // Whether what follows belongs to a key that counts; and to a subkey that does.
        let (mut has_primary, mut has_key) = (false, false);
        while !rest.is_empty() {
            let Some(packet) = Packet::first(rest) else {
                return Err(Error::Keyring("a packet that is none"));
            };
            match packet.tag {
                PRIMARY => {
                    has_primary = self.counts(packet.body);
                    has_key = has_primary;
                }
                SUBKEY => has_key = has_primary && self.counts(packet.body),
                USER | ATTRIBUTE | SIGNATURE => {}
                _ => {
                    rest = &rest[packet.len..];
                    continue;
                }
            }
            if has_key {
                self.packets.extend_from_slice(&rest[..packet.len]);
            }
            rest = &rest[packet.len..];
        }
        Ok(())
    }

    /// Whether a key counts.
    fn counts(&mut self, body: &[u8]) -> bool {
        match strength(body) {
            Some(Strength::Bits(bits)) if bits < SHORTEST => {
                self.short = Some(bits);
                false
            }
            Some(_) => true,
            None => false,
        }
    }
}

/// How strong a key is.
enum Strength {
    /// Of RSA: bits.
    Bits(u16),
    /// Of another kind: which kinds count is decided by what is signed.
    Other,
}

/// How strong the key in a packet is; `None`: of a version that nobody uses any more, or broken.
fn strength(body: &[u8]) -> Option<Strength> {
    // The version, when it was made (4 bytes), the algorithm; from version 5 on a length (4 bytes).
    let numbers = match body.first()? {
        4 => 6,
        5 | 6 => 10,
        _ => return None,
    };
    match body.get(5)? {
        1..=3 => {
            let bits = body.get(numbers..numbers + 2)?;
            Some(Strength::Bits(u16::from_be_bytes([bits[0], bits[1]])))
        }
        _ => Some(Strength::Other),
    }
}

/// A packet at the start of some bytes.
struct Packet<'a> {
    tag: u8,
    body: &'a [u8],
    /// With its head.
    len: usize,
}

impl<'a> Packet<'a> {
    /// `None`: there is none, it is longer than that, or its length is not said, which is for data alone.
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let at = |index: usize| bytes.get(index).map(|byte| usize::from(*byte));
        let number = |from: usize, len: usize| {
            let bytes = bytes.get(from..from + len)?;
            Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
        };
        let (tag, head, len) = match first {
            // The older format.
            0x80..0xc0 => {
                let size = match first & 3 {
                    0 => 1,
                    1 => 2,
                    2 => 4,
                    _ => return None,
                };
                (first >> 2 & 0xf, 1 + size, number(1, size)?)
            }
            0xc0.. => match at(1)? {
                len @ 0..192 => (first & 0x3f, 2, len),
                high @ 192..224 => (first & 0x3f, 3, ((high - 192) << 8) + at(2)? + 192),
                255 => (first & 0x3f, 6, number(2, 4)?),
                _ => return None,
            },
            _ => return None,
        };
        let end = head.checked_add(len)?;
        Some(Self { tag, body: bytes.get(head..end)?, len: end })
    }
}

/// A signature that came by itself, armored.
///
/// # Errors
///
/// It is none, or not one alone.
pub fn signature(text: &[u8]) -> Result<&[u8], Error> {
    let text = text.trim_ascii_start();
    if text.len() > MAX_SIGNATURE {
        return Err(Error::Format("it is too long"));
    }
    if !armor::is_one_block(text, "PGP SIGNATURE") {
        return Err(Error::Format("it is no signature of OpenPGP, or not one alone"));
    }
    Ok(text)
}

/// What is asked of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Neither the key nor the signature may have expired; else neither may have when it was made.
    pub reject_expired: bool,
    /// Seconds since 1970.
    pub now: u64,
}

/// What `gpgv --status-fd` has said of a signature (GnuPG's `doc/DETAILS`).
#[derive(Default)]
struct Said<'a> {
    /// `GOODSIG`, `EXPSIG`, `EXPKEYSIG`, `REVKEYSIG`, `BADSIG`, `ERRSIG`, each with the number of the key.
    verdicts: Vec<(&'a str, &'a str)>,
    /// Words of `VALIDSIG`.
    valid: Vec<Vec<&'a str>>,
    /// When keys expired, of all that it looked at.
    expired: Vec<u64>,
    /// When the key of the signature expired; 0: with the key that it is part of.
    its_key_expired: Option<u64>,
    has_no_key: bool,
    /// Signatures.
    n: usize,
}

impl<'a> Said<'a> {
    fn of(status: &'a str) -> Self {
        let mut said = Self::default();
        for line in status.lines() {
            let Some(line) = line.strip_prefix("[GNUPG:] ") else { continue };
            let mut words = line.split(' ');
            let (Some(word), of) = (words.next(), words.next().unwrap_or_default()) else {
                continue;
            };
            match word {
                "NEWSIG" => said.n += 1,
                "GOODSIG" | "EXPSIG" | "EXPKEYSIG" | "REVKEYSIG" | "BADSIG" | "ERRSIG" => {
                    said.verdicts.push((word, of));
                }
                "VALIDSIG" => said.valid.push(std::iter::once(of).chain(words).collect()),
                "KEYEXPIRED" => said.expired.push(of.parse().unwrap_or_default()),
                // It is told of other parts of the key, too; last, before this, of the one that counts.
                "SIG_ID" => said.its_key_expired = said.expired.last().copied(),
                "NO_PUBKEY" => said.has_no_key = true,
                _ => {}
            }
        }
        said
    }

    /// When the key of a signature expired, as far as it is known; 0: at some time.
    fn key_expired(&self) -> u64 {
        let own = self.its_key_expired.filter(|expired| *expired != 0);
        own.or_else(|| self.expired.iter().max().copied()).unwrap_or_default()
    }
}

/// Whether a signature counts, by what `gpgv` said of it: its exit code is 0 for a key that was revoked, too, so what it
/// reports line by line is what counts. Says whose it is: the fingerprint of the key.
///
/// # Errors
///
/// It does not count.
pub fn verdict(status: &str, rules: Rules) -> Result<String, Error> {
    let said = Said::of(status);
    let [(word, key)] = said.verdicts[..] else {
        return Err(Error::Format("gpgv found no signature of OpenPGP's, or several"));
    };
    let refused = |why: String| Error::Pgp { signer: key.to_owned(), why };
    match word {
        "GOODSIG" | "EXPSIG" | "EXPKEYSIG" => {}
        "REVKEYSIG" => return Err(refused("key revoked".into())),
        "BADSIG" => return Err(refused("invalid signature: it is of something else".into())),
        _ if said.has_no_key => return Err(refused("signature made by unknown entity".into())),
        _ => return Err(refused("gpgv cannot check it".into())),
    }
    let [valid] = &said.valid[..] else {
        return Err(refused("gpgv does not say what is valid in it".into()));
    };
    if said.n > 1 {
        return Err(Error::Format("several signatures"));
    }
    // Fingerprint, date, when it was made, when it ends, version, reserved, algorithm, hash, class.
    let number = |at: usize| valid.get(at).and_then(|word| word.parse::<u64>().ok());
    let (Some(made), Some(ends), Some(algorithm), Some(hash), Some(class)) =
        (number(2), number(3), number(6), number(7), valid.get(8))
    else {
        return Err(refused("gpgv says of it what is not understood".into()));
    };
    // SHA-256, SHA-384, SHA-512.
    if !matches!(hash, 8..=10) {
        return Err(refused(format!("rejecting weak/unknown hash: number {hash} of OpenPGP")));
    }
    // RSA, ECDSA, EdDSA.
    if !matches!(algorithm, 1 | 3 | 19 | 22) {
        let why = format!("rejecting unsupported pubkey algorithm: number {algorithm} of OpenPGP");
        return Err(refused(why));
    }
    if !matches!(*class, "00" | "01") {
        return Err(refused("it is no signature of a document".into()));
    }
    if made > rules.now.saturating_add(AHEAD) {
        return Err(refused(format!("signature creation time is in the future: {made}")));
    }
    if word == "EXPKEYSIG" && (rules.reject_expired || said.key_expired() <= made) {
        return Err(refused("key expired".into()));
    }
    let at = if rules.reject_expired { rules.now.max(made) } else { made };
    if ends != 0 && ends <= at {
        return Err(refused("signature expired".into()));
    }
    Ok(valid[0].to_owned())
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    /// Of an RSA key of so many bits, or of another algorithm.
    fn key(tag: u8, algorithm: u8, bits: u16) -> Vec<u8> {
        let mut body = vec![4, 0, 0, 0, 1, algorithm];
        body.extend(bits.to_be_bytes());
        packet(tag, &body)
    }

    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xc0 | tag, u8::try_from(body.len()).unwrap()];
        packet.extend_from_slice(body);
        packet
    }

    fn armored(kind: &str, packets: &[Vec<u8>]) -> String {
        let base64 = BASE64.encode(&packets.concat());
        format!("-----BEGIN {kind}-----\n\n{base64}\n-----END {kind}-----\n")
    }

    const PUBLIC: &str = "PGP PUBLIC KEY BLOCK";

    #[test]
    fn what_counts_of_keys() {
        let (user, sig) = (packet(USER, b"me"), packet(SIGNATURE, b"s"));
        let (good, short) = (key(PRIMARY, 1, 2048), key(PRIMARY, 1, 1024));
        let (subkey, short_sub, eddsa) =
            (key(SUBKEY, 22, 0), key(SUBKEY, 1, 1023), key(PRIMARY, 22, 0));
        let trust = packet(12, b"t");
        let all = [
            &good, &user, &sig, &trust, &short_sub, &sig, &subkey, &sig, &short, &user, &sig,
            &subkey, &sig, &eddsa, &user, &sig,
        ];
        let text = armored(PUBLIC, &all.map(Clone::clone));
        let found = keyring(text.as_bytes()).unwrap();
        let kept = [&good, &user, &sig, &subkey, &sig, &eddsa, &user, &sig];
        assert_eq!(found.packets, kept.map(Clone::clone).concat());
        assert_eq!(found.short, Some(1024));

        // Several blocks; the older form of packets.
        let old = [vec![0x98, 8], good[2..].to_vec()].concat();
        let text = armored(PUBLIC, std::slice::from_ref(&eddsa))
            + "\n"
            + &armored(PUBLIC, std::slice::from_ref(&old));
        assert_eq!(keyring(text.as_bytes()).unwrap().packets, [eddsa.clone(), old].concat());

        assert_eq!(keyring(armored(PUBLIC, &[short, user]).as_bytes()), Err(Error::Short(1024)));
        let refused = |text: &str| keyring(text.as_bytes()).unwrap_err().to_string();
        for (text, why) in [
            ("ssh-ed25519 AAAA me", "no armored data found"),
            (
                &armored("PGP PRIVATE KEY BLOCK", std::slice::from_ref(&eddsa)),
                "expected public key block",
            ),
            (&armored(PUBLIC, &[vec![6]]), "a packet that is none"),
            (&armored(PUBLIC, &[vec![0xc6, 200, 1]]), "a packet that is none"),
            (&armored(PUBLIC, &[sig]), "no key found"),
            (&"x".repeat(MAX_KEYS + 1), "it is too long"),
        ] {
            assert_eq!(refused(text), format!("failed to read armored public key: {why}"));
        }
    }

    #[test]
    fn signatures_by_themselves() {
        let one = armored("PGP SIGNATURE", &[packet(SIGNATURE, b"s")]);
        assert_eq!(
            signature(format!("\n{one}\n").as_bytes()).unwrap(),
            format!("{one}\n").as_bytes()
        );
        let long = format!("{one}{}", "\n".repeat(MAX_SIGNATURE));
        for other in ["", "x", &one[1..], &one.repeat(2), &armored(PUBLIC, &[]), &long] {
            assert!(signature(other.as_bytes()).is_err(), "{other}");
        }
    }

    const NOW: u64 = 1_800_000_000;

    fn status(word: &str, more: &str, valid: &str) -> String {
        format!("[GNUPG:] NEWSIG a@x\n{more}[GNUPG:] {word} 10952131FE690FB0 A <a@x>\n{valid}")
    }

    fn valid(made: u64, ends: u64, algorithm: u8, hash: u8, class: &str) -> String {
        format!(
            "[GNUPG:] VALIDSIG F00D 2026-11-30 {made} {ends} 4 0 {algorithm} {hash} {class} F00D\n"
        )
    }

    #[test]
    fn what_gpgv_says() {
        let good = valid(NOW, 0, 22, 8, "00");
        let verdict = |text: &str, reject_expired: bool| {
            verdict(text, Rules { reject_expired, now: NOW }).map_err(|error| error.to_string())
        };
        assert_eq!(verdict(&status("GOODSIG", "", &good), true).unwrap(), "F00D");
        let expired = |at: u64| format!("[GNUPG:] KEYEXPIRED {at}\n");
        let old = valid(1000, 0, 1, 10, "01");
        let id = "[GNUPG:] SIG_ID x 1970-01-01 1000\n";
        let since =
            status("EXPKEYSIG", &(expired(500) + &expired(2000) + id + &expired(500)), &old);
        assert_eq!(verdict(&since, false).unwrap(), "F00D");
        // With the key that it is part of.
        let with = status("EXPKEYSIG", &(expired(2000) + &expired(0) + id), &old);
        assert_eq!(verdict(&with, false).unwrap(), "F00D");
        // Other parts of the key have.
        let others = status("GOODSIG", &(expired(500) + id), &good);
        assert_eq!(verdict(&others, true).unwrap(), "F00D");
        let ended = status("EXPSIG", "", &valid(1000, 2000, 19, 9, "00"));
        assert_eq!(verdict(&ended, false).unwrap(), "F00D");

        let unknown = status("ERRSIG", "", "[GNUPG:] NO_PUBKEY 10952131FE690FB0\n");
        for (text, reject_expired, why) in [
            (&since, true, "key expired"),
            (
                &status("EXPKEYSIG", &(expired(2000) + &expired(1000) + id), &old),
                false,
                "key expired",
            ),
            (&status("EXPKEYSIG", "", &old), false, "key expired"),
            (&ended, true, "signature expired"),
            (&status("REVKEYSIG", "", &good), false, "key revoked"),
            (&status("BADSIG", "", ""), false, "invalid signature: it is of something else"),
            (&unknown, false, "signature made by unknown entity"),
            (&status("ERRSIG", "", ""), false, "gpgv cannot check it"),
            (&status("GOODSIG", "", ""), false, "gpgv does not say what is valid in it"),
            (
                &status("GOODSIG", "", &[good.clone(), good.clone()].concat()),
                false,
                "gpgv does not say what is valid in it",
            ),
            (
                &status("GOODSIG", "", &valid(NOW, 0, 22, 2, "00")),
                false,
                "rejecting weak/unknown hash: number 2 of OpenPGP",
            ),
            (
                &status("GOODSIG", "", &valid(NOW, 0, 17, 8, "00")),
                false,
                "rejecting unsupported pubkey algorithm: number 17 of OpenPGP",
            ),
            (
                &status("GOODSIG", "", &valid(NOW, 0, 22, 8, "10")),
                false,
                "it is no signature of a document",
            ),
            (
                &status("GOODSIG", "", &valid(NOW + 301, 0, 22, 8, "00")),
                false,
                "signature creation time is in the future: 1800000301",
            ),
            (
                &status("GOODSIG", "", "[GNUPG:] VALIDSIG F00D\n"),
                false,
                "gpgv says of it what is not understood",
            ),
        ] {
            let error = verdict(text, reject_expired).unwrap_err();
            assert_eq!(error, format!("signature by 10952131FE690FB0: {why}"));
        }
        let twice = status("GOODSIG", "", &good) + &status("REVKEYSIG", "", &good);
        for text in [
            "",
            "GOODSIG 1 a\n",
            &twice,
            &format!("[GNUPG:] NEWSIG\n{}", status("GOODSIG", "", &good)),
        ] {
            assert!(verdict(text, false).unwrap_err().contains("several"), "{text}");
        }
    }
}
