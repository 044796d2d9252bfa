//! Laying results on each other, and taking them from each other.

use std::sync::Arc;

use buildgraph::Vertex;
use oci::{ChainId, Digest};

use crate::build::Shared;
use crate::cache::NewRecord;
use crate::output::Output;
use crate::{Error, op, view};

/// Lays the layers of all inputs on each other.
pub(crate) async fn run(
    build: &Arc<Shared>,
    vertex: &Vertex,
    inputs: &[Output],
    key: &Digest,
) -> Result<Output, Error> {
    let stacks = inputs.iter().map(op::chain).collect::<Result<Vec<_>, _>>()?;
    let (key, name) = (key.clone(), vertex.shown.name.clone());
    let merged = build.blocking(move |build| {
        let mut stacks = stacks.into_iter();
        let mut chain: Vec<ChainId> = stacks.next().unwrap_or_default();
        for layers in stacks {
            let record =
                NewRecord { key: &key, description: &name, below: None, lease: &build.lease };
            let images = build.builder.images();
            chain =
                images.restack(&chain, &layers, 0, |tx, chain| record.hold(tx, chain.last()))?;
        }
        let record =
            NewRecord { key: &key, description: &name, below: chain.last(), lease: &build.lease };
        build.builder.engine.db().write(|tx| record.write(tx, None))?;
        Ok(chain)
    });
    merged.await.map(Output::Layers)
}

/// What the second input has and the first has not, with marks for what it has no more. Where the second lies
/// on the first, that is the layers between; otherwise both are compared.
pub(crate) async fn difference(
    build: &Arc<Shared>,
    vertex: &Vertex,
    inputs: &[Output],
    key: &Digest,
) -> Result<Output, Error> {
    let [lower, upper] = inputs else { return Err(Error::Lost("an input of a difference")) };
    let (lower, upper) = (op::chain(lower)?, op::chain(upper)?);
    let (key, name) = (key.clone(), vertex.shown.name.clone());
    let made = build.blocking(move |build| {
        let images = build.builder.images();
        let with_difference = if upper.starts_with(&lower) {
            upper
        } else {
            let hold = |tx: &metadata::Write, what: &Digest| build.lease.keep(tx, what);
            let sealed = view::in_a_room(|| {
                let before = view::of_layers(images, &lower, &build.builder.empty)?;
                let now = view::of_layers(images, &upper, &build.builder.empty)?;
                // Not the link that the descriptor is in procfs: what it leads to.
                let [before, now] = [&before, &now].map(|root| fsroot::fd_path(root).join("."));
                Ok(images.lay_difference(&lower, Some(&before), &now, hold)?)
            })?;
            let mut chain = lower.clone();
            chain.extend(sealed.map(|sealed| sealed.chain));
            chain
        };
        let record = NewRecord { key: &key, description: &name, below: None, lease: &build.lease };
        let hold = |tx: &metadata::Write, chain: &[ChainId]| record.hold(tx, chain.last());
        let chain = images.restack(&[], &with_difference, lower.len(), hold)?;
        let record = NewRecord { below: chain.last(), ..record };
        build.builder.engine.db().write(|tx| record.write(tx, None))?;
        Ok(chain)
    });
    made.await.map(Output::Layers)
}
