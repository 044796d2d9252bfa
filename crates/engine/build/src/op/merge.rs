//! Laying results on each other.

use std::sync::Arc;

use buildgraph::Vertex;
use oci::{ChainId, Digest};

use crate::Error;
use crate::build::Shared;
use crate::cache::NewRecord;
use crate::output::Output;

/// Lays the layers of all inputs on each other.
pub(crate) async fn run(
    build: &Arc<Shared>,
    vertex: &Vertex,
    inputs: &[Output],
    key: &Digest,
) -> Result<Output, Error> {
    let mut stacks = Vec::new();
    for input in inputs {
        match input {
            Output::Layers(chain) => stacks.push(chain.clone()),
            Output::Tree(_) => {
                return Err(Error::NotYet("a directory of the client in a merge".into()));
            }
        }
    }
    let (key, name) = (key.clone(), vertex.shown.name.clone());
    let merged = build.blocking(move |build| {
        let mut stacks = stacks.into_iter();
        let mut chain: Vec<ChainId> = stacks.next().unwrap_or_default();
        for layers in stacks {
            let record =
                NewRecord { key: &key, description: &name, below: None, lease: &build.lease };
            let images = build.builder.images();
            chain = images.restack(&chain, &layers, |tx, chain| record.hold(tx, chain.last()))?;
        }
        let record =
            NewRecord { key: &key, description: &name, below: chain.last(), lease: &build.lease };
        build.builder.engine.db().write(|tx| record.write(tx, None))?;
        Ok(chain)
    });
    merged.await.map(Output::Layers)
}
