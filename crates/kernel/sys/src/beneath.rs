//! Opening below a directory, without links and without leaving the mount.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::error::Error;

/// Opens `path` below `dir`. No symbolic link is followed (`ELOOP`), and neither `..` nor a mount
/// leads out of the one that `dir` is on (`EXDEV`): openat2(2) with `RESOLVE_BENEATH`,
/// `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_XDEV`. Before Linux 5.6, which does not have it, component by
/// component. The descriptor closes on exec.
pub fn open_beneath(
    dir: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let path = path.as_ref();
    let flags = flags | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(dir, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS) => return walk(dir, path, flags),
            other => return other,
        }
    }
}

fn walk(dir: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let home = mount(dir)?;
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(Errno::XDEV),
        }
    }
    let (last, ways) =
        names.split_last().map_or((OsStr::from_bytes(b"."), &[][..]), |(last, ways)| (*last, ways));
    let mut here = dir.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    for name in ways {
        here = step(here.as_fd(), name, OFlags::PATH | OFlags::CLOEXEC, home)?;
    }
    step(here.as_fd(), last, flags, home)
}

/// Opens one component that is no link, on the mount `home`.
fn step(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlags,
    home: (u64, Option<u64>),
) -> Result<OwnedFd, Errno> {
    // As a place first: opening some things is an action in itself.
    let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(dir, name, place, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
    if kind == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    if mount(found.as_fd())? != home {
        return Err(Errno::XDEV);
    }
    if flags.contains(OFlags::PATH) {
        let directory = !flags.contains(OFlags::DIRECTORY) || kind == FileType::Directory;
        return if directory { Ok(found) } else { Err(Errno::NOTDIR) };
    }
    let opened = rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    if mount(opened.as_fd())? == home { Ok(opened) } else { Err(Errno::XDEV) }
}

/// Which file system and, as far as can be told, which mount a descriptor is on.
fn mount(fd: BorrowedFd<'_>) -> Result<(u64, Option<u64>), Errno> {
    Ok((rustix::fs::fstat(fd)?.st_dev, mount_id(fd).ok().flatten()))
}

/// Which mount a descriptor is on, as mountinfo numbers it. `None`: neither the kernel (before 5.8)
/// nor the procfs at `/proc` tells.
pub fn mount_id(fd: BorrowedFd<'_>) -> Result<Option<u64>, Error> {
    let mask = StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, mask)
        .map_err(|errno| Error::new("statx(STATX_MNT_ID)", errno))?;
    if StatxFlags::from_bits_retain(stat.stx_mask).contains(mask) {
        return Ok(Some(stat.stx_mnt_id));
    }
    Ok(mount_id_of_procfs(fd))
}

fn mount_id_of_procfs(fd: BorrowedFd<'_>) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = crate::read_file(path, 1 << 12).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &str) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// By hand the answers are those of openat2.
    #[test]
    fn it_says_what_openat2_says() {
        let place = std::env::temp_dir().join(format!("dhow-beneath-{}", std::process::id()));
        std::fs::create_dir_all(place.join("a/b")).unwrap();
        std::fs::write(place.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("a", place.join("link")).unwrap();
        std::os::unix::fs::symlink("file", place.join("a/b/end")).unwrap();
        let proc = open("/proc");
        let dir = open(place.to_str().unwrap());
        let read = OFlags::RDONLY;
        for (dir, path, flags, expected) in [
            (&dir, "a/b/file", read, None),
            (&dir, ".", read | OFlags::DIRECTORY, None),
            (&dir, "./a/./b", OFlags::PATH | OFlags::DIRECTORY, None),
            (&dir, "a/b/file", OFlags::PATH | OFlags::DIRECTORY, Some(Errno::NOTDIR)),
            (&dir, "a/b/file/x", read, Some(Errno::NOTDIR)),
            (&dir, "a/none", read, Some(Errno::NOENT)),
            (&dir, "link/b", read, Some(Errno::LOOP)),
            (&dir, "a/b/end", read, Some(Errno::LOOP)),
            (&dir, "..", read, Some(Errno::XDEV)),
            (&dir, "/etc", read, Some(Errno::XDEV)),
            (&proc, "self/status", read, Some(Errno::LOOP)),
            (&open("/"), "proc/version", read, Some(Errno::XDEV)),
        ] {
            for (how, opened) in [
                ("openat2", open_beneath(dir.as_fd(), path, flags)),
                ("by hand", walk(dir.as_fd(), Path::new(path), flags | OFlags::CLOEXEC)),
            ] {
                assert_eq!(opened.err(), expected, "{path} {how}");
            }
        }
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn both_ways_tell_the_same_mount() {
        for path in ["/", "/proc", "/dev"] {
            let fd = open(path);
            assert_eq!(mount_id(fd.as_fd()).unwrap(), mount_id_of_procfs(fd.as_fd()), "{path}");
        }
    }
}
