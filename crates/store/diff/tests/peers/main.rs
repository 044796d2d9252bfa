//! What we make of an archive, beside what other programs make of it: file by file, attribute by
//! attribute. Differences that are meant are in `docs/layers.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod actor;
mod changes;
mod generate;
mod gnu_tar;
mod links;
mod mutated;
mod user_namespace;

use std::path::{Path, PathBuf};

use diff::{Applied, Error, Limits, Options, Origin, Whiteouts};

/// A directory that ends with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-peers-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Unpacks as `dhow import` does.
fn unpack(archive: &[u8], root: &Path) -> Result<Applied, Error> {
    let options = Options {
        origin: Origin::Archive,
        below: &[],
        whiteouts: Whiteouts::Overlay,
        limits: Limits::default(),
    };
    diff::apply(&mut { archive }, root, &options)
}
