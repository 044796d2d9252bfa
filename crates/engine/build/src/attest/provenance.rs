//! SLSA provenance of a result, as BuildKit says it (`docs/attestations/slsa-definitions.md`). Secrets are in
//! it by their names at most.

use std::collections::BTreeMap;
use std::sync::Arc;

use docker::timestamp::Timestamp;
use images::StepLayers;
use oci::ChainId;
use oci::image::Platform;
use serde_json::{Map, Value, json};

use super::hidden::Hidden;
use super::materials::{Materials, redacted};
use super::requests::Requests;
use super::{Provenance, Version, steps};
use crate::build::{Asked, Ref, Shared};
use crate::cache::now;
use crate::frontend::DOCKERFILE;
use crate::{Error, Unrecorded};

/// How such builds are said to be, by versions.
const BUILD_TYPE_1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_02: &str = "https://mobyproject.org/buildkit@v1";
/// Where BuildKit's own part of the metadata is: JSON pointers.
const DETAILS_1: &str = "/runDetails/metadata/buildkit_metadata";
const DETAILS_02: &str = "/metadata/https:~1~1mobyproject.org~1buildkit@v1#metadata";
/// Options of a front end that say something of the machine, or what is in another place of the statement.
const NOT_SAID: [&str; 4] = ["cgroup-parent", "image-resolve-mode", "platform", "cache-imports"];
/// What options begin with that are this builder's own: what is told, and where caches are for one build.
const OWN: &str = "dhow.";

/// What is said in all versions.
struct Said {
    source: Map<String, Value>,
    request: Map<String, Value>,
    /// The front end that is built in has made it.
    is_of_front_end: bool,
    is_request_complete: bool,
    is_complete: bool,
    /// What BuildKit's own part of the metadata has.
    more: Map<String, Value>,
    config: Option<Value>,
    /// By steps: how many of the result's layers were there after it.
    layers: BTreeMap<String, usize>,
    materials: Materials,
}

/// What is said of a result: the predicate.
pub(crate) fn predicate(
    build: &Arc<Shared>,
    how: &Provenance,
    reference: &str,
    chain: &[ChainId],
) -> Result<(Vec<u8>, Option<StepLayers>), Error> {
    let found = build.reference(reference)?;
    let mut said = said(build, how, &found, build.asked(reference).as_deref(), chain);
    if how.complete_materials && !said.is_complete {
        let mut why = String::from("provenance materials are incomplete");
        for name in &said.materials.locals {
            why += &format!(": the directory {name:?} of the client");
        }
        for Unrecorded { name, method, uri, reason, .. } in &said.materials.unrecorded {
            why += &format!(": {reason}: {method} {uri}, which `{name}` has asked for");
        }
        let locals = said.materials.locals.into_iter().collect();
        let requests = said.materials.unrecorded;
        return Err(Error::IncompleteMaterials { why, locals, requests });
    }
    let [started, finished] =
        [build.began, now()].map(|time| Timestamp::from_nanos(time).to_string());
    let steps = std::mem::take(&mut said.layers);
    let (whole, place) = match how.version {
        Version::V1 => (v1(build, how, said, &started, &finished), DETAILS_1),
        Version::V02 => (v02(build, how, said, &started, &finished), DETAILS_02),
    };
    let layers = (!steps.is_empty()).then(|| StepLayers { place: place.to_owned(), steps });
    let says = serde_json::to_vec(&whole);
    Ok((says.map_err(|error| Error::Invalid(format!("provenance: {error}")))?, layers))
}

fn said(
    build: &Arc<Shared>,
    how: &Provenance,
    found: &Ref,
    asked: Option<&Asked>,
    chain: &[ChainId],
) -> Said {
    let materials = Materials::of(build, found, asked);
    let mut requests = Requests::new(how);
    let inputs = asked.map(|asked| requests.inputs(build, asked)).unwrap_or_default();
    let root = asked.and_then(|_| requests.root(build));
    let dockerfile = asked.and_then(|asked| asked.dockerfile.as_ref());
    let asked = asked.map(|asked| &asked.options);
    let (source, args, vcs) = arguments(asked, &materials);
    let hidden = Hidden::in_build(build, asked);
    let is_said = |key: &str| !hidden.has(key) && (how.is_max || !is_own(key));
    let (args, left_out): (BTreeMap<_, _>, BTreeMap<_, _>) =
        args.into_iter().partition(|(key, _)| is_said(key));
    let mut request = Map::new();
    if asked.is_some() {
        // Whatever image was asked for as the front end: it was this one.
        request.insert("frontend".into(), "dockerfile.v0".into());
    }
    let mut put = |key: &str, value: Value, is_empty: bool| {
        if !is_empty {
            request.insert(key.into(), value);
        }
    };
    put("args", json!(args), args.is_empty());
    let names = |all: &BTreeMap<String, bool>| {
        let one = |(id, optional): (&String, &bool)| match optional {
            true => json!({ "id": id, "optional": true }),
            false => json!({ "id": id }),
        };
        all.iter().map(one).collect::<Value>()
    };
    put("secrets", names(&materials.secrets), !how.is_max || materials.secrets.is_empty());
    put("ssh", names(&materials.agents), !how.is_max || materials.agents.is_empty());
    let locals: Value = materials.locals.iter().map(|name| json!({ "name": name })).collect();
    put("locals", locals, materials.locals.is_empty());
    put("inputs", json!(inputs), inputs.is_empty());
    put("root", json!(root), root.is_none());
    let mut more = Map::new();
    if !vcs.is_empty() {
        more.insert("vcs".into(), json!(vcs));
    }
    if materials.proxy {
        let mut network = json!({ "mode": "proxy" });
        if !materials.unrecorded.is_empty() {
            network["proxy"] = json!({ "incomplete": materials.unrecorded });
        }
        hidden.clean(&mut network);
        more.insert("network".into(), network);
    }
    let mut layers = BTreeMap::new();
    let config = how.is_max.then(|| {
        let mut steps = steps::of(build, found, chain, dockerfile);
        hidden.clean(&mut steps.config);
        more.extend(steps.source.map(|source| ("source".to_owned(), source)));
        layers = steps.layers;
        steps.config
    });
    Said {
        source,
        request,
        is_of_front_end: asked.is_some(),
        is_request_complete: asked.is_some() && left_out.is_empty() && !requests.leaves_out,
        is_complete: !materials.is_incomplete,
        more,
        config,
        layers,
        materials,
    }
}

/// Whether an option is what people say of a build themselves: it is in the longer form alone.
pub(super) fn is_own(key: &str) -> bool {
    key.starts_with("build-arg:") || key.starts_with("label:")
}

pub(super) type Arguments =
    (Map<String, Value>, BTreeMap<String, String>, BTreeMap<String, String>);

/// Of a front end's options: where the Dockerfile is, the others, and what is known of its repository.
pub(super) fn arguments(
    asked: Option<&BTreeMap<String, String>>,
    materials: &Materials,
) -> Arguments {
    let (mut source, mut args, mut vcs) = (Map::new(), BTreeMap::new(), BTreeMap::new());
    let is_built_in = |key: &str| {
        let source = asked.and_then(|asked| asked.get("source"));
        matches!(key, "source" | "cmdline") && source.is_some_and(|name| name == "dockerfile.v0")
    };
    for (key, value) in asked.into_iter().flatten() {
        let is_elsewhere = NOT_SAID.contains(&key.as_str())
            || ["attest:", OWN].iter().any(|start| key.starts_with(start));
        if is_elsewhere || is_built_in(key) {
            continue;
        }
        if let Some(name) = key.strip_prefix("vcs:") {
            if !value.is_empty() {
                vcs.insert(name.to_owned(), redacted(value));
            }
        } else if key == "context" && !value.is_empty() {
            source.insert("uri".into(), redacted(value).into());
            let digest = materials.find(value);
            source.extend(digest.map(|digest| ("digest".to_owned(), digest)));
        } else if key == "filename" && !value.is_empty() {
            source.insert("path".into(), value.clone().into());
        } else {
            // A proxy or a repository may have been said with who asks.
            args.insert(key.clone(), redacted(value));
        }
    }
    (source, args, vcs)
}

fn v1(build: &Shared, how: &Provenance, said: Said, started: &str, finished: &str) -> Value {
    let mut internal = json!({ "builderPlatform": Platform::native().to_string() });
    if said.is_of_front_end {
        internal["dockerfileVersion"] = DOCKERFILE.into();
    }
    if let Some(config) = said.config {
        internal["buildConfig"] = config;
    }
    let mut metadata = json!({
        "invocationId": build.request.id,
        "startedOn": started,
        "finishedOn": finished,
        "buildkit_metadata": said.more,
        "buildkit_completeness": {
            "request": said.is_request_complete,
            "resolvedDependencies": said.is_complete,
        },
    });
    if said.is_complete && !said.materials.network {
        metadata["buildkit_hermetic"] = true.into();
    }
    if how.reproducible {
        metadata["buildkit_reproducible"] = true.into();
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE_1,
            "externalParameters": { "configSource": said.source, "request": said.request },
            "internalParameters": internal,
            "resolvedDependencies": said.materials.list(),
        },
        "runDetails": { "builder": { "id": how.builder }, "metadata": metadata },
    })
}

fn v02(build: &Shared, how: &Provenance, said: Said, started: &str, finished: &str) -> Value {
    let mut source = said.source;
    if let Some(path) = source.remove("path") {
        source.insert("entryPoint".into(), path);
    }
    let mut metadata = json!({
        "buildInvocationID": build.request.id,
        "buildStartedOn": started,
        "buildFinishedOn": finished,
        "completeness": {
            "parameters": said.is_request_complete,
            "environment": true,
            "materials": said.is_complete,
        },
        "reproducible": how.reproducible,
        "https://mobyproject.org/buildkit@v1#metadata": said.more,
    });
    if said.is_complete && !said.materials.network {
        metadata["https://mobyproject.org/buildkit@v1#hermetic"] = true.into();
    }
    let mut environment = json!({ "platform": Platform::native().to_string() });
    if said.is_of_front_end {
        environment["dockerfileVersion"] = DOCKERFILE.into();
    }
    let mut whole = json!({
        "builder": { "id": how.builder },
        "buildType": BUILD_TYPE_02,
        "materials": said.materials.list(),
        "invocation": {
            "configSource": source,
            "parameters": said.request,
            "environment": environment,
        },
        "metadata": metadata,
    });
    if let Some(config) = said.config {
        whole["buildConfig"] = config;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_said_without_who_asks_and_what_is_the_machines() {
        let asked = [
            ("attest:provenance", "mode=max"),
            ("build-arg:HTTP_PROXY", "http://me:word@proxy:3128"),
            ("context", "https://token@host/repo.git#main"),
            ("context:other", "https://me:word@host/other.html"),
            ("dhow.cache-mount:npm", "own:1a2b3c"),
            ("filename", "Dockerfile"),
            ("platform", "linux/amd64"),
            ("target", "last"),
            ("vcs:revision", "abc"),
            ("vcs:source", "https://me:word@host/repo.git"),
        ];
        let asked = asked.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let (source, args, vcs) = arguments(Some(&asked), &Materials::default());
        let keys: Vec<&String> = args.keys().collect();
        assert_eq!(keys, ["build-arg:HTTP_PROXY", "context:other", "target"]);
        assert_eq!(args["context:other"], "https://xxxxx:xxxxx@host/other.html");
        assert_eq!(source["path"], "Dockerfile");
        assert_eq!(source["uri"], "https://xxxxx@host/repo.git#main");
        assert_eq!(vcs["revision"], "abc");
        let all = format!("{source:?} {args:?} {vcs:?}");
        assert!(!all.contains("word") && !all.contains("token"), "{all}");
    }
}
