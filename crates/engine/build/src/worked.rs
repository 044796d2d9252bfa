//! What a step that failed worked on, and what it had written by then, for who wants to look into it: results
//! like others, which nothing else finds, and which go with their build.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buildgraph::{Kept, Op, Vertex};
use oci::image::Platform;
use oci::{ChainId, Digest};

use crate::Build;
use crate::output::Output;

/// No more steps that failed are held of one build: each may have a result for each of its mounts.
const MAX_FAILED: usize = 256;

/// What a step worked on that failed. Results have names, as all of a build; an empty one: an empty root.
#[derive(Clone, Debug)]
pub struct Worked {
    /// What it was to do.
    pub op: Op,
    /// On what.
    pub platform: Option<Platform>,
    /// What people call it.
    pub name: String,
    /// Which of the actions of a client's own operation its actions are; none: it is no client's own.
    pub actions: Vec<usize>,
    /// Its inputs.
    pub inputs: Vec<String>,
    /// What it has written, by what that would have been.
    pub written: Vec<(Kept, String)>,
    /// The action that failed, of those that it has.
    pub failed_action: Option<usize>,
    /// The input that lacks what was to be taken of it.
    pub lacking: Option<usize>,
}

/// What a step has written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub(crate) results: Vec<(Kept, Vec<ChainId>)>,
    pub(crate) failed_action: Option<usize>,
}

/// Those of a build.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    is_wanted: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// By the digests of vertices; until it is known that they failed for good.
    written: HashMap<Digest, Written>,
    lacking: HashMap<Digest, usize>,
    /// By what vertices are called in errors.
    failed: HashMap<Digest, Arc<Worked>>,
    results: HashMap<String, Output>,
}

impl Failures {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody may want to look into steps that fail. Only then is kept what they write.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Notes what a step has written that has failed.
    pub(crate) fn set_written(&self, vertex: &Vertex, written: Written) {
        self.lock().written.insert(vertex.digest.clone(), written);
    }

    /// Notes which input of a step lacks what is taken of it.
    pub(crate) fn set_lacking(&self, vertex: &Vertex, input: usize) {
        self.lock().lacking.insert(vertex.digest.clone(), input);
    }

    /// Gives names to what a step worked on that has failed.
    pub(crate) fn note(&self, vertex: &Vertex, inputs: &[Output]) {
        if !self.is_wanted() {
            return;
        }
        let mut held = self.lock();
        if held.failed.len() >= MAX_FAILED {
            return;
        }
        let Written { results, failed_action } =
            held.written.remove(&vertex.digest).unwrap_or_default();
        let lacking = held.lacking.remove(&vertex.digest);
        let mut named = |what: &str, output: Output| {
            if matches!(&output, Output::Layers(chain) if chain.is_empty()) {
                return String::new();
            }
            let name = format!("{}.{what}", vertex.digest.hex());
            held.results.insert(name.clone(), output);
            name
        };
        let input = |(at, output): (usize, &Output)| named(&format!("input{at}"), output.clone());
        let inputs = inputs.iter().enumerate().map(input).collect();
        let mut written = Vec::new();
        for (at, (kept, chain)) in results.into_iter().enumerate() {
            written.push((kept, named(&format!("written{at}"), Output::Layers(chain))));
        }
        let worked = Worked {
            op: vertex.op.clone(),
            platform: vertex.platform.clone(),
            name: vertex.shown.name.clone(),
            actions: vertex.shown.actions.clone(),
            inputs,
            written,
            failed_action,
            lacking,
        };
        held.failed.insert(vertex.known_as().clone(), Arc::new(worked));
    }

    /// The result of a name that was given out.
    pub(crate) fn result(&self, name: &str) -> Option<Output> {
        self.lock().results.get(name).cloned()
    }
}

impl Build {
    /// From now on it is kept what steps have written that fail.
    pub fn keep_failures(&self) {
        self.shared.failures.is_wanted.store(true, Ordering::Relaxed);
    }

    /// What the step worked on that an error is of; `None`: that is not known, or was not to be kept.
    pub fn worked(&self, error: &crate::Error) -> Option<(Digest, Arc<Worked>)> {
        let digest = error.step()?;
        let worked = self.shared.failures.lock().failed.get(digest).cloned()?;
        Some((digest.clone(), worked))
    }
}

#[cfg(test)]
mod tests {
    use buildgraph::{Graph, Shown, VertexIdx};

    use super::*;

    fn vertex() -> Vertex {
        let mut graph = Graph::default();
        let op = Op::File(buildgraph::File::default());
        graph.add(op, Vec::new(), None, false, Shown::default()).unwrap();
        graph.get(VertexIdx(0)).clone()
    }

    #[test]
    fn nothing_is_held_that_nobody_wants() {
        let failures = Failures::default();
        failures.note(&vertex(), &[]);
        assert!(failures.lock().failed.is_empty());
    }

    #[test]
    fn an_empty_root_has_no_name_and_the_rest_can_be_asked_for() {
        let failures = Failures::default();
        failures.is_wanted.store(true, Ordering::Relaxed);
        let (vertex, chain) =
            (vertex(), vec![ChainId::of(None, &oci::DiffId(Digest::sha256(b"x")))]);
        let results = vec![(Kept::Root, chain.clone()), (Kept::Mount(0), Vec::new())];
        failures.set_written(&vertex, Written { results, failed_action: Some(3) });
        failures.note(&vertex, &[Output::Layers(Vec::new()), Output::Layers(chain)]);
        let worked = failures.lock().failed.get(vertex.known_as()).cloned().unwrap();
        assert_eq!((worked.inputs[0].as_str(), worked.written[1].1.as_str()), ("", ""));
        assert_eq!(worked.failed_action, Some(3));
        for name in [&worked.inputs[1], &worked.written[0].1] {
            assert!(failures.result(name).is_some(), "{name}");
        }
        assert!(failures.result("").is_none());
        assert!(failures.lock().written.is_empty());
    }
}
