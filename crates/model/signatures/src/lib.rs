//! Signatures of git's commits and tags, as far as they are text: what of an object is signed, the signature and its
//! kind ([`object`]), keys of OpenPGP and what `gpgv` says of a signature ([`pgp`]), and the same of SSH ([`ssh`]).
//!
//! Nothing is computed here that a signature rests on: programs do that (`gpgv`, `ssh-keygen`), which are given what is
//! taken apart here. Objects come from servers and keys from clients, so all of it is hostile; what could be read in two
//! ways is refused. The words of errors are BuildKit's (`util/gitutil/gitsign`, `util/pgpsign`) where it has some.
#![forbid(unsafe_code)]

mod armor;
pub mod object;
pub mod pgp;
pub mod ssh;

/// The most bytes of keys that are read.
pub const MAX_KEYS: usize = 1 << 20;
/// The most bytes of a signature.
pub const MAX_SIGNATURE: usize = 64 << 10;

/// Why something is not signed as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no signature.
    #[error("git object is not signed")]
    Unsigned,
    /// What is there is none of OpenPGP's or SSH's, or more than one.
    #[error("invalid signature format: {0}")]
    Format(&'static str),
    /// It is no commit, or no tag.
    #[error("invalid {kind} object: missing {header} header")]
    Header {
        /// `commit`, `tag`.
        kind: &'static str,
        /// What it lacks.
        header: &'static str,
    },
    /// Keys of OpenPGP's that are none.
    #[error("failed to read armored public key: {0}")]
    Keyring(&'static str),
    /// All keys are too short.
    #[error("RSA key too short: {0} bits")]
    Short(u16),
    /// A key of SSH's that is none.
    #[error("failed to parse ssh public key: {0}")]
    SshKey(&'static str),
    /// A signature of SSH's that is none, or another kind of one.
    #[error("failed to parse ssh signature: {0}")]
    SshFormat(String),
    /// A signature of SSH's that is not of the key.
    #[error("failed to verify ssh signature: {0}")]
    Ssh(String),
    /// A signature of OpenPGP's that does not count.
    #[error("signature by {signer}: {why}")]
    Pgp {
        /// The key, as the signature says: its number, or its fingerprint.
        signer: String,
        /// Why not.
        why: String,
    },
}
