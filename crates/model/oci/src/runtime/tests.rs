use serde_json::Value;

use super::Spec;

/// Removes what is absent and what is empty alike, in both documents.
fn prune(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, prune(value)))
                .filter(|(_, value)| {
                    !matches!(value, Value::Null | Value::Bool(false))
                        && !matches!(value, Value::Array(list) if list.is_empty())
                        && !matches!(value, Value::Object(map) if map.is_empty())
                        && !matches!(value, Value::String(text) if text.is_empty())
                })
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(prune).collect()),
        other => other,
    }
}

#[track_caller]
fn round_trips(text: &str) {
    let spec: Spec = serde_json::from_str(text).unwrap();
    let want: Value = serde_json::from_str(text).unwrap();
    assert_eq!(prune(serde_json::to_value(&spec).unwrap()), prune(want));
}

#[test]
fn the_full_example_of_the_specification_round_trips() {
    round_trips(include_str!("tests/example.json"));
}

#[test]
fn every_field_of_the_schema_round_trips() {
    round_trips(include_str!("tests/everything.json"));
}

#[test]
fn null_is_absent() {
    let spec: Spec = serde_json::from_str(
        r#"{"ociVersion":"1.0.2","process":{"cwd":"/","args":null,"user":{},"capabilities":null},
            "mounts":null,"annotations":null,"linux":{"namespaces":null,"sysctl":null}}"#,
    )
    .unwrap();
    assert!(spec.mounts.is_empty());
    assert!(spec.process.unwrap().capabilities.is_none());
}

#[test]
fn unknown_properties_are_ignored() {
    let text = r#"{"ociVersion":"1.0.2","org.example":1,"linux":{"later":{"a":[]}}}"#;
    assert!(serde_json::from_str::<Spec>(text).is_ok());
}

#[test]
fn wrong_types_and_missing_required_fields_are_refused() {
    for (text, why) in [
        ("{}", "missing field `ociVersion`"),
        (r#"{"ociVersion":1}"#, "invalid type: integer `1`, expected a string"),
        (r#"{"ociVersion":"1","process":{}}"#, "missing field `cwd`"),
        (
            r#"{"ociVersion":"1","process":{"cwd":"/","user":{"uid":-1}}}"#,
            "invalid value: integer `-1`",
        ),
        (
            r#"{"ociVersion":"1","process":{"cwd":"/","user":{"uid":4294967296}}}"#,
            "invalid value: integer `4294967296`",
        ),
        (
            r#"{"ociVersion":"1","process":{"cwd":"/","rlimits":[{"type":"RLIMIT_CORE","soft":1}]}}"#,
            "missing field `hard`",
        ),
        (r#"{"ociVersion":"1","root":{"readonly":true}}"#, "missing field `path`"),
        (r#"{"ociVersion":"1","mounts":[{"type":"proc"}]}"#, "missing field `destination`"),
        (r#"{"ociVersion":"1","hooks":{"prestart":[{}]}}"#, "missing field `path`"),
        (r#"{"ociVersion":"1","linux":{"namespaces":[{"type":"net"}]}}"#, "unknown variant `net`"),
        (
            r#"{"ociVersion":"1","linux":{"resources":{"blockIO":{"weight":65536}}}}"#,
            "invalid value: integer `65536`",
        ),
    ] {
        let error = serde_json::from_str::<Spec>(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}
