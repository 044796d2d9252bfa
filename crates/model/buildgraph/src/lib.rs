//! A build as a graph: vertices, what each does, and on whose results.
//!
//! A front end (a Dockerfile, say) makes one, a solver carries it out. [`Graph`] grows from its
//! sources: a vertex can only name vertices that are there, so there are no circles, and the order in
//! which they were added is one in which they can be carried out. Two vertices with the same
//! [`Vertex::digest`] do the same with the same, in whatever builds they are; what people are shown of
//! a vertex is no part of that.
//!
//! The operations are those of BuildKit's low-level build definition (`solver/pb/ops.proto`), so that
//! a definition of that kind can be read into a graph.
#![forbid(unsafe_code)]

mod exec;
mod file;
mod graph;
mod source;

pub use exec::{
    Device, Exec, HostEntry, Kept, Limits, Mount, MountKind, Network, SecretVariable, Security,
    Sharing, Ulimit,
};
pub use file::{Action, Copy, File, Identity, MakeDirectory, MakeFile, Owner, Remove, Symlink};
pub use graph::{Error, Graph, Op, Range, Shown, Vertex, VertexIdx};
pub use source::{
    Blob, Checksum, Detached, Git, Http, Image, Layout, Local, Resolve, SignedBy, Source,
};

#[cfg(test)]
mod tests;
