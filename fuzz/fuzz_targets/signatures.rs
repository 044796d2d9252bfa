//! Objects of git, keys and signatures: what is signed is a part of the object and nothing else; keys that are read are
//! read again the same from what the programs are given; whatever a program says, no more counts than it calls valid.
#![no_main]

use data_encoding::BASE64;
use libfuzzer_sys::fuzz_target;
use signatures::object::{Kind, Signature, signed};
use signatures::{MAX_SIGNATURE, pgp, ssh};

fuzz_target!(|bytes: &[u8]| {
    for (kind, by_sha256) in [(Kind::Commit, false), (Kind::Commit, true), (Kind::Tag, false)] {
        let Ok(found) = signed(bytes, kind, by_sha256) else { continue };
        let (Signature::Pgp(signature) | Signature::Ssh(signature)) = &found.signature;
        assert!(signature.len() <= MAX_SIGNATURE);
        assert!(found.payload.len() + signature.len() <= bytes.len());
        if kind == Kind::Tag {
            assert_eq!([&found.payload[..], signature].concat(), bytes);
        }
    }
    if let Ok(keys) = pgp::keyring(bytes) {
        let base64 = BASE64.encode(&keys.packets);
        let kind = "PGP PUBLIC KEY BLOCK";
        let text = format!("-----BEGIN {kind}-----\n\n{base64}\n-----END {kind}-----\n");
        if text.len() <= signatures::MAX_KEYS {
            let again = pgp::keyring(text.as_bytes()).expect("it was read before");
            assert_eq!((again.packets, again.short), (keys.packets, None));
        }
    }
    if let Ok(key) = ssh::Key::parse(bytes) {
        let line = key.allowed_signers();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(ssh::Key::parse(line.as_bytes()).as_ref(), Ok(&key));
        let _ = key.check(bytes);
    }
    // Of a key that is always the same.
    let key = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let _ = ssh::Key::parse(key).expect("it is one").check(bytes);
    let status = String::from_utf8_lossy(bytes);
    for reject_expired in [false, true] {
        let rules = pgp::Rules { reject_expired, now: 1_800_000_000 };
        if pgp::verdict(&status, rules).is_ok() {
            assert!(status.contains("[GNUPG:] VALIDSIG ") && !status.contains("\n[GNUPG:] BADSIG "));
        }
    }
});
