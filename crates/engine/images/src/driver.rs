//! Which storage driver a root has.
//!
//! It is chosen once, for a root that is new or empty, and written down in it: layers of one kind are
//! nothing to another.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::str::FromStr;

use snapshot::{Snapshotter, unique_name};
use snapshot_overlay::Overlay;

use crate::Error;

/// The file in the folder of snapshots that names the driver.
const FILE: &str = "driver";

/// How layers and the files of containers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Layers on each other, by overlayfs.
    Overlay,
    /// Whole trees, which are subvolumes of btrfs.
    Btrfs,
    /// Whole trees, copied, with blocks shared where the file system can.
    Copy,
}

impl Driver {
    /// Its name, as Docker calls it, if Docker has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay2",
            Self::Btrfs => "btrfs",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Driver {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "overlay2" | "overlay" | "overlayfs" => Ok(Self::Overlay),
            "btrfs" => Ok(Self::Btrfs),
            "copy" | "vfs" | "native" => Ok(Self::Copy),
            _ => Err(Error::Invalid(format!(
                "no storage driver `{text}`: there are overlay2, btrfs and copy"
            ))),
        }
    }
}

/// Opens the store in the folder `root`: with the driver that it has, or that is asked for, or that
/// works best there.
pub(crate) fn open(root: &Path, asked: Option<Driver>) -> Result<Box<dyn Snapshotter>, Error> {
    let driver = match recorded(root)? {
        Some(recorded) if asked.is_none_or(|asked| asked == recorded) => recorded,
        Some(recorded) => {
            let asked = asked.unwrap_or(recorded);
            let store = store(root, recorded)?;
            if !store.layers()?.is_empty() || !store.keys()?.is_empty() {
                return Err(Error::Driver { root: root.into(), recorded, asked });
            }
            choose(root, Some(asked), true)?
        }
        None => choose(root, asked, false)?,
    };
    store(root, driver)
}

fn store(root: &Path, driver: Driver) -> Result<Box<dyn Snapshotter>, Error> {
    Ok(match driver {
        Driver::Overlay => Box::new(Overlay::open(root)?),
        Driver::Btrfs => Box::new(snapshot_btrfs::open(root)?),
        Driver::Copy => Box::new(snapshot_copy::open(root)?),
    })
}

/// What the root was made with.
fn recorded(root: &Path) -> Result<Option<Driver>, Error> {
    let path = root.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some),
        // Before there was a choice.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(root.join("trash").is_dir().then_some(Driver::Overlay))
        }
        Err(source) => Err(Error::Io { call: "read", path, source }),
    }
}

/// Chooses a driver and writes it down, unless another process was faster.
fn choose(root: &Path, asked: Option<Driver>, replace: bool) -> Result<Driver, Error> {
    let driver = if let Some(driver) = asked {
        works(root, driver)?;
        driver
    } else {
        let all = [Driver::Overlay, Driver::Btrfs];
        all.into_iter().find(|driver| works(root, *driver).is_ok()).unwrap_or(Driver::Copy)
    };
    // Where it is swept, should we die. The folder by which a store is known comes later.
    let (path, new) = (root.join(FILE), root.join("new").join(unique_name()));
    let at = |call, path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { call, path, source }
    };
    let written = File::create(&new).and_then(|mut file| {
        writeln!(file, "{driver}")?;
        file.sync_all()
    });
    written.map_err(at("write", &new))?;
    failpoint::hit("images.driver").map_err(at("rename", &path))?;
    if replace {
        fs::rename(&new, &path).map_err(at("rename", &path))?;
    } else {
        let linked = fs::hard_link(&new, &path);
        fs::remove_file(&new).map_err(at("unlink", &new))?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return recorded(root).map(|found| found.unwrap_or(driver));
            }
            linked => linked.map_err(at("link", &path))?,
        }
    }
    failpoint::hit("images.driver-chosen").map_err(at("rename", &path))?;
    Ok(driver)
}

/// Whether a driver works in this place. Makes the folder.
fn works(root: &Path, driver: Driver) -> Result<(), Error> {
    let new = root.join("new");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&new).map_err(|source| Error::Io {
        call: "mkdir",
        path: new.clone(),
        source,
    })?;
    let works = match driver {
        Driver::Overlay => snapshot_overlay::works(&new),
        Driver::Btrfs => snapshot_btrfs::works(&new),
        Driver::Copy => Ok(()),
    };
    works.map_err(|why| Error::NoDriver { driver, root: root.into(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir()
                .join(format!("dhow-driver-{}-{name}", std::process::id()))
                .join("snapshots");
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    fn name(root: &Path, asked: Option<Driver>) -> String {
        match open(root, asked) {
            Ok(store) => store.name().into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_root_keeps_its_driver() {
        let scratch = Scratch::new("keeps");
        let root = &scratch.0;
        assert_eq!(name(root, Some(Driver::Copy)), "copy");
        assert_eq!(name(root, None), "copy");
        let store = open(root, None).unwrap();
        store.prepare(&"a".parse().unwrap(), &[]).unwrap();
        let refused = name(root, Some(Driver::Overlay));
        assert!(refused.contains("the storage driver copy, not overlay2: remove all"), "{refused}");
        assert_eq!(name(root, None), "copy");
        store.remove(&"a".parse().unwrap()).unwrap();
        if works(root, Driver::Overlay).is_ok() {
            assert_eq!(name(root, Some(Driver::Overlay)), "overlay2", "an empty one can change");
            assert_eq!(name(root, None), "overlay2");
        }
        assert_eq!(store.sweep().unwrap(), 0, "nothing is left of trying and choosing");
    }

    #[test]
    fn a_root_from_before_there_was_a_choice_has_overlays() {
        let scratch = Scratch::new("older");
        for folder in ["layers", "active", "new", "trash"] {
            fs::create_dir_all(scratch.0.join(folder)).unwrap();
        }
        fs::create_dir(scratch.0.join("active/x")).unwrap();
        assert_eq!(name(&scratch.0, None), "overlay2");
        assert!(name(&scratch.0, Some(Driver::Copy)).contains("overlay2, not copy"));
    }

    #[test]
    fn names_are_those_that_people_know() {
        for (text, driver) in [("overlay2", Driver::Overlay), ("vfs", Driver::Copy)] {
            assert_eq!(text.parse::<Driver>().unwrap(), driver);
            assert_eq!(driver.name().parse::<Driver>().unwrap(), driver);
        }
        let error = "zfs".parse::<Driver>().unwrap_err().to_string();
        assert_eq!(error, "no storage driver `zfs`: there are overlay2, btrfs and copy");
    }
}
