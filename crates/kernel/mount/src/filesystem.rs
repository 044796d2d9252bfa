//! New file systems: fsopen(2), fsconfig(2), fsmount(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};
use sys::{Error, FdName, MountAttr};

use crate::yard;

/// One parameter of a file system: `key=value`, or a flag.
pub type FsOption<'a> = (&'a str, Option<&'a str>);

/// A parameter as mount(2) takes it, in a list with commas between. The contexts of `SELinux` have commas
/// of their own: there the kernel knows quotes. fsconfig(2) knows none, and needs none.
pub(crate) fn listed(key: &str, value: &str) -> String {
    let is_context = matches!(key, "context" | "fscontext" | "defcontext" | "rootcontext");
    if is_context && value.contains(',') && !value.contains('"') {
        return format!("{key}=\"{value}\"");
    }
    format!("{key}={value}")
}

/// What is said longest of one parameter in an error.
const SHOWN: usize = 80;

/// A detached mount of a new file system of type `fstype`.
///
/// `source` is what mount(8) calls the device. A parameter's value is at most 255 bytes long. An
/// error holds what the file system itself says, for example `overlay: No changes allowed`.
pub fn fs_mount(
    fstype: &str,
    source: Option<&str>,
    options: &[FsOption<'_>],
    attrs: MountAttr,
) -> Result<OwnedFd, Error> {
    if yard::is_open() {
        return yard::fs_mount(fstype, source, options, attrs);
    }
    let context = Context::open(fstype)?;
    if let Some(source) = source {
        context.set("source", Some(source))?;
    }
    for (key, value) in options {
        context.set(key, *value)?;
    }
    context.create()?;
    context.mount(attrs)
}

/// Changes parameters of the file system that `mnt`, the root of a mount, shows: for all mounts of
/// it. Attributes of the mount stay, see [`crate::mount_setattr`].
pub fn reconfigure(mnt: BorrowedFd<'_>, options: &[FsOption<'_>]) -> Result<(), Error> {
    if yard::is_open() {
        return yard::reconfigure(mnt, options);
    }
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let fd = rustix::mount::fspick(mnt, "", flags)
        .map_err(|errno| Error::new(format!("fspick({})", FdName(mnt)), errno))?;
    let context = Context { fstype: "remount", fd };
    for (key, value) in options {
        context.set(key, *value)?;
    }
    rustix::mount::fsconfig_reconfigure(context.fd.as_fd())
        .map_err(|errno| context.error("fsconfig(RECONFIGURE)", errno))
}

/// A file system that is being configured.
pub(crate) struct Context<'a> {
    fstype: &'a str,
    fd: OwnedFd,
}

impl<'a> Context<'a> {
    pub(crate) fn open(fstype: &'a str) -> Result<Self, Error> {
        let fd = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| Error::new(format!("fsopen({fstype:?})"), errno))?;
        Ok(Self { fstype, fd })
    }

    pub(crate) fn set(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(self.fd.as_fd(), key, value),
            None => rustix::mount::fsconfig_set_flag(self.fd.as_fd(), key),
        }
        .map_err(|errno| {
            let parameter = match value {
                Some(value) => format!("{key}={}", shorten(value)),
                None => key.to_owned(),
            };
            self.error(&format!("fsconfig({}, {parameter:?})", self.fstype), errno)
        })
    }

    pub(crate) fn create(&self) -> Result<(), Error> {
        rustix::mount::fsconfig_create(self.fd.as_fd())
            .map_err(|errno| self.error(&format!("fsconfig({}, CREATE)", self.fstype), errno))
    }

    pub(crate) fn mount(&self, attrs: MountAttr) -> Result<OwnedFd, Error> {
        let attrs = MountAttrFlags::from_bits_retain(attrs.bits() as u32);
        rustix::mount::fsmount(self.fd.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attrs)
            .map_err(|errno| self.error(&format!("fsmount({}, {attrs:?})", self.fstype), errno))
    }

    fn error(&self, call: &str, errno: Errno) -> Error {
        match log(self.fd.as_fd()) {
            Some(said) => Error::new(format!("{call} ({said})"), errno),
            None => Error::new(call, errno),
        }
    }
}

fn shorten(value: &str) -> &str {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => &value[..end],
        None => value,
    }
}

/// What the file system said: the messages that can be read from its context, each after a letter
/// for its kind (`e`, `w`, `i`) and a space.
fn log(context: BorrowedFd<'_>) -> Option<String> {
    let mut said = Vec::new();
    let mut buffer = [0_u8; 512];
    while let Ok(n) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..n]);
        said.push(line.get(2..).unwrap_or(&line).trim().to_owned());
        if n == 0 {
            break;
        }
    }
    said.retain(|line| !line.is_empty());
    (!said.is_empty()).then(|| said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_commas_is_quoted_where_it_is_one_of_many() {
        assert_eq!(listed("context", "u:r:t:s0:c1,c2"), "context=\"u:r:t:s0:c1,c2\"");
        assert_eq!(listed("context", "u:r:t:s0"), "context=u:r:t:s0");
        assert_eq!(listed("context", "\"u:r:t:s0:c1,c2\""), "context=\"u:r:t:s0:c1,c2\"");
        assert_eq!(listed("mpol", "bind:0,2"), "mpol=bind:0,2");
    }
}
