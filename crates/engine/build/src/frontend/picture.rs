//! The graph of a build as something to draw: stages with their steps, also those that nothing needs, and what the
//! last build of each step took.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use buildgraph::{Graph, Op, Source, Vertex, VertexIdx};
use dockerfile::Lines;
use dockerfile::convert::Built;
use dockerfile::instruction::{Body, Dockerfile, Instruction, Stage};
use serde::Serialize;

use crate::made::Making;

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Picture {
    dockerfile: String,
    /// Images, directories, repositories, files behind URLs.
    sources: Vec<Node>,
    stages: Vec<StageBox>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct StageBox {
    name: String,
    /// What it starts from, as it is written.
    base: String,
    /// The result needs it.
    needed: bool,
    /// It is the result.
    target: bool,
    lines: [u32; 2],
    steps: Vec<Node>,
}

/// A step, or a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Node {
    id: usize,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<[u32; 2]>,
    /// What it works on.
    after: Vec<usize>,
    /// Seconds that it took when it was carried out last.
    #[serde(skip_serializing_if = "Option::is_none")]
    took: Option<f64>,
    /// Bytes that it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

/// Draws the graph of a file. `known` is what is known of earlier builds of the same directory.
pub(crate) fn draw(
    filename: &str,
    file: &Dockerfile,
    built: &Built,
    target: Option<&str>,
    known: &[Making],
) -> Picture {
    let last: HashMap<&str, &Making> = known.iter().map(|one| (one.name.as_str(), one)).collect();
    let folded = Folded::new(&built.graph);
    let spans = spans(file);
    let target = target.filter(|name| !name.is_empty());
    let target = target.map_or(file.stages.len().checked_sub(1), |name| stage_of(file, name));
    let mut sources = Vec::new();
    let mut steps: BTreeMap<usize, Vec<Node>> = BTreeMap::new();
    for (idx, vertex) in built.graph.vertices().filter(|(idx, _)| folded.is_shown(*idx)) {
        let mut node = folded.node(&built.graph, idx);
        if matches!(vertex.op, Op::Source(_)) {
            sources.push(node);
            continue;
        }
        if let Some(making) = last.get(vertex.shown.name.as_str()) {
            node.took = Some(making.took as f64 / 1e9);
            node.size = Some(making.size);
        }
        let line = vertex.shown.lines.first().map(|lines| lines.start);
        let stage = line.and_then(|line| spans.iter().rposition(|first| *first <= line));
        steps.entry(stage.unwrap_or_default()).or_default().push(node);
    }
    let needed = needed(file, target);
    let mut next = built.graph.len();
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    let mut stages = Vec::new();
    for (at, stage) in file.stages.iter().enumerate() {
        let is_needed = needed.contains(&at);
        let mut own = if is_needed { steps.remove(&at).unwrap_or_default() } else { Vec::new() };
        if !is_needed {
            own = written(file, stage, &ends, &mut next);
        }
        if let Some(last) = own.last().map(|node| node.id).or(base_of(file, stage, &ends)) {
            ends.insert(at, last);
        }
        stages.push(StageBox {
            name: stage.name().unwrap_or_else(|| format!("stage-{at}")),
            base: stage.base.clone(),
            needed: is_needed,
            target: Some(at) == target,
            lines: both(stage.lines),
            steps: own,
        });
    }
    Picture { dockerfile: filename.into(), sources, stages }
}

fn both(lines: Lines) -> [u32; 2] {
    [lines.first, lines.last]
}

/// The lines on which stages begin.
fn spans(file: &Dockerfile) -> Vec<u32> {
    file.stages.iter().map(|stage| stage.lines.first).collect()
}

/// The stage of a name or a number.
fn stage_of(file: &Dockerfile, name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    let named = file.stages.iter().rposition(|stage| stage.name().as_ref() == Some(&name));
    named.or_else(|| name.parse().ok().filter(|at| *at < file.stages.len()))
}

/// What an instruction takes from, as it is written.
fn takes(instruction: &Instruction) -> Vec<&str> {
    match &instruction.body {
        Body::Copy(copy) => vec![copy.from.as_str()],
        Body::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.as_deref()).collect(),
        _ => Vec::new(),
    }
}

/// The stages that a target needs.
fn needed(file: &Dockerfile, target: Option<usize>) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<usize> = target.into_iter().collect();
    while let Some(at) = open.pop() {
        let Some(stage) = file.stages.get(at).filter(|_| needed.insert(at)) else { continue };
        let names = stage.instructions.iter().flat_map(takes).chain([stage.base.as_str()]);
        // A stage takes from those before it, and its base is not a number.
        open.extend(names.filter_map(|name| stage_of(file, name)).filter(|from| *from < at));
    }
    needed
}

fn base_of(file: &Dockerfile, stage: &Stage, ends: &BTreeMap<usize, usize>) -> Option<usize> {
    stage_of(file, &stage.base).and_then(|base| ends.get(&base).copied())
}

/// The steps of a stage as they are written: nothing is known of one that nothing needs.
fn written(
    file: &Dockerfile,
    stage: &Stage,
    ends: &BTreeMap<usize, usize>,
    next: &mut usize,
) -> Vec<Node> {
    let mut before = base_of(file, stage, ends);
    let mut nodes = Vec::new();
    let is_step = |one: &&Instruction| {
        matches!(one.body, Body::Add(_) | Body::Copy(_) | Body::Run(_) | Body::Workdir(_))
    };
    for one in stage.instructions.iter().filter(is_step) {
        let from = takes(one).into_iter().filter_map(|name| stage_of(file, name));
        let from = from.filter_map(|at| ends.get(&at).copied());
        let mut after: Vec<usize> = before.into_iter().chain(from).collect();
        after.dedup();
        let lines = Some(both(one.lines));
        nodes.push(Node { id: *next, name: one.text.clone(), lines, after, ..Node::default() });
        before = Some(*next);
        *next += 1;
    }
    nodes
}

/// Which vertices are shown, and as which others are: what people did not write is part of what it is for.
struct Folded {
    /// For each vertex what it is shown as: itself, another one, or what it works on.
    as_nodes: Vec<Vec<usize>>,
    /// What is added to what a node works on.
    more: HashMap<usize, Vec<usize>>,
}

impl Folded {
    fn new(graph: &Graph) -> Self {
        let mut folded = Self { as_nodes: Vec::new(), more: HashMap::new() };
        for (idx, vertex) in graph.vertices() {
            let nodes = folded.nodes(graph, idx, vertex);
            folded.as_nodes.push(nodes);
        }
        folded
    }

    fn nodes(&mut self, graph: &Graph, idx: VertexIdx, vertex: &Vertex) -> Vec<usize> {
        let is_source = matches!(vertex.op, Op::Source(_));
        if !is_source && vertex.shown.name.starts_with("[internal]") {
            return self.all(&vertex.inputs);
        }
        // `COPY --link`: what was copied is laid on what was there, which is one step to people.
        if let (Op::Merge, [below, own]) = (&vertex.op, &vertex.inputs[..])
            && !vertex.shown.lines.is_empty()
            && graph.get(*own).shown.lines == vertex.shown.lines
        {
            let below = self.all(&[*below]);
            self.more.entry(own.0).or_default().extend(below);
            return vec![own.0];
        }
        vec![idx.0]
    }

    fn all(&self, inputs: &[VertexIdx]) -> Vec<usize> {
        let all: BTreeSet<usize> =
            inputs.iter().flat_map(|input| self.as_nodes[input.0].iter().copied()).collect();
        all.into_iter().collect()
    }

    fn is_shown(&self, idx: VertexIdx) -> bool {
        self.as_nodes[idx.0] == [idx.0]
    }

    fn node(&self, graph: &Graph, idx: VertexIdx) -> Node {
        let vertex = graph.get(idx);
        let mut after = self.all(&vertex.inputs);
        after.extend(self.more.get(&idx.0).into_iter().flatten());
        after.sort_unstable();
        after.dedup();
        let lines = vertex.shown.lines.first().map(|lines| [lines.start, lines.end]);
        Node { id: idx.0, name: name(vertex), lines, after, ..Node::default() }
    }
}

/// What is drawn of a name: a step without its number, a source by what it is.
fn name(vertex: &Vertex) -> String {
    match &vertex.op {
        Op::Source(Source::Image(image)) => image.reference.clone(),
        Op::Source(Source::Local(local)) if local.name == "context" => "build context".into(),
        Op::Source(Source::Local(local)) => format!("directory {}", local.name),
        Op::Source(Source::Git(git)) => git.remote.clone(),
        Op::Source(Source::Http(http)) => http.url.clone(),
        Op::Source(Source::Layout(layout)) => format!("{}@{}", layout.store, layout.digest),
        _ => {
            let name = vertex.shown.name.as_str();
            let rest = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
            rest.map_or(name, |(_, text)| text).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use dockerfile::convert::{Answer, Ask, Conversion, Next, Options};
    use oci::image::{History, ImageConfig};

    use super::*;

    const FILE: &str = "FROM debian AS build\n\
                        WORKDIR /src\n\
                        COPY --link . .\n\
                        RUN make\n\
                        FROM build AS test\n\
                        RUN make check\n\
                        FROM scratch AS docs\n\
                        COPY --from=test /report /\n\
                        FROM debian\n\
                        COPY <<EOF /motd\nhello\nEOF\n\
                        COPY --from=build /src/out /out\n";

    fn picture(target: Option<&str>, known: &[Making]) -> Picture {
        let options = Options { target: target.map(str::to_owned), ..Options::default() };
        let mut conversion = Conversion::new(FILE.as_bytes(), options);
        for _ in 0..5 {
            match conversion.round().next.unwrap() {
                Next::Done(built) => {
                    let file = dockerfile::parse(FILE.as_bytes()).unwrap();
                    return draw("Dockerfile", &file, &built, target, known);
                }
                Next::Ask(asks) => {
                    for ask in asks {
                        let history = vec![History::default()];
                        let config = ImageConfig { history, ..ImageConfig::default() };
                        let config = Box::new(config);
                        let answer = match ask {
                            Ask::Image { .. } => Answer::Image { config, digest: None, id: None },
                            _ => Answer::Ignore(Vec::new()),
                        };
                        conversion.give(ask, answer);
                    }
                }
            }
        }
        panic!("it asks on and on")
    }

    #[test]
    fn stages_have_their_steps_and_what_nothing_needs_is_there_too() {
        let making = Making {
            name: "[build 4/4] RUN make".into(),
            took: 1_500_000_000,
            size: 42,
            ..Making::default()
        };
        let picture = picture(None, &[making]);
        let shown: Vec<_> = picture
            .stages
            .iter()
            .map(|stage| {
                let steps: Vec<&str> = stage.steps.iter().map(|step| step.name.as_str()).collect();
                (stage.name.as_str(), stage.needed, stage.target, steps)
            })
            .collect();
        let copied = "COPY --from=build /src/out /out";
        assert_eq!(
            shown,
            [
                ("build", true, false, vec!["WORKDIR /src", "COPY --link . .", "RUN make"]),
                ("test", false, false, vec!["RUN make check"]),
                ("docs", false, false, vec!["COPY --from=test /report /"]),
                ("stage-3", true, true, vec!["COPY <<EOF /motd", copied]),
            ]
        );
        let sources: Vec<&str> = picture.sources.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(sources.len(), 2, "{sources:?}");
        assert!(sources.contains(&"build context"));
        let build = &picture.stages[0].steps;
        assert_eq!((build[2].took, build[2].size), (Some(1.5), Some(42)));
        assert_eq!(build[1].took, None);
        assert!(build[1].after.contains(&build[0].id), "a linked copy lies on what is below");
        assert_eq!(build[2].after, [build[1].id]);
        let last = &picture.stages[3].steps;
        assert!(last[1].after.contains(&build[2].id));
        // Those that nothing needs hang together as they are written.
        assert_eq!(picture.stages[1].steps[0].after, [build[2].id]);
        assert_eq!(picture.stages[2].steps[0].after, [picture.stages[1].steps[0].id]);
        let ids: BTreeSet<usize> = picture
            .stages
            .iter()
            .flat_map(|stage| &stage.steps)
            .chain(&picture.sources)
            .map(|node| node.id)
            .collect();
        assert_eq!(ids.len(), 2 + 3 + 1 + 1 + 2);
    }

    #[test]
    fn another_target_needs_other_stages() {
        let picture = picture(Some("docs"), &[]);
        let needed: Vec<bool> = picture.stages.iter().map(|stage| stage.needed).collect();
        assert_eq!(needed, [true, true, true, false]);
        assert!(picture.stages[2].target);
        assert_eq!(picture.stages[3].steps.len(), 2);
    }
}
