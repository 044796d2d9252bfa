//! `os-release(5)`: which system a tree is of.

use std::collections::BTreeMap;

use crate::package::text;

/// What a tree says of its system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `debian`, `alpine`.
    pub id: String,
    /// `12`, `3.22.1`.
    pub version: Option<String>,
    /// What people call it.
    pub name: Option<String>,
}

impl OsRelease {
    /// Of the file's text; `None`: it says nothing.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let whole = String::from_utf8_lossy(bytes);
        let fields: BTreeMap<&str, &str> = whole
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .map(|(key, value)| (key, value.trim().trim_matches(['"', '\''])))
            .collect();
        let field = |key: &str| fields.get(key).and_then(|value| text(value));
        let id = field("ID")?.to_lowercase();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        (id.len() <= 64 && id.chars().all(is_plain)).then(|| Self {
            id,
            version: field("VERSION_ID"),
            name: field("PRETTY_NAME"),
        })
    }

    /// `debian-12`.
    pub(crate) fn distro(&self) -> String {
        match &self.version {
            Some(version) => format!("{}-{version}", self.id),
            None => self.id.clone(),
        }
    }
}
