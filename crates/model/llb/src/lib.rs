//! Definitions of BuildKit's low-level builder (LLB, `solver/pb/ops.proto`), read into graphs of a build.
//!
//! A definition is operations, each as bytes, that name what they work on by the digests of those bytes: so
//! there are no circles in it. It comes from whoever speaks to the builder: nothing in it is believed, and all
//! of it is bounded. What a graph cannot say is refused by its name, never passed over.
//!
//! ```text
//! Definition ─▶ load     operations by digest, those that are needed, in an order to carry them out
//!               read     each as one vertex or more: source, exec, file; merge and diff
//!                        ▼
//!               buildgraph::Graph
//!                        │
//! Definition ◀─ define   and back, with all that a definition can say of it
//! ```
//!
//! Operations may have several results; vertices have one. A program that has several of which more than one
//! is wanted is one vertex and a part for each ([`buildgraph::Op::Part`]). Of file operations each result that is
//! wanted is a vertex of its own, with the actions that lead to it.
#![forbid(unsafe_code)]

mod caps;
mod container;
mod define;
mod error;
mod exec;
mod file;
mod given;
mod json;
mod load;
mod needed;
mod read;
mod source;
mod source_op;

use buildgraph::{Graph, Source, VertexIdx};
use buildkit::pb;

pub use caps::CAPS;
pub use container::{Container, container};
pub use define::{Origin, define};
pub use error::Error;
pub use given::{about, exec_op, file_op, lines, mount_places, numbered, platform, platform_of};
pub use json::json;
pub use source::shown;
pub use source_op::source_op;

/// What the identifier of a source begins with that names a result of this builder.
pub const RESULT: &str = "dhow-result://";

/// What people call an operation, where who asked for it says so.
pub const NAME: &str = "llb.customname";

/// The name of the result that an operation stands for, where it was given out with that: then it counts neither what
/// it does nor what it works on.
pub fn named(op: &pb::Op) -> Option<&str> {
    match op.constraints.as_ref()?.filter.as_slice() {
        [only] => only.strip_prefix(RESULT),
        _ => None,
    }
}

/// What a definition is.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its graph.
    pub graph: Graph,
    /// Its result.
    pub top: VertexIdx,
}

/// Reads a definition; `None`: it is of nothing, an empty root. `result` says what a result of this builder that
/// it names is called in the build; or, in one line, why it is none.
///
/// # Errors
///
/// It is none that can be carried out.
pub fn read(
    definition: &pb::Definition,
    result: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Option<Read>, Error> {
    read_with(definition, result, &mut |_| Ok(()))
}

/// The same; `decide` may put something else in the place of a source, or say why it may not be used.
///
/// # Errors
///
/// As [`read`], or a source may not be used.
pub fn read_with(
    definition: &pb::Definition,
    result: &mut dyn FnMut(&str) -> Result<String, String>,
    decide: &mut dyn FnMut(&mut pb::SourceOp) -> Result<(), String>,
) -> Result<Option<Read>, Error> {
    if definition.def.is_empty() {
        return Ok(None);
    }
    let loaded = load::load(definition)?;
    read::Reader::new(&loaded, result, decide).read().map(Some)
}

/// Reads a source by itself.
///
/// # Errors
///
/// There is none such here.
pub fn source(op: &pb::SourceOp) -> Result<Source, Error> {
    source::read(op, &mut |_| Err("a result is no source of its own".to_owned()))
}

#[cfg(test)]
mod tests;
