//! Volumes that steps of builds keep their caches in.
//!
//! A step holds the lock of a volume's directory as long as it runs; one that is locked is not removed.

use std::path::{Path, PathBuf};

use crate::engine::Engine;
use crate::lock::Lock;
use crate::volume_store::{Record, record};
use crate::{Error, local, mounting};

/// The label of volumes that whoever may build may have as a cache: who may do that may not have all volumes.
const LABEL: &str = "dhow.cache-mount";

impl Engine {
    /// Where a volume is, for a step that keeps a cache in it. `is_granted`: the machine's settings name it, and it
    /// is made where there is none.
    ///
    /// # Errors
    ///
    /// There is none, it is not meant for that, cannot be written to, or is a file system of its own.
    pub fn cache_volume(&self, name: &str, is_granted: bool) -> Result<PathBuf, Error> {
        if is_granted {
            mounting::check_volume_name(name)?;
            self.make_volume(name, &Record::default(), &|_| Ok(()))?;
        }
        let row = self.shared.db.read(|tx| tx.volume(name))?;
        let row = row.ok_or_else(|| Error::NotFound(format!("get {name}: no such volume")))?;
        let record = record(&row);
        let refused =
            |why: &str| Err(Error::Invalid(format!("volume {name} as a cache mount: {why}")));
        if !is_granted && !record.labels.contains_key(LABEL) {
            return refused("it is not meant for that: it lacks the label dhow.cache-mount");
        }
        if !record.snapshot_of.is_empty() {
            return refused("it is a snapshot, which nobody writes to");
        }
        if local::file_system(&record.options).is_some() {
            return refused("it is a file system of its own");
        }
        Ok(self.volume_data(name))
    }
}

/// A volume's directory, that no step may begin to have.
#[derive(Debug)]
pub(crate) enum Away {
    /// As long as this lives.
    Kept(#[expect(dead_code, reason = "held, not used")] Lock),
    /// There is none.
    Gone,
    /// A step has it.
    Used,
}

/// Keeps a volume's directory from steps.
pub(crate) fn away_from_steps(data: &Path) -> Result<Away, Error> {
    Ok(match Lock::attempt(data)? {
        Some(lock) => Away::Kept(lock),
        None if data.is_dir() => Away::Used,
        None => Away::Gone,
    })
}
