//! The overlay file system: many read-only directories and one that takes the changes.

use std::borrow::Cow;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use sys::{Call, Error, MountAttr};

use crate::filesystem::{Context, listed};
use crate::overlay_options::usual;
use crate::tree::{bind, umount_detach};

/// The longest value that fsconfig(2) takes.
const LONGEST_VALUE: usize = 255;

/// The longest option string that mount(2) takes: a page, less the NUL.
const LONGEST_OPTIONS: usize = 4095;

/// A detached overlay mount: `lower` from the topmost directory to the lowest, `upper` the
/// directory for changes and its work directory (`None`: read-only), `extra` other options, see
/// Documentation/filesystems/overlayfs.rst of the kernel. What is written is a layer by itself
/// (`redirect_dir` and `metacopy` are off), and in a user namespace attributes are users'.
///
/// Up to 500 lower directories; before Linux 6.5 some 200, and the mount is first made, unseen by others only if
/// this is a private mount namespace, over the topmost lower directory.
pub fn overlay(
    lower: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    extra: &[(&str, &str)],
) -> Result<OwnedFd, Error> {
    let extra = &[usual(), extra].concat()[..];
    // Asked for what it does not know, an older one writes a line into the kernel's log each time.
    if is_before((6, 5)) {
        return by_option_string(lower, upper, extra);
    }
    match by_parameters(lower, upper, extra) {
        Err(err) if err.errno() == Errno::INVAL && !takes_lowers_singly() => {
            by_option_string(lower, upper, extra)
        }
        other => other,
    }
}

/// Directories by the name under which the kernel is to find them. Where the real one would not do
/// (too long, or with characters that overlay takes as syntax), it is that of a descriptor.
struct Names {
    open: Vec<OwnedFd>,
}

impl Names {
    fn name<'p>(&mut self, path: &'p Path, longest: usize) -> Result<Cow<'p, str>, Error> {
        match path.to_str() {
            Some(text) if text.len() <= longest && !text.contains(['\\', ':', ',']) => {
                Ok(Cow::Borrowed(text))
            }
            _ => self.descriptor(path).map(Cow::Owned),
        }
    }

    fn descriptor(&mut self, path: &Path) -> Result<String, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        self.open.push(fd);
        Ok(name)
    }
}

fn by_parameters(
    lower: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    extra: &[(&str, &str)],
) -> Result<OwnedFd, Error> {
    let mut names = Names { open: Vec::new() };
    let context = Context::open("overlay")?;
    context.set("source", Some("overlay"))?;
    for path in lower {
        context.set("lowerdir+", Some(&names.name(path, LONGEST_VALUE)?))?;
    }
    if let Some((upper, work)) = upper {
        context.set("upperdir", Some(&names.name(upper, LONGEST_VALUE)?))?;
        context.set("workdir", Some(&names.name(work, LONGEST_VALUE)?))?;
    }
    for (key, value) in extra {
        context.set(key, (!value.is_empty()).then_some(*value))?;
    }
    context.create()?;
    context.mount(MountAttr::empty())
}

/// Whether overlay knows `lowerdir+` (Linux 6.5). An older one notes every parameter down and
/// complains at the end; a newer one looks the directory up at once.
pub(crate) fn takes_lowers_singly() -> bool {
    let Ok(context) = Context::open("overlay") else { return true };
    matches!(context.set("lowerdir+", Some("/proc/self/none")), Err(err) if err.errno() == Errno::NOENT)
}

/// Whether the kernel is older than this. One that got something early, from its distribution, has to
/// work either way.
pub(crate) fn is_before(version: (u32, u32)) -> bool {
    release_is_before(rustix::system::uname().release(), version)
}

fn release_is_before(release: &CStr, version: (u32, u32)) -> bool {
    let release = release.to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < version,
        _ => false,
    }
}

/// mount(2) with one option string, for overlay before Linux 6.5, which fsconfig(2) can tell no
/// value longer than 255 bytes.
pub(crate) fn by_option_string(
    lower: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    extra: &[(&str, &str)],
) -> Result<OwnedFd, Error> {
    let Some(place) = lower.first() else {
        return Err(Error::new("mount(overlay without a lower directory)", Errno::INVAL));
    };
    let mut names = Names { open: Vec::new() };
    let mut options = option_string(&mut names, lower, upper, extra, usize::MAX)?;
    if options.len() > LONGEST_OPTIONS {
        options = option_string(&mut names, lower, upper, extra, 0)?;
    }
    let text = || format!("mount(overlay, {place:?}, {} lower directories)", lower.len());
    if options.len() > LONGEST_OPTIONS {
        return Err(Error::new(text(), Errno::NAMETOOLONG));
    }
    let options = std::ffi::CString::new(options)
        .map_err(|_| Error::new("mount(overlay) with a NUL in a path", Errno::INVAL))?;
    rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), &*options).call(text)?;
    let tree = bind(place, false);
    umount_detach(place)?;
    tree
}

fn option_string(
    names: &mut Names,
    lower: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    extra: &[(&str, &str)],
    longest_name: usize,
) -> Result<String, Error> {
    let lowers =
        lower.iter().map(|p| names.name(p, longest_name)).collect::<Result<Vec<_>, Error>>()?;
    let mut options = vec![format!("lowerdir={}", lowers.join(":"))];
    if let Some((upper, work)) = upper {
        options.push(format!("upperdir={}", names.name(upper, longest_name)?));
        options.push(format!("workdir={}", names.name(work, longest_name)?));
    }
    options.extend(
        extra.iter().map(
            |(key, value)| {
                if value.is_empty() { (*key).to_owned() } else { listed(key, value) }
            },
        ),
    );
    Ok(options.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, before) in [
            (c"6.1.0-56-cloud-amd64", true),
            (c"5.14.0-427.el9", true),
            (c"6.4", true),
            (c"6.5.0", false),
            (c"6.18.44", false),
            (c"10.0", false),
            (c"unknown", false),
        ] {
            assert_eq!(release_is_before(release, (6, 5)), before, "{release:?}");
        }
    }
}
