//! Operations by their digests, and in which order they can be read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use buildkit::pb;
use oci::Digest;
use prost::Message as _;

use crate::error::{Error, invalid};
use crate::named;

/// No more operations are read. Messages end at some megabytes anyway.
const MAX_OPERATIONS: usize = 20_000;
/// No more inputs, of all operations together.
const MAX_INPUTS: usize = 200_000;

/// An operation.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) op: pb::Op,
    pub(crate) digest: Digest,
    pub(crate) metadata: Option<&'a pb::OpMetadata>,
    /// What it works on: operations by number, and which of their results.
    pub(crate) inputs: Vec<(usize, usize)>,
    /// Which of its results somebody wants.
    pub(crate) wanted: BTreeSet<usize>,
}

/// A definition, before it is read.
#[derive(Debug)]
pub(crate) struct Loaded<'a> {
    operations: BTreeMap<usize, Operation<'a>>,
    /// Those that are needed, each after what it works on.
    order: Vec<usize>,
    /// The operation whose result it is, and which.
    pub(crate) top: (usize, usize),
}

impl<'a> Loaded<'a> {
    /// What is needed, each after what it works on, by number.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (usize, &Operation<'a>)> {
        self.order.iter().map(|at| (*at, &self.operations[at]))
    }
}

/// Takes a definition apart.
pub(crate) fn load(definition: &pb::Definition) -> Result<Loaded<'_>, Error> {
    let n_operations = definition.def.len();
    if n_operations > MAX_OPERATIONS {
        return Err(Error::TooLarge { what: "operations", max: MAX_OPERATIONS });
    }
    let mut by_digest = HashMap::new();
    let mut decoded = Vec::new();
    let mut n_inputs = 0;
    for bytes in &definition.def {
        let op = pb::Op::decode(bytes.as_slice())
            .map_err(|error| Error::Invalid(format!("failed to parse llb proto op: {error}")))?;
        n_inputs += op.inputs.len();
        if n_inputs > MAX_INPUTS {
            return Err(Error::TooLarge { what: "inputs", max: MAX_INPUTS });
        }
        let digest = Digest::sha256(bytes);
        by_digest.insert(digest.to_string(), decoded.len());
        decoded.push(Some((op, digest)));
    }
    if by_digest.len() < 2 {
        return invalid(format!("invalid LLB with {} vertexes", by_digest.len()));
    }
    // The last says which is the result, and does nothing.
    let Some((last, _)) = decoded.last().and_then(Option::as_ref) else {
        return invalid("invalid empty definition");
    };
    let Some(input) = last.inputs.first() else {
        return invalid("invalid LLB with no inputs on last vertex");
    };
    let top = resolve(&by_digest, input, 0)?;
    let mut loaded = Loaded { operations: BTreeMap::new(), order: Vec::new(), top };
    loaded.reach(definition, &by_digest, &mut decoded)?;
    Ok(loaded)
}

fn resolve(
    by_digest: &HashMap<String, usize>,
    input: &pb::Input,
    at: usize,
) -> Result<(usize, usize), Error> {
    let Ok(index) = usize::try_from(input.index) else {
        return invalid(format!("invalid input {at} output index {}", input.index));
    };
    match by_digest.get(&input.digest) {
        Some(operation) => Ok((*operation, index)),
        None => invalid(format!("invalid missing input digest {}", input.digest)),
    }
}

impl<'a> Loaded<'a> {
    /// Goes from the result to all that it needs.
    fn reach(
        &mut self,
        definition: &'a pb::Definition,
        by_digest: &HashMap<String, usize>,
        decoded: &mut [Option<(pb::Op, Digest)>],
    ) -> Result<(), Error> {
        // An operation, and how many of its inputs have been looked at.
        let mut way: Vec<(usize, usize)> = Vec::new();
        let mut next = Some(self.top.0);
        let mut is_done = vec![false; decoded.len()];
        loop {
            if let Some(at) = next.take() {
                let Some((op, digest)) = decoded[at].take() else {
                    // On the way to itself: that would take two texts of the same digest.
                    return invalid("the definition goes in a circle");
                };
                let metadata = definition.metadata.get(&digest.to_string());
                let works_on: &[pb::Input] =
                    if named(&op).is_some() { &[] } else { op.inputs.as_slice() };
                let inputs = works_on.iter().enumerate();
                let inputs = inputs.map(|(n, input)| resolve(by_digest, input, n));
                let inputs = inputs.collect::<Result<_, _>>()?;
                let wanted = BTreeSet::new();
                let operation = Operation { op, digest, metadata, inputs, wanted };
                self.operations.insert(at, operation);
                way.push((at, 0));
            }
            let Some((at, n_seen)) = way.last_mut() else { break };
            if let Some((input, _)) = self.operations[at].inputs.get(*n_seen).copied() {
                *n_seen += 1;
                if !is_done[input] {
                    next = Some(input);
                }
            } else {
                is_done[*at] = true;
                self.order.push(*at);
                way.pop();
            }
        }
        self.want();
        Ok(())
    }

    /// Notes of each operation which of its results are wanted.
    fn want(&mut self) {
        let all = self.operations.values().flat_map(|operation| operation.inputs.iter().copied());
        let all: Vec<(usize, usize)> = all.chain([self.top]).collect();
        for (operation, index) in all {
            if let Some(operation) = self.operations.get_mut(&operation) {
                operation.wanted.insert(index);
            }
        }
    }
}
