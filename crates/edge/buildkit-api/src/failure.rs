//! Errors, as clients are told them.
//!
//! The text is for people. What programs look at (which step it was, which lines) goes beside it as
//! `google.rpc.Status` has it, each as JSON under the name that BuildKit gave its type (`util/grpcerrors`).

use std::collections::BTreeMap;

use build::Error;
use buildkit::prost_types::Any;
use buildkit::sourcepolicy::PolicyAction;
use buildkit::{errdefs, pb, rpc};
use bytes::Bytes;
use data_encoding::BASE64;
use prost::Message;
use serde_json::json;
use tonic::{Code, Status};

use crate::places::{Place, Places};

const TYPES: &str = "github.com/moby/buildkit/";
/// The largest graph of a file that goes with an error, in bytes.
const MAX_DEFINITION: usize = 64 << 10;

/// Something that failed, as a status.
pub(crate) fn status(error: &Error) -> Status {
    of_build(error, &Places::default())
}

/// A failed build, as a status; `places` are those of its client's own graphs.
pub(crate) fn of_build(error: &Error, places: &Places) -> Status {
    let (code, message) = (code(error), chain(error));
    let details = details(error, places);
    if details.is_empty() {
        return Status::new(code, message);
    }
    let all = rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, Bytes::from(all.encode_to_vec()))
}

/// A status, as a record of a build has it.
pub(crate) fn record(status: &Status) -> rpc::Status {
    if let Ok(all) = rpc::Status::decode(status.details())
        && !status.details().is_empty()
    {
        return all;
    }
    let code = status.code() as i32;
    rpc::Status { code, message: status.message().to_owned(), details: Vec::new() }
}

/// A failure with where it was asked for, unless it says of itself where it is from.
pub(crate) fn at(status: Status, file: &build::Source, lines: &[buildgraph::Range]) -> Status {
    let mut all = record(&status);
    let own = format!("{TYPES}errdefs.Source+json");
    if all.details.iter().any(|detail| detail.type_url == own) {
        return status;
    }
    all.details.push(place(file, lines));
    from_record(&all)
}

/// A failure with what the step worked on that failed. In the form of the message itself: it holds a whole operation,
/// and clients know a type of that name in either form.
pub(crate) fn with_solve(status: &Status, solve: &errdefs::Solve) -> Status {
    let mut all = record(status);
    let type_url = format!("{TYPES}errdefs.Solve");
    all.details.push(Any { type_url, value: solve.encode_to_vec() });
    from_record(&all)
}

/// A status, as the record of a build has it that is over: what a step worked on is gone with its build.
pub(crate) fn kept_record(status: &Status) -> rpc::Status {
    let mut all = record(status);
    all.details.retain(|detail| !detail.type_url.contains("errdefs.Solve"));
    all
}

/// A client's own error, as it came.
pub(crate) fn from_record(error: &rpc::Status) -> Status {
    let code = Code::from_i32(error.code);
    let details = Bytes::from(error.encode_to_vec());
    Status::with_details(code, error.message.clone(), details)
}

fn code(error: &Error) -> Code {
    match error {
        // What a step lacked is no answer to who asked for the build.
        Error::Vertex { source, .. } if code(source) == Code::Cancelled => Code::Cancelled,
        Error::Shared(source) => code(source),
        Error::Guest { source, .. } | Error::Generator { source, .. } => code(source),
        Error::Invalid(_) | Error::IncompleteMaterials { .. } => Code::InvalidArgument,
        Error::NotFound(_) | Error::NoDockerfile(_) => Code::NotFound,
        Error::NotAllowed { .. } | Error::Devices(_) | Error::NotGranted(_) => {
            Code::PermissionDenied
        }
        Error::Cancelled => Code::Cancelled,
        Error::NotYet(_) | Error::NoCap { .. } | Error::NoSubrequest(_) => Code::Unimplemented,
        _ => Code::Unknown,
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors print what caused them.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn details(error: &Error, places: &Places) -> Vec<Any> {
    match error {
        Error::Vertex { digest, source, lines, file, .. } => {
            let mut all = details(source, places);
            let digest = digest.to_string();
            all.push(any("errdefs.Vertex", &json!({ "digest": digest })));
            all.extend(file.as_ref().map(|file| place(file, lines)));
            // Clients show the first one first, which of BuildKit's is the last that was said.
            all.extend(places.of(&digest).iter().rev().map(own_place));
            all
        }
        Error::Dockerfile { file, lines, .. } => vec![place(file, lines)],
        Error::Shared(source) => details(source, places),
        Error::Guest { source, .. } | Error::Generator { source, .. } => details(source, places),
        Error::Denied { messages, .. } if !messages.is_empty() => {
            let messages: Vec<_> = messages.iter().map(|one| json!({ "message": one })).collect();
            let deny = PolicyAction::Deny as i32;
            let said = json!({ "action": deny, "denyMessages": messages });
            vec![any("policysession.DecisionResponse", &said)]
        }
        Error::NoCap { cap, .. } => {
            vec![any("errdefs.FrontendCap", &json!({ "name": cap }))]
        }
        Error::NoSubrequest(name) => {
            vec![any("errdefs.Subrequest", &json!({ "name": name }))]
        }
        Error::IncompleteMaterials { locals, requests, .. } => {
            let all = locals.iter().map(|name| json!({ "name": name, "reason": "local_source" }));
            let all = all.chain(requests.iter().map(|request| json!(request)));
            let all = json!({ "incomplete": all.collect::<Vec<_>>() });
            vec![any("errdefs.ProvenanceMaterialsIncomplete", &all)]
        }
        Error::Exit { code, .. } => {
            vec![any("gatewayapi.ExitMessage", &json!({ "Code": code }))]
        }
        _ => Vec::new(),
    }
}

/// Lines of a file, each by itself as BuildKit has them, with the whole of it: the client shows what is around
/// them. Clients look for a definition of where the file is from; ours has none to tell.
fn place(file: &build::Source, lines: &[buildgraph::Range]) -> Any {
    let last = u32::try_from(file.data.split(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX);
    let ranges = lines
        .iter()
        .flat_map(|range| range.start..=range.end.min(last).max(range.start))
        .map(|line| json!({ "start": { "line": line }, "end": { "line": line } }));
    let info = json!({
        "filename": file.filename, "data": BASE64.encode(&file.data), "language": "Dockerfile",
        "definition": {},
    });
    any("errdefs.Source", &json!({ "info": info, "ranges": ranges.collect::<Vec<_>>() }))
}

/// The same of a client's own graph.
fn own_place(place: &Place) -> Any {
    let at = |at: Option<&pb::Position>| {
        at.map(|at| json!({ "line": at.line, "character": at.character }))
    };
    let ranges = place.ranges.iter();
    let ranges = ranges
        .map(|range| json!({ "start": at(range.start.as_ref()), "end": at(range.end.as_ref()) }));
    let mut info = json!({
        "filename": place.info.filename,
        "data": BASE64.encode(&place.info.data),
        "language": place.info.language,
    });
    if let Some(definition) = &place.info.definition {
        info["definition"] = own_definition(definition);
    }
    any("errdefs.Source", &json!({ "info": info, "ranges": ranges.collect::<Vec<_>>() }))
}

/// The graph of a file. A large one is left out: an error has to fit into the end of an answer.
fn own_definition(definition: &pb::Definition) -> serde_json::Value {
    if definition.encoded_len() > MAX_DEFINITION {
        return json!({});
    }
    let operations = definition.def.iter().map(|operation| BASE64.encode(operation));
    let metadata = definition.metadata.iter();
    let metadata: BTreeMap<_, _> =
        metadata.map(|(of, one)| (of, json!({ "description": one.description }))).collect();
    json!({ "def": operations.collect::<Vec<_>>(), "metadata": metadata })
}

fn any(name: &str, value: &serde_json::Value) -> Any {
    Any { type_url: format!("{TYPES}{name}+json"), value: value.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_mistake_is_told() {
        let file = build::Source { filename: "F".into(), data: b"from a\nrun b\\\nc".to_vec() };
        let told = |start, end| {
            let told = place(&file, &[buildgraph::Range { start, end }]);
            serde_json::from_slice::<serde_json::Value>(&told.value).unwrap()
        };
        let line = |line: u32| json!({ "start": { "line": line }, "end": { "line": line } });
        assert_eq!(told(2, 3)["ranges"], json!([line(2), line(3)]));
        assert_eq!(told(2, 2)["ranges"], json!([line(2)]));
        // There are no more lines than the file has.
        assert_eq!(told(2, u32::MAX)["ranges"], json!([line(2), line(3)]));
        assert!(told(1, 1)["info"]["definition"].is_object());
    }

    #[test]
    fn materials_that_nobody_can_name_are_told_by_name() {
        let (why, locals) = ("no".to_owned(), vec!["context".to_owned()]);
        let requests = vec![build::Unrecorded {
            op: "sha256:0".into(),
            name: "sh".into(),
            method: "GET".into(),
            uri: "http://a/".into(),
            reason: "unsuccessful_response".into(),
        }];
        let error = Error::IncompleteMaterials { why, locals, requests };
        let told = details(&error, &Places::default());
        let [one] = &told[..] else { panic!("{told:?}") };
        assert!(one.type_url.ends_with("errdefs.ProvenanceMaterialsIncomplete+json"), "{one:?}");
        let said: serde_json::Value = serde_json::from_slice(&one.value).unwrap();
        let request = json!({ "op": "sha256:0", "name": "sh", "method": "GET", "uri": "http://a/",
            "reason": "unsuccessful_response" });
        let local = json!({ "name": "context", "reason": "local_source" });
        assert_eq!(said["incomplete"], json!([local, request]));
    }

    #[test]
    fn the_places_of_an_own_graph_are_told_the_last_first() {
        let definition = crate::definition::of_result("x");
        let info = |name: &str, definition| pb::SourceInfo {
            filename: name.into(),
            definition,
            ..pb::SourceInfo::default()
        };
        let infos = vec![info("a", None), info("b", Some(definition))];
        let location = |source_index| pb::Location { source_index, ranges: vec![] };
        let digest = oci::Digest::sha256(b"step");
        let locations = pb::Locations { locations: vec![location(0), location(1)] };
        let locations = [(digest.to_string(), locations)].into();
        let places = Places::default();
        let source = Some(pb::Source { locations, infos });
        places.add(&pb::Definition { source, ..pb::Definition::default() });
        let error = Error::Vertex {
            digest,
            name: "step".into(),
            lines: vec![],
            file: None,
            source: std::sync::Arc::new(Error::Cancelled),
        };
        let told = details(&error, &places);
        let told = told.iter().filter(|one| one.type_url.contains("Source"));
        let infos: Vec<serde_json::Value> = told
            .map(|one| serde_json::from_slice::<serde_json::Value>(&one.value).unwrap())
            .map(|one| one["info"].clone())
            .collect();
        assert_eq!((&infos[0]["filename"], &infos[1]["filename"]), (&json!("b"), &json!("a")));
        assert_eq!(infos[0]["definition"]["def"].as_array().unwrap().len(), 2);
        assert!(infos[1].get("definition").is_none());
    }
}
