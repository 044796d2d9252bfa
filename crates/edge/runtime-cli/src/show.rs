//! Commands that show: `state`, `list`, `ps`.

use container::Record;
use oci::runtime::State;
use serde_json::{Value, json};

use crate::args::{Opt, Parsed, flag, value};
use crate::help::print;
use crate::{Context, Failure};

pub(crate) const LIST: &[Opt] =
    &[value(&["format", "f"], "table or json"), flag(&["quiet", "q"], "only ids")];

pub(crate) const PS: &[Opt] = &[value(&["format", "f"], "table or json")];

/// A container as runc describes it.
fn describe(state: &State, record: &Record) -> Value {
    let mut value = json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": state.pid,
        "status": state.status,
        "bundle": state.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": owner(record),
    });
    if !state.annotations.is_empty() {
        value["annotations"] = json!(state.annotations);
    }
    value
}

/// The user who created it, by name as far as there is one.
fn owner(record: &Record) -> String {
    match record.owner {
        0 => "root".to_owned(),
        uid => format!("#{uid}"),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

pub(crate) fn state(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let (state, record) = container::state(&context.store, parsed.id()?)?;
    print(&pretty(&describe(&state, &record)))?;
    Ok(0)
}

pub(crate) fn list(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if let Some(word) = parsed.words.first() {
        return Err(Failure::from(format!("too many arguments: {word}")));
    }
    let all = container::list(&context.store)?;
    if parsed.is_set("quiet") {
        let ids: String = all.iter().map(|(state, _)| format!("{}\n", state.id)).collect();
        print(&ids)?;
        return Ok(0);
    }
    match parsed.get("format").unwrap_or("table") {
        "json" => {
            let all: Vec<Value> = all.iter().map(|(s, record)| describe(s, record)).collect();
            print(&format!("{}\n", Value::from(all)))?;
        }
        "table" => print(&table(&all))?,
        other => return Err(Failure::from(format!("invalid format option: {other}"))),
    }
    Ok(0)
}

fn table(all: &[(State, Record)]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = all.iter().map(|(state, record)| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.clone(),
            record.created.clone(),
            owner(record),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
        })
        .collect()
}

pub(crate) fn ps(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let Some((id, arguments)) = parsed.words.split_first() else {
        return Err(Failure::from("a container id is needed".to_owned()));
    };
    let pids = container::processes(&context.store, id)?;
    match parsed.get("format").unwrap_or("table") {
        "json" => print(&format!("{}\n", json!(pids)))?,
        "table" => print(&host_ps(arguments, &pids)?)?,
        other => return Err(Failure::from(format!("invalid format option: {other}"))),
    }
    Ok(0)
}

/// The lines of the host's `ps` that are about `pids`.
fn host_ps(arguments: &[String], pids: &[i32]) -> Result<String, Failure> {
    let arguments: &[String] = if arguments.is_empty() { &["-ef".to_owned()] } else { arguments };
    let output = std::process::Command::new("ps")
        .args(arguments)
        .output()
        .map_err(|error| format!("ps: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::from(format!("ps: {}: {}", output.status, said.trim())));
    }
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| "ps: there is no column PID in its output".to_owned())?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    let lines: Vec<&str> = std::iter::once(header).chain(lines.filter(ours)).collect();
    Ok(lines.join("\n") + "\n")
}
