//! Looking into results, and changing them: merged, without a mount that anybody else sees.
//!
//! Layers are mounted in the mount namespace of a thread that was made for it, and are gone with it:
//! before Linux 6.5 an overlay of many layers has to be mounted somewhere for a moment.

use std::path::{Path, PathBuf};

use fsroot::Root;
use images::Images;
use oci::ChainId;
use snapshot::{Form, Mounts};
use sys::CloneFlags;

use crate::Error;

/// Runs `act` on a thread with a mount namespace of its own.
pub(crate) fn in_a_room<T: Send>(
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let room = scope.spawn(|| {
            sys::unshare(CloneFlags::FS | CloneFlags::NEWNS)?;
            mount::cut_off(mount::Propagation::Private)?;
            act()
        });
        room.join().unwrap_or(Err(Error::Lost("a thread of the builder")))
    })
}

/// The files of layers, lowest first, for reading. Only in a room.
pub(crate) fn of_layers(images: &Images, chain: &[ChainId], empty: &Path) -> Result<Root, Error> {
    let mut paths = images.snapshots().layer_paths(chain);
    match images.snapshots().form() {
        Form::Whole => match paths.pop() {
            Some(top) => Ok(Root::open(&top)?),
            None => Ok(Root::open(empty)?),
        },
        Form::Own => {
            paths.reverse();
            // Overlayfs wants two; and of one alone its whiteouts would show.
            paths.push(empty.into());
            if paths.len() == 1 {
                return Ok(Root::open(empty)?);
            }
            Ok(Root::from_fd(mount::overlay(&paths, None, &[])?))
        }
    }
}

/// A snapshot, for writing. Only in a room.
pub(crate) fn of_snapshot(mounts: &Mounts) -> Result<Root, Error> {
    match mounts {
        Mounts::Overlay { lower, upper, work } if !lower.is_empty() => {
            Ok(Root::from_fd(mount::overlay(lower, Some((upper, work)), &[])?))
        }
        // On nothing, an overlay would mark every directory as one that hides what is below.
        Mounts::Overlay { upper, .. } => Ok(Root::open(upper)?),
        Mounts::Directory { root, .. } => Ok(Root::open(root)?),
    }
}

/// The same for reading, also while somebody writes to it: `below` lies below what it has itself. Only in a room.
pub(crate) fn of_written(mounts: &Mounts, below: Option<&Path>) -> Result<Root, Error> {
    match mounts {
        Mounts::Overlay { lower, upper, .. } if !lower.is_empty() || below.is_some() => {
            let lower = lower.iter().cloned().chain(below.map(Path::to_path_buf));
            let all: Vec<PathBuf> = std::iter::once(upper.clone()).chain(lower).collect();
            Ok(Root::from_fd(mount::overlay(&all, None, &[])?))
        }
        Mounts::Overlay { upper, .. } => Ok(Root::open(upper)?),
        Mounts::Directory { root, .. } => Ok(Root::open(root)?),
    }
}
