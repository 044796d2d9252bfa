//! Content digests, and the two names of a layer that derive from them.
//!
//! A digest is `ALGORITHM:HEX` (image-spec, descriptor.md, "Digests"). Only the two registered
//! algorithms are taken, with exactly their number of lower-case digits: a digest becomes a path
//! of the content store, so nothing else may ever pass for one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

/// A hash function that digests may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which everybody uses.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits follow it.
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No colon.
    #[error("digest `{}` is not of the form ALGORITHM:HEX", .0.escape_debug())]
    Form(String),
    /// Not one of ours.
    #[error("digest `{}` has an algorithm other than sha256 and sha512", .0.escape_debug())]
    Algorithm(String),
    /// Wrong length, or something else than `0-9a-f`.
    #[error(
        "digest `{}` does not have the lower-case hexadecimal digits that its algorithm wants",
        .0.escape_debug()
    )]
    Hex(String),
}

/// The digest of some bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, as Docker's tables show them.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }

    /// Whether `prefix` (with or without the algorithm) starts this digest.
    pub fn starts_with(&self, prefix: &str) -> bool {
        match prefix.split_once(':') {
            Some((algorithm, hex)) => {
                algorithm == self.algorithm.name() && self.hex.starts_with(hex)
            }
            None => self.hex.starts_with(prefix),
        }
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // The text may come from a stranger and be long: errors carry its start only.
        let shown = || text.chars().take(160).collect::<String>();
        let (name, hex) = text.split_once(':').ok_or_else(|| ParseError::Form(shown()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(ParseError::Algorithm(shown())),
        };
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != algorithm.hex_len() || !is_hex {
            return Err(ParseError::Hex(shown()));
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Computes a digest piece by piece.
#[derive(Clone)]
pub struct Hasher {
    state: State,
}

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        };
        Self { state }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(state) => {
                Digest { algorithm: Algorithm::Sha256, hex: hex(&state.finalize()).into() }
            }
            State::Sha512(state) => {
                Digest { algorithm: Algorithm::Sha512, hex: hex(&state.finalize()).into() }
            }
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// A digest with a meaning of its own, so that the compiler tells one from the other.
macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl $name {
            /// The digest itself.
            pub fn digest(&self) -> &Digest {
                &self.0
            }

            /// The lower-case hexadecimal digits.
            pub fn hex(&self) -> &str {
                self.0.hex()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                text.parse().map(Self)
            }
        }
    };
}

digest_type! {
    /// The digest of one layer's uncompressed archive (`rootfs.diff_ids` of an image config).
    DiffId
}

digest_type! {
    /// The digest of a layer and all those below it (image-spec, config.md, "Layer `ChainID`").
    ChainId
}

impl ChainId {
    /// The chain id of a layer `diff` on top of `parent`.
    pub fn of(parent: Option<&Self>, diff: &DiffId) -> Self {
        match parent {
            None => Self(diff.0.clone()),
            Some(parent) => Self(Digest::sha256(format!("{parent} {diff}").as_bytes())),
        }
    }

    /// The chain id of each layer, lowest first as in `diff_ids`.
    pub fn chain(diffs: &[DiffId]) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::with_capacity(diffs.len());
        for diff in diffs {
            chain.push(Self::of(chain.last(), diff));
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_digest_of_abc() {
        assert_eq!(Digest::sha256(b"abc").to_string(), ABC);
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"a");
        hasher.update(b"bc");
        assert!(hasher.finish().to_string().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn a_digest_survives_printing_and_json() {
        let digest: Digest = ABC.parse().unwrap();
        assert_eq!(digest.to_string(), ABC);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert_eq!(digest.short(), "ba7816bf8f01");
        assert!(digest.starts_with("ba78") && digest.starts_with("sha256:ba"));
        assert!(!digest.starts_with("sha512:ba"));
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        let long = format!("sha256:{}", "a".repeat(65));
        let upper = ABC.to_uppercase().replace("SHA256", "sha256");
        for bad in [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256:abc",
            "sha256:../../../../etc/passwd",
            "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "md5:ba7816bf8f01cfea414140de5dae2223",
            "SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            " sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha256:sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f2",
            &long,
            &upper,
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_chain_of_one_is_its_diff() {
        let diff = DiffId(Digest::sha256(b"one"));
        assert_eq!(ChainId::of(None, &diff).0, diff.0);
    }

    #[test]
    fn a_chain_hashes_the_one_below_it_and_the_next() {
        let diffs = [DiffId(Digest::sha256(b"1")), DiffId(Digest::sha256(b"2"))];
        let chain = ChainId::chain(&diffs);
        let text = format!("{} {}", diffs[0], diffs[1]);
        assert_eq!(chain[1].0, Digest::sha256(text.as_bytes()));
    }
}
