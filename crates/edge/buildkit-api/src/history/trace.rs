//! What a build did, and when: spans as OpenTelemetry has them, in the form in which BuildKit keeps them (an object of JSON
//! for each, one after the other), which `buildx history trace` reads.

use std::collections::HashMap;
use std::sync::Arc;

use buildkit::control::{BuildHistoryRecord, StatusResponse, Vertex, VertexStatus};
use buildkit::prost_types::Timestamp;
use oci::Digest;
use serde_json::{Value, json};

/// What such a trace is.
pub(super) const TRACE: &str = "application/vnd.buildkit.otlp.json.v0";
/// No more spans are in one.
const MAX: usize = 20_000;
/// The kind of a span that is nobody's call.
const INTERNAL: u8 = 1;
/// Numbers of how a span ended: nobody says, and with an error.
const UNSET: u8 = 0;
const FAILED: u8 = 1;

/// Something that took its time.
struct Span {
    /// What it is called in its build, among all.
    id: String,
    /// Which span it is a part of; none: it is the build.
    parent: Option<usize>,
    name: String,
    started: Timestamp,
    ended: Timestamp,
    error: String,
    attributes: Vec<(&'static str, &'static str, Value)>,
}

/// All of a build, the build itself first.
struct Spans {
    all: Vec<Span>,
    /// Where each is, by its id.
    places: HashMap<String, usize>,
    /// When the build ended.
    over: Timestamp,
}

/// The trace of a build that is over: the build, its steps, and what they told of their parts.
pub(super) fn of(record: &BuildHistoryRecord, told: &[Arc<StatusResponse>]) -> Vec<u8> {
    let started = record.created_at.unwrap_or_default();
    let over = record.completed_at.unwrap_or(started);
    let whole = Span {
        id: String::new(),
        parent: None,
        name: "build".into(),
        started,
        ended: over,
        error: record.error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
        attributes: vec![("ref", "STRING", record.r#ref.clone().into())],
    };
    let mut spans = Spans { all: vec![whole], places: HashMap::new(), over };
    for response in told {
        response.vertexes.iter().for_each(|vertex| spans.step(vertex));
        response.statuses.iter().for_each(|status| spans.part(status));
    }
    spans.told(&record.r#ref)
}

impl Spans {
    fn step(&mut self, of: &Vertex) {
        let Some(started) = of.started else { return };
        self.add(Span {
            id: of.digest.clone(),
            parent: Some(0),
            name: of.name.clone(),
            started,
            ended: of.completed.unwrap_or(self.over),
            error: of.error.clone(),
            attributes: vec![
                ("vertex", "STRING", of.digest.clone().into()),
                ("cached", "BOOL", of.cached.into()),
            ],
        });
    }

    fn part(&mut self, of: &VertexStatus) {
        let Some(started) = of.started else { return };
        let step = self.places.get(&of.vertex).copied();
        self.add(Span {
            id: format!("{} {}", of.vertex, of.id),
            parent: Some(step.unwrap_or_default()),
            name: of.id.clone(),
            started,
            ended: of.completed.unwrap_or(self.over),
            error: String::new(),
            attributes: vec![("vertex", "STRING", of.vertex.clone().into())],
        });
    }

    /// Adds one. Of one that is told of again the last time counts for how it ended.
    fn add(&mut self, new: Span) {
        if let Some(place) = self.places.get(&new.id) {
            let known = &mut self.all[*place];
            (known.ended, known.error, known.attributes) = (new.ended, new.error, new.attributes);
        } else if self.all.len() < MAX {
            self.places.insert(new.id.clone(), self.all.len());
            self.all.push(new);
        }
    }

    /// As text; `name` is what the build is called.
    fn told(&self, name: &str) -> Vec<u8> {
        let trace = part_of(name, 32);
        let id_of = |span: &Span| part_of(&format!("{name} {}", span.id), 16);
        let mut n_parts = vec![0_u32; self.all.len()];
        for parent in self.all.iter().filter_map(|span| span.parent) {
            n_parts[parent] += 1;
        }
        let mut told = Vec::new();
        for (span, n_parts) in self.all.iter().zip(n_parts) {
            let parent = match span.parent {
                Some(parent) => context(&trace, &id_of(&self.all[parent])),
                None => context(&"0".repeat(32), &"0".repeat(16)),
            };
            let attributes: Value = span.attributes.iter().map(attribute).collect();
            let code = if span.error.is_empty() { UNSET } else { FAILED };
            let one = json!({
                "Name": span.name,
                "SpanContext": context(&trace, &id_of(span)),
                "Parent": parent,
                "SpanKind": INTERNAL,
                "StartTime": span.started.to_string(),
                "EndTime": span.ended.to_string(),
                "Attributes": attributes,
                "Events": null,
                "Links": null,
                "Status": { "Code": code, "Description": span.error },
                "DroppedAttributes": 0,
                "DroppedEvents": 0,
                "DroppedLinks": 0,
                "ChildSpanCount": n_parts,
                "Resource": [attribute(&("service.name", "STRING", "dhow".into()))],
                "InstrumentationLibrary": {
                    "Name": "dhow", "Version": env!("CARGO_PKG_VERSION"), "SchemaURL": "",
                },
            });
            told.extend(one.to_string().into_bytes());
            told.push(b'\n');
        }
        told
    }
}

/// So many digits that stand for a text.
fn part_of(text: &str, n_digits: usize) -> String {
    Digest::sha256(text.as_bytes()).hex().chars().take(n_digits).collect()
}

fn context(trace: &str, span: &str) -> Value {
    json!({
        "TraceID": trace, "SpanID": span, "TraceFlags": "01", "TraceState": "", "Remote": false,
    })
}

fn attribute((key, kind, value): &(&str, &str, Value)) -> Value {
    json!({ "Key": key, "Value": { "Type": kind, "Value": value } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn steps_and_their_parts_are_spans_of_the_build() {
        let record = BuildHistoryRecord {
            r#ref: "abc".into(),
            created_at: Some(at(1)),
            completed_at: Some(at(9)),
            ..BuildHistoryRecord::default()
        };
        let begun = Vertex {
            digest: "sha256:a".into(),
            name: "RUN x".into(),
            started: Some(at(2)),
            ..Vertex::default()
        };
        let failed = Vertex { completed: Some(at(5)), error: "no".into(), ..begun.clone() };
        let waits = Vertex { digest: "sha256:b".into(), ..Vertex::default() };
        let part = VertexStatus {
            id: "transferring".into(),
            vertex: "sha256:a".into(),
            started: Some(at(3)),
            ..VertexStatus::default()
        };
        let response = |vertexes, statuses| {
            Arc::new(StatusResponse { vertexes, statuses, ..StatusResponse::default() })
        };
        let told = [response(vec![begun, waits], vec![part]), response(vec![failed], vec![])];
        let text = String::from_utf8(of(&record, &told)).unwrap();
        let spans: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [build, step, part] = &spans[..] else { panic!("{text}") };
        assert_eq!((&build["Name"], &build["ChildSpanCount"]), (&json!("build"), &json!(1)));
        assert_eq!(build["Parent"]["SpanID"], "0000000000000000");
        assert_eq!(build["EndTime"], "1970-01-01T00:00:09Z");
        assert_eq!(step["Name"], "RUN x");
        assert_eq!(step["StartTime"], "1970-01-01T00:00:02Z");
        assert_eq!(step["EndTime"], "1970-01-01T00:00:05Z");
        assert_eq!(step["Status"], json!({ "Code": 1, "Description": "no" }));
        assert_eq!(step["Parent"], build["SpanContext"]);
        let vertex = json!({ "Key": "vertex", "Value": { "Type": "STRING", "Value": "sha256:a" } });
        assert_eq!(step["Attributes"][0], vertex);
        // What nobody has told the end of ends with the build.
        assert_eq!((&part["Parent"], &part["EndTime"]), (&step["SpanContext"], &build["EndTime"]));
        let id = |span: &Value| span["SpanContext"]["SpanID"].as_str().unwrap().to_owned();
        assert!(id(step).len() == 16 && id(step) != id(part), "{text}");
        assert_eq!(step["SpanContext"]["TraceID"].as_str().map(str::len), Some(32));
    }
}
