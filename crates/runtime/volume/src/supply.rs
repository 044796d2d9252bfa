//! Mounting all that one container needs, before it is created.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use sys::{Call as _, MountAttr};

use crate::namespace::Namespaces;
use crate::{Error, Holders, Source};

/// One mount, at a place that only its container's supervisor sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supply {
    /// Where: a name in the directory of supplies. The runtime binds it from there.
    pub name: String,
    /// What.
    pub source: Source,
    /// A directory or file of it instead of its root; empty: the root.
    #[serde(default)]
    pub subpath: String,
    /// The volume's directory of holders, where it is one with options.
    #[serde(default)]
    pub holders: Option<PathBuf>,
    /// The label of `SELinux` that it gets, where it is made here, or is a volume's file system; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
}

/// Mounts what the container `id` needs, in this process's mount namespace: each supply in
/// `directory`, which is empty and may be the same for all.
pub fn supply(
    directory: &Path,
    supplies: &[Supply],
    id: &str,
    namespaces: &Namespaces<'_>,
) -> Result<(), Error> {
    if supplies.is_empty() {
        return Ok(());
    }
    failpoint::hit("volume.supply").map_err(Error::file("mount", directory))?;
    // Nothing of it is to be seen by others, nor are the places to be made anywhere but in memory.
    let options = [("mode", Some("0700")), ("size", Some("1m"))];
    let memory = mount::fs_mount("tmpfs", Some("dhow"), &options, MountAttr::empty())?;
    mount::move_to_path(memory.as_fd(), directory)?;
    mount::set_propagation(directory, mount::Propagation::Private, false)?;
    let empty = directory.join("empty");
    fs::create_dir(&empty).map_err(Error::file("mkdir", &empty))?;
    for supply in supplies {
        one(directory, supply, id, namespaces)?;
    }
    failpoint::hit("volume.supplied").map_err(Error::file("mount", directory))
}

/// The same for one more, later.
pub fn supply_also(
    directory: &Path,
    new: &Supply,
    id: &str,
    namespaces: &Namespaces<'_>,
) -> Result<(), Error> {
    if !mount::is_mountpoint(directory)? {
        return supply(directory, std::slice::from_ref(new), id, namespaces);
    }
    failpoint::hit("volume.supply").map_err(Error::file("mount", directory))?;
    one(directory, new, id, namespaces)?;
    failpoint::hit("volume.supplied").map_err(Error::file("mount", directory))
}

/// Takes one back.
pub fn unsupply(directory: &Path, old: &Supply, id: &str) -> Result<(), Error> {
    for name in [old.name.clone(), format!("{}.parts", old.name), format!("{}.whole", old.name)] {
        let place = directory.join(name);
        if mount::is_mountpoint(&place).unwrap_or(false) {
            mount::umount_detach(&place)?;
        }
        // It is in memory, and made again where it is needed.
        let _gone = fs::remove_dir(&place).or_else(|_| fs::remove_file(&place));
    }
    release(std::slice::from_ref(old), id)
}

fn one(
    directory: &Path,
    supply: &Supply,
    id: &str,
    namespaces: &Namespaces<'_>,
) -> Result<(), Error> {
    let empty = directory.join("empty");
    let target = directory.join(&supply.name);
    let whole = match &supply.holders {
        Some(holders) => shared(supply, holders, directory, id, namespaces)?,
        None => supply.source.open(namespaces, &empty, &supply.label)?,
    };
    if supply.subpath.is_empty() {
        return place(&whole, &target);
    }
    // Of what is mounted nowhere older kernels take no part.
    let beside = directory.join(format!("{}.parts", supply.name));
    place(&whole, &beside)?;
    place(&below(&beside, &supply.subpath)?, &target)
}

/// Notes that the container `id`, which has ended, holds no volume any more.
pub fn release(supplies: &[Supply], id: &str) -> Result<(), Error> {
    for holders in supplies.iter().filter_map(|supply| supply.holders.as_ref()) {
        if holders.is_dir() {
            Holders::lock(holders)?.remove(id)?;
        }
    }
    Ok(())
}

/// The file system of a volume: that of who has it mounted, or a new one. From here on this process
/// is one who has it.
fn shared(
    supply: &Supply,
    directory: &Path,
    supplies: &Path,
    id: &str,
    namespaces: &Namespaces<'_>,
) -> Result<OwnedFd, Error> {
    let holders = Holders::lock(directory)?;
    let mut tree = None;
    for held in holders.living()? {
        tree = namespaces.visit(held.namespace.as_fd(), || held.copy())??;
        if tree.is_some() {
            break;
        }
    }
    let is_new = tree.is_none();
    let tree = match tree {
        Some(tree) => tree,
        None => supply.source.open(namespaces, Path::new("/"), &supply.label)?,
    };
    // The whole of it has a place of its own: others may want another part.
    let whole = supplies.join(format!("{}.whole", supply.name));
    place(&tree, &whole)?;
    if is_new {
        relabel(supply, &whole)?;
    }
    holders.add(id, &whole)?;
    Ok(mount::bind(&whole, true)?)
}

/// Gives the files of a volume the label that it is to have.
fn relabel(supply: &Supply, whole: &Path) -> Result<(), Error> {
    let Source::FileSystem(volume) = &supply.source else { return Ok(()) };
    if supply.label.is_empty() {
        return Ok(());
    }
    if let Some(directory) = volume.bound() {
        let real = directory.canonicalize().map_err(Error::file("resolve", directory))?;
        // What it is called now need not be what has been mounted.
        let is_same = is_same_file(&real, whole)?;
        if !is_same || !selinux::may_relabel(&real, &selinux::Homes::default()) {
            return Err(selinux::Error::NotAllowed(real).into());
        }
    }
    Ok(selinux::relabel(whole, &supply.label)?)
}

/// Whether two paths, without links in their last part, lead to one file.
fn is_same_file(one: &Path, other: &Path) -> Result<bool, Error> {
    let of = |path: &Path| {
        let stat = fs::symlink_metadata(path).map_err(Error::file("stat", path))?;
        Ok::<_, Error>((stat.dev(), stat.ino()))
    };
    Ok(of(one)? == of(other)?)
}

/// A part of a tree, to which no link leads out of it.
fn below(whole: &Path, subpath: &str) -> Result<OwnedFd, Error> {
    let found = fsroot::Root::open(whole)?.open_path(subpath);
    let part = found.map_err(|source| Error::Subpath { path: subpath.into(), source })?;
    Ok(mount::bind_fd(part.as_fd(), true)?)
}

/// Gives a mount its place, which is made.
fn place(tree: &OwnedFd, target: &Path) -> Result<(), Error> {
    let stat = rustix::fs::fstat(tree).call(|| format!("fstat({target:?})"))?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        fs::create_dir(target).map_err(Error::file("mkdir", target))?;
    } else {
        fs::write(target, "").map_err(Error::file("create", target))?;
    }
    Ok(mount::move_to_path(tree.as_fd(), target)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_has_come_to_mean_something_else_is_noticed() {
        let scratch = std::env::temp_dir().join(format!("dhow-same-{}", std::process::id()));
        let [one, other] = ["one", "other"].map(|name| scratch.join(name));
        fs::create_dir_all(&one).unwrap();
        fs::create_dir_all(&other).unwrap();
        assert!(is_same_file(&one, &scratch.join("other/../one")).unwrap());
        assert!(!is_same_file(&one, &other).unwrap());
        fs::remove_dir(&one).unwrap();
        std::os::unix::fs::symlink("other", &one).unwrap();
        // A link is not what it leads to: whoever asks has followed all of them before.
        assert!(!is_same_file(&one, &other).unwrap());
        fs::remove_dir_all(&scratch).unwrap();
    }
}
