//! Giving labels to files.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fsroot::Root;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use sys::Call as _;

use crate::Error;

/// Where a file's label is.
const ATTRIBUTE: &str = "security.selinux";

/// Whether an extended attribute is a label that the machine has given to a file. It is no part of the file:
/// neither to be copied, nor compared, nor put into an archive.
#[must_use]
pub fn is_label(name: &[u8]) -> bool {
    name == ATTRIBUTE.as_bytes() && crate::is_enabled()
}

/// What is no container's to relabel: the machine would not start again, or nobody log in. opencontainers'
/// list.
const OF_THE_MACHINE: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// The homes of those who ask: no container's to relabel either.
#[derive(Clone, Debug, Default)]
pub struct Homes(Vec<PathBuf>);

impl Homes {
    /// `home` is `HOME`, `sudo_user` `SUDO_USER`, and `accounts` what is in `/etc/passwd`.
    #[must_use]
    pub fn new(home: Option<PathBuf>, sudo_user: Option<&str>, accounts: &str) -> Self {
        let mut lines = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let of_user = sudo_user.and_then(|user| {
            let line = lines.find(|line| line.first() == Some(&user))?;
            line.get(5).map(PathBuf::from)
        });
        let all = home.into_iter().chain(of_user);
        Self(all.filter(|path| !path.as_os_str().is_empty()).collect())
    }
}

/// Whether a path, in which no link is left, may be relabelled for a container.
#[must_use]
pub fn may_relabel(path: &Path, homes: &Homes) -> bool {
    // As components they have no slash at the end.
    let is = |other: &Path| path.components().eq(other.components());
    !OF_THE_MACHINE.iter().any(|one| is(Path::new(one))) && !homes.0.iter().any(|home| is(home))
}

/// Gives `label` to `path` and all that is below it. No link is followed but those on the way to `path`. What can
/// have no label of its own is left out.
///
/// # Errors
///
/// Something that can have a label does not get it.
pub fn relabel(path: &Path, label: &str) -> Result<(), Error> {
    all(path, label).map_err(|source| Error::Label {
        path: path.to_owned(),
        label: label.to_owned(),
        source,
    })
}

/// The same for what people name, but not for what is the machine's ([`may_relabel`]). What is looked at is what is
/// relabelled, whatever becomes of the names on the way to it meanwhile.
///
/// # Errors
///
/// It is the machine's, or as of [`relabel`].
pub fn relabel_allowed(path: &Path, label: &str, homes: &Homes) -> Result<(), Error> {
    let failed = |source| Error::Label { path: path.to_owned(), label: label.to_owned(), source };
    let top = open(path).map_err(failed)?;
    let real = rustix::fs::readlink(fsroot::fd_path(&top), Vec::new())
        .call(|| format!("readlink({path:?})"))
        .map_err(failed)?;
    let real = PathBuf::from(std::ffi::OsStr::from_bytes(real.to_bytes()));
    if !may_relabel(&real, homes) {
        return Err(Error::NotAllowed(real));
    }
    with_all_below(&top, path, label).map_err(failed)
}

/// The same for what nobody else writes to: where `path` itself has the label, it was done before. It gets it
/// last.
///
/// # Errors
///
/// As of [`relabel`].
pub fn relabel_own(path: &Path, label: &str) -> Result<(), Error> {
    let top = open(path).and_then(|top| has(&fsroot::fd_path(&top), label, true));
    if top.is_ok_and(|has| has) { Ok(()) } else { relabel(path, label) }
}

/// Gives `label` to what a descriptor (`O_PATH` will do) refers to, if that can have one.
///
/// # Errors
///
/// It does not get it.
pub fn set_label(fd: impl AsFd, label: &str) -> Result<(), sys::Error> {
    give(&fsroot::fd_path(&fd), label, true)
}

fn open(path: &Path) -> Result<OwnedFd, sys::Error> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?})"))
}

fn all(path: &Path, label: &str) -> Result<(), sys::Error> {
    with_all_below(&open(path)?, path, label)
}

/// Labels what is open as `top`, and all that is below it; `path` is what errors call it.
fn with_all_below(top: &OwnedFd, path: &Path, label: &str) -> Result<(), sys::Error> {
    failpoint::hit("selinux.relabel").call(|| format!("relabel {path:?}"))?;
    let stat = rustix::fs::fstat(top).call(|| format!("fstat({path:?})"))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let own = top.try_clone().call(|| format!("dup({path:?})"))?;
        below(&Root::from_fd(own), label)?;
    }
    set_label(top, label)
}

/// Labels all that is in a directory, whatever becomes of its names meanwhile.
fn below(top: &Root, label: &str) -> Result<(), sys::Error> {
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        let Some(open) = open_directory(top, &directory)? else { continue };
        let place = fsroot::fd_path(&open);
        let entries = Dir::read_from(&open).call(|| format!("readdir({directory:?})"))?;
        for entry in entries {
            let entry = entry.call(|| format!("readdir({directory:?})"))?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            let bytes = std::ffi::OsStr::from_bytes(name.to_bytes());
            give(&place.join(bytes), label, false)?;
            if is_directory(&open, name, entry.file_type()) {
                todo.push(directory.join(bytes));
            }
        }
    }
    Ok(())
}

/// A directory below `top`; `None` where it has gone, or something else has its name by now.
fn open_directory(top: &Root, path: &Path) -> Result<Option<OwnedFd>, sys::Error> {
    let found = match top.open_plain_directory(path_or_dot(path)) {
        Err(err) if matches!(err.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            return Ok(None);
        }
        found => found?,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(&found, ".", flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        opened => opened.map(Some).call(|| format!("open({path:?})")),
    }
}

fn path_or_dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn is_directory(directory: &OwnedFd, name: &CStr, kind: FileType) -> bool {
    match kind {
        FileType::Directory => true,
        // Not every file system says it.
        FileType::Unknown => rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        _ => false,
    }
}

/// Whether what is at `place` has the label. `follow`: what the link there leads to, as one of procfs does.
fn has(place: &Path, label: &str, follow: bool) -> Result<bool, sys::Error> {
    let mut value = [0_u8; 1024];
    let read = if follow {
        rustix::fs::getxattr(place, ATTRIBUTE, &mut value[..])
    } else {
        rustix::fs::lgetxattr(place, ATTRIBUTE, &mut value[..])
    };
    let len = read.call(|| format!("getxattr({place:?}, {ATTRIBUTE})"))?;
    let now = value[..len].strip_suffix(b"\0").unwrap_or(&value[..len]);
    Ok(now == label.as_bytes())
}

/// Gives what is at `place` a label, unless it has it or can have none.
fn give(place: &Path, label: &str, follow: bool) -> Result<(), sys::Error> {
    if has(place, label, follow).unwrap_or(false) {
        return Ok(());
    }
    let value = label.as_bytes();
    let given = if follow {
        rustix::fs::setxattr(place, ATTRIBUTE, value, XattrFlags::empty())
    } else {
        rustix::fs::lsetxattr(place, ATTRIBUTE, value, XattrFlags::empty())
    };
    match given {
        // It went in this moment; or its file system has no labels of files, or nobody can write to it.
        Err(Errno::NOENT | Errno::NOTSUP | Errno::ROFS) => Ok(()),
        given => given.call(|| format!("setxattr({place:?}, {ATTRIBUTE}={label})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_machines_stays_as_it_is() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let homes = Homes::new(Some("/home/bob/".into()), Some("ann"), accounts);
        let may = |path: &str| may_relabel(Path::new(path), &homes);
        for path in ["/", "/etc", "/etc/", "/usr", "/home", "/home/ann", "/home/bob", "/var/lib"] {
            assert!(!may(path), "{path}");
        }
        for path in ["/srv/data", "/home/ann/data", "/home/eve", "/var/lib/data", "/etcetera"] {
            assert!(may(path), "{path}");
        }
        let nobody = Homes::new(None, Some("eve"), accounts);
        assert!(may_relabel(Path::new("/home/ann"), &nobody));
        assert!(!may_relabel(Path::new("/root"), &nobody));
    }

    #[test]
    fn other_attributes_are_no_labels() {
        assert!(!is_label(b"security.capability") && !is_label(b"user.selinux"));
        assert_eq!(is_label(b"security.selinux"), crate::is_enabled());
    }

    /// Without `SELinux` the attribute is one like others, that root may set.
    #[test]
    fn all_below_is_labelled_and_nothing_beside() {
        testkit::needs!(Root);
        let dir = std::env::temp_dir().join(format!("dhow-relabel-{}", std::process::id()));
        let top = dir.join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::create_dir_all(dir.join("beside")).unwrap();
        for file in ["top/a/f", "top/a/b/g", "beside/h"] {
            std::fs::write(dir.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("../beside", top.join("link")).unwrap();
        let label = "system_u:object_r:container_file_t:s0";
        let labelled = |path: &str| has(&dir.join(path), label, false).unwrap_or(false);
        relabel(&top, label).unwrap();
        for path in ["top", "top/a", "top/a/f", "top/a/b", "top/a/b/g", "top/link"] {
            assert!(labelled(path), "{path}");
        }
        assert!(!labelled("beside") && !labelled("beside/h"));
        // A link on the way counts for what it leads to.
        std::os::unix::fs::symlink(&dir, dir.join("way")).unwrap();
        let homes = Homes::new(Some(dir.canonicalize().unwrap().join("beside")), None, "");
        let refused = relabel_allowed(&dir.join("way/beside"), label, &homes).unwrap_err();
        assert!(matches!(refused, Error::NotAllowed(_)), "{refused}");
        assert!(!labelled("beside") && !labelled("beside/h"));
        relabel_allowed(&dir.join("way/top/a"), label, &homes).unwrap();
        // One file; and what looks done is not looked at again.
        relabel(&top.join("a/f"), "system_u:object_r:container_file_t:s0:c1,c2").unwrap();
        assert!(!labelled("top/a/f") && labelled("top/a"));
        relabel_own(&top, label).unwrap();
        assert!(!labelled("top/a/f"));
        relabel(&top, label).unwrap();
        assert!(labelled("top/a/f"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
