//! A command line.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize};

use super::List;

/// A list of strings.
pub type Words = List<String>;

/// A command line: a list of strings that old clients may send as one string, which then is its
/// only word (`strslice.StrSlice` in `dockerd`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StrSlice(pub Words);

impl Deref for StrSlice {
    type Target = Words;

    fn deref(&self) -> &Words {
        &self.0
    }
}

impl DerefMut for StrSlice {
    fn deref_mut(&mut self) -> &mut Words {
        &mut self.0
    }
}

impl From<Vec<String>> for StrSlice {
    fn from(words: Vec<String>) -> Self {
        Self(words.into())
    }
}

impl<'de> Deserialize<'de> for StrSlice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            Many(Words),
            One(String),
        }
        Ok(match OneOrMany::deserialize(from)? {
            OneOrMany::Many(words) => Self(words),
            OneOrMany::One(word) => Self(vec![word].into()),
        })
    }
}
