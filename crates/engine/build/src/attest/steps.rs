//! The steps of a build and where in which files they come from, in the forms that BuildKit has for its own.

use std::collections::BTreeMap;

use buildgraph::{Action, Exec, Graph, MountKind, Network, Op, Shown, Source, Vertex, VertexIdx};
use data_encoding::BASE64;
use oci::ChainId;
use serde_json::{Value, json};

use super::materials::redacted;
use crate::build::{Ref, Shared};
use crate::event;
use crate::origin::{OriginFile, OriginPlace, Position};
use crate::output::Output;

/// What is said of steps.
pub(super) struct Steps {
    pub(super) config: Value,
    /// The files that they were made of, with the places in them.
    pub(super) source: Option<Value>,
    /// By steps: how many of the result's layers were there after it.
    pub(super) layers: BTreeMap<String, usize>,
}

/// The steps that lead to a result, of these layers; `from` is where its file is.
pub(super) fn of(build: &Shared, found: &Ref, chain: &[ChainId], from: Option<&Source>) -> Steps {
    let graph = &found.graph;
    let listed = list(graph, found.vertex);
    let (mut locations, mut layers) = (BTreeMap::new(), BTreeMap::new());
    for (place, idx) in listed.needed.iter().enumerate() {
        let (vertex, id) = (graph.get(*idx), format!("step{place}"));
        if let Some(Output::Layers(made)) = build.known(&vertex.digest)
            && !made.is_empty()
            && chain.starts_with(&made)
        {
            layers.insert(format!("{id}:0"), made.len());
        }
        if let Some(places) = places(found, vertex) {
            locations.insert(id, json!({ "locations": places }));
        }
    }
    let infos: Vec<Value> = match (&found.file, &found.origin) {
        (Some(file), _) => {
            let source = event::Source::clone(file);
            let (name, data) = (source.filename, source.data);
            let from = from.and_then(alone);
            vec![info(&OriginFile { name, data, from, language: "Dockerfile".into() })]
        }
        (None, Some(origin)) => origin.files.iter().map(info).collect(),
        (None, None) => Vec::new(),
    };
    let source = (!infos.is_empty()).then(|| json!({ "infos": infos, "locations": locations }));
    let config = json!({ "llbDefinition": listed.steps, "digestMapping": listed.mapping });
    Steps { config, source, layers }
}

/// Where in its files a step comes from; `None`: nobody says.
fn places(found: &Ref, vertex: &Vertex) -> Option<Value> {
    let lines = &vertex.shown.lines;
    if !lines.is_empty() {
        let ranges: Value = lines
            .iter()
            .map(|at| json!({ "start": { "line": at.start }, "end": { "line": at.end } }))
            .collect();
        return Some(json!([{ "ranges": ranges }]));
    }
    let origin = found.origin.as_ref().filter(|_| !vertex.is_hidden())?;
    let position = |at: Position| {
        let mut told = json!({ "line": at.line });
        if at.character != 0 {
            told["character"] = at.character.into();
        }
        told
    };
    let place = |place: &OriginPlace| {
        let ranges = place.ranges.iter();
        let ranges =
            ranges.map(|(start, end)| json!({ "start": position(*start), "end": position(*end) }));
        let mut told = json!({ "ranges": ranges.collect::<Value>() });
        if place.file != 0 {
            told["sourceIndex"] = place.file.into();
        }
        told
    };
    Some(origin.places.get(vertex.known_as())?.iter().map(place).collect())
}

/// Steps in their order, with the last one, which names the result.
struct Listed {
    needed: Vec<VertexIdx>,
    steps: Vec<Value>,
    /// Their names, by their digests.
    mapping: BTreeMap<String, String>,
}

/// What leads to a vertex, as steps.
fn list(graph: &Graph, top: VertexIdx) -> Listed {
    let needed: Vec<VertexIdx> = graph.needed(&[top]).into_iter().collect();
    let places: BTreeMap<VertexIdx, usize> =
        needed.iter().enumerate().map(|(place, idx)| (*idx, place)).collect();
    let (mut steps, mut mapping) = (Vec::new(), BTreeMap::new());
    for (place, idx) in needed.iter().enumerate() {
        let (vertex, id) = (graph.get(*idx), format!("step{place}"));
        let inputs = vertex.inputs.iter().map(|input| format!("step{}:0", places[input]));
        let mut step = json!({ "id": id, "op": op(vertex) });
        if !vertex.inputs.is_empty() {
            step["inputs"] = inputs.collect();
        }
        steps.push(step);
        // What only passes on a part of a step is called as that is.
        mapping.entry(vertex.known_as().to_string()).or_insert(id);
    }
    steps.push(last(needed.len(), places[&top]));
    Listed { needed, steps, mapping }
}

/// The last one of a definition of theirs, which names the result, and does nothing.
fn last(place: usize, result: usize) -> Value {
    json!({
        "id": format!("step{place}"),
        "op": { "Op": {} },
        "inputs": [format!("step{result}:0")],
    })
}

/// A file, with the steps that lead to where it is.
fn info(file: &OriginFile) -> Value {
    let data = BASE64.encode(&file.data);
    let mut info = json!({ "filename": file.name, "language": file.language, "data": data });
    if let Some((graph, top)) = &file.from {
        let listed = list(graph, *top);
        info["llbDefinition"] = listed.steps.into();
        info["digestMapping"] = json!(listed.mapping);
    }
    info
}

/// A source, as the graph of it.
fn alone(source: &Source) -> Option<(Graph, VertexIdx)> {
    let mut graph = Graph::default();
    // A source has no inputs that could be wrong.
    let top = graph.add(Op::Source(source.clone()), vec![], None, false, Shown::default()).ok()?;
    Some((graph, top))
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

#[cfg(test)]
mod tests {
    use super::*;
    use buildgraph::{File, Local};
    use oci::Digest;
    use std::sync::Arc;

    use crate::origin::Origin;

    #[test]
    fn steps_of_a_clients_own_say_where_they_come_from() {
        let own = |name: &str| Some(Digest::sha256(name.as_bytes()));
        let mut graph = Graph::default();
        let local = Op::Source(Source::Local(Local { name: "context".into(), ..Local::default() }));
        let shown = |digest| Shown { digest, ..Shown::default() };
        let context = graph.add(local, vec![], None, false, shown(own("context"))).unwrap();
        let layers =
            graph.add(Op::Layers, vec![context], None, false, shown(own("context"))).unwrap();
        let op = Op::File(File::default());
        let top = graph.add(op, vec![layers], None, false, shown(own("top"))).unwrap();
        let at = |line, character| Position { line, character };
        let place = OriginPlace { file: 1, ranges: vec![(at(2, 0), at(3, 4))] };
        let places = [(own("context").unwrap(), vec![]), (own("top").unwrap(), vec![place])].into();
        let origin = Some(Arc::new(Origin { files: Vec::new(), places }));
        let graph = Arc::new(graph);
        let found =
            Ref { graph: Arc::clone(&graph), vertex: top, file: None, origin, is_asked_for: true };
        let told = |idx| super::places(&found, graph.get(idx));
        assert_eq!(told(context), Some(json!([])));
        assert_eq!(told(layers), None);
        let ranges = json!([{ "start": { "line": 2 }, "end": { "line": 3, "character": 4 } }]);
        assert_eq!(told(top), Some(json!([{ "ranges": ranges, "sourceIndex": 1 }])));
        let mapping = list(&graph, top).mapping;
        assert_eq!(mapping[&own("context").unwrap().to_string()], "step0");
        assert_eq!(mapping[&own("top").unwrap().to_string()], "step2");
    }
}
