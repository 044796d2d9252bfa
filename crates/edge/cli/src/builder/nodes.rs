//! The builder itself, as Buildx tells of its builders (`builder ls`, `builder inspect`). There is one, that of the
//! engine that is spoken to. Its name is that of the context by which the engine was found.

use buildkit::control::ListWorkersRequest;
use buildkit::types::WorkerRecord;
use serde_json::{Value, json};

use crate::args::BuilderLsArgs;
use crate::build::{control, refused};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};

/// What Buildx calls the builder that an engine has in it.
const DRIVER: &str = "docker";
/// Go's time for never, which Buildx has where it did not make a builder.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Kinds of machines that a table has in a cell.
const KINDS_SHOWN: usize = 4;

const COLUMNS: [Column; 5] = [
    Column { field: "Name", header: "NAME/NODE" },
    Column { field: "DriverEndpoint", header: "DRIVER/ENDPOINT" },
    Column { field: "Status", header: "STATUS" },
    Column { field: "Buildkit", header: "BUILDKIT" },
    Column { field: "Platforms", header: "PLATFORMS" },
];
const MORE: [Column; 2] = [
    Column { field: "LastActivity", header: "LAST ACTIVITY" },
    Column { field: "Error", header: "ERROR" },
];

/// `builder ls`.
pub(super) async fn list(client: &Client, args: &BuilderLsArgs) -> Result<i32> {
    let worker = worker(client).await?;
    let name = client.context();
    match args.format.as_deref() {
        Some(format) if is_json(format) => {
            // A template is rendered for the builder and for its node, and in Buildx both are all of it.
            let n_rows = if format == "json" { 1 } else { 2 };
            let line = format!("{}\n", value(name, &worker));
            print!("{}", line.repeat(n_rows));
            Ok(0)
        }
        format => {
            let is_table = format.is_none_or(|text| text.is_empty() || text.starts_with("table"));
            let rows = rows(name, &worker, is_table, args.no_trunc);
            list::print(format, &COLUMNS, &MORE, &rows)
        }
    }
}

/// Whether a format is JSON, in short or as a template of all that there is, however it is spaced.
fn is_json(format: &str) -> bool {
    format == "json" || format.split_whitespace().collect::<String>() == "{{json.}}"
}

/// `builder inspect`; `wanted` is the builder's name, empty for the one that there is.
pub(super) async fn inspect(client: &Client, wanted: &str) -> Result<i32> {
    known(client, wanted)?;
    print!("{}", told(client.context(), &worker(client).await?));
    Ok(0)
}

/// Whether this is the builder's name.
///
/// # Errors
///
/// There is no such builder.
pub(super) fn known(client: &Client, wanted: &str) -> Result<()> {
    if wanted.is_empty() || wanted == client.context() {
        return Ok(());
    }
    Err(Error::Usage(format!("no builder {wanted:?} found")))
}

/// What the builder says of itself.
async fn worker(client: &Client) -> Result<WorkerRecord> {
    let mut control = control(client).await?;
    let answer = control.list_workers(ListWorkersRequest::default()).await;
    let mut workers = answer.map_err(|status| refused(&status))?.into_inner().record.into_iter();
    workers.next().ok_or_else(|| Error::Usage("the engine has no builder".to_owned()))
}

fn version(worker: &WorkerRecord) -> String {
    let said = worker.buildkit_version.as_ref();
    human::printable(said.map_or("", |version| version.version.as_str()))
}

/// `linux/arm/v7`, each.
fn platforms(worker: &WorkerRecord) -> Vec<String> {
    let all = worker.platforms.iter().map(|one| {
        let variant = if one.variant.is_empty() { "" } else { "/" };
        human::printable(&format!("{}/{}{variant}{}", one.os, one.architecture, one.variant))
    });
    all.collect()
}

/// Those of one kind of machine as one, with how many they are: `linux/amd64 (+4), linux/386`.
fn in_short(platforms: &[String]) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for platform in platforms {
        let kind: Vec<&str> = platform.splitn(3, '/').take(2).collect();
        let kind = kind.join("/");
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, n_of_it)) => *n_of_it += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let mut shown: Vec<String> = kinds
        .iter()
        .take(KINDS_SHOWN)
        .map(|(kind, n_of_it)| match n_of_it {
            1 => kind.clone(),
            n => format!("{kind} (+{n})"),
        })
        .collect();
    let n_left: usize = kinds.iter().skip(KINDS_SHOWN).map(|(_, n_of_it)| n_of_it).sum();
    if n_left > 0 {
        shown.push(format!("({n_left} more)"));
    }
    shown.join(", ")
}

/// The builder, and its node below it.
fn rows(name: &str, worker: &WorkerRecord, is_table: bool, is_whole: bool) -> Vec<Value> {
    let (mark, branch) = if is_table { ("*", " \\_ ") } else { ("", "") };
    let platforms = platforms(worker);
    let platforms = if is_whole || !is_table { platforms.join(", ") } else { in_short(&platforms) };
    let row = |name: String, driver: String, status: &str, version: &str, platforms: &str| {
        json!({
            "Name": name,
            "DriverEndpoint": driver,
            "LastActivity": "",
            "Status": status,
            "Buildkit": version,
            "Platforms": platforms,
            "Error": "",
        })
    };
    let node = || format!("{branch}{name}");
    vec![
        row(format!("{name}{mark}"), DRIVER.to_owned(), "", "", ""),
        row(node(), node(), "running", &version(worker), &platforms),
    ]
}

/// The same as Buildx has it in JSON.
fn value(name: &str, worker: &WorkerRecord) -> Value {
    json!({
        "Name": name,
        "Driver": DRIVER,
        "Dynamic": false,
        "LastActivity": NEVER,
        "Current": true,
        "Nodes": [{
            "Name": name,
            "Endpoint": name,
            "Status": "running",
            "Version": version(worker),
            "IDs": [worker.id],
            "Platforms": platforms(worker),
            "Labels": worker.labels,
        }],
    })
}

fn told(name: &str, worker: &WorkerRecord) -> String {
    let builder = [("Name", name), ("Driver", DRIVER)];
    let (version, platforms) = (version(worker), platforms(worker).join(", "));
    let node = [
        ("Name", name),
        ("Endpoint", name),
        ("Status", "running"),
        ("BuildKit version", version.as_str()),
        ("Platforms", platforms.as_str()),
    ];
    let labels: Vec<(String, String)> = worker
        .labels
        .iter()
        .map(|(key, value)| (format!(" {}", human::printable(key)), human::printable(value)))
        .collect();
    let labels: Vec<(&str, &str)> =
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut text = format!("{}\nNodes:\n{}", lines(&builder), lines(&node));
    if !labels.is_empty() {
        text.push_str("Labels:\n");
        text.push_str(&lines(&labels));
    }
    text
}

/// What is said of each, one below the other.
fn lines(all: &[(&str, &str)]) -> String {
    let width = all.iter().map(|(key, _)| key.chars().count() + 1).max().unwrap_or(0);
    let line = |(key, value): &(&str, &str)| {
        let key = format!("{key}:");
        format!("{key:<width$} {value}\n")
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use buildkit::pb::Platform;
    use buildkit::types::BuildkitVersion;

    use super::*;

    fn worker() -> WorkerRecord {
        let platform = |architecture: &str, variant: &str| Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            ..Platform::default()
        };
        let version =
            BuildkitVersion { version: "v1.2.3".to_owned(), ..BuildkitVersion::default() };
        WorkerRecord {
            id: "abc".to_owned(),
            labels: [("a.b", "1"), ("a.longer", "2")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            platforms: vec![platform("amd64", ""), platform("amd64", "v2"), platform("386", "")],
            buildkit_version: Some(version),
            ..WorkerRecord::default()
        }
    }

    #[test]
    fn a_table_has_the_builder_and_its_node() {
        let table = list::render(None, &COLUMNS, &MORE, &rows("default", &worker(), true, false));
        let table = table.unwrap();
        let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "NAME/NODE     DRIVER/ENDPOINT   STATUS    BUILDKIT   PLATFORMS",
                "default*      docker",
                " \\_ default    \\_ default       running   v1.2.3     linux/amd64 (+2), linux/386",
            ]
        );
        let whole = rows("x", &worker(), true, true);
        assert_eq!(whole[1]["Platforms"], "linux/amd64, linux/amd64/v2, linux/386");
        let row = list::render(
            Some("{{.Name}} {{.DriverEndpoint}} {{.Status}}{{.Error}}"),
            &COLUMNS,
            &MORE,
            &rows("x", &worker(), false, false),
        );
        assert_eq!(row.unwrap(), "x docker \nx x running\n");
    }

    #[test]
    fn all_of_it_as_json_has_several_names() {
        for format in ["json", "{{json .}}", "{{json . }}", "{{ json . }}"] {
            assert!(is_json(format), "{format}");
        }
        assert!(!is_json("{{json .Name}}") && !is_json("table") && !is_json(""));
    }

    #[test]
    fn many_kinds_are_counted() {
        let all = ["linux/a", "linux/b", "linux/c", "linux/d", "linux/e", "linux/e/v2", "linux/f"];
        let all = all.map(str::to_owned);
        assert_eq!(in_short(&all), "linux/a, linux/b, linux/c, linux/d, (3 more)");
        assert_eq!(in_short(&all[..1]), "linux/a");
        assert_eq!(in_short(&[]), "");
    }

    #[test]
    fn all_of_it_is_told() {
        assert_eq!(
            told("default", &worker()),
            "Name:   default\nDriver: docker\n\nNodes:\nName:             default\n\
             Endpoint:         default\nStatus:           running\nBuildKit version: v1.2.3\n\
             Platforms:        linux/amd64, linux/amd64/v2, linux/386\nLabels:\n a.b:      1\n a.longer: 2\n"
        );
        let value = value("there", &worker());
        assert_eq!((&value["Name"], &value["Driver"]), (&json!("there"), &json!("docker")));
        assert_eq!(value["Nodes"][0]["Labels"], json!({"a.b": "1", "a.longer": "2"}));
        assert_eq!(value["Nodes"][0]["Version"], "v1.2.3");
    }
}
