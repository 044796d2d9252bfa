//! Carrying out one step.

pub(crate) mod cached;
mod devices;
pub(crate) mod exec;
mod file;
mod limits;
mod merge;
pub(crate) mod mounts;

use std::sync::Arc;
use std::time::Duration;

use buildgraph::{Op, Vertex};
use fsroot::Root;
use oci::{ChainId, Digest};
use tokio::time::sleep;

pub use devices::Device;

use crate::build::Shared;
use crate::keys::Taken;
use crate::output::Output;
use crate::store::StepLock;
use crate::tell::Listeners;
use crate::{Error, view};

/// How often it is looked whether another process has ended the same step.
const LOOK: Duration = Duration::from_millis(50);

/// Carries out a step that is not in the cache, and puts it there, under `key`.
pub(crate) async fn run(
    build: &Arc<Shared>,
    vertex: &Vertex,
    inputs: &[Output],
    key: &Digest,
    listeners: &Listeners,
) -> Result<Output, Error> {
    let (_lock, has_waited) = lock(build, key).await?;
    if has_waited && !vertex.ignore_cache && build.cache_within.is_none() {
        let of = key.clone();
        let n_kept = n_kept(&vertex.op);
        let found = build.blocking(move |build| {
            let found = build.builder.cache.find(&build.lease, &of)?;
            let Some((record, chain)) = found else { return Ok(None) };
            build.builder.cache.whole(&build.lease, &record, chain, n_kept)
        });
        if let Some(output) = found.await?
            && build.may_use(vertex, key).await
        {
            return Ok(output);
        }
    }
    match &vertex.op {
        Op::File(file) => file::run(build, vertex, file, inputs, key).await,
        Op::Merge => merge::run(build, vertex, inputs, key).await,
        Op::Exec(exec) => exec::run(build, vertex, exec, inputs, key, listeners).await,
        Op::Diff => merge::difference(build, vertex, inputs, key).await,
        Op::Source(_) | Op::Part(_) | Op::Layers | Op::After => Err(Error::Lost("a source")),
    }
}

/// Whether the build may do that.
pub(crate) fn check(build: &Shared, op: &Op) -> Result<(), Error> {
    match op {
        Op::Exec(exec) => exec::check(build, exec),
        _ => Ok(()),
    }
}

/// Whether a vertex is an empty root: there is nothing to do, and nothing to tell.
pub(crate) fn is_nothing(vertex: &Vertex) -> bool {
    matches!(&vertex.op, Op::File(file) if file.actions.is_empty()) && vertex.inputs.is_empty()
}

/// Waits until no other process carries out the same step. With whether one did.
async fn lock(build: &Arc<Shared>, key: &Digest) -> Result<(StepLock, bool), Error> {
    let mut has_waited = false;
    loop {
        let key = key.clone();
        if let Some(lock) = build.blocking(move |build| build.builder.store.lock_step(&key)).await?
        {
            return Ok((lock, has_waited));
        }
        has_waited = true;
        sleep(LOOK).await;
    }
}

/// How many results a step has.
pub(crate) fn n_kept(op: &Op) -> usize {
    match op {
        Op::Exec(exec) => exec.kept().len(),
        _ => 1,
    }
}

/// The input on which the layers of a step's result lie; `None`: none of its inputs, or it has several results.
pub(crate) fn below(op: &Op) -> Option<usize> {
    match op {
        Op::Exec(exec) => match exec.kept() {
            [kept] => exec.input_of(*kept),
            _ => None,
        },
        Op::File(_) | Op::Merge | Op::Part(_) | Op::Layers | Op::After => Some(0),
        Op::Source(_) | Op::Diff => None,
    }
}

/// The layers of a result.
pub(crate) fn chain(output: &Output) -> Result<Vec<ChainId>, Error> {
    match output {
        Output::Layers(chain) => Ok(chain.clone()),
        Output::Tree(_) => {
            Err(Error::NotYet("a directory of the client as the root of a step".into()))
        }
        Output::Parts(_) => Err(Error::Lost("a part of a result")),
    }
}

/// The layers that a step works on.
pub(crate) fn base(inputs: &[Output]) -> Result<Vec<ChainId>, Error> {
    inputs.first().map_or_else(|| Ok(Vec::new()), chain)
}

/// The files of a result, for reading. Only in a room.
pub(crate) fn root(build: &Shared, output: &Output) -> Result<Root, Error> {
    match output {
        Output::Layers(chain) => {
            view::of_layers(build.builder.images(), chain, &build.builder.empty)
        }
        Output::Tree(tree) => {
            let root = Root::open(&tree.directory.path)?;
            if tree.part.as_os_str().is_empty() {
                return Ok(root);
            }
            Ok(Root::from_fd(root.open_plain_directory(&tree.part)?))
        }
        Output::Parts(_) => Err(Error::Lost("a part of a result")),
    }
}

/// The digests of what a step takes of its inputs.
pub(crate) fn contents(
    build: &Arc<Shared>,
    taken: &[Taken],
    inputs: &[Output],
) -> Result<Vec<Digest>, Error> {
    let cache = &build.builder.cache;
    let mut digests: Vec<Option<Digest>> = Vec::new();
    for one in taken {
        let known = match inputs[one.input].identity() {
            Some(identity) => cache.digest(&identity, &one.selection())?,
            None => None,
        };
        digests.push(known);
    }
    if digests.iter().any(Option::is_none) {
        view::in_a_room(|| {
            for (one, digest) in taken.iter().zip(&mut digests) {
                if digest.is_none() {
                    let (found, listing) = file::content(build, one, &inputs[one.input])?;
                    build.builder.made.keep(one, &found, &listing);
                    *digest = Some(found);
                }
            }
            Ok(())
        })?;
        for (one, digest) in taken.iter().zip(&digests) {
            if let (Some(identity), Some(digest)) = (inputs[one.input].identity(), digest) {
                cache.set_digest(&identity, &one.selection(), digest)?;
            }
        }
    }
    Ok(digests.into_iter().flatten().collect())
}
