//! `hosts.toml`: refused with its line, or somebody to ask; and the TOML that it is written in, as
//! another reader has it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    registry::fuzz::hosts(text);
    // Whether a line's end within a text is one byte or two is left open by the specification.
    let text = text.replace("\r\n", "\n");
    let ours = registry::fuzz::toml(&text);
    let theirs = text.parse::<toml::Table>().ok().map(toml::Value::Table).map(value);
    match (&ours, &theirs) {
        (Some(ours), Some(theirs)) => assert_eq!(ours, theirs),
        (None, None) => {}
        // We do not look at what numbers and dates say.
        (Some(ours), None) => assert!(has_null(ours), "only we read {ours}"),
        // Nor do we go as deep.
        (None, Some(theirs)) => assert!(depth(theirs) > 60, "only they read {theirs}"),
    }
});

fn value(found: toml::Value) -> Value {
    match found {
        toml::Value::String(text) => text.into(),
        toml::Value::Boolean(bool) => bool.into(),
        toml::Value::Array(list) => list.into_iter().map(value).collect(),
        toml::Value::Table(table) => table
            .into_iter()
            .map(|(key, one)| (key, value(one)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Datetime(_) => Value::Null,
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(table) => table.values().any(has_null),
        _ => false,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(table) => 1 + table.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
