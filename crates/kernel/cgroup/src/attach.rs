//! Moving another process, and where a cgroup is before it is there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cgroup::Cgroup;
use crate::error::{Error, pass};
use crate::hierarchy::Hierarchy;
use crate::tree::Version;

impl Cgroup {
    /// Moves a process of one thread, that waits, into the cgroup in all trees. For one that could
    /// not enter it when it was made: systemd makes some cgroups around a process.
    pub fn attach(&self, pid: i32) -> Result<(), Error> {
        pass("cgroup.attach")?;
        for member in &self.members {
            member.dir.write("cgroup.procs", &pid.to_string())?;
        }
        pass("cgroup.attached")
    }
}

impl Hierarchy {
    /// Where the cgroup `path` is, or would be, as [`Cgroup::paths`] has it.
    pub fn places(&self, path: &str) -> BTreeMap<String, PathBuf> {
        let mut places = BTreeMap::new();
        for tree in &self.trees {
            let place = tree.root.path().join(path.trim_start_matches('/'));
            match tree.version {
                Version::V1 => {
                    places.extend(tree.controllers.iter().map(|c| (c.clone(), place.clone())));
                }
                Version::V2 => drop(places.insert("unified".to_owned(), place)),
            }
        }
        places
    }
}
