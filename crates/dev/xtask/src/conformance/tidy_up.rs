//! What the tests leave behind outside of their namespaces: cgroups.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cgroup::{Cgroup, Hierarchy};

/// Where the trees are mounted. For controllers without a tree the tests make directories there.
const CGROUPS: &str = "/sys/fs/cgroup";

/// How the tests name their cgroups, and the containers whose names become such.
const NAMES: [&str; 4] = ["runc-cgroups-integration-test", "test_", "test-", "ct"];

/// What there was before.
#[derive(Debug)]
pub(crate) struct Before {
    trees: BTreeSet<String>,
    cgroups: BTreeSet<String>,
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The names of the topmost cgroups, in all trees.
fn topmost() -> BTreeSet<String> {
    let mut all = names(Path::new(CGROUPS));
    let trees: Vec<PathBuf> = all.iter().map(|name| Path::new(CGROUPS).join(name)).collect();
    all.extend(trees.iter().flat_map(|tree| names(tree)));
    all
}

impl Before {
    pub(crate) fn now() -> Self {
        Self { trees: names(Path::new(CGROUPS)), cgroups: topmost() }
    }

    /// Removes the tests' cgroups with what is in them, and directories that are no trees.
    pub(crate) fn restore(&self) -> Result<(), String> {
        let hierarchy = Hierarchy::detect().map_err(|error| error.to_string())?;
        let theirs = |name: &&String| {
            NAMES.iter().any(|prefix| name.starts_with(prefix)) && !self.cgroups.contains(*name)
        };
        for name in topmost().iter().filter(theirs) {
            let remove = || -> Result<(), cgroup::Error> {
                let cgroup = match Cgroup::open(&hierarchy, &format!("/{name}")) {
                    Err(cgroup::Error::NotFound(_)) => return Ok(()),
                    other => other?,
                };
                // In v1 even a killed process stays while it is frozen.
                cgroup.thaw()?;
                cgroup.kill_all()?;
                cgroup.remove()
            };
            println!("removing what the tests left: cgroup /{name}");
            remove().map_err(|error| format!("cgroup /{name}: {error}"))?;
        }
        if hierarchy.mode() != cgroup::Mode::V2 {
            let added = names(Path::new(CGROUPS));
            for name in added.difference(&self.trees) {
                remove_empty(&Path::new(CGROUPS).join(name));
            }
        }
        Ok(())
    }
}

/// Removes directories as far as there is nothing else in them.
fn remove_empty(directory: &Path) {
    for name in names(directory) {
        remove_empty(&directory.join(name));
    }
    let _not_empty = std::fs::remove_dir(directory);
}
