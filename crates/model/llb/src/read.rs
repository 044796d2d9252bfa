//! From operations to vertices.

use std::collections::{BTreeMap, HashMap};

use buildgraph::{Action, File, Graph, Identity, Op, Shown, Source, VertexIdx};
use buildkit::pb::{self, op::Op as PbOp};
use oci::image::Platform;

use crate::error::{Error, invalid, not_yet};
use crate::load::{Loaded, Operation};
use crate::{CAPS, NAME, RESULT, Read, exec, file, named, source};

/// The number that stands for an empty root, where an input's is asked for.
pub(crate) const EMPTY: i64 = -1;
/// Names of operations are shown up to this length, in bytes.
const MAX_NAME: usize = 4 << 10;
/// Of so many inputs the names are in that of a merge.
const MAX_NAMES: usize = 32;

/// Makes a graph of a definition.
pub(crate) struct Reader<'a> {
    loaded: &'a Loaded<'a>,
    pub(crate) result: &'a mut dyn FnMut(&str) -> Result<String, String>,
    decide: &'a mut dyn FnMut(&mut pb::SourceOp) -> Result<(), String>,
    graph: Graph,
    /// The results of operations that have been read, by their numbers.
    results: HashMap<usize, BTreeMap<usize, VertexIdx>>,
    /// What people call operations.
    names: HashMap<usize, String>,
}

/// What is said of the vertices of an operation.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) shown: Shown,
    pub(crate) platform: Option<Platform>,
    pub(crate) ignore_cache: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        loaded: &'a Loaded<'a>,
        result: &'a mut dyn FnMut(&str) -> Result<String, String>,
        decide: &'a mut dyn FnMut(&mut pb::SourceOp) -> Result<(), String>,
    ) -> Self {
        let (results, names) = (HashMap::new(), HashMap::new());
        Self { loaded, result, decide, graph: Graph::default(), results, names }
    }

    pub(crate) fn read(mut self) -> Result<Read, Error> {
        let loaded = self.loaded;
        for (at, operation) in loaded.operations() {
            check(operation)?;
            let results = self.operation(at, operation)?;
            self.results.insert(at, results);
        }
        let top = self.result_of(loaded.top)?;
        Ok(Read { graph: self.graph, top })
    }

    fn operation(
        &mut self,
        at: usize,
        operation: &Operation<'_>,
    ) -> Result<BTreeMap<usize, VertexIdx>, Error> {
        let about = self.about(at, operation);
        let one = |vertex| [(0, vertex)].into();
        if let Some(name) = named(&operation.op) {
            let source = (self.result)(name).map(Source::Result).map_err(Error::Invalid)?;
            let about = About { platform: None, ..about };
            return self.add(Op::Source(source), vec![], &about).map(one);
        }
        match &operation.op.op {
            Some(PbOp::Source(op)) => {
                if !operation.inputs.is_empty() {
                    return invalid(format!("source {} has inputs", op.identifier));
                }
                let mut op = op.clone();
                // What is of this builder itself is nobody's to allow.
                if !op.identifier.starts_with(RESULT) {
                    (self.decide)(&mut op).map_err(Error::Invalid)?;
                }
                let source = source::read(&op, self.result)?;
                self.add(Op::Source(source), vec![], &about).map(one)
            }
            Some(PbOp::Exec(op)) => exec::read(self, operation, op, &about),
            Some(PbOp::File(op)) => file::read(self, operation, op, &about),
            Some(PbOp::Merge(op)) => {
                let mut inputs = Vec::new();
                for input in &op.inputs {
                    if let Some(vertex) = self.input(operation, input.input)? {
                        inputs.push(self.layers(vertex)?);
                    }
                }
                match inputs.as_slice() {
                    [] => self.scratch().map(one),
                    _ => self.add(Op::Merge, inputs, &about).map(one),
                }
            }
            Some(PbOp::Diff(op)) => {
                let (Some(lower), Some(upper)) = (&op.lower, &op.upper) else {
                    return invalid("invalid diff op with nil lower or upper input");
                };
                let lower = self.input_or_scratch(operation, lower.input)?;
                let upper = self.input_or_scratch(operation, upper.input)?;
                let inputs = vec![self.layers(lower)?, self.layers(upper)?];
                self.add(Op::Diff, inputs, &about).map(one)
            }
            Some(PbOp::Build(_)) => not_yet("a build inside a definition (BuildOp)"),
            Some(PbOp::Passthrough(op)) => self.passed(operation, &op.outputs, &about),
            None => invalid("invalid op: it says nothing of what it does"),
        }
    }

    /// Inputs as they are, each once all have been made.
    fn passed(
        &mut self,
        operation: &Operation<'_>,
        outputs: &[i64],
        about: &About,
    ) -> Result<BTreeMap<usize, VertexIdx>, Error> {
        let all = operation.inputs.iter().map(|input| self.result_of(*input));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let mut results = BTreeMap::new();
        for (output, number) in outputs.iter().enumerate() {
            let Some(first) = self.input(operation, *number)? else {
                return invalid(format!("invalid passthrough output {output}: it has no input"));
            };
            let others = all.iter().copied().filter(|other| *other != first);
            let inputs = [first].into_iter().chain(others).collect();
            results.insert(output, self.add(Op::After, inputs, about)?);
        }
        Ok(results)
    }

    /// A result of an operation that has been read.
    fn result_of(&self, (operation, index): (usize, usize)) -> Result<VertexIdx, Error> {
        let found = self.results.get(&operation).and_then(|results| results.get(&index));
        let missing = || Error::Invalid(format!("invalid output index {index}: there is none"));
        found.copied().ok_or_else(missing)
    }

    /// An input of an operation by its number there; `None`: an empty root.
    pub(crate) fn input(
        &self,
        operation: &Operation<'_>,
        number: i64,
    ) -> Result<Option<VertexIdx>, Error> {
        if number == EMPTY {
            return Ok(None);
        }
        let wrong = || {
            let n_inputs = operation.inputs.len();
            Error::Invalid(format!("invalid input index {number}: the op has {n_inputs}"))
        };
        let at = usize::try_from(number).map_err(|_| wrong())?;
        self.result_of(*operation.inputs.get(at).ok_or_else(wrong)?).map(Some)
    }

    pub(crate) fn input_or_scratch(
        &mut self,
        operation: &Operation<'_>,
        number: i64,
    ) -> Result<VertexIdx, Error> {
        match self.input(operation, number)? {
            Some(vertex) => Ok(vertex),
            None => self.scratch(),
        }
    }

    /// An empty root.
    pub(crate) fn scratch(&mut self) -> Result<VertexIdx, Error> {
        let op = Op::File(File::default());
        Ok(self.graph.add(op, vec![], None, false, Shown::default())?)
    }

    /// The mode, the user and the group of the directory `path`, where a vertex makes that and nothing else, for
    /// somebody with a number.
    pub(crate) fn made_directory(&self, vertex: VertexIdx, path: &str) -> Option<(u32, u32, u32)> {
        let vertex = self.graph.get(vertex);
        let is_nothing = |input: &VertexIdx| {
            let below = self.graph.get(*input);
            below.inputs.is_empty()
                && matches!(&below.op, Op::File(file) if file.actions.is_empty())
        };
        let Op::File(file) = &vertex.op else { return None };
        let [Action::MakeDirectory(made)] = &file.actions[..] else { return None };
        if !vertex.inputs.iter().all(is_nothing)
            || made.path.trim_matches('/') != path.trim_matches('/')
        {
            return None;
        }
        let number = |identity: Option<&Identity>| match identity {
            None => Some(0),
            Some(Identity::Id(number)) => Some(*number),
            Some(_) => None,
        };
        let owner = made.owner.clone().unwrap_or_default();
        Some((made.mode, number(owner.user.as_ref())?, number(owner.group.as_ref())?))
    }

    /// The same as layers, where it may be a directory.
    pub(crate) fn layers(&mut self, vertex: VertexIdx) -> Result<VertexIdx, Error> {
        let from = self.graph.get(vertex);
        match &from.op {
            Op::Source(
                Source::Local(_)
                | Source::Git(_)
                | Source::Http(_)
                | Source::Blob(_)
                | Source::Result(_),
            )
            | Op::After => {
                let (shown, ignore_cache) = (from.shown.clone(), from.ignore_cache);
                Ok(self.graph.add(Op::Layers, vec![vertex], None, ignore_cache, shown)?)
            }
            _ => Ok(vertex),
        }
    }

    pub(crate) fn add(
        &mut self,
        op: Op,
        inputs: Vec<VertexIdx>,
        about: &About,
    ) -> Result<VertexIdx, Error> {
        let About { shown, platform, ignore_cache } = about.clone();
        Ok(self.graph.add(op, inputs, platform, ignore_cache, shown)?)
    }

    fn about(&mut self, at: usize, operation: &Operation<'_>) -> About {
        let mut shown = Shown { digest: Some(operation.digest.clone()), ..Shown::default() };
        let mut ignore_cache = false;
        shown.name = self.name(operation);
        if let Some(metadata) = operation.metadata {
            ignore_cache = metadata.ignore_cache;
            if let Some(name) = metadata.description.get(NAME) {
                shown.name.clone_from(name);
            }
            let group = metadata.progress_group.as_ref();
            shown.group = group.map(|group| (group.id.clone(), group.name.clone()));
        }
        shown.name = shortened(shown.name);
        self.names.insert(at, shown.name.clone());
        let platform = operation.op.platform.as_ref().map(platform);
        About { shown, platform, ignore_cache }
    }

    /// What people call it, where nobody says: BuildKit's names.
    fn name(&self, operation: &Operation<'_>) -> String {
        let name_of = |number: i64| match self.nth_name(operation, number) {
            Some(name) => format!("({name})"),
            None => "scratch".into(),
        };
        if let Some(name) = named(&operation.op) {
            return format!("{RESULT}{name}");
        }
        match &operation.op.op {
            Some(PbOp::Source(op)) => source::shown(&op.identifier),
            Some(PbOp::Exec(op)) => op.meta.as_ref().map_or_else(String::new, |m| m.args.join(" ")),
            Some(PbOp::File(op)) => file::name(op),
            Some(PbOp::Merge(_)) => {
                let n_shown = operation.inputs.len().min(MAX_NAMES);
                let numbers = 0..i64::try_from(n_shown).unwrap_or_default();
                let names = numbers.filter_map(|number| self.nth_name(operation, number));
                let names: Vec<&str> = names.map(String::as_str).collect();
                shortened(format!("merge ({})", names.join(", ")))
            }
            Some(PbOp::Diff(pb::DiffOp { lower: Some(lower), upper: Some(upper) })) => {
                format!("diff {} -> {}", name_of(lower.input), name_of(upper.input))
            }
            _ => String::new(),
        }
    }

    fn nth_name(&self, operation: &Operation<'_>, number: i64) -> Option<&String> {
        let at = usize::try_from(number).ok()?;
        self.names.get(&operation.inputs.get(at)?.0)
    }
}

/// What an operation needs has to be there: it is said by name.
fn check(operation: &Operation<'_>) -> Result<(), Error> {
    let Some(metadata) = operation.metadata else { return Ok(()) };
    let mut needed = metadata.caps.iter().filter(|(_, is_needed)| **is_needed);
    if let Some((cap, _)) = needed.find(|(cap, _)| !CAPS.contains(&cap.as_str())) {
        return not_yet(format!("what the definition needs ({cap})"));
    }
    Ok(())
}

fn shortened(mut name: String) -> String {
    if name.len() > MAX_NAME {
        let mut end = MAX_NAME;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name.push('…');
    }
    name
}

fn platform(platform: &pb::Platform) -> Platform {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let platform = Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: some(&platform.variant),
        os_version: some(&platform.os_version),
        ..Platform::default()
    };
    platform.normalized()
}
