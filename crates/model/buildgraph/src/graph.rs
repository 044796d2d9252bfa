//! Vertices and how they hang together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use oci::Digest;
use oci::image::Platform;
use serde::Serialize;

use crate::{Exec, File, Kept, MountKind, Source};

/// Why a vertex cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It works on something that is not in the graph.
    #[error("vertex \"{vertex}\" has no input {input}: the graph has {len} vertices")]
    NoVertex {
        /// What people call it.
        vertex: String,
        /// What it names.
        input: usize,
        /// How many there are.
        len: usize,
    },
    /// A mount or an action names an input that the vertex does not have.
    #[error("vertex \"{vertex}\" uses its input {input}, and has {len}")]
    NoInput {
        /// What people call it.
        vertex: String,
        /// What is named.
        input: usize,
        /// How many there are.
        len: usize,
    },
    /// A source works on nothing, a difference on two.
    #[error("vertex \"{vertex}\" has {found} inputs, where its operation has {expected}")]
    Inputs {
        /// What people call it.
        vertex: String,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: &'static str,
    },
    /// A program has no such result.
    #[error("vertex \"{vertex}\" wants result {part} of a program that has {len} of its own")]
    NoPart {
        /// What people call it.
        vertex: String,
        /// What is named.
        part: usize,
        /// How many there are.
        len: usize,
    },
    /// A program is to keep a mount that is none of layers.
    #[error("vertex \"{0}\" keeps a mount that holds no result")]
    NotKept(String),
}

/// A vertex of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexIdx(pub usize);

/// What a vertex does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Op {
    /// Brings something from outside. No inputs.
    Source(Source),
    /// Runs a program. The first input is its root; none: an empty one.
    Exec(Exec),
    /// Changes files. The first input is what is changed; none: an empty directory.
    File(File),
    /// Lays the layers of its inputs on each other, the first lowest.
    Merge,
    /// What the second input has and the first has not.
    Diff,
    /// One of several results of a program ([`Exec::keeps`]), by its number there.
    Part(usize),
    /// Its input as layers: a directory of the builder's becomes one.
    Layers,
    /// What its first input is, once the others have been made, too.
    After,
}

/// Lines of a front end's source, for errors and progress. Both count from 1, `end` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Range {
    /// The first line.
    pub start: u32,
    /// The last line.
    pub end: u32,
}

/// What people are shown of a vertex: no part of what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `[stage 2/5] RUN make`.
    pub name: String,
    /// What is written into the history of an image, where it is: `RUN /bin/sh -c make # buildkit`.
    pub created_by: String,
    /// Where it comes from.
    pub lines: Vec<Range>,
    /// A group that is shown as one: an id and a name.
    pub group: Option<(String, String)>,
    /// What who asks for it calls it; none: by its own digest.
    pub digest: Option<Digest>,
    /// Which of the actions of that one's operation its own are; none: there is no such operation.
    pub actions: Vec<usize>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// What it does.
    pub op: Op,
    /// On whose results.
    pub inputs: Vec<VertexIdx>,
    /// On what it runs; this machine's where there is none.
    pub platform: Option<Platform>,
    /// It is carried out, whatever the cache has.
    pub ignore_cache: bool,
    /// What people are shown.
    pub shown: Shown,
    /// What it is, with all that it works on.
    pub digest: Digest,
}

impl Vertex {
    /// What it is called in events and errors.
    pub fn known_as(&self) -> &Digest {
        self.shown.digest.as_ref().unwrap_or(&self.digest)
    }

    /// Whether it only passes on what its input is, or a part of that: nobody is told of it.
    pub fn is_hidden(&self) -> bool {
        matches!(self.op, Op::Part(_) | Op::Layers | Op::After)
    }
}

/// A graph of vertices.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    vertices: Vec<Vertex>,
    by_digest: HashMap<Digest, VertexIdx>,
}

/// What a digest is of.
#[derive(Serialize)]
struct Identified<'a> {
    op: &'a Op,
    inputs: Vec<&'a Digest>,
    platform: &'a Option<Platform>,
    ignore_cache: bool,
}

impl Graph {
    /// Adds a vertex that works on `inputs`. One that is there already is given instead; it keeps
    /// what is shown of it.
    pub fn add(
        &mut self,
        op: Op,
        inputs: Vec<VertexIdx>,
        platform: Option<Platform>,
        ignore_cache: bool,
        shown: Shown,
    ) -> Result<VertexIdx, Error> {
        self.check(&op, &inputs, &shown)?;
        let identified = Identified {
            op: &op,
            inputs: inputs.iter().map(|input| &self.vertices[input.0].digest).collect(),
            platform: &platform,
            ignore_cache,
        };
        let digest = digest_of(&identified);
        if let Some(known) = self.by_digest.get(&digest) {
            return Ok(*known);
        }
        let idx = VertexIdx(self.vertices.len());
        self.by_digest.insert(digest.clone(), idx);
        self.vertices.push(Vertex { op, inputs, platform, ignore_cache, shown, digest });
        Ok(idx)
    }

    fn check(&self, op: &Op, inputs: &[VertexIdx], shown: &Shown) -> Result<(), Error> {
        let vertex = || shown.name.clone();
        let len = self.vertices.len();
        if let Some(wrong) = inputs.iter().find(|input| input.0 >= len) {
            return Err(Error::NoVertex { vertex: vertex(), input: wrong.0, len });
        }
        let wrong = |expected| Error::Inputs { vertex: vertex(), found: inputs.len(), expected };
        let used = match op {
            Op::Source(_) if !inputs.is_empty() => return Err(wrong("none")),
            Op::Diff if inputs.len() != 2 => return Err(wrong("two")),
            Op::Merge if inputs.is_empty() => return Err(wrong("one or more")),
            Op::Part(_) | Op::Layers if inputs.len() != 1 => return Err(wrong("one")),
            Op::After if inputs.is_empty() => return Err(wrong("at least one")),
            Op::Part(at) => {
                let n_kept = match &self.get(inputs[0]).op {
                    Op::Exec(exec) if exec.kept().len() > 1 => exec.kept().len(),
                    _ => 0,
                };
                return if *at < n_kept {
                    Ok(())
                } else {
                    Err(Error::NoPart { vertex: vertex(), part: *at, len: n_kept })
                };
            }
            Op::Source(_) | Op::Merge | Op::Diff | Op::Layers | Op::After => None,
            Op::Exec(exec) => {
                let mut kept = exec.keeps.iter();
                if kept.any(|kept| exec.input_of(*kept).is_none()) {
                    return Err(Error::NotKept(vertex()));
                }
                let root = exec.keeps.contains(&Kept::Root).then_some(0);
                exec.inputs().chain(root).max()
            }
            Op::File(file) => file.inputs().max(),
        };
        match used {
            Some(input) if input >= inputs.len() => {
                Err(Error::NoInput { vertex: vertex(), input, len: inputs.len() })
            }
            _ => Ok(()),
        }
    }

    /// A vertex of this graph.
    pub fn get(&self, idx: VertexIdx) -> &Vertex {
        &self.vertices[idx.0]
    }

    /// Has people shown another name of a vertex.
    pub fn rename(&mut self, idx: VertexIdx, name: String) {
        self.vertices[idx.0].shown.name = name;
    }

    /// All, each after those that it works on.
    pub fn vertices(&self) -> impl Iterator<Item = (VertexIdx, &Vertex)> {
        self.vertices.iter().enumerate().map(|(idx, vertex)| (VertexIdx(idx), vertex))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// Those that `targets` need, themselves with them, in the order of the graph.
    pub fn needed(&self, targets: &[VertexIdx]) -> BTreeSet<VertexIdx> {
        let mut needed = BTreeSet::new();
        let mut rest = targets.to_vec();
        while let Some(idx) = rest.pop() {
            if needed.insert(idx) {
                rest.extend(&self.get(idx).inputs);
            }
        }
        needed
    }

    /// Everything of another graph. Where its vertices are in this one.
    pub fn append(&mut self, other: &Self) -> BTreeMap<VertexIdx, VertexIdx> {
        let mut places = BTreeMap::new();
        for (idx, vertex) in other.vertices() {
            let mut vertex = vertex.clone();
            for input in &mut vertex.inputs {
                *input = places[input];
            }
            let here = if let Some(known) = self.by_digest.get(&vertex.digest) {
                *known
            } else {
                let here = VertexIdx(self.vertices.len());
                self.by_digest.insert(vertex.digest.clone(), here);
                self.vertices.push(vertex);
                here
            };
            places.insert(idx, here);
        }
        places
    }
}

/// Fields have an order and maps are sorted, so the text is the same for the same value.
fn digest_of(identified: &Identified<'_>) -> Digest {
    // Every type in it has text for keys: it cannot fail.
    let text = serde_json::to_vec(identified).unwrap_or_default();
    Digest::sha256(&text)
}

impl Exec {
    /// The inputs that are used: the root, and those that are mounted.
    pub fn inputs(&self) -> impl Iterator<Item = usize> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { input, .. } => Some(*input),
            MountKind::Cache { from, .. } => *from,
            _ => None,
        })
    }
}
