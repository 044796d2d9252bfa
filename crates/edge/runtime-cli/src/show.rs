//! Commands that show: `state`, `list`, `ps`.

use std::collections::BTreeMap;
use std::path::Path;

use container::Record;
use oci::runtime::{State, Status};
use serde::Serialize;
use serde_json::json;

use crate::args::{Opt, Parsed, flag, value};
use crate::help::print;
use crate::{Context, Failure};

pub(crate) const LIST: &[Opt] =
    &[value(&["format", "f"], "table or json"), flag(&["quiet", "q"], "only ids")];

pub(crate) const PS: &[Opt] = &[value(&["format", "f"], "table or json")];

/// A container as runc describes it, in the order of runc's.
#[derive(Serialize)]
struct Description<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: Status,
    bundle: &'a str,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: String,
}

fn describe<'a>(state: &'a State, record: &'a Record) -> Description<'a> {
    Description {
        oci_version: &state.oci_version,
        id: &state.id,
        pid: state.pid,
        status: state.status,
        bundle: &state.bundle,
        rootfs: &record.rootfs,
        created: &record.created,
        annotations: &state.annotations,
        owner: owner(record),
    }
}

/// The user who created it, by name as far as there is one.
fn owner(record: &Record) -> String {
    match record.owner {
        0 => "root".to_owned(),
        uid => format!("#{uid}"),
    }
}

fn json_line<T: Serialize + ?Sized>(value: &T, pretty: bool) -> Result<String, Failure> {
    let text =
        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    Ok(text.map_err(|error| format!("write JSON: {error}"))? + "\n")
}

pub(crate) fn state(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let (state, record) = container::state(&context.store, parsed.id()?)?;
    print(&json_line(&describe(&state, &record), true)?)?;
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
            let all: Vec<_> = all.iter().map(|(state, record)| describe(state, record)).collect();
            print(&json_line(&all, false)?)?;
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
