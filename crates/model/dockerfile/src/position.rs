//! Where something is in a Dockerfile.

use serde::{Deserialize, Serialize};

/// Lines of a Dockerfile, from 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lines {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl Lines {
    /// These lines; what ends before it begins is one line.
    pub fn new(first: u32, last: u32) -> Self {
        Self { first, last: last.max(first) }
    }

    /// One line.
    pub fn one(line: u32) -> Self {
        Self::new(line, line)
    }

    /// Each line.
    pub fn each(self) -> impl Iterator<Item = u32> {
        self.first..=self.last
    }
}
