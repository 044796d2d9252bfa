//! What a shim needs to know of the bundle's `config.json`: a few numbers out of a large document.

use std::fs;
use std::path::{Path, PathBuf};

use oci::runtime::{IdMapping, User};
use rustix::fs::{Gid, Uid};
use serde::Deserialize;

use crate::error::Error;

/// The facts.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    /// The directory that becomes the container's root: where it is to be mounted.
    pub(crate) root: PathBuf,
    /// The container's cgroup, below the root of each hierarchy; empty if the runtime chooses.
    pub(crate) cgroup: String,
    /// With its first process all others end, and nothing is called for that: it has a PID namespace of its own,
    /// and no hooks.
    pub(crate) has_own_end: bool,
    /// Whom the program runs as, in the container's user namespace.
    user: User,
    uid_mappings: Vec<IdMapping>,
    gid_mappings: Vec<IdMapping>,
}

/// Who owns a file on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The user.
    pub(crate) uid: Uid,
    /// The group.
    pub(crate) gid: Gid,
}

#[derive(Deserialize)]
struct Document {
    hooks: Option<serde::de::IgnoredAny>,
    root: Option<Root>,
    process: Option<Process>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

#[derive(Deserialize)]
struct Process {
    #[serde(default)]
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(default)]
    cgroups_path: String,
    #[serde(default)]
    namespaces: Vec<Namespace>,
    uid_mappings: Option<Vec<IdMapping>>,
    gid_mappings: Option<Vec<IdMapping>>,
}

#[derive(Deserialize)]
struct Namespace {
    r#type: String,
    path: Option<PathBuf>,
}

impl Namespace {
    fn is_new(&self, kind: &str) -> bool {
        self.r#type == kind && self.path.as_ref().is_none_or(|path| path.as_os_str().is_empty())
    }
}

impl Bundle {
    /// Reads `DIR/config.json`.
    pub(crate) fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("config.json");
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        let document: Document = serde_json::from_slice(&bytes)
            .map_err(|err| Error::file("parse", &path)(err.into()))?;
        let linux = document.linux;
        let namespaces = linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
        let has_own_end =
            document.hooks.is_none() && namespaces.iter().any(|one| one.is_new("pid"));
        let (cgroup, uids, gids) = linux.map_or_else(Default::default, |linux| {
            let mappings = (linux.uid_mappings, linux.gid_mappings);
            (linux.cgroups_path, mappings.0.unwrap_or_default(), mappings.1.unwrap_or_default())
        });
        let root = document.root.map_or_else(|| PathBuf::from("rootfs"), |root| root.path);
        Ok(Self {
            root: dir.join(root),
            cgroup,
            has_own_end,
            user: document.process.map(|process| process.user).unwrap_or_default(),
            uid_mappings: uids,
            gid_mappings: gids,
        })
    }

    /// The program's user, as the host knows it.
    pub(crate) fn owner(&self) -> Owner {
        self.owner_of(&self.user)
    }

    /// A user of the container, as the host knows it. Who is not mapped is root there.
    pub(crate) fn owner_of(&self, user: &User) -> Owner {
        Owner {
            uid: Uid::from_raw(outside(&self.uid_mappings, user.uid)),
            gid: Gid::from_raw(outside(&self.gid_mappings, user.gid)),
        }
    }
}

/// Where an id of the container lies on the host. Without mappings there is no user namespace.
fn outside(mappings: &[IdMapping], id: u32) -> u32 {
    if mappings.is_empty() {
        return id;
    }
    let host = |mapping: &IdMapping| {
        let offset = id.checked_sub(mapping.container_id).filter(|n| *n < mapping.size)?;
        mapping.host_id.checked_add(offset)
    };
    mappings.iter().find_map(host).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_host() {
        let map = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        assert_eq!(outside(&[], 33), 33);
        let maps = [map(0, 100_000, 1000), map(2000, 5, 1)];
        assert_eq!(outside(&maps, 33), 100_033);
        assert_eq!(outside(&maps, 2000), 5);
        assert_eq!(outside(&maps, 1000), 0);
        assert_eq!(outside(&[map(0, u32::MAX, 10)], 3), 0);
    }
}
