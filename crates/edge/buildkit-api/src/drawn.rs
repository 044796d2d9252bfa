//! What leads to a result of a Dockerfile, for who wants to see it (`buildx dap`): its steps as operations. Each has the
//! name of its own result beside it, where operations say which worker they are for. That is all of it that is ever
//! read again: so nothing has to come back as it was.

use std::collections::{BTreeSet, HashMap};

use build::FromFile;
use buildgraph::{Graph, Op, Source, Vertex, VertexIdx};
use buildkit::pb::{self, op::Op as PbOp};
use llb::{RESULT, source_op};
use oci::Digest;
use prost::Message as _;

/// Of more steps nothing is given out but the name of the result.
pub(crate) const OPERATIONS: usize = 1000;

/// So many bytes say that a step comes from one line.
const LINE: usize = 16;
/// The number of an input that is an empty root.
const EMPTY: i64 = -1;

/// A graph.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) definition: pb::Definition,
    /// Its operations, by what their steps are called.
    pub(crate) operations: Vec<(Digest, pb::Op)>,
}

/// The graph of a result, whose steps are called so, in not much more than so many bytes; `None`: it is too large,
/// or empty.
pub(crate) fn draw(
    of: &FromFile,
    called: &dyn Fn(VertexIdx) -> String,
    room: usize,
) -> Option<Drawn> {
    let room = room.checked_sub(of.file.data.len())?;
    let mut drawing = Drawing {
        of,
        room,
        digests: HashMap::new(),
        definition: pb::Definition::default(),
        locations: pb::Source::default(),
        operations: Vec::new(),
    };
    for step in needed(&of.graph, of.vertex)? {
        drawing.add(step, &called(step))?;
    }
    let digest = drawing.digests.remove(&of.vertex)?;
    let Drawing { mut definition, mut locations, operations, .. } = drawing;
    let input = pb::Input { digest, index: 0 };
    definition.def.push(pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec());
    locations.infos.push(pb::SourceInfo {
        filename: of.file.filename.clone(),
        data: of.file.data.clone(),
        language: "Dockerfile".into(),
        definition: None,
    });
    definition.source = Some(locations);
    Some(Drawn { definition, operations })
}

/// What is seen of a step: where it only passes something on, the step that has made that.
fn face(graph: &Graph, mut at: VertexIdx) -> &Vertex {
    loop {
        let vertex = graph.get(at);
        match vertex.inputs.first() {
            Some(below) if vertex.is_hidden() || changes_nothing(vertex) => at = *below,
            _ => return vertex,
        }
    }
}

fn changes_nothing(vertex: &Vertex) -> bool {
    matches!(&vertex.op, Op::File(file) if file.actions.is_empty())
}

/// The steps that are seen, each after those that it works on; `None`: they are too many.
fn needed(graph: &Graph, top: VertexIdx) -> Option<BTreeSet<VertexIdx>> {
    let mut needed = BTreeSet::new();
    let mut rest = vec![top];
    while let Some(at) = rest.pop() {
        let vertex = face(graph, at);
        // Then it is an empty root.
        if changes_nothing(vertex) || !needed.insert(at) {
            continue;
        }
        if needed.len() > OPERATIONS {
            return None;
        }
        rest.extend(&vertex.inputs);
    }
    Some(needed)
}

/// A graph on its way.
struct Drawing<'a> {
    of: &'a FromFile,
    room: usize,
    /// Of the operations so far, by their steps.
    digests: HashMap<VertexIdx, String>,
    definition: pb::Definition,
    locations: pb::Source,
    operations: Vec<(Digest, pb::Op)>,
}

impl Drawing<'_> {
    /// Adds a step that is called so; `None`: there is no room.
    fn add(&mut self, step: VertexIdx, called: &str) -> Option<()> {
        let of = self.of;
        let vertex = face(&of.graph, step);
        let (inputs, numbers) = self.inputs(vertex);
        let what = operation(vertex, &numbers, inputs.len());
        let constraints = pb::WorkerConstraints { filter: vec![format!("{RESULT}{called}")] };
        let mut op = pb::Op {
            inputs,
            op: Some(what),
            platform: llb::platform_of(vertex),
            constraints: Some(constraints),
        };
        let bytes = encoded(&mut op);
        let shown = &vertex.shown;
        self.room = self.room.checked_sub(bytes.len())?.checked_sub(shown.name.len())?;
        let digest = Digest::sha256(&bytes).to_string();
        self.definition.def.push(bytes);
        self.definition.metadata.insert(digest.clone(), llb::about(vertex));
        let ranges = shown.lines.iter().copied().flat_map(llb::lines);
        let ranges: Vec<_> = ranges.take(self.room / LINE + 1).collect();
        self.room = self.room.checked_sub(ranges.len() * LINE)?;
        if !ranges.is_empty() {
            let locations = vec![pb::Location { source_index: 0, ranges }];
            self.locations.locations.insert(digest.clone(), pb::Locations { locations });
        }
        self.digests.insert(step, digest);
        self.operations.push((vertex.known_as().clone(), op));
        Some(())
    }

    /// What a step works on, each once, and the numbers that its inputs have there.
    fn inputs(&self, vertex: &Vertex) -> (Vec<pb::Input>, Vec<i64>) {
        let mut inputs: Vec<pb::Input> = Vec::new();
        let mut numbers = Vec::new();
        for input in &vertex.inputs {
            let Some(digest) = self.digests.get(input) else {
                numbers.push(EMPTY);
                continue;
            };
            let known = inputs.iter().position(|one| one.digest == *digest);
            let at = known.unwrap_or(inputs.len());
            if known.is_none() {
                inputs.push(pb::Input { digest: digest.clone(), index: 0 });
            }
            numbers.push(i64::try_from(at).unwrap_or(EMPTY));
        }
        (inputs, numbers)
    }
}

/// What a step does.
fn operation(vertex: &Vertex, numbers: &[i64], n_inputs: usize) -> PbOp {
    let number = |at: usize| numbers.get(at).copied().unwrap_or(EMPTY);
    match &vertex.op {
        Op::Source(source) => {
            PbOp::Source(pb::SourceOp { identifier: identifier(source), ..pb::SourceOp::default() })
        }
        Op::Exec(exec) => PbOp::Exec(llb::numbered(exec, numbers)),
        Op::File(file) => PbOp::File(llb::file_op(file, numbers, n_inputs)),
        Op::Diff => PbOp::Diff(pb::DiffOp {
            lower: Some(pb::LowerDiffInput { input: number(0) }),
            upper: Some(pb::UpperDiffInput { input: number(1) }),
        }),
        Op::Merge | Op::Part(_) | Op::Layers | Op::After => {
            let inputs = numbers.iter().copied().filter(|input| *input != EMPTY);
            let inputs = inputs.map(|input| pb::MergeInput { input }).collect();
            PbOp::Merge(pb::MergeOp { inputs })
        }
    }
}

/// What a source is called: without what else is said of it.
fn identifier(source: &Source) -> String {
    match (source_op(source), source) {
        (Some(op), _) => llb::shown(&op.identifier),
        (None, Source::Result(name)) => format!("result://{name}"),
        (None, _) => String::new(),
    }
}

/// An operation as programs in Go write it, what it does last: they look for a step by the digest of what they have
/// read and written again.
fn encoded(op: &mut pb::Op) -> Vec<u8> {
    let what = pb::Op { op: op.op.take(), ..pb::Op::default() };
    let mut bytes = op.encode_to_vec();
    bytes.extend(what.encode_to_vec());
    op.op = what.op;
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use buildgraph::{Action, Copy, Exec, File, Image, Local, MakeFile, Range, Resolve, Shown};

    use super::*;
    use crate::definition::result_of;

    /// `FROM a`, `COPY f /`, `RUN x`; `FROM scratch`, `COPY --from=0 /f /`.
    fn two_stages() -> FromFile {
        let mut graph = Graph::default();
        let mut add = |op, inputs: &[VertexIdx], name: &str, line: u32| {
            let lines: Vec<_> =
                (line > 0).then_some(Range { start: line, end: line }).into_iter().collect();
            let shown = Shown { name: name.into(), lines, ..Shown::default() };
            graph.add(op, inputs.to_vec(), None, false, shown).unwrap()
        };
        let copy = |input| Action::Copy(Copy { input, source: "/f".into(), ..Copy::default() });
        let copied = || Op::File(File { actions: vec![copy(1), copy(1)] });
        let image = Image::named("docker.io/library/a:latest".into(), Resolve::Default);
        let image = add(Op::Source(Source::Image(image)), &[], "[base] FROM a", 1);
        let local = Local { name: "context".into(), ..Local::default() };
        let local = add(Op::Source(Source::Local(local)), &[], "[internal] load", 0);
        let first = add(copied(), &[image, local], "[base] COPY f /", 2);
        let exec = Exec { args: vec!["x".into()], cwd: "/".into(), ..Exec::default() };
        let run = add(Op::Exec(exec), &[first], "[base] RUN x", 3);
        let nothing = add(Op::File(File::default()), &[], "[internal] empty root", 0);
        let vertex = add(copied(), &[nothing, run], "COPY --from=0 /f /", 5);
        let data = b"FROM a\nCOPY f /\nRUN x\nFROM scratch\nCOPY --from=0 /f /\n".to_vec();
        let file = build::Source { filename: "Dockerfile".into(), data };
        FromFile { graph: Arc::new(graph), vertex, file: Arc::new(file) }
    }

    fn drawn(of: &FromFile) -> Drawn {
        draw(of, &|step| format!("b/{}", step.0), 1 << 20).unwrap()
    }

    #[test]
    fn each_step_names_its_result_and_has_its_line() {
        let of = two_stages();
        let Drawn { definition, operations } = drawn(&of);
        assert_eq!((definition.def.len(), operations.len()), (6, 5), "of nothing nothing is told");
        let source = definition.source.as_ref().unwrap();
        assert_eq!(source.infos[0].filename, "Dockerfile");
        let digests: Vec<_> =
            definition.def.iter().map(|bytes| Digest::sha256(bytes).to_string()).collect();
        let names: Vec<_> = digests[..5]
            .iter()
            .map(|digest| definition.metadata[digest].description[llb::NAME].as_str())
            .collect();
        assert_eq!(names[0], "[base] FROM a");
        assert_eq!(names[4], "COPY --from=0 /f /");
        let line = |digest: &String| {
            let places = source.locations.get(digest)?;
            Some(places.locations[0].ranges[0].start.as_ref()?.line)
        };
        let told: Vec<_> = digests[..5].iter().map(line).collect();
        assert_eq!(told, [Some(1), None, Some(2), Some(3), Some(5)]);
        assert_eq!(result_of(&definition), Some(format!("b/{}", of.vertex.0)));
        // So a client asks for one of them.
        for (digest, named) in digests.iter().zip(["b/0", "b/1", "b/2", "b/3", "b/5"]) {
            let mut definition = definition.clone();
            let input = pb::Input { digest: digest.clone(), index: 0 };
            let last = pb::Op { inputs: vec![input], ..pb::Op::default() };
            *definition.def.last_mut().unwrap() = last.encode_to_vec();
            assert_eq!(result_of(&definition).as_deref(), Some(named));
        }
    }

    #[test]
    fn inputs_have_the_numbers_that_they_have_in_operations() {
        let Drawn { definition, operations } = drawn(&two_stages());
        let (_, copy) = &operations[2];
        let Some(PbOp::File(file)) = &copy.op else { panic!("{copy:?}") };
        let numbers = |file: &pb::FileOp| {
            let all = file.actions.iter().map(|one| (one.input, one.secondary_input, one.output));
            all.collect::<Vec<_>>()
        };
        assert_eq!((copy.inputs.len(), numbers(file)), (2, vec![(0, 1, -1), (2, 1, 0)]));
        assert_eq!(copy.platform, None);
        let (_, run) = &operations[3];
        let Some(PbOp::Exec(exec)) = &run.op else { panic!("{run:?}") };
        assert_eq!((exec.mounts[0].dest.as_str(), exec.mounts[0].input), ("/", 0));
        assert!(run.platform.is_some());
        let (_, top) = &operations[4];
        let Some(PbOp::File(file)) = &top.op else { panic!("{top:?}") };
        assert_eq!((top.inputs.len(), numbers(file)), (1, vec![(-1, 0, -1), (1, 0, 0)]));
        for ((_, op), bytes) in operations.iter().zip(&definition.def) {
            assert_eq!(pb::Op::decode(bytes.as_slice()).unwrap(), *op);
        }
    }

    #[test]
    fn what_an_operation_does_is_written_last() {
        let Drawn { definition, .. } = drawn(&two_stages());
        // Two inputs (1), constraints (11), the changes of files (4): tags of messages.
        let bytes = &definition.def[2];
        let mut tags = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            tags.push(bytes[at] >> 3);
            let mut rest = &bytes[at + 1..];
            let n_bytes = prost::encoding::decode_varint(&mut rest).unwrap();
            at = bytes.len() - rest.len() + usize::try_from(n_bytes).unwrap();
        }
        assert_eq!(tags, [1, 1, 11, 4]);
    }

    #[test]
    fn what_is_too_large_or_nothing_is_not_drawn() {
        let of = two_stages();
        for room in [0, 20, 500] {
            assert!(draw(&of, &|_| "b/x".into(), room).is_none(), "{room}");
        }
        let mut graph = Graph::default();
        let op = Op::File(File::default());
        let mut vertex = graph.add(op, vec![], None, false, Shown::default()).unwrap();
        let file = Arc::clone(&of.file);
        let nothing = FromFile { graph: Arc::new(graph.clone()), vertex, file };
        assert!(draw(&nothing, &|_| "b/x".into(), 1 << 20).is_none());
        for at in 0..=OPERATIONS {
            let make = MakeFile { path: at.to_string(), ..MakeFile::default() };
            let op = Op::File(File { actions: vec![Action::MakeFile(make)] });
            vertex = graph.add(op, vec![vertex], None, false, Shown::default()).unwrap();
        }
        let long = FromFile { graph: Arc::new(graph), vertex, file: Arc::clone(&of.file) };
        assert!(draw(&long, &|_| "b/x".into(), 1 << 30).is_none());
    }
}
