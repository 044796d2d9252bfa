//! `image gc`, `container gc`.

use docker::gc::{Collected, Report};
use serde_json::{Value, json};

use crate::args::GcArgs;
use crate::client::{Client, encode};
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};

const fn columns(id: &'static str) -> [Column; 5] {
    [
        Column { field: "Names", header: "NAMES" },
        Column { field: "ID", header: id },
        Column { field: "Size", header: "SIZE" },
        Column { field: "LastUsed", header: "LAST USED" },
        Column { field: "Reason", header: "REASON" },
    ]
}

/// What is collected.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Images,
    Containers,
}

const TIME: Column = Column { field: "Time", header: "REMOVED" };

/// `image gc`, `container gc`: what goes, or would go, a line each.
pub(crate) async fn gc(client: &Client, args: &GcArgs, what: What) -> Result<i32> {
    let (path, columns) = match what {
        What::Images => ("/dhow/images/gc", columns("IMAGE ID")),
        What::Containers => ("/dhow/containers/gc", columns("CONTAINER ID")),
    };
    let format = args.format.as_deref();
    if args.log {
        let log: Vec<Collected> = client.get(path).await?;
        let columns = [&[TIME], &columns[..]].concat();
        return list::print(format, &columns, &[], &log.iter().map(row).collect::<Vec<_>>());
    }
    let path = format!("{path}?policy={}&dry-run={}", encode(&policy(args)?), args.dry_run);
    let report: Report = client.post(&path, &json!({})).await?;
    let rows: Vec<Value> = report.removed.iter().map(row).collect();
    if format.is_some() || !rows.is_empty() {
        list::print(format, &columns, &[TIME], &rows)?;
    }
    for unmet in &report.unmet {
        eprintln!("{unmet}: what is left is in use, or stays by the policy");
    }
    if format.is_none() {
        let bytes = human::size(i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX));
        let what =
            if report.dry_run { "Space that would be reclaimed" } else { "Total reclaimed space" };
        println!("{what}: {bytes}");
    }
    Ok(0)
}

/// The policy in the words that the engine reads.
fn policy(args: &GcArgs) -> Result<String> {
    let given = [
        ("max-age", args.max_age.as_deref()),
        ("max-size", args.max_size.as_deref()),
        ("min-free", args.min_free.as_deref()),
        ("min-age", Some(args.min_age.as_str())),
    ];
    let mut words: Vec<String> = Vec::new();
    for (key, value) in given {
        words.extend(value.map(|value| format!("{key}={value}")));
    }
    words.extend(args.filter.iter().map(|filter| format!("filter={filter}")));
    if let Some(word) = words.iter().find(|word| word.contains(',')) {
        return Err(Error::Usage(format!("`{word}`: no comma can be in it")));
    }
    Ok(words.join(","))
}

fn row(collected: &Collected) -> Value {
    let names = match collected.names.join(", ") {
        names if names.is_empty() => "<none>".to_owned(),
        names => names,
    };
    let id = collected.id.trim_start_matches("sha256:");
    json!({
        "Time": moment(&collected.time),
        "Names": human::printable(&names),
        "ID": id.get(..12).unwrap_or(id),
        "Size": human::size(i64::try_from(collected.size).unwrap_or(i64::MAX)),
        "LastUsed": moment(&collected.last_used),
        "Reason": collected.reason,
    })
}

/// A time to the second.
fn moment(time: &str) -> String {
    match docker::timestamp::Timestamp::parse(time) {
        Ok(time) => human::date(time.seconds),
        Err(_) => time.to_owned(),
    }
}
