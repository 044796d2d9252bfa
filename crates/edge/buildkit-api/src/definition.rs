//! Graphs of the low-level builder: those of clients, and those that are given out here. What the latter say of results
//! is their names: each is of a source that names one, or of operations of which each does (`drawn`). Clients pass them
//! on where one build is the context of another one, and build on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use buildgraph::Source;
use buildkit::pb::{self, op::Op};
use llb::RESULT;
use oci::Digest;
use prost::Message;
use tonic::Status;

use crate::builds::Job;
use crate::drawn::{self, Drawn};
use crate::failure;
use crate::front_end::FrontEnd;
use crate::service::Service;
use crate::session::policy::only_its_own;
use crate::session::rules::Rules;

/// No graph that was given out has more operations; a client may have put a few more around it.
const OPERATIONS: usize = drawn::OPERATIONS + 16;

/// The graph of what a front end is, for itself, in a build of this name.
pub(crate) fn of_source(build: &str, source: &Source) -> pb::Definition {
    let identifier = match source {
        Source::Image(image) => {
            let named = image.reference.parse::<reference::Reference>();
            let name = named.map_or_else(
                |_| image.reference.clone(),
                |name| match &image.digest {
                    Some(digest) => {
                        format!("{}@{digest}", name.with_default_tag().without_digest())
                    }
                    None => name.with_default_tag().to_string(),
                },
            );
            format!("docker-image://{name}")
        }
        Source::Layout(layout) => {
            let attrs = [("oci.store".to_owned(), layout.store.clone())].into();
            let identifier = format!("oci-layout://{}@{}", layout.store, layout.digest);
            return of_op(pb::SourceOp { identifier, attrs });
        }
        Source::Result(name) if name.contains('/') => format!("{RESULT}{name}"),
        Source::Result(name) => format!("{RESULT}{build}/{name}"),
        _ => return pb::Definition::default(),
    };
    of_op(pb::SourceOp { identifier, ..pb::SourceOp::default() })
}

/// The graph whose result is the one of this name.
pub(crate) fn of_result(name: &str) -> pb::Definition {
    of_op(pb::SourceOp { identifier: format!("{RESULT}{name}"), ..pb::SourceOp::default() })
}

/// The graph of a result for who asked for it: all of it, where there is room, or no more than its name.
pub(crate) fn given_out(job: &Job, name: &str, room: &mut usize) -> pb::Definition {
    let of = if *room > 0 { job.build.made_of_file(name) } else { None };
    let drawn = of.and_then(|of| {
        let called = |step| format!("{}/{}", job.id, job.build.step_of(&of, step));
        drawn::draw(&of, &called, *room)
    });
    let Some(Drawn { definition, operations }) = drawn else {
        return of_result(&format!("{}/{name}", job.id));
    };
    *room = room.saturating_sub(definition.encoded_len());
    job.places.give(operations);
    definition
}

/// The graph of one source.
fn of_op(source: pb::SourceOp) -> pb::Definition {
    let source = pb::Op { op: Some(Op::Source(source)), ..pb::Op::default() }.encode_to_vec();
    let digest = Digest::sha256(&source).to_string();
    let input = pb::Input { digest: digest.clone(), index: 0 };
    let last = pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec();
    let metadata = [(digest, pb::OpMetadata::default())].into();
    pb::Definition { def: vec![source, last], metadata, source: None }
}

/// The name of the result that a graph leads to, where it does nothing else; `None`: it is another graph.
pub(crate) fn result_of(definition: &pb::Definition) -> Option<String> {
    if definition.def.len() > OPERATIONS {
        return None;
    }
    let decode = |bytes: &Vec<u8>| pb::Op::decode(bytes.as_slice()).ok();
    let mut last = decode(definition.def.last()?)?;
    if last.op.is_none() {
        let [input] = last.inputs.as_slice() else { return None };
        let named = |bytes: &&Vec<u8>| Digest::sha256(bytes).to_string() == input.digest;
        let found = definition.def.iter().find(named).filter(|_| input.index == 0);
        last = decode(found?)?;
    }
    if let Some(name) = llb::named(&last) {
        return Some(name.to_owned());
    }
    match &last.op {
        Some(Op::Source(source)) if last.inputs.is_empty() => {
            source.identifier.strip_prefix(RESULT).map(str::to_owned)
        }
        _ => None,
    }
}

impl Service {
    /// What a result is called in a build, by the name that was given out with it; it may be one of another build.
    /// For a front end that is an image, only where its client has named that one.
    fn named(&self, job: &Job, by: &FrontEnd, name: &str) -> Result<String, Status> {
        let (build, reference) =
            name.split_once('/').ok_or_else(|| Status::invalid_argument("no name of a result"))?;
        if build == job.id {
            return Ok(reference.to_owned());
        }
        if job.build.has_adopted(name) {
            return Ok(name.to_owned());
        }
        if by.is_guest {
            return Err(Status::permission_denied(format!("no such ref: {name:.200}")));
        }
        let gone = || Status::not_found(format!("the build {build} has ended"));
        let other = self.builds.find(build).ok_or_else(gone)?;
        job.build.adopt(&other.build, reference).map_err(|error| failure::status(&error))
    }

    /// What a build calls the result of a graph, as a front end takes it; `None`: an empty root.
    pub(crate) fn input(
        &self,
        job: &Job,
        by: &FrontEnd,
        definition: &pb::Definition,
    ) -> Result<Option<String>, Status> {
        match result_of(definition) {
            Some(name) => self.named(job, by, &name).map(Some),
            None => self.graph(job, by, definition, &[]),
        }
    }

    /// What a build calls the result of a graph that is its own, with rules for its sources.
    pub(crate) fn result(
        &self,
        job: &Job,
        by: &FrontEnd,
        definition: &pb::Definition,
        rules: &[Rules],
    ) -> Result<Option<String>, Status> {
        let name = result_of(definition);
        let own = name.as_deref().and_then(|name| name.strip_prefix(&format!("{}/", job.id)));
        match own {
            Some(reference) => Ok(Some(reference.to_owned())),
            None => self.graph(job, by, definition, rules),
        }
    }

    /// Reads a graph of a client's own.
    fn graph(
        &self,
        job: &Job,
        by: &FrontEnd,
        definition: &pb::Definition,
        rules: &[Rules],
    ) -> Result<Option<String>, Status> {
        let mut result =
            |name: &str| self.named(job, by, name).map_err(|status| status.message().to_owned());
        let mut decide = |source: &mut pb::SourceOp| decided(rules, source);
        let read = llb::read_with(definition, &mut result, &mut decide);
        let Some(read) = read.map_err(|error| refused(&error))? else { return Ok(None) };
        let origin = job.places.add(definition);
        Ok(Some(job.build.reference_from(Arc::new(read.graph), read.top, origin)))
    }

    /// The inputs of a front end, by the names that their results have in a build.
    pub(crate) fn inputs(
        &self,
        job: &Job,
        by: &FrontEnd,
        inputs: &BTreeMap<String, pb::Definition>,
    ) -> Result<BTreeMap<String, String>, Status> {
        let mut names = BTreeMap::new();
        for (input, definition) in inputs {
            if definition.def.is_empty() && matches!(input.as_str(), "context" | "dockerfile") {
                let why = "invalid nil input definition to definition op";
                return Err(Status::invalid_argument(why));
            }
            if let Some(name) = self.input(job, by, definition)? {
                names.insert(input.clone(), name);
            }
        }
        Ok(names)
    }
}

/// Puts in the place of a source what rules say, one list of them after the other.
pub(crate) fn decided(rules: &[Rules], source: &mut pb::SourceOp) -> Result<(), String> {
    for rules in rules {
        if rules.apply(source)? {
            *source = only_its_own(std::mem::take(source));
        }
    }
    Ok(())
}

pub(crate) fn refused(error: &llb::Error) -> Status {
    let text = error.to_string();
    match error {
        llb::Error::NotYet(_) => Status::unimplemented(text),
        _ => Status::invalid_argument(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_out_comes_back() {
        let definition = of_result("abc");
        assert_eq!(result_of(&definition), Some("abc".to_owned()));
        assert_eq!(result_of(&pb::Definition::default()), None);
    }

    /// What has crashed other builders (security row H06).
    #[test]
    fn other_graphs_name_no_result() {
        let good = of_result("abc");
        let op = |op: pb::Op| op.encode_to_vec();
        let input = |digest: &str, index| pb::Input { digest: digest.to_owned(), index };
        let merge = Op::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input: -7 }] });
        for def in [
            vec![Vec::new()],
            vec![b"\xff\xff\xff".to_vec()],
            vec![op(pb::Op { inputs: vec![input("sha256:no", 0)], ..pb::Op::default() })],
            vec![op(pb::Op { inputs: vec![input("", -1); 3], ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(merge), ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(Op::Build(pb::BuildOp::default())), ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(Op::File(pb::FileOp::default())), ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(Op::Exec(pb::ExecOp::default())), ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(Op::Source(pb::SourceOp::default())), ..pb::Op::default() })],
            vec![good.def[1].clone()],
            vec![good.def[0].clone(); OPERATIONS + 1],
            vec![good.def[1].clone(), good.def[0].clone(), Vec::new()],
        ] {
            let definition = pb::Definition { def, ..pb::Definition::default() };
            assert_eq!(result_of(&definition), None, "{definition:?}");
        }
    }
}
