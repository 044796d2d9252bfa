//! Changing files: as one layer.

use std::sync::Arc;

use buildgraph::{File, Vertex};
use oci::Digest;

use crate::Error;
use crate::build::Shared;
use crate::keys::Taken;
use crate::output::Output;

#[allow(clippy::unused_async, reason = "it comes next")]
/// Carries out the actions, one after the other.
pub(crate) async fn run(
    _build: &Arc<Shared>,
    _vertex: &Vertex,
    _file: &File,
    _inputs: &[Output],
    _key: &Digest,
) -> Result<Output, Error> {
    Err(Error::NotYet("a change of files".into()))
}

/// The digest of what a step takes of an input. Only in a room.
pub(crate) fn content(_build: &Shared, _taken: &Taken, _input: &Output) -> Result<Digest, Error> {
    Err(Error::NotYet("a copy of files".into()))
}
