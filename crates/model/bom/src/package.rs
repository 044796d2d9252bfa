//! Packages, of whatever kind.

use crate::os_release::OsRelease;
use crate::purl;

/// What manages a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// dpkg.
    Deb,
    /// apk.
    Apk,
    /// pip and its like.
    Python,
    /// npm and its like.
    Npm,
    /// Cargo.
    Cargo,
}

/// A package that is in a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// What manages it.
    pub kind: Kind,
    /// Its name there.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// Of what machine it is, by the word of its database.
    pub architecture: Option<String>,
    /// What it was made of together with others, where that has another name.
    pub source: Option<String>,
    /// Its licence, as its database states it.
    pub licence: Option<String>,
    /// Who made it.
    pub supplier: Option<String>,
    /// Where people read of it.
    pub homepage: Option<String>,
    /// A line about it.
    pub summary: Option<String>,
    /// Its digest: the algorithm as SPDX has it, and the value in hexadecimal digits.
    pub checksum: Option<(&'static str, String)>,
    /// The files that say so, by their paths.
    pub found_in: Vec<String>,
}

/// Texts of databases at most, in bytes: what is longer is cut.
const LONGEST: usize = 512;

impl Package {
    /// One of which no more is known. `None`: it has no name, or no version.
    pub(crate) fn new(kind: Kind, name: &str, version: &str, found_in: &str) -> Option<Self> {
        let (name, version) = (text(name)?, text(version)?);
        // What is longer is no name.
        (name.len() <= 256 && version.len() <= 256).then(|| Self {
            kind,
            name,
            version,
            architecture: None,
            source: None,
            licence: None,
            supplier: None,
            homepage: None,
            summary: None,
            checksum: None,
            found_in: text(found_in).into_iter().collect(),
        })
    }

    /// Its package URL: the same for the same package anywhere.
    pub fn url(&self, os: Option<&OsRelease>) -> String {
        purl::of(self, os)
    }

    /// Whether both are the same package, whoever says so.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.name, &self.version, &self.architecture)
            == (other.kind, &other.name, &other.version, &other.architecture)
    }

    /// Takes what another database says of the same package, where this one is silent.
    pub(crate) fn merge(&mut self, other: Self) {
        let fill = |ours: &mut Option<String>, theirs: Option<String>| {
            if ours.is_none() {
                *ours = theirs;
            }
        };
        fill(&mut self.source, other.source);
        fill(&mut self.licence, other.licence);
        fill(&mut self.supplier, other.supplier);
        fill(&mut self.homepage, other.homepage);
        fill(&mut self.summary, other.summary);
        if self.checksum.is_none() {
            self.checksum = other.checksum;
        }
        for path in other.found_in {
            if !self.found_in.contains(&path) && self.found_in.len() < 16 {
                self.found_in.push(path);
            }
        }
    }
}

/// A text of one line, without what terminals and documents stumble over; `None`: there is nothing of it.
pub(crate) fn text(given: &str) -> Option<String> {
    let line = given.lines().map(str::trim).find(|line| !line.is_empty())?;
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    let mut end = line.len().min(LONGEST);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    Some(line[..end].to_owned()).filter(|line| !line.is_empty())
}
