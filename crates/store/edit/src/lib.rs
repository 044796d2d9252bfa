//! What the file operations of a build do to a tree: COPY, ADD of what is here, `mkdir`, `rm`.
//!
//! [`apply`] carries operations out, [`digest`] says what a copy would take, without taking it: the key
//! of a cache that looks at what files are, never at when. Both choose in the same way (`source`).
//!
//! Trees are [`Root`]s, and whose they are does not matter: a hostile image, a context that its owner
//! goes on changing. Every path is resolved by the kernel inside its root and acted on by descriptor, so
//! neither a link nor a rename in that moment leads out; only what is known to be a regular file is ever
//! opened for its bytes.
//!
//! Sources: Dockerfile reference, COPY and ADD; BuildKit's `solver/llbsolver/file` and fsutil's `copy`,
//! whose results these are, with three exceptions. A block device stays one (there it becomes a character
//! device). Directories that are made on the way to what patterns choose get the times of their
//! originals (there that of the build). A dangling link can be removed.
#![forbid(unsafe_code)]

mod attributes;
mod copy;
mod cursor;
mod digest;
mod error;
mod listing;
mod make;
mod memo;
mod mode;
mod names;
mod owner;
mod place;
mod source;
mod unpack;
mod wildcard;

use buildgraph::{Action, File};
use fsroot::Root;
use rustix::fs::{Timespec, Timestamps};

pub use digest::{digest, digest_path, listed};
pub use error::Error;
pub use listing::{Change, Listing, changes};
pub use memo::Memo;
pub use unpack::newest;

/// Changes `target` as `file` says. `inputs` are what the vertex works on; names of users are looked up
/// in the first, which is what `target` was before, or in the one that their owner says. What is made gets the time `now`, in nanoseconds since
/// 1970, where its action says no other. After an error `target` is half changed, and the caller's to drop.
pub fn apply(inputs: &[Option<&Root>], target: &Root, file: &File, now: i64) -> Result<(), Error> {
    file.actions.iter().try_for_each(|action| apply_one(inputs, target, action, now))
}

/// The same of one action.
pub fn apply_one(
    inputs: &[Option<&Root>],
    target: &Root,
    action: &Action,
    now: i64,
) -> Result<(), Error> {
    match action {
        Action::Copy(action) => {
            let owner = owner::find(inputs, action.owner.as_ref())?;
            let missing = || Error::NoInput(action.input);
            let source = inputs.get(action.input).ok_or_else(missing)?;
            copy::copy(*source, target, action, owner, now)?;
        }
        Action::MakeFile(action) => {
            make::file(target, action, owner::find(inputs, action.owner.as_ref())?, now)?;
        }
        Action::MakeDirectory(action) => {
            make::directory(target, action, owner::find(inputs, action.owner.as_ref())?, now)?;
        }
        Action::Symlink(action) => {
            make::symlink(target, action, owner::find(inputs, action.owner.as_ref())?, now)?;
        }
        Action::Remove(action) => make::remove(target, action)?,
    }
    Ok(())
}

/// A time for both that a file has.
fn both(nanoseconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000),
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
    };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests;
