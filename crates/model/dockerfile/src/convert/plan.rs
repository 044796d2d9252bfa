//! The graph as it grows. A build's directories come last in it, though others work on them: which of
//! their files are wanted is known when all instructions have been looked at. So it grows as a plan,
//! and what is needed of that becomes the graph.

use std::collections::HashMap;

use buildgraph::{File, Graph, Op, Range, Shown, Source, VertexIdx};
use oci::image::Platform;

use crate::position::Lines;
use crate::problem::Problem;

/// A step of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Step(usize);

/// What a step does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// What the graph will have.
    Op(Box<Op>),
    /// The build's context, of which it is not known yet what is wanted.
    Context,
    /// The same of a named one, by its place.
    Named(usize),
}

#[derive(Clone, Debug)]
struct Planned {
    act: Act,
    inputs: Vec<Option<Step>>,
    platform: Option<Platform>,
    ignore_cache: bool,
    shown: Shown,
}

/// Steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan(Vec<Planned>);

impl Plan {
    /// A step without anything special.
    pub(crate) fn add(&mut self, act: Act, inputs: Vec<Option<Step>>, shown: Shown) -> Step {
        self.add_on(act, inputs, None, false, shown)
    }

    /// A step on a platform, that may have to be carried out whatever the cache has. An input that is
    /// none is an empty root.
    pub(crate) fn add_on(
        &mut self,
        act: Act,
        inputs: Vec<Option<Step>>,
        platform: Option<Platform>,
        ignore_cache: bool,
        shown: Shown,
    ) -> Step {
        self.0.push(Planned { act, inputs, platform, ignore_cache, shown });
        Step(self.0.len() - 1)
    }

    /// Puts what `wanted` needs into a graph. `context` and `named` say what the directories are.
    pub(crate) fn emit(
        &self,
        graph: &mut Graph,
        wanted: Step,
        context: &Source,
        named: &[Source],
    ) -> Result<VertexIdx, Problem> {
        let mut needed = vec![false; wanted.0 + 1];
        needed[wanted.0] = true;
        // A step works on earlier ones.
        for at in (0..=wanted.0).rev().filter(|at| self.0.len() > *at) {
            if needed[at] {
                self.0[at].inputs.iter().flatten().for_each(|input| needed[input.0] = true);
            }
        }
        let mut places: HashMap<Step, VertexIdx> = HashMap::new();
        for at in (0..=wanted.0).filter(|at| needed[*at]) {
            let planned = &self.0[at];
            let op = match &planned.act {
                Act::Op(op) => (**op).clone(),
                Act::Context => Op::Source(context.clone()),
                Act::Named(at) => Op::Source(named[*at].clone()),
            };
            let mut inputs = Vec::new();
            let all_but_root = planned.inputs.len() > 1;
            for input in &planned.inputs {
                match input {
                    Some(step) => inputs.push(places[step]),
                    None if all_but_root => inputs.push(empty(graph)?),
                    None => {}
                }
            }
            let n_roots = match op {
                Op::Exec(_) | Op::File(_) => 1,
                Op::Merge => inputs.len(),
                _ => 0,
            };
            for root in inputs.iter_mut().take(n_roots) {
                *root = as_layers(graph, *root)?;
            }
            let (platform, shown) = (planned.platform.clone(), planned.shown.clone());
            let idx = graph.add(op, inputs, platform, planned.ignore_cache, shown)?;
            places.insert(Step(at), idx);
        }
        Ok(places[&wanted])
    }
}

/// What a step is to begin with, as layers: a directory (`FROM` a context) becomes one.
fn as_layers(graph: &mut Graph, root: VertexIdx) -> Result<VertexIdx, Problem> {
    let from = graph.get(root);
    match &from.op {
        Op::Source(Source::Local(_) | Source::Git(_) | Source::Http(_) | Source::Result(_)) => {
            let (shown, ignore_cache) = (from.shown.clone(), from.ignore_cache);
            Ok(graph.add(Op::Layers, vec![root], None, ignore_cache, shown)?)
        }
        _ => Ok(root),
    }
}

/// An empty root, where another input follows it: no change of nothing.
fn empty(graph: &mut Graph) -> Result<VertexIdx, Problem> {
    let shown = internal("empty root");
    Ok(graph.add(Op::File(File::default()), Vec::new(), None, false, shown)?)
}

/// What is shown of what a Dockerfile does not have.
pub(crate) fn internal(what: &str) -> Shown {
    Shown { name: format!("[internal] {what}"), ..Shown::default() }
}

pub(crate) fn range(lines: Lines) -> Range {
    Range { start: lines.first, end: lines.last }
}
