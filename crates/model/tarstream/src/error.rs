//! What can be wrong with an archive.

use std::fmt;
use std::io;

/// Why an archive could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It ends in the middle of something.
    #[error("the archive is truncated: it ends {within}; make or fetch it again")]
    Truncated {
        /// Within what: `in the data of "etc/passwd"`.
        within: String,
    },
    /// The reader below failed: a broken disk, or a corrupt compressed stream.
    #[error("read the archive {within}")]
    Read {
        /// Within what.
        within: String,
        /// Why.
        source: io::Error,
    },
    /// What should be a header is none.
    #[error("not a tar archive: no header at byte {offset}")]
    NotAHeader {
        /// Where, in the uncompressed archive.
        offset: u64,
    },
    /// A header says something impossible.
    #[error("entry {entry}: {why}")]
    Entry {
        /// Its name, as far as it is known.
        entry: Name,
        /// What is wrong.
        why: String,
    },
    /// More than a reader takes.
    #[error("entry {entry}: {what} is larger than the {max} that are taken")]
    Limit {
        /// Its name, as far as it is known.
        entry: Name,
        /// Of what.
        what: &'static str,
        /// The most.
        max: u64,
    },
}

/// An entry's name that can be printed: quoted, unprintable bytes escaped, cut when long.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(pub Vec<u8>);

/// So many bytes of a name are shown.
const SHOWN: usize = 200;

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes[..bytes.len().min(SHOWN + 1)].to_vec())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = &self.0[..self.0.len().min(SHOWN)];
        f.write_str("\"")?;
        for chunk in cut.utf8_chunks() {
            write!(f, "{}", chunk.valid().escape_debug())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str(if self.0.len() > SHOWN { "...\"" } else { "\"" })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
