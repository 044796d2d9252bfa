//! Whether overlays work in a place: not on every file system, not in every container.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, mkdirat, unlinkat};
use snapshot::Unpacking;

/// Tries an overlay with directories in the folder `dir`: that what is deleted is deleted, and what
/// is made in its place has nothing of it. Why it does not work. Leaves nothing.
pub fn works(dir: &Path) -> Result<(), String> {
    let make = |folder: &Path| fs::DirBuilder::new().mode(0o700).create(folder);
    let scratch = Unpacking::create(dir, Unpacking::FS, make).map_err(|error| chain(&error))?;
    let place = |name: &str| scratch.folder().join(name);
    let (lower, upper, work) = (place("lower"), place("upper"), place("work"));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    for dir in [&lower.join("dir"), &upper, &work] {
        builder.create(dir).map_err(|error| format!("mkdir: {error}"))?;
    }
    fs::write(lower.join("file"), "x").map_err(|error| format!("write: {error}"))?;
    let root = mount::overlay(&[lower], Some((&upper, &work)), &[]).map_err(|e| chain(&e))?;
    change(&root).map_err(|errno| format!("change files in an overlay: {errno}"))?;
    let hidden = fs::symlink_metadata(upper.join("file"));
    if !hidden.is_ok_and(|found| found.file_type().is_char_device()) {
        return Err("a file that is deleted in an overlay leaves no whiteout".into());
    }
    let mut value = [0; 1];
    let opaque = mount::overlay_attribute("opaque");
    match rustix::fs::getxattr(upper.join("dir"), &opaque, &mut value) {
        Ok(_) if value == *b"y" => Ok(()),
        _ => Err(format!("the file system does not keep the attribute {opaque}")),
    }
}

fn change(root: &OwnedFd) -> rustix::io::Result<()> {
    unlinkat(root.as_fd(), "file", AtFlags::empty())?;
    unlinkat(root.as_fd(), "dir", AtFlags::REMOVEDIR)?;
    mkdirat(root.as_fd(), "dir", Mode::from_raw_mode(0o700))
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
