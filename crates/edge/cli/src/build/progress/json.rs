//! Progress as one JSON document a line (`--progress rawjson`): BuildKit's `client.SolveStatus`.

use buildkit::control::StatusResponse;
use buildkit::prost_types::Timestamp;
use data_encoding::BASE64;
use docker::timestamp;
use serde_json::{Map, Value, json};

/// One message as a line.
pub(super) fn line(response: &StatusResponse) -> String {
    let mut whole = Map::new();
    let mut put = |key: &str, list: Vec<Value>| {
        if !list.is_empty() {
            whole.insert(key.to_owned(), Value::Array(list));
        }
    };
    put("vertexes", response.vertexes.iter().map(vertex).collect());
    put("statuses", response.statuses.iter().map(status).collect());
    put("logs", response.logs.iter().map(log).collect());
    put("warnings", response.warnings.iter().map(warning).collect());
    format!("{}\n", Value::Object(whole))
}

fn time(time: Option<&Timestamp>) -> Value {
    match time {
        None => Value::Null,
        Some(time) => {
            let nanos = time.nanos.clamp(0, 999_999_999) as u32;
            timestamp::Timestamp { seconds: time.seconds, nanos }.to_string().into()
        }
    }
}

/// As Go's `omitempty`.
fn object(fields: Vec<(&str, Value)>) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    };
    let kept = fields.into_iter().filter(|(_, value)| !is_empty(value));
    Value::Object(kept.map(|(key, value)| (key.to_owned(), value)).collect())
}

fn vertex(one: &buildkit::control::Vertex) -> Value {
    let group = one.progress_group.as_ref();
    let group = group.map(|group| {
        object(vec![
            ("id", group.id.clone().into()),
            ("name", group.name.clone().into()),
            ("weak", group.weak.into()),
        ])
    });
    object(vec![
        ("digest", one.digest.clone().into()),
        ("inputs", one.inputs.clone().into()),
        ("name", one.name.clone().into()),
        ("started", time(one.started.as_ref())),
        ("completed", time(one.completed.as_ref())),
        ("cached", one.cached.into()),
        ("error", one.error.clone().into()),
        ("progressGroup", group.into()),
    ])
}

fn status(one: &buildkit::control::VertexStatus) -> Value {
    let mut value = object(vec![
        ("id", one.id.clone().into()),
        ("vertex", one.vertex.clone().into()),
        ("name", one.name.clone().into()),
        ("total", one.total.into()),
        ("timestamp", time(one.timestamp.as_ref())),
        ("started", time(one.started.as_ref())),
        ("completed", time(one.completed.as_ref())),
    ]);
    value["current"] = one.current.into();
    value
}

fn log(one: &buildkit::control::VertexLog) -> Value {
    object(vec![
        ("vertex", one.vertex.clone().into()),
        ("stream", one.stream.into()),
        ("data", BASE64.encode(&one.msg).into()),
        ("timestamp", time(one.timestamp.as_ref())),
    ])
}

fn warning(one: &buildkit::control::VertexWarning) -> Value {
    let detail: Vec<Value> = one.detail.iter().map(|text| BASE64.encode(text).into()).collect();
    let info = one
        .info
        .as_ref()
        .map(|info| json!({ "filename": info.filename, "data": BASE64.encode(&info.data) }));
    let position = |at: Option<buildkit::pb::Position>| {
        let at = at.unwrap_or_default();
        json!({ "line": at.line, "character": at.character })
    };
    let ranges = one.ranges.iter();
    let ranges: Vec<Value> = ranges
        .map(|range| json!({ "start": position(range.start), "end": position(range.end) }))
        .collect();
    object(vec![
        ("vertex", one.vertex.clone().into()),
        ("level", one.level.into()),
        ("short", BASE64.encode(&one.short).into()),
        ("detail", detail.into()),
        ("url", one.url.clone().into()),
        ("sourceInfo", info.into()),
        ("range", ranges.into()),
    ])
}
