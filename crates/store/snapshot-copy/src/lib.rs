//! Snapshots as plain copies: for file systems on which nothing better works.
//!
//! A layer is a whole tree, which shares the files that it has from the layer below with that layer,
//! as further names of them: layers are never written to. A container's directory is a copy of its
//! topmost layer, which shares the blocks of files where the file system can (XFS, btrfs: reflinks),
//! and is as large as the image where it cannot.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use snapshot::folders::{Delete, delete};
use snapshot::{Error, Trees, Whole};

/// The snapshots of one root.
pub type Copies = Whole<Plain>;

/// Trees are copied file by file.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

/// Opens the store in the folder `root`, and makes it where there is none.
pub fn open(root: &Path) -> Result<Copies, Error> {
    Whole::open(root, Plain)
}

impl Trees for Plain {
    const NAME: &'static str = "copy";
    const SYNC: bool = true;
    const DELETE: Delete = delete;

    fn create(&self, _below: Option<&Path>, to: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(to)
    }

    fn fill(&self, below: &Path, to: &Path, is_written: bool) -> Result<(), Error> {
        fs::DirBuilder::new().mode(0o700).create(to).map_err(|source| Error::Io {
            call: "mkdir",
            path: to.into(),
            source,
        })?;
        let files = if is_written { tree::Files::Copy } else { tree::Files::Link };
        tree::copy(below, to, files)?;
        Ok(())
    }

    fn limit(&self, _folder: &Path, _bytes: u64) -> Result<(), Error> {
        Err(Error::NoLimit { why: "not with the storage driver copy".into() })
    }

    fn status(&self, root: &Path) -> Vec<(&'static str, String)> {
        vec![("Reflinks", tree::shares_blocks(root).to_string())]
    }
}

#[cfg(test)]
mod tests;
