mod define;
mod exec;
mod file;
mod hostile;
mod source;

use std::collections::BTreeMap;

use buildgraph::{Op, Source, Vertex};
use buildkit::pb::{self, op::Op as PbOp};
use oci::Digest;
use prost::Message as _;

use crate::{Error, Read, read};

/// A definition on its way, as clients write one.
#[derive(Default)]
pub(super) struct Definition {
    pub(super) def: Vec<Vec<u8>>,
    pub(super) metadata: BTreeMap<String, pb::OpMetadata>,
}

/// A result of an operation.
#[derive(Clone, Debug)]
pub(super) struct At(pub(super) String, pub(super) i64);

impl At {
    pub(super) fn output(&self, index: i64) -> Self {
        Self(self.0.clone(), index)
    }
}

impl Definition {
    pub(super) fn add(&mut self, op: PbOp, inputs: &[&At]) -> At {
        let inputs = inputs.iter().map(|at| pb::Input { digest: at.0.clone(), index: at.1 });
        let op = pb::Op { op: Some(op), inputs: inputs.collect(), ..pb::Op::default() };
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        self.def.push(bytes);
        At(digest, 0)
    }

    pub(super) fn source(&mut self, identifier: &str) -> At {
        let identifier = identifier.to_owned();
        self.add(PbOp::Source(pb::SourceOp { identifier, ..pb::SourceOp::default() }), &[])
    }

    pub(super) fn about(&mut self, at: &At) -> &mut pb::OpMetadata {
        self.metadata.entry(at.0.clone()).or_default()
    }

    pub(super) fn end(mut self, top: &At) -> pb::Definition {
        let input = pb::Input { digest: top.0.clone(), index: top.1 };
        self.def.push(pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec());
        pb::Definition { def: self.def, metadata: self.metadata, source: None }
    }

    pub(super) fn read(self, top: &At) -> Result<Read, Error> {
        let definition = self.end(top);
        let mut result = |name: &str| match name {
            "missing" => Err("there is no such result".to_owned()),
            name => Ok(format!("own {name}")),
        };
        Ok(read(&definition, &mut result)?.unwrap())
    }

    pub(super) fn error(self, top: &At) -> String {
        self.read(top).unwrap_err().to_string()
    }
}

impl Read {
    pub(super) fn top(&self) -> &Vertex {
        self.graph.get(self.top)
    }

    pub(super) fn input(&self, of: &Vertex, number: usize) -> &Vertex {
        self.graph.get(of.inputs[number])
    }
}

#[test]
fn nothing_is_an_empty_root() {
    assert!(read(&pb::Definition::default(), &mut |_| Err(String::new())).unwrap().is_none());
}

#[test]
fn vertices_are_called_what_the_client_calls_them() {
    let mut definition = Definition::default();
    let image = definition.source("docker-image://docker.io/library/debian:12");
    definition.about(&image).ignore_cache = true;
    let plain = definition.source("docker-image://docker.io/library/debian:11");
    let merge =
        pb::MergeOp { inputs: vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }] };
    let top = definition.add(PbOp::Merge(merge), &[&image, &plain]);
    definition.about(&image).description.insert("llb.customname".into(), "the base".into());
    let group = pb::ProgressGroup { id: "1".into(), name: "bases".into(), weak: false };
    definition.about(&image).progress_group = Some(group);
    let read = definition.read(&top).unwrap();
    let (merge, image) = (read.top(), read.input(read.top(), 0));
    assert_eq!(merge.op, Op::Merge);
    assert_eq!(merge.known_as().to_string(), top.0);
    assert_eq!(merge.shown.name, "merge (the base, docker-image://docker.io/library/debian:11)");
    assert_eq!(image.shown.name, "the base");
    assert_eq!(image.shown.group, Some(("1".into(), "bases".into())));
    assert!(image.ignore_cache && !merge.ignore_cache);
}

#[test]
fn what_is_passed_on_waits_for_all() {
    let mut definition = Definition::default();
    let (first, second) =
        (definition.source("docker-image://debian:1"), definition.source("local://src"));
    let pass = |outputs: &[i64]| {
        PbOp::Passthrough(pb::PassthroughOp { id: "x".into(), outputs: outputs.to_vec() })
    };
    let top = definition.add(pass(&[1, 0]), &[&first, &second]);
    let read = definition.read(&top).unwrap();
    assert_eq!((&read.top().op, read.top().inputs.len()), (&Op::After, 2));
    assert!(matches!(read.input(read.top(), 0).op, Op::Source(Source::Local(_))));
    for outputs in [&[2][..], &[-1]] {
        let mut definition = Definition::default();
        let first = definition.source("docker-image://debian:1");
        let top = definition.add(pass(outputs), &[&first]);
        assert!(definition.read(&top).is_err(), "{outputs:?}");
    }
}

#[test]
fn differences_are_of_layers() {
    let mut definition = Definition::default();
    let image = definition.source("docker-image://debian");
    let local = definition.source("local://src");
    let diff = |lower, upper| {
        PbOp::Diff(pb::DiffOp {
            lower: Some(pb::LowerDiffInput { input: lower }),
            upper: Some(pb::UpperDiffInput { input: upper }),
        })
    };
    let top = definition.add(diff(0, 1), &[&image, &local]);
    let read = definition.read(&top).unwrap();
    let upper = read.input(read.top(), 1);
    assert_eq!((&read.top().op, &upper.op), (&Op::Diff, &Op::Layers));
    assert_eq!(read.top().shown.name, "diff (docker-image://debian) -> (local://src)");
    let mut definition = Definition::default();
    let image = definition.source("docker-image://debian");
    let top = definition.add(diff(-1, 0), &[&image]);
    let read = definition.read(&top).unwrap();
    assert!(matches!(&read.input(read.top(), 0).op, Op::File(file) if file.actions.is_empty()));
}

#[test]
fn what_a_definition_needs_and_is_not_here_is_named() {
    let mut definition = Definition::default();
    let image = definition.source("docker-image://debian");
    definition.about(&image).caps.insert("source.image".into(), true);
    definition.about(&image).caps.insert("exec.cgroup".into(), true);
    assert_eq!(
        definition.error(&image),
        "what the definition needs (exec.cgroup) is not supported yet"
    );
    let mut definition = Definition::default();
    let build = definition.add(PbOp::Build(pb::BuildOp::default()), &[]);
    assert_eq!(
        definition.error(&build),
        "a build inside a definition (BuildOp) is not supported yet"
    );
}
