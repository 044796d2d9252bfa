//! Our own program, out of a container's reach.

use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FsWord, MemfdFlags, Mode, OFlags, SealFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Call, Error};

const SELF: &str = "/proc/self/exe";

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// `OVERLAYFS_SUPER_MAGIC` of `statfs(2)`.
const OVERLAYFS: FsWord = 0x794c_7630;

/// Directories of which one is the second lower layer: an overlay without an upper one needs two,
/// neither within the other. None is ever looked at, since our file is found in the first.
const SECOND_LAYERS: [&str; 4] = ["/run", "/dev", "/usr", "/tmp"];

/// A descriptor of our own program that nobody can write through, and nobody can keep the program
/// from being executed through; to be run with [`crate::execveat`] or as `/proc/self/fd/N`.
///
/// A process in a container can reach the program that set it up as `/proc/self/exe` and, once that
/// has ended, open it for writing (CVE-2019-5736). What it reaches of us is, in this order:
///
/// 1. a file of a read-only overlay that has only our directory in it, which is another inode than
///    the host's file;
/// 2. where that cannot be made, a sealed copy in memory: another inode too, but it takes the time
///    and the memory of a copy.
///
/// A read-only bind mount would be cheaper than both, but it is the same inode. An `open(O_WRONLY)`
/// of it fails only after it has been counted as a writer, and whoever executes the host's file in
/// that moment is told "Text file busy".
///
/// The overlay is in no namespace: it was dissolved while this descriptor holds on to it, so that
/// no call can change it.
pub fn protected_exe() -> Result<OwnedFd, Error> {
    overlaid_exe().map(|exe| exe.file).or_else(|_| sealed_copy())
}

/// Our own program as a file of an overlay, see [`overlaid_exe`].
#[derive(Debug)]
pub struct OverlaidExe {
    /// The file.
    pub file: OwnedFd,
    /// The overlay. Nobody but who holds this descriptor can name it, and it stays read-only whatever is asked
    /// of it, since it has no upper layer. To close it is to wait for a grace period of the kernel (0.2 to
    /// 3 ms, as long as the processors are busy): best when nobody waits for whoever does.
    pub mount: OwnedFd,
}

/// The same as an overlay only, which costs nothing to hold. Must be asked for where the path of the
/// program leads to it: in the mount namespace in which it was executed.
pub fn overlaid_exe() -> Result<OverlaidExe, Error> {
    overlay(Path::new(SELF))
}

/// Our own program as [`overlaid_exe`] gave it to another process of the same program, which has it open as `path`,
/// a link in procfs: for one that can make no such overlay, since the path of the program leads elsewhere by now.
///
/// What is not this program, or can be written, is refused.
pub fn kept_exe(path: &Path) -> Result<OwnedFd, Error> {
    let what = || format!("open({path:?}) as our own program");
    // Not to be held up by whatever else it may be.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).call(what)?;
    let target = std::fs::read_link(path).call(what)?;
    let own = rustix::fs::stat(SELF).call(what)?;
    let found = rustix::fs::fstat(&file).call(what)?;
    if is_ours_alone(&file, &target) && same_file(&own, &found) {
        return Ok(file);
    }
    Err(Error::new(what(), Errno::STALE))
}

/// Whether this process runs from what [`protected_exe`] hands out.
pub fn is_protected() -> bool {
    let Ok(exe) = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    let sealed = rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SEALS));
    sealed || std::fs::read_link(SELF).is_ok_and(|path| is_ours_alone(&exe, &path))
}

/// Whether `exe`, whose path is `path`, is a file at the root of a read-only overlay, as it is in
/// ours. In the image of a container, in which we can be too, it may well be at the root of an
/// overlay, but one that can be written.
fn is_ours_alone(exe: &OwnedFd, path: &Path) -> bool {
    path.parent() == Some(Path::new("/"))
        && rustix::fs::fstatfs(exe).is_ok_and(|st| st.f_type == OVERLAYFS)
        && rustix::fs::fstatvfs(exe).is_ok_and(|st| st.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The file at `link`, a link of procfs, in an overlay of its directory.
fn overlay(link: &Path) -> Result<OverlaidExe, Error> {
    let what = || format!("an overlay for {link:?}");
    let file = std::fs::read_link(link).call(|| format!("readlink({link:?})"))?;
    let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(Error::new(what(), Errno::NOENT));
    };
    // Not tried where the path leads elsewhere by now, for example because a new version was installed: an overlay that
    // is dropped again is waited for.
    let own = rustix::fs::stat(link).call(what)?;
    let leads_here = |there: Stat| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino);
    if !rustix::fs::stat(&file).is_ok_and(leads_here) {
        return Err(Error::new(what(), Errno::STALE));
    }
    // By descriptor, because a colon or a comma in a path means something else to the overlay.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let first = rustix::fs::open(directory, flags, Mode::empty())
        .call(|| format!("open({directory:?})"))?;
    let mount = SECOND_LAYERS
        .iter()
        .find_map(|second| {
            read_only_overlay(&format!("/proc/self/fd/{}:{second}", first.as_raw_fd())).ok()
        })
        .ok_or_else(|| Error::new(what(), Errno::NODEV))?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&mount, name, flags, Mode::empty()).call(what)?;
    // It may have come to lead elsewhere meanwhile.
    if !same_file(&own, &rustix::fs::fstat(&file).call(what)?) {
        return Err(Error::new(what(), Errno::STALE));
    }
    Ok(OverlaidExe { file, mount })
}

/// Whether an overlay's file is this one of its layers. The number of the device is the overlay's.
fn same_file(own: &Stat, found: &Stat) -> bool {
    let words = |st: &Stat| (st.st_ino, st.st_size, st.st_mtime, st.st_mtime_nsec, st.st_mode);
    words(own) == words(found)
}

fn read_only_overlay(layers: &str) -> Result<OwnedFd, Error> {
    let what = || format!("mount(overlay, lowerdir={layers})");
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).call(what)?;
    let set = |key, value| rustix::mount::fsconfig_set_string(context.as_fd(), key, value);
    set("lowerdir", layers).call(what)?;
    // Or the kernel says in its log that it does without, each time.
    set("xino", "off").call(what)?;
    rustix::mount::fsconfig_create(context.as_fd()).call(what)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).call(what)
}

fn sealed_copy() -> Result<OwnedFd, Error> {
    let mut exe = std::fs::File::open(SELF).call(|| format!("open(\"{SELF}\")"))?;
    // Without EXEC some hosts refuse to run it (vm.memfd_noexec); kernels before 6.3 do not know it.
    let create = |flags| rustix::fs::memfd_create("dhow", flags);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match create(flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => create(flags),
        other => other,
    }
    .call(|| "memfd_create(\"dhow\")")?;
    let mut file = std::fs::File::from(copy);
    std::io::copy(&mut exe, &mut file).call(|| format!("copy \"{SELF}\" to memory"))?;
    file.seek(SeekFrom::Start(0)).call(|| "lseek(memfd, 0)")?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o555)).call(|| "fchmod(memfd, 0555)")?;
    rustix::fs::fcntl_add_seals(&file, SEALS).call(|| "fcntl(memfd, F_ADD_SEALS)")?;
    // A descriptor that is open for writing keeps the file busy for exec: hand out another one.
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(&again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open(\"{again}\")"))
}

#[cfg(test)]
#[path = "exe_tests.rs"]
mod tests;
