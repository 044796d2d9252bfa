//! Digests of a file with something behind it: what a signature of OpenPGP's is over, for clients that verify it
//! themselves.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::Error;
use crate::error::At as _;

/// How much of a file is read at once, bytes.
const PIECE: usize = 256 << 10;

/// Which digest of a file is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// By what.
    pub by: SumBy,
    /// What is behind the file.
    pub suffix: Vec<u8>,
}

/// A hash function of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumBy {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Sum {
    /// The digest of the file at a path: `ALGORITHM:HEX`.
    pub(super) fn of(&self, path: &Path) -> Result<String, Error> {
        match self.by {
            SumBy::Sha256 => self.by::<Sha256>("sha256", path),
            SumBy::Sha384 => self.by::<Sha384>("sha384", path),
            SumBy::Sha512 => self.by::<Sha512>("sha512", path),
        }
    }

    fn by<D: Digest>(&self, name: &str, path: &Path) -> Result<String, Error> {
        let mut file = File::open(path).at("open", path)?;
        let mut digest = D::new();
        let mut piece = vec![0; PIECE];
        loop {
            let n_read = file.read(&mut piece).at("read", path)?;
            if n_read == 0 {
                break;
            }
            digest.update(&piece[..n_read]);
        }
        digest.update(&self.suffix);
        Ok(format!("{name}:{}", HEXLOWER.encode(&digest.finalize())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `sha256sum` and its like, of `abc`.
    #[test]
    fn what_is_behind_a_file_is_part_of_it() {
        let path = std::env::temp_dir().join(format!("dhow-sum-{}", std::process::id()));
        std::fs::write(&path, "a").unwrap();
        for (by, wanted) in [
            (SumBy::Sha256, "sha256:ba7816bf8f01cfea"),
            (SumBy::Sha384, "sha384:cb00753f45a35e8b"),
            (SumBy::Sha512, "sha512:ddaf35a193617aba"),
        ] {
            let sum = Sum { by, suffix: b"bc".to_vec() };
            let found = sum.of(&path).unwrap();
            assert!(found.starts_with(wanted), "{found}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
