//! Where a client's own graph comes from: the files that its front end has read, and places in them.

use std::collections::BTreeMap;

use buildgraph::{Graph, VertexIdx};
use oci::Digest;

/// Where a graph comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The files.
    pub files: Vec<OriginFile>,
    /// Places in them, by what its client calls its steps. A step may be known to come from none.
    pub places: BTreeMap<Digest, Vec<OriginPlace>>,
}

/// A file that a graph was made of.
#[derive(Clone, Debug, Default)]
pub struct OriginFile {
    /// What it is called.
    pub name: String,
    /// What it is written in.
    pub language: String,
    /// What is in it.
    pub data: Vec<u8>,
    /// What leads to the directory that it is in.
    pub from: Option<(Graph, VertexIdx)>,
}

/// Places in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPlace {
    /// Which of the files it is.
    pub file: usize,
    /// Where each begins and ends.
    pub ranges: Vec<(Position, Position)>,
}

/// A place in a file, as its front end counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: i32,
    /// The character in it.
    pub character: i32,
}
