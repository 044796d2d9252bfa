//! Caches that are not the builder's own to keep: directories of the machine, volumes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use containers::Engine;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::shown;
use crate::Error;
use crate::error::At as _;

/// The place of a cache begins so where it is a volume.
const VOLUME: &str = "volume:";

/// Where a cache is that is not the builder's own to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A directory of the machine, by the settings.
    Directory(PathBuf),
    /// A volume. By the settings it may be any; whoever asks for a build may have one that is meant for that.
    Volume { name: String, is_granted: bool },
}

impl Place {
    /// What it is known by.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Volume { name, .. } => format!("{VOLUME}{name}"),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self, engine: &Engine) -> Result<PathBuf, Error> {
        match self {
            Self::Directory(path) => Ok(path.clone()),
            Self::Volume { name, is_granted } => Ok(engine.cache_volume(name, *is_granted)?),
        }
    }
}

/// The place of the cache of this id: a volume of `asked`, or what the settings say.
pub(crate) fn placed(
    settings: &BTreeMap<String, PathBuf>,
    asked: &BTreeMap<String, String>,
    id: &str,
) -> Option<Place> {
    if let Some(name) = asked.get(shown(id)) {
        return Some(Place::Volume { name: name.clone(), is_granted: false });
    }
    let path = settings.get(shown(id))?;
    let volume = path.to_str().and_then(|path| path.strip_prefix(VOLUME));
    Some(match volume {
        Some(name) => Place::Volume { name: name.to_owned(), is_granted: true },
        None => Place::Directory(path.clone()),
    })
}

/// A directory of the machine that a step has as a cache, as long as this lives. The lock is on itself, so
/// that it holds for all engines that have it.
#[derive(Debug)]
pub(crate) struct Placed {
    _held: File,
}

impl Placed {
    /// `None`: somebody else has it. There is only one of it, so whoever would have another one waits, too.
    pub(crate) fn take(path: &Path, is_alone: bool) -> Result<Option<Self>, Error> {
        if !path.is_absolute() || !path.is_dir() {
            return Err(Error::Invalid(format!(
                "builder.cache-mounts: {} is no directory of this machine",
                path.display()
            )));
        }
        let directory = File::open(path).at("open", path)?;
        let how = if is_alone {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        match flock(&directory, how) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            locked => locked.at("flock", path)?,
        }
        // A volume may have gone in between.
        let ours = directory.metadata().at("stat", path)?.ino();
        let is_there = fs::symlink_metadata(path).is_ok_and(|found| found.ino() == ours);
        Ok(is_there.then_some(Self { _held: directory }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placed_one_is_one_for_all() {
        let dir = std::env::temp_dir().join(format!("dhow-placed-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let places = BTreeMap::from([
            ("npm".to_owned(), dir.clone()),
            ("go".to_owned(), PathBuf::from("volume:go-cache")),
        ]);
        let asked = BTreeMap::from([("pip".to_owned(), "wheels".to_owned())]);
        let find = |id: &str| placed(&places, &asked, id);
        assert_eq!(find("/npm"), Some(Place::Directory(dir.clone())));
        assert_eq!(find("space/npm"), None);
        let volume = |name: &str, is_granted| Place::Volume { name: name.into(), is_granted };
        assert_eq!(find("/go"), Some(volume("go-cache", true)));
        assert_eq!(find("/pip"), Some(volume("wheels", false)));
        let shared = Placed::take(&dir, false).unwrap().unwrap();
        let too = Placed::take(&dir, false).unwrap();
        assert!(too.is_some() && Placed::take(&dir, true).unwrap().is_none());
        drop((shared, too));
        assert!(Placed::take(&dir, true).unwrap().is_some());
        fs::remove_dir(&dir).unwrap();
        let error = Placed::take(&dir, true).unwrap_err().to_string();
        assert!(error.ends_with("is no directory of this machine"), "{error}");
        assert!(Placed::take(Path::new("relative"), false).is_err());
    }
}
