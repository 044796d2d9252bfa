//! The steps of a build and where in the Dockerfile they come from, in the forms that BuildKit has for its own.

use std::collections::BTreeMap;

use buildgraph::{Action, Exec, Graph, MountKind, Network, Op, Shown, Source, Vertex, VertexIdx};
use data_encoding::BASE64;
use oci::ChainId;
use serde_json::{Value, json};

use super::materials::redacted;
use crate::build::{Ref, Shared};
use crate::output::Output;

/// What is said of steps.
pub(super) struct Steps {
    pub(super) config: Value,
    /// The file that they were made of, with the places in it.
    pub(super) source: Option<Value>,
    /// By steps: how many of the result's layers were there after it.
    pub(super) layers: BTreeMap<String, usize>,
}

/// The steps that lead to a result, of these layers; `from` is where its file is.
pub(super) fn of(build: &Shared, found: &Ref, chain: &[ChainId], from: Option<&Source>) -> Steps {
    let graph = &found.graph;
    let needed: Vec<VertexIdx> = graph.needed(&[found.vertex]).into_iter().collect();
    let places: BTreeMap<VertexIdx, usize> =
        needed.iter().enumerate().map(|(place, idx)| (*idx, place)).collect();
    let (mut steps, mut mapping, mut locations) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut layers = BTreeMap::new();
    for (place, idx) in needed.iter().enumerate() {
        let (vertex, id) = (graph.get(*idx), format!("step{place}"));
        let inputs = vertex.inputs.iter().map(|input| format!("step{}:0", places[input]));
        let mut step = json!({ "id": id, "op": op(vertex) });
        if !vertex.inputs.is_empty() {
            step["inputs"] = inputs.collect();
        }
        steps.push(step);
        if let Some(Output::Layers(made)) = build.known(&vertex.digest)
            && !made.is_empty()
            && chain.starts_with(&made)
        {
            layers.insert(format!("{id}:0"), made.len());
        }
        mapping.insert(vertex.digest.to_string(), id.clone());
        if !vertex.shown.lines.is_empty() {
            let ranges: Value = vertex
                .shown
                .lines
                .iter()
                .map(|at| json!({ "start": { "line": at.start }, "end": { "line": at.end } }))
                .collect();
            locations.insert(id, json!({ "locations": [{ "ranges": ranges }] }));
        }
    }
    steps.push(last(needed.len(), places[&found.vertex]));
    let source = found.file.as_ref().map(|file| {
        let data = BASE64.encode(&file.data);
        let mut info = json!({ "filename": file.filename, "language": "Dockerfile", "data": data });
        if let Some(from) = from {
            of_file(from, &mut info);
        }
        json!({ "infos": [info], "locations": locations })
    });
    Steps { config: json!({ "llbDefinition": steps, "digestMapping": mapping }), source, layers }
}

/// The last one of a definition of theirs, which names the result, and does nothing.
fn last(place: usize, result: usize) -> Value {
    json!({
        "id": format!("step{place}"),
        "op": { "Op": {} },
        "inputs": [format!("step{result}:0")],
    })
}

/// Says where a file is from, as steps.
fn of_file(from: &Source, info: &mut Value) {
    let mut graph = Graph::default();
    let op_of = Op::Source(from.clone());
    // A source has no inputs that could be wrong.
    let Ok(idx) = graph.add(op_of, vec![], None, false, Shown::default()) else { return };
    let vertex = graph.get(idx);
    info["llbDefinition"] = json!([{ "id": "step0", "op": op(vertex) }, last(1, 0)]);
    let digest = vertex.digest.to_string();
    info["digestMapping"] = json!({ digest: "step0" });
}

fn op(vertex: &Vertex) -> Value {
    let what = match &vertex.op {
        Op::Source(source) => json!({ "source": { "identifier": identifier(source) } }),
        Op::Exec(exec) => json!({ "exec": program(exec, vertex) }),
        Op::File(file) => {
            let actions: Value = file.actions.iter().map(action).collect();
            json!({ "file": { "actions": actions } })
        }
        Op::Merge => {
            let inputs: Value = (0..vertex.inputs.len()).map(|at| json!({ "input": at })).collect();
            json!({ "merge": { "inputs": inputs } })
        }
        Op::Diff => json!({ "diff": { "lower": { "input": 0 }, "upper": { "input": 1 } } }),
        // What BuildKit has no step for: one result of its input, or its input as it is.
        Op::Part(_) | Op::Layers | Op::After => json!({ "merge": { "inputs": [{ "input": 0 }] } }),
    };
    let mut op = json!({ "Op": what, "constraints": {} });
    if let Some(platform) = &vertex.platform {
        op["platform"] = json!({ "Architecture": platform.architecture, "OS": platform.os });
        if let Some(variant) = &platform.variant {
            op["platform"]["Variant"] = variant.clone().into();
        }
    }
    op
}

fn identifier(source: &Source) -> String {
    match source {
        Source::Image(image) => match image.digest.as_ref().or(image.checksum.as_ref()) {
            Some(digest) if !image.reference.contains('@') => {
                format!("docker-image://{}@{digest}", image.reference)
            }
            _ => format!("docker-image://{}", image.reference),
        },
        Source::Local(local) => format!("local://{}", local.name),
        Source::Git(git) => {
            let remote = redacted(&git.remote);
            let remote = remote.split_once("://").map_or(remote.as_str(), |(_, rest)| rest);
            format!("git://{remote}#{}:{}", git.reference, git.subdir)
        }
        Source::Http(http) => redacted(&http.url),
        Source::Layout(layout) => format!("oci-layout://{}@{}", layout.store, layout.digest),
        Source::Blob(blob) if blob.store.is_empty() => {
            format!("docker-image+blob://{}@{}", blob.repository, blob.digest)
        }
        Source::Blob(blob) => format!("oci-layout+blob://{}@{}", blob.repository, blob.digest),
        Source::Result(id) => format!("result://{id}"),
    }
}

/// A program, without what only the machine's own proxies make of it.
fn program(exec: &Exec, vertex: &Vertex) -> Value {
    let mut mounts = Vec::new();
    if !vertex.inputs.is_empty() {
        mounts.push(json!({ "dest": "/" }));
    }
    for mount in &exec.mounts {
        let (kind, more) = match &mount.kind {
            MountKind::Bind { input, source } => {
                ("BIND", json!({ "input": input, "selector": source }))
            }
            MountKind::Cache { id, .. } => ("CACHE", json!({ "cacheOpt": { "ID": id } })),
            MountKind::Tmpfs { .. } => ("TMPFS", json!({})),
            MountKind::Secret { id, optional, .. } => {
                ("SECRET", json!({ "secretOpt": { "ID": id, "optional": optional } }))
            }
            MountKind::Ssh { id, optional, .. } => {
                ("SSH", json!({ "SSHOpt": { "ID": id, "optional": optional } }))
            }
        };
        let number = match kind {
            "BIND" => 0,
            "SECRET" => 1,
            "SSH" => 2,
            "CACHE" => 3,
            _ => 4,
        };
        let mut all = json!({
            "dest": mount.target, "mountType": number, "readonly": mount.readonly, "output": -1,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        mounts.push(all);
    }
    let network = match exec.network {
        Network::Default => 0,
        Network::Host => 1,
        Network::None => 2,
    };
    json!({
        "meta": {
            "args": exec.args, "env": exec.env, "cwd": exec.cwd, "user": exec.user,
            "removeMountStubsRecursive": true,
        },
        "mounts": mounts,
        "network": network,
    })
}

fn action(action: &Action) -> Value {
    let what = match action {
        Action::Copy(copy) => json!({ "copy": {
            "src": copy.source,
            "dest": copy.destination,
            "modeStr": copy.mode,
            "followSymlink": copy.follow_links,
            "dirCopyContents": copy.contents_only,
            "attemptUnpackDockerCompatibility": copy.unpack,
            "createDestPath": copy.create_destination,
            "allowWildcard": copy.wildcards,
            "allowEmptyWildcard": copy.may_be_empty,
            "include_patterns": copy.include,
            "exclude_patterns": copy.exclude,
        } }),
        Action::MakeFile(file) => json!({ "mkfile": {
            "path": file.path, "mode": file.mode, "data": BASE64.encode(&file.data),
        } }),
        Action::MakeDirectory(directory) => json!({ "mkdir": {
            "path": directory.path, "mode": directory.mode, "makeParents": directory.parents,
        } }),
        Action::Symlink(link) => json!({ "symlink": {
            "oldpath": link.target, "newpath": link.path,
        } }),
        Action::Remove(remove) => json!({ "rm": {
            "path": remove.path,
            "allowNotFound": remove.may_be_missing,
            "allowWildcard": remove.wildcards,
        } }),
    };
    let mut whole = json!({ "Action": what });
    if let Action::Copy(copy) = action {
        whole["secondaryInput"] = copy.input.into();
    }
    whole
}
