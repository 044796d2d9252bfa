//! What a vertex has made.

use std::path::PathBuf;
use std::sync::Arc;

use oci::ChainId;

use crate::store::Directory;

/// A result.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Layers, lowest first; none: an empty root.
    Layers(Vec<ChainId>),
    /// A directory of the builder's, which nobody changes while this lives.
    Tree(Tree),
    /// Several results of one program, each of layers, lowest first. What works on one of them has a vertex
    /// between ([`buildgraph::Op::Part`]).
    Parts(Vec<Vec<ChainId>>),
}

/// A part of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// The directory.
    pub(crate) directory: Arc<Directory>,
    /// The part, relative to it.
    pub(crate) part: PathBuf,
    /// What it is, if that is known without a look at its files: a commit, a checksum.
    pub(crate) identity: Option<String>,
    /// When all of it was written, where that is a part of what it is: nanoseconds since 1970.
    pub(crate) time: Option<i64>,
}

impl Output {
    /// All layers that it is of, in chains of their own, lowest first.
    pub(crate) fn chains(&self) -> &[Vec<ChainId>] {
        match self {
            Self::Layers(chain) => std::slice::from_ref(chain),
            Self::Tree(_) => &[],
            Self::Parts(chains) => chains,
        }
    }

    /// What steps that work on all of it are keyed by. `None`: it has to be looked at.
    pub(crate) fn identity(&self) -> Option<String> {
        match self {
            Self::Layers(chain) => {
                Some(chain.last().map_or_else(|| "scratch".into(), ToString::to_string))
            }
            Self::Tree(tree) => tree.identity.clone(),
            Self::Parts(_) => None,
        }
    }
}
