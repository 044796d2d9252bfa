//! The lowest layer of every container: the files and directories that something of the engine's is
//! mounted on, empty. An image that has its own covers these; one that has none gets no new entries
//! in the container's writable layer, where `diff` and `commit` would take them for the container's.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::At as _;

/// Parents first.
const DIRECTORIES: [&str; 5] = ["", "dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes the layer below `root`, the engine's, where it is not whole; where it is.
pub(crate) fn ensure(root: &Path) -> Result<PathBuf, Error> {
    let layer = root.join("mountpoints");
    // Made last: what was begun and not finished lacks it.
    if layer.join(FILES[FILES.len() - 1]).exists() {
        return Ok(layer);
    }
    for directory in DIRECTORIES {
        let path = layer.join(directory);
        match DirBuilder::new().mode(0o755).create(&path) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.at("mkdir", &path)?,
        }
    }
    for file in FILES {
        let path = layer.join(file);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o644);
        options.open(&path).at("open", &path)?;
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_completed_when_that_was_cut_short() {
        let root = std::env::temp_dir().join(format!("dhow-mountpoints-{}", std::process::id()));
        std::fs::create_dir_all(root.join("mountpoints/etc")).unwrap();
        let layer = ensure(&root).unwrap();
        assert!(layer.join("etc/resolv.conf").is_file() && layer.join("proc").is_dir());
        assert_eq!(ensure(&root).unwrap(), layer);
        std::fs::remove_dir_all(root).unwrap();
    }
}
