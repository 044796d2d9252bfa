//! How much a tree holds.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use snapshot::{At as _, Error, Usage};

/// What lies in `root`, which a container may be changing meanwhile. Links are not followed; a file
/// with two names counts once.
pub(crate) fn of(root: &Path) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    let mut rest: Vec<PathBuf> = vec![root.into()];
    while let Some(path) = rest.pop() {
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.at("stat", &path)?,
        };
        if !found.is_dir() && found.nlink() > 1 && !linked.insert((found.dev(), found.ino())) {
            continue;
        }
        usage.inodes += 1;
        usage.bytes += found.blocks() * 512;
        if found.is_dir() {
            let Ok(entries) = fs::read_dir(&path) else { continue };
            rest.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())));
        }
    }
    Ok(usage)
}
