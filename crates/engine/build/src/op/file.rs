//! Changing files: as one layer.

use std::sync::Arc;

use buildgraph::{File, Kept, Vertex};
use fsroot::Root;
use oci::{ChainId, Digest};

use crate::build::Shared;
use crate::builder::Builder;
use crate::cache::{NewRecord, now};
use crate::error::At as _;
use crate::keys::Taken;
use crate::output::Output;
use crate::worked::Written;
use crate::{Error, op, view};

/// Carries out the actions, one after the other.
pub(crate) async fn run(
    build: &Arc<Shared>,
    vertex: &Vertex,
    file: &File,
    inputs: &[Output],
    key: &Digest,
) -> Result<Output, Error> {
    let below = op::base(inputs)?;
    let (file, inputs) = (file.clone(), inputs.to_vec());
    let (key, vertex) = (key.clone(), vertex.clone());
    let made = build.blocking(move |build| {
        let snapshots = build.builder.images().snapshots();
        let snapshot = Builder::snapshot_key()?;
        let mounts = snapshots.prepare(&snapshot, &below)?;
        let mut failed = None;
        let applied = view::in_a_room(|| {
            let target = view::of_snapshot(&mounts)?;
            let roots: Vec<Root> =
                inputs.iter().map(|input| op::root(build, input)).collect::<Result<_, _>>()?;
            let roots: Vec<Option<&Root>> = roots.iter().map(Some).collect();
            let now = now();
            for (at, action) in file.actions.iter().enumerate() {
                failed = Some(at);
                edit::apply_one(&roots, &target, action, now)?;
            }
            Ok(())
        });
        let record = NewRecord {
            key: &key,
            description: &vertex.shown.name,
            below: below.last(),
            lease: &build.lease,
        };
        if let (Err(_), Some(at)) = (&applied, failed)
            && build.failures.is_wanted()
        {
            keep_half(build, &vertex, &snapshot, &below, at, &build.own(&key));
        }
        let sealed = applied.and_then(|()| {
            let write =
                |tx: &metadata::Write, sealed: Option<&images::Sealed>| record.write(tx, sealed);
            Ok(build.builder.images().seal(
                &snapshot,
                &below,
                None,
                images::IfNothing::Layer,
                write,
            )?)
        });
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                snapshots.remove(&snapshot)?;
                return Err(error);
            }
        };
        let mut chain: Vec<ChainId> = below;
        chain.extend(sealed.map(|sealed| sealed.chain));
        Ok(chain)
    });
    made.await.map(Output::Layers)
}

/// Keeps what the actions before one that failed have made, for who wants to look at it. Where that cannot be, the
/// failure is told without.
fn keep_half(
    build: &Shared,
    vertex: &Vertex,
    snapshot: &snapshot::Key,
    below: &[ChainId],
    failed_action: usize,
    key: &Digest,
) {
    let description = &vertex.shown.name;
    let record = NewRecord { key, description, below: below.last(), lease: &build.lease };
    let write = |tx: &metadata::Write, sealed: Option<&images::Sealed>| record.write(tx, sealed);
    let images = build.builder.images();
    let sealed = images.seal(snapshot, below, None, images::IfNothing::Layer, write);
    let mut written = Written { failed_action: Some(failed_action), ..Written::default() };
    if let Ok(sealed) = sealed {
        let chain = below.iter().cloned().chain(sealed.map(|sealed| sealed.chain)).collect();
        written.results.push((Kept::Root, chain));
    }
    build.failures.set_written(vertex, written);
}

/// The digest of what a step takes of an input, and the files that it is of. Only in a room.
pub(crate) fn content(
    build: &Shared,
    taken: &Taken,
    input: &Output,
) -> Result<(Digest, edit::Listing), Error> {
    let root = op::root(build, input)?;
    let memo = match input {
        Output::Tree(tree) => Some(build.builder.store.beside(&tree.directory, "digests")),
        Output::Layers(_) | Output::Parts(_) => None,
    };
    let mut known = memo.as_deref().map(edit::Memo::load).unwrap_or_default();
    let found = edit::listed(&root, &taken.copy, &mut known);
    let found = found.map_err(|error| match error {
        edit::Error::NotFound(_) => {
            Error::Missing { what: called(input), input: taken.input, source: error }
        }
        other => other.into(),
    })?;
    if let Some(memo) = memo {
        known.save(&memo).at("write", &memo)?;
    }
    Ok(found)
}

/// What people can tell an input by.
fn called(input: &Output) -> String {
    match input {
        Output::Tree(tree) => tree.directory.id.clone(),
        Output::Layers(chain) => chain.last().map_or_else(|| "scratch".into(), ToString::to_string),
        // Nothing works on several results at once.
        Output::Parts(_) => "several results".into(),
    }
}
