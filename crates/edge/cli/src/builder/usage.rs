//! What the cache of builds holds (`builder du`), and its removal (`builder prune`).

use buildkit::control::{DiskUsageRequest, PruneRequest, UsageRecord};
use buildkit::prost_types::Timestamp;
use docker::{timestamp, units};
use serde_json::{Value, json};

use crate::args::{BuilderDuArgs, BuilderPruneArgs};
use crate::build::{control, refused};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::format::{human, table};
use crate::list::{self, Column};
use crate::prune::confirmed;

const COLUMNS: [Column; 4] = [
    Column { field: "ID", header: "ID" },
    Column { field: "Reclaimable", header: "RECLAIMABLE" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "LastUsedAt", header: "LAST ACCESSED" },
];
const MORE: [Column; 7] = [
    Column { field: "Parents", header: "PARENTS" },
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "Mutable", header: "MUTABLE" },
    Column { field: "Shared", header: "SHARED" },
    Column { field: "Description", header: "DESCRIPTION" },
    Column { field: "UsageCount", header: "USAGE COUNT" },
    Column { field: "Type", header: "TYPE" },
];

/// `builder du`.
pub(super) async fn du(client: &Client, args: &BuilderDuArgs) -> Result<i32> {
    let (filter, age) = filters(&args.filter)?;
    let mut control = control(client).await?;
    let answer = control.disk_usage(DiskUsageRequest { filter, age_limit: age }).await;
    let mut records = answer.map_err(|status| refused(&status))?.into_inner().record;
    records.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let format = if args.verbose { Some("pretty") } else { args.format.as_deref() };
    match format {
        Some("pretty") => {
            let all: String = records.iter().map(pretty).collect();
            print!("{all}{}", totals(&records));
        }
        None | Some("" | "table") => {
            print!("{}{}", rows(&records, true), totals(&records));
        }
        Some(format) => {
            let rows: Vec<Value> = records.iter().map(value).collect();
            return list::print(Some(format), &COLUMNS, &MORE, &rows);
        }
    }
    Ok(0)
}

/// `builder prune`.
pub(super) async fn prune(client: &Client, args: &BuilderPruneArgs) -> Result<i32> {
    let (filter, keep_duration) = filters(&args.filter)?;
    let what = if args.all { "all build cache" } else { "all dangling build cache" };
    if !args.force && !confirmed(&format!("WARNING! This will remove {what}."))? {
        return Ok(0);
    }
    let space = |flag: &str, text: &Option<String>| match text {
        None => Ok(0),
        Some(text) => {
            units::ram_in_bytes(text).map_err(|err| Error::Usage(format!("--{flag} {text}: {err}")))
        }
    };
    let kept = args.reserved_space.clone().or(args.keep_storage.clone());
    let request = PruneRequest {
        filter,
        all: args.all,
        keep_duration,
        reserved_space: space("reserved-space", &kept)?,
        max_used_space: space("max-used-space", &args.max_used_space)?,
        min_free_space: space("min-free-space", &args.min_free_space)?,
    };
    let mut control = control(client).await?;
    let answer = control.prune(request).await.map_err(|status| refused(&status))?;
    let mut removed = answer.into_inner();
    let (mut total, mut is_first) = (0_i64, true);
    while let Some(record) = removed.message().await.map_err(|status| refused(&status))? {
        total = total.saturating_add(record.size);
        let shown = std::slice::from_ref(&record);
        print!("{}", if args.verbose { pretty(&record) } else { rows(shown, is_first) });
        is_first = false;
    }
    println!("Total:\t{}", human::size(total));
    Ok(0)
}

/// Filters as the control service has them, and the age in nanoseconds that `until` says.
fn filters(all: &[String]) -> Result<(Vec<String>, i64)> {
    let (mut filters, mut age) = (Vec::new(), 0);
    for text in all {
        let Some((key, value)) = text.split_once('=') else {
            filters.push(text.clone());
            continue;
        };
        match key {
            "until" | "unused-for" => {
                age = units::parse_duration(value)
                    .map_err(|err| Error::Usage(format!("--filter {text}: {err}")))?;
            }
            "id" => filters.push(format!("id~={value}")),
            key if key.ends_with(['!', '~']) => filters.push(text.clone()),
            key => filters.push(format!("{key}=={value}")),
        }
    }
    Ok((filters, age))
}

fn ago(time: Option<&Timestamp>) -> String {
    time.map(|time| human::ago(time.seconds)).unwrap_or_default()
}

fn rows(records: &[UsageRecord], with_header: bool) -> String {
    let mut cells = Vec::new();
    if with_header {
        cells.push(COLUMNS.map(|column| column.header.to_owned()).to_vec());
    }
    cells.extend(records.iter().map(|record| {
        let value = value(record);
        COLUMNS.map(|column| list::text(&value[column.field])).to_vec()
    }));
    table::render(&cells)
}

fn value(record: &UsageRecord) -> Value {
    let star = |is_so: bool| if is_so { "*" } else { "" };
    json!({
        "ID": format!("{}{}", human::printable(&record.id), star(record.mutable)),
        "Parents": parents(record).join(","),
        "CreatedAt": created(record),
        "Mutable": record.mutable,
        "Reclaimable": !record.in_use,
        "Shared": record.shared,
        "Size": format!("{}{}", human::size(record.size), star(record.shared)),
        "Description": human::printable(&record.description),
        "UsageCount": record.usage_count,
        "LastUsedAt": ago(record.last_used_at.as_ref()),
        "Type": human::printable(&record.record_type),
    })
}

fn created(record: &UsageRecord) -> String {
    let time = record.created_at.unwrap_or_default();
    let nanos = time.nanos.clamp(0, 999_999_999) as u32;
    let text = timestamp::Timestamp { seconds: time.seconds, nanos }.to_string();
    format!("{} +0000 UTC", text.trim_end_matches('Z').replace('T', " "))
}

fn parents(record: &UsageRecord) -> Vec<String> {
    record.parents.iter().map(|id| human::printable(id)).collect()
}

fn pretty(record: &UsageRecord) -> String {
    let mut out = format!("ID:\t\t{}\n", human::printable(&record.id));
    let parents = parents(record);
    if !parents.is_empty() {
        out += "Parents:\n";
        out += &parents.iter().map(|id| format!(" - {id}\n")).collect::<String>();
    }
    let fields = [
        ("Created at:\t", created(record)),
        ("Mutable:\t", record.mutable.to_string()),
        ("Reclaimable:\t", (!record.in_use).to_string()),
        ("Shared:\t\t", record.shared.to_string()),
        ("Size:\t\t", human::size(record.size)),
        ("Description:\t", human::printable(&record.description)),
        ("Usage count:\t", record.usage_count.to_string()),
        ("Last used:\t", ago(record.last_used_at.as_ref())),
        ("Type:\t\t", human::printable(&record.record_type)),
    ];
    let shown = fields.iter().filter(|(_, value)| !value.is_empty());
    out + &shown.map(|(name, value)| format!("{name}{value}\n")).collect::<String>() + "\n"
}

fn totals(records: &[UsageRecord]) -> String {
    let sum = |wanted: &dyn Fn(&UsageRecord) -> bool| {
        let sizes = records.iter().filter(|record| wanted(record)).map(|record| record.size);
        human::size(sizes.fold(0, i64::saturating_add))
    };
    let shared = if records.iter().any(|record| record.shared) {
        format!("Shared:\t\t{}\nPrivate:\t{}\n", sum(&|one| one.shared), sum(&|one| !one.shared))
    } else {
        String::new()
    };
    format!("{shared}Reclaimable:\t{}\nTotal:\t\t{}\n", sum(&|one| !one.in_use), sum(&|_| true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn filters_are_containerds() {
        let all =
            ["until=24h", "id=abc", "type=regular", "type!=internal", "inuse", "description~=x"];
        let all = all.map(str::to_owned);
        let (filters, age) = filters(&all).unwrap();
        assert_eq!(age, 24 * 3600 * 1_000_000_000);
        let want = ["id~=abc", "type==regular", "type!=internal", "inuse", "description~=x"];
        assert_eq!(filters, want);
        assert!(super::filters(&["until=soon".to_owned()]).is_err());
    }

    #[test]
    fn records_are_rows() {
        let record = UsageRecord {
            id: "abc".into(),
            mutable: true,
            size: 1_500_000,
            shared: true,
            description: "[1/2] RUN\x1b".into(),
            ..UsageRecord::default()
        };
        expect![[r"
            ID        RECLAIMABLE   SIZE      LAST ACCESSED
            abc*      true          1.5MB*    
            Shared:		1.5MB
            Private:	0B
            Reclaimable:	1.5MB
            Total:		1.5MB
        "]]
        .assert_eq(&(rows(std::slice::from_ref(&record), true) + &totals(&[record])));
    }
}
