//! Where it is written down what a collection has removed.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use docker::gc::Collected;

use crate::Error;

/// The log is begun anew when it is larger, and the one before it kept.
const LOG_BYTES: u64 = 1 << 20;

/// A file with a line of JSON for each thing that went. Only root reads it.
#[derive(Debug)]
pub struct CollectionLog {
    path: PathBuf,
}

impl CollectionLog {
    /// The log in that file, which need not be there.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes down what went.
    pub fn append(&self, removed: &[Collected]) -> Result<(), Error> {
        if removed.is_empty() {
            return Ok(());
        }
        let path = &self.path;
        let at = |call| move |source| Error::Io { call, path: path.clone(), source };
        if fs::metadata(path).is_ok_and(|found| found.len() > LOG_BYTES) {
            fs::rename(path, path.with_extension("log.1")).map_err(at("rename"))?;
        }
        let mut options = OpenOptions::new();
        let mut log =
            options.append(true).create(true).mode(0o600).open(path).map_err(at("open"))?;
        for one in removed {
            let mut line = crate::install::to_json("a line of the log", one)?;
            line.push(b'\n');
            log.write_all(&line).map_err(at("write"))?;
        }
        Ok(())
    }

    /// What went until now, the oldest first.
    pub fn read(&self) -> Result<Vec<Collected>, Error> {
        let mut collected = Vec::new();
        for path in [self.path.with_extension("log.1"), self.path.clone()] {
            let text = match fs::read_to_string(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                text => text.map_err(|source| Error::Io { call: "read", path, source })?,
            };
            // The last line may be cut, where the machine lost power.
            collected.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
        }
        Ok(collected)
    }
}
