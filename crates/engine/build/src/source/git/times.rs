//! When the files of a checkout were written: when its commit was made, where the build wants that
//! (`git.mtime=commit`).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::program::Program;
use super::remote::{Remote, Tip};
use crate::Error;
use crate::error::At as _;

/// When a commit was made that is in the repository `dir`, seconds since 1970.
pub(super) async fn made(
    remote: &Remote,
    tip: &Tip,
    program: &Program<'_>,
    dir: &Path,
) -> Result<i64, Error> {
    let commit = format!("{}^{{commit}}", tip.commit);
    let text = program.run(dir, &["show", "--no-patch", "--format=%ct", &commit, "--"]).await?;
    let unreadable =
        |_| Error::Invalid(format!("commit {} of {} has no time", tip.commit, remote.url));
    text.trim().parse().map_err(unreadable)
}

/// Says of all that is in a directory, and of itself, when it was written, seconds since 1970. Links are links.
pub(super) fn set(dir: &Path, seconds: i64) -> Result<(), Error> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let one = |path: &Path| {
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("utimensat", path)
    };
    let mut directories = vec![dir.to_owned()];
    let mut at = 0;
    while let Some(directory) = directories.get(at).cloned() {
        for entry in fs::read_dir(&directory).at("readdir", &directory)? {
            let entry = entry.at("readdir", &directory)?;
            let path = entry.path();
            if entry.file_type().at("stat", &path)?.is_dir() {
                directories.push(path);
            } else {
                one(&path)?;
            }
        }
        at += 1;
    }
    directories.iter().try_for_each(|directory| one(directory))
}

/// When a directory was written, nanoseconds since 1970.
pub(super) fn of(dir: &Path) -> Result<i64, Error> {
    let seconds = fs::symlink_metadata(dir).at("stat", dir)?.mtime();
    Ok(seconds.saturating_mul(1_000_000_000))
}
