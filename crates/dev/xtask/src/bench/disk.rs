//! A file system of its own for a benchmark that writes much.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::run;

/// So much can be written, of which little is taken before it is.
const SIZE: &str = "24G";

/// A file system in a file, if there can be one, else a folder.
pub(super) struct Disk {
    directory: PathBuf,
    is_mounted: bool,
}

impl Disk {
    pub(super) fn new() -> Result<Self, String> {
        let directory = super::directory();
        let disk = directory.join("disk");
        std::fs::create_dir_all(&disk).map_err(|error| format!("{}: {error}", disk.display()))?;
        let file = directory.join("disk.ext4");
        let made = run(Command::new("truncate").args(["-s", SIZE]).arg(&file))
            .and_then(|()| run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&file)))
            .and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(&disk)));
        if let Err(why) = &made {
            eprintln!("on the file system that is there: {why}");
        }
        Ok(Self { directory, is_mounted: made.is_ok() })
    }

    /// A path on the file system.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join("disk").join(name)
    }

    /// The folder of all.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What was written before is not to be written during what is measured.
    pub(super) fn settle(&self) {
        if let Err(why) = run(Command::new("sync").arg("-f").arg(self.path("."))) {
            eprintln!("{why}");
        }
    }

    /// Removes it all.
    pub(super) fn clean(&self) {
        let disk = self.directory.join("disk");
        if self.is_mounted
            && let Err(why) = run(Command::new("umount").args(["-R", "-l"]).arg(&disk))
        {
            eprintln!("{why}");
        }
        if let Err(why) = remove(&self.directory) {
            eprintln!("{why}");
        }
    }
}

/// Removes a tree, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}
