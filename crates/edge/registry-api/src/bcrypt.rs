//! bcrypt, to check what `htpasswd -B` has written: Provos and Mazières, "A Future-Adaptable
//! Password Scheme" (USENIX 1999), with OpenBSD's text form `$2b$COST$SALT-AND-HASH`.
//!
//! The cipher with its tables is the `blowfish` crate; this is the scheme around it.

use blowfish::Blowfish;
use data_encoding::{BitOrder, Encoding, Specification};

/// The most rounds that are taken, as a power of two: some seconds.
const MAX_COST: u32 = 16;
/// No more of a password counts.
const MAX_PASSWORD: usize = 72;
/// What is encrypted, in the cipher's words: `OrpheanBeholderScryDoubt`.
const TEXT: [u32; 6] =
    [0x4f72_7068, 0x6561_6e42, 0x6568_6f6c, 0x6465_7253, 0x6372_7944, 0x6f75_6274];
/// Of the 24 bytes of the last one, one is not written.
const HASH: usize = 23;

/// A password's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hash {
    cost: u32,
    salt: [u8; 16],
    sum: [u8; HASH],
}

impl Hash {
    /// Reads `$2y$05$...`. Why it is none, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('$');
        let kinds = [parts.next(), parts.next()];
        if !matches!(kinds, [Some(""), Some("2a" | "2b" | "2y")]) {
            return Err("not a bcrypt hash: make it with htpasswd -B".into());
        }
        let cost = parts.next().filter(|cost| cost.len() == 2).and_then(|cost| cost.parse().ok());
        let cost: u32 = cost.ok_or("a bcrypt hash without a cost")?;
        if !(4..=MAX_COST).contains(&cost) {
            return Err(format!("a bcrypt hash of cost {cost}: 4 to {MAX_COST} are taken"));
        }
        let rest = parts.next().filter(|rest| rest.len() == 53 && rest.is_ascii());
        let rest = rest.filter(|_| parts.next().is_none()).ok_or("a bcrypt hash cut short")?;
        let encoding = encoding().ok_or("no encoding")?;
        let decode = |text: &str| encoding.decode(text.as_bytes()).map_err(|err| err.to_string());
        let salt = decode(&rest[..22])?.try_into().map_err(|_| "a salt of another length")?;
        let sum = decode(&rest[22..])?.try_into().map_err(|_| "a hash of another length")?;
        Ok(Self { cost, salt, sum })
    }

    /// A hash that nobody has the password of, as dear to check as another: whoever guesses names
    /// learns nothing from the time it takes.
    pub(crate) fn nobody(like: &Self) -> Self {
        Self { cost: like.cost, salt: [0; 16], sum: [0; HASH] }
    }

    /// Whether it is this password's. Takes milliseconds to seconds, as its cost says.
    pub(crate) fn is_of(&self, password: &[u8]) -> bool {
        let found = compute(self.cost, &self.salt, password);
        // In a time that says nothing of where they differ.
        found.iter().zip(&self.sum).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

fn compute(cost: u32, salt: &[u8; 16], password: &[u8]) -> [u8; HASH] {
    let mut key = password.to_vec();
    key.push(0);
    key.truncate(MAX_PASSWORD);
    let mut cipher: Blowfish = Blowfish::bc_init_state();
    cipher.salted_expand_key(salt, &key);
    for _ in 0..1u64 << cost {
        cipher.bc_expand_key(&key);
        cipher.bc_expand_key(salt);
    }
    let mut bytes = Vec::with_capacity(24);
    for pair in TEXT.chunks_exact(2) {
        let mut pair = [pair[0], pair[1]];
        for _ in 0..64 {
            pair = cipher.bc_encrypt(pair);
        }
        bytes.extend(pair.iter().flat_map(|word| word.to_be_bytes()));
    }
    let mut hash = [0; HASH];
    hash.copy_from_slice(&bytes[..HASH]);
    hash
}

/// bcrypt's own order of the 64 digits. The bits after the last byte are nobody's business: programs
/// leave different ones.
fn encoding() -> Option<Encoding> {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    specification.bit_order = BitOrder::MostSignificantFirst;
    specification.check_trailing_bits = false;
    specification.encoding().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From OpenBSD's and `crypt_blowfish`'s own tests, and as Apache's `htpasswd` writes it.
    #[test]
    fn known_passwords() {
        for (password, text) in [
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
            ("U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
            ("", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"),
            ("secret", "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
        ] {
            let hash = Hash::parse(text).unwrap();
            assert!(hash.is_of(password.as_bytes()), "{password}");
            assert!(!hash.is_of(format!("{password}x").as_bytes()), "{password}x");
            assert!(!Hash::nobody(&hash).is_of(password.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let good = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
        let wrong = [
            String::new(),
            "$apr1$x$y".into(),
            "{SHA}x".into(),
            "secret".into(),
            good.replace("$05", "$31"),
            good.replace("$05", "$03"),
            good.replace("$05", "$5"),
            good.replace("$2y", "$2x"),
            good[..59].into(),
            format!("{good}a"),
            format!("{good}$a"),
            good.replace("abc", "a!c"),
        ];
        for text in wrong {
            assert!(Hash::parse(&text).is_err(), "{text}");
        }
    }
}
