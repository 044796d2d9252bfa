//! Builds that were made (`builder history`).

use buildkit::control::{
    BuildHistoryRecord, BuildHistoryRequest, StatusRequest, UpdateBuildHistoryRequest,
};
use buildkit::prost_types::Timestamp;
use serde_json::{Value, json};

use crate::args::HistoryCommand;
use crate::build::{Display, Mode, Trace, control, refused, seconds};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::format::human;
use crate::format::template::Template;
use crate::list::{self, Column};

const COLUMNS: [Column; 5] = [
    Column { field: "ID", header: "BUILD ID" },
    Column { field: "Name", header: "NAME" },
    Column { field: "Status", header: "STATUS" },
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "Duration", header: "DURATION" },
];
/// A name in a table is cut here.
const NAME_CHARS: usize = 36;

/// `builder history ...`.
pub(super) async fn history(client: &Client, command: HistoryCommand) -> Result<i32> {
    match command {
        HistoryCommand::Ls { filter, format, no_trunc } => {
            let records = records(client, filter).await?;
            let is_table = format.as_deref().is_none_or(|format| format.starts_with("table"));
            let rows: Vec<Value> =
                records.iter().map(|record| row(record, is_table, no_trunc)).collect();
            list::print(format.as_deref(), &COLUMNS, &[], &rows)
        }
        HistoryCommand::Inspect { format, build } => {
            let record = find(client, build.as_deref()).await?;
            print!("{}", inspect(&record, format.as_deref())?);
            Ok(0)
        }
        HistoryCommand::Logs { progress, build } => {
            let mode = Mode::choose(Some(&progress), false)?;
            let mut display = Display::new(mode, "");
            follow(
                client,
                build.as_deref(),
                |response, display: &mut Display| display.update(response),
                &mut display,
            )
            .await?;
            display.finish();
            Ok(0)
        }
        HistoryCommand::Rm { all, builds } => remove(client, all, &builds).await,
    }
}

/// What a build that was made has told.
pub(super) async fn trace(client: &Client, build: Option<&str>) -> Result<Trace> {
    let mut trace = Trace::default();
    follow(client, build, |response, trace: &mut Trace| trace.update(response), &mut trace).await?;
    Ok(trace)
}

async fn follow<T>(
    client: &Client,
    build: Option<&str>,
    take: impl Fn(&buildkit::control::StatusResponse, &mut T),
    into: &mut T,
) -> Result<()> {
    let record = find(client, build).await?;
    let mut control = control(client).await?;
    let told = control.status(StatusRequest { r#ref: record.r#ref }).await;
    let mut told = told.map_err(|status| refused(&status))?.into_inner();
    while let Some(response) = told.message().await.map_err(|status| refused(&status))? {
        take(&response, into);
    }
    Ok(())
}

/// All that are known, the newest first.
async fn records(client: &Client, filter: Vec<String>) -> Result<Vec<BuildHistoryRecord>> {
    let mut control = control(client).await?;
    let request =
        BuildHistoryRequest { early_exit: true, filter, ..BuildHistoryRequest::default() };
    let events = control.listen_build_history(request).await.map_err(|status| refused(&status))?;
    let mut events = events.into_inner();
    let mut records = Vec::new();
    while let Some(event) = events.message().await.map_err(|status| refused(&status))? {
        records.extend(event.record);
    }
    records.sort_by_key(|record| {
        std::cmp::Reverse(record.created_at.map(|time| (time.seconds, time.nanos)))
    });
    Ok(records)
}

/// The newest; `^1`, the one before; or the one whose id begins so.
async fn find(client: &Client, build: Option<&str>) -> Result<BuildHistoryRecord> {
    let records = records(client, Vec::new()).await?;
    pick(records, build.unwrap_or_default())
}

fn pick(records: Vec<BuildHistoryRecord>, build: &str) -> Result<BuildHistoryRecord> {
    let missing = || {
        Error::Usage(match build {
            "" => "no build was made".into(),
            build => format!("no build {build:?} found"),
        })
    };
    let offset =
        build.strip_prefix('^').map(|text| if text.is_empty() { Ok(1) } else { text.parse() });
    match offset {
        None if build.is_empty() => records.into_iter().next().ok_or_else(missing),
        Some(Ok(offset)) => records.into_iter().nth(offset).ok_or_else(missing),
        Some(Err(_)) => Err(missing()),
        None => {
            // Buildx has the builder before the id.
            let id = build.rsplit('/').next().unwrap_or(build);
            let mut found = records.into_iter().filter(|record| record.r#ref.starts_with(id));
            let first = found.next().ok_or_else(missing)?;
            match found.next() {
                Some(_) if first.r#ref != id => {
                    Err(Error::Usage(format!("several builds begin with {build:?}")))
                }
                _ => Ok(first),
            }
        }
    }
}

async fn remove(client: &Client, all: bool, builds: &[String]) -> Result<i32> {
    let records = records(client, Vec::new()).await?;
    let mut ids = Vec::new();
    if all {
        ids.extend(records.iter().map(|record| record.r#ref.clone()));
    }
    for build in builds {
        ids.push(pick(records.clone(), build)?.r#ref);
    }
    let mut control = control(client).await?;
    for id in ids {
        let request = UpdateBuildHistoryRequest {
            r#ref: id,
            delete: true,
            ..UpdateBuildHistoryRequest::default()
        };
        control.update_build_history(request).await.map_err(|status| refused(&status))?;
    }
    Ok(0)
}

/// The stage, or what it is made from.
fn name(record: &BuildHistoryRecord) -> String {
    let attr = |key: &str| record.frontend_attrs.get(key).filter(|value| !value.is_empty());
    let context = attr("context").or(attr("filename")).map_or("Dockerfile", String::as_str);
    let name = match attr("target") {
        Some(target) => format!("{context} ({target})"),
        None => context.to_owned(),
    };
    human::printable(&name)
}

fn status(record: &BuildHistoryRecord) -> &'static str {
    match (&record.error, &record.completed_at) {
        // 1 is CANCELLED.
        (Some(error), _) if error.code == 1 => "Canceled",
        (Some(_), _) => "Error",
        (None, Some(_)) => "Completed",
        (None, None) => "Running",
    }
}

fn took(record: &BuildHistoryRecord) -> f64 {
    let start = record.created_at.as_ref().map_or(0.0, seconds);
    let end = record.completed_at.as_ref().map_or(human::now() as f64, seconds);
    (end - start).max(0.0)
}

fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds as u64;
    match whole / 3600 {
        0 => format!("{}m {:2}s", whole / 60, whole % 60),
        hours => format!("{hours}h {:2}m {:2}s", whole / 60 % 60, whole % 60),
    }
}

fn time(time: Option<&Timestamp>) -> String {
    time.map(|time| human::date(time.seconds)).unwrap_or_default()
}

fn row(record: &BuildHistoryRecord, is_table: bool, whole: bool) -> Value {
    let name = name(record);
    let name = if whole || !is_table { name } else { human::ellipsis(&name, NAME_CHARS) };
    let created = record.created_at.map_or(0, |time| time.seconds);
    json!({
        "ID": human::printable(&record.r#ref),
        "Name": name,
        "Status": status(record),
        "CreatedAt": if is_table { human::ago(created) } else { time(record.created_at.as_ref()) },
        "Duration": duration(took(record)),
    })
}

fn inspect(record: &BuildHistoryRecord, format: Option<&str>) -> Result<String> {
    let attr = |key: &str| {
        record.frontend_attrs.get(key).map(|value| human::printable(value)).unwrap_or_default()
    };
    let error = record.error.as_ref().map(|error| human::printable(&error.message));
    let prefixed = |prefix: &str| -> serde_json::Map<String, Value> {
        let all = record.frontend_attrs.iter();
        all.filter_map(|(key, value)| {
            Some((key.strip_prefix(prefix)?.to_owned(), value.clone().into()))
        })
        .collect()
    };
    let value = json!({
        "Name": name(record),
        "Ref": record.r#ref,
        "Context": attr("context"),
        "Dockerfile": attr("filename"),
        "Target": attr("target"),
        "Platform": attr("platform"),
        "StartedAt": time(record.created_at.as_ref()),
        "CompletedAt": time(record.completed_at.as_ref()),
        "Duration": (took(record) * 1e9) as i64,
        "Status": status(record).to_lowercase(),
        "Error": error,
        "NumCompletedSteps": record.num_completed_steps,
        "NumTotalSteps": record.num_total_steps,
        "NumCachedSteps": record.num_cached_steps,
        "NumWarnings": record.num_warnings,
        "BuildArgs": prefixed("build-arg:"),
        "Labels": prefixed("label:"),
        "ExporterResponse": record.exporter_response,
    });
    match format {
        None | Some("" | "pretty") => Ok(pretty(record, &value)),
        Some("json") => serde_json::to_string_pretty(&value)
            .map(|text| text + "\n")
            .map_err(|err| Error::Usage(err.to_string())),
        Some(format) => Ok(Template::parse(format)?.render(&value)? + "\n"),
    }
}

fn pretty(record: &BuildHistoryRecord, value: &Value) -> String {
    let (done, all) = (record.num_completed_steps, record.num_total_steps);
    let cached = record.num_cached_steps;
    let percent = if all > 0 { i64::from(cached) * 100 / i64::from(all) } else { 0 };
    let fields = [
        ("Name", list::text(&value["Name"])),
        ("Context", list::text(&value["Context"])),
        ("Dockerfile", list::text(&value["Dockerfile"])),
        ("Target", list::text(&value["Target"])),
        ("Platforms", list::text(&value["Platform"])),
        ("", String::new()),
        ("Started", time(record.created_at.as_ref())),
        ("Duration", duration(took(record))),
        ("Status", status(record).to_owned()),
        ("Build Steps", format!("{done}/{all} ({percent}% cached)")),
        ("Error", list::text(&value["Error"])),
    ];
    let mut out = String::new();
    for (name, value) in fields {
        match (name, value.is_empty()) {
            ("", _) => out.push('\n'),
            (_, true) => {}
            _ => out += &format!("{:<16}{value}\n", format!("{name}:")),
        }
    }
    out + &format!(
        "\nPrint build logs: dhow builder history logs {}\n",
        human::printable(&record.r#ref)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> BuildHistoryRecord {
        BuildHistoryRecord { r#ref: id.into(), ..BuildHistoryRecord::default() }
    }

    #[test]
    fn a_build_is_named_by_its_place_or_its_id() {
        let all = || vec![record("c1"), record("b2"), record("b3")];
        let id = |build: &str| pick(all(), build).map(|found| found.r#ref).ok();
        assert_eq!(id("").as_deref(), Some("c1"));
        assert_eq!(id("^1").as_deref(), Some("b2"));
        assert_eq!(id("^").as_deref(), Some("b2"));
        assert_eq!(id("c").as_deref(), Some("c1"));
        assert_eq!(id("default/default/b3").as_deref(), Some("b3"));
        assert_eq!(id("b"), None);
        assert_eq!(id("^7"), None);
        assert_eq!(id("^x"), None);
    }

    #[test]
    fn durations_are_buildxs() {
        assert_eq!(duration(1.44), "1.4s");
        assert_eq!(duration(61.0), "1m  1s");
        assert_eq!(duration(3725.0), "1h  2m  5s");
    }
}
