//! `system df`.

use docker::image::Summary;
use docker::system::BuildCache;
use docker::timestamp::Timestamp;
use docker::volume::Volume;
use docker::{ContainerSummary, List};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::DfArgs;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::format::human;
use crate::format::template::Template;
use crate::list::{self, Column};
use crate::{images, ps, volumes};

const COLUMNS: &[Column] = &[
    Column { field: "Type", header: "TYPE" },
    Column { field: "TotalCount", header: "TOTAL" },
    Column { field: "Active", header: "ACTIVE" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Reclaimable", header: "RECLAIMABLE" },
];
const IMAGES: &[Column] = &[
    Column { field: "Repository", header: "REPOSITORY" },
    Column { field: "Tag", header: "TAG" },
    Column { field: "ID", header: "IMAGE ID" },
    Column { field: "CreatedSince", header: "CREATED" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "SharedSize", header: "SHARED SIZE" },
    Column { field: "UniqueSize", header: "UNIQUE SIZE" },
    Column { field: "Containers", header: "CONTAINERS" },
];
const CONTAINERS: &[Column] = &[
    Column { field: "ID", header: "CONTAINER ID" },
    Column { field: "Image", header: "IMAGE" },
    Column { field: "Command", header: "COMMAND" },
    Column { field: "LocalVolumes", header: "LOCAL VOLUMES" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "RunningFor", header: "CREATED" },
    Column { field: "Status", header: "STATUS" },
    Column { field: "Names", header: "NAMES" },
];
const VOLUMES: &[Column] = &[
    Column { field: "Name", header: "VOLUME NAME" },
    Column { field: "Links", header: "LINKS" },
    Column { field: "Size", header: "SIZE" },
];

const BUILD_CACHE: &[Column] = &[
    Column { field: "ID", header: "CACHE ID" },
    Column { field: "CacheType", header: "CACHE TYPE" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "CreatedSince", header: "CREATED" },
    Column { field: "LastUsedSince", header: "LAST USED" },
    Column { field: "UsageCount", header: "USAGE" },
    Column { field: "Shared", header: "SHARED" },
];

/// `--format raw`.
const RAW: &str = "type: {{.Type}}
total: {{.TotalCount}}
active: {{.Active}}
size: {{.Size}}
reclaimable: {{.Reclaimable}}
";
/// That of a record of the cache of builds.
const RAW_BUILD_CACHE: &str = "build_cache_id: {{.ID}}
parent_id: {{.Parent}}
build_cache_type: {{.CacheType}}
description: {{.Description}}
created_at: {{.CreatedAt}}
created_since: {{.CreatedSince}}
last_used_at: {{.LastUsedAt}}
last_used_since: {{.LastUsedSince}}
usage_count: {{.UsageCount}}
in_use: {{.InUse}}
shared: {{.Shared}}
";

/// Of the id of a record, where it is not shown whole.
const ID_WIDTH: usize = 12;

/// One kind of thing, as `GET /system/df` has it since v1.52.
#[derive(Debug, Default, Deserialize)]
#[serde(
    rename_all = "PascalCase",
    default,
    bound(deserialize = "T: Deserialize<'de> + Default + Clone")
)]
struct Usage<T> {
    active_count: i64,
    total_count: i64,
    reclaimable: i64,
    total_size: i64,
    items: List<T>,
}

#[derive(Debug, Default, Deserialize)]
struct DiskUsage {
    #[serde(rename = "ImageUsage")]
    images: Usage<Summary>,
    #[serde(rename = "ContainerUsage")]
    containers: Usage<ContainerSummary>,
    #[serde(rename = "VolumeUsage")]
    volumes: Usage<Volume>,
    #[serde(rename = "BuildCacheUsage")]
    build_cache: Usage<BuildCache>,
}

/// `system df`.
pub(crate) async fn df(client: &Client, args: &DfArgs) -> Result<i32> {
    if client.api_version().split('.').nth(1).and_then(|minor| minor.parse().ok()) < Some(52) {
        let why = "system df of an engine whose API is older than 1.52";
        return Err(Error::Unsupported(why.into()));
    }
    let usage: DiskUsage = client.get(&format!("/system/df?verbose={}", args.verbose)).await?;
    if args.verbose {
        return verbose(&usage, args.format.as_deref());
    }
    let rows = [
        row("Images", &usage.images),
        row("Containers", &usage.containers),
        row("Local Volumes", &usage.volumes),
        row("Build Cache", &usage.build_cache),
    ];
    list::print(list::or_raw(args.format.as_deref(), RAW), COLUMNS, &[], &rows)
}

fn row<T>(kind: &str, usage: &Usage<T>) -> Value {
    let mut reclaimable = human::total(usage.reclaimable);
    if usage.total_size > 0 {
        reclaimable.push_str(&format!(" ({}%)", usage.reclaimable * 100 / usage.total_size));
    }
    json!({
        "Type": kind,
        "TotalCount": usage.total_count.to_string(),
        "Active": usage.active_count.to_string(),
        "Size": human::total(usage.total_size),
        "Reclaimable": reclaimable,
    })
}

/// All that there is, one by one: as tables, or as one value with a list for each kind.
fn verbose(usage: &DiskUsage, format: Option<&str>) -> Result<i32> {
    let is_table = matches!(format, None | Some("" | "table"));
    let mut images: Vec<Value> =
        usage.images.items.iter().flat_map(|image| images::rows(image, !is_table)).collect();
    // Not among what Docker tells of an image here.
    for image in &mut images {
        image["Digest"] = "".into();
    }
    let containers: Vec<Value> = usage
        .containers
        .items
        .iter()
        .map(|container| {
            let mut row = ps::row(container, !is_table);
            row["Size"] = human::size(container.size_rw.unwrap_or(0)).into();
            row
        })
        .collect();
    let volumes: Vec<Value> = usage.volumes.items.iter().map(volumes::row).collect();
    let build_cache: Vec<Value> =
        usage.build_cache.items.iter().map(|one| cached(one, !is_table)).collect();
    if !is_table {
        let all = json!({
            "Images": list::shown(&images),
            "Containers": list::shown(&containers),
            "Volumes": list::shown(&volumes),
            "BuildCache": build_cache,
        });
        // Without a line break at the end, as in Docker.
        if format == Some("json") {
            print!("{all}");
        } else {
            let raw = raw_of_all();
            let format = list::or_raw(format, &raw).unwrap_or_default();
            print!("{}", Template::parse_row(format)?.render(&all)?);
        }
        return Ok(0);
    }
    println!("Images space usage:\n");
    list::print(None, IMAGES, &[], &images)?;
    println!("\nContainers space usage:\n");
    list::print(None, CONTAINERS, &[], &containers)?;
    println!("\nLocal Volumes space usage:\n");
    list::print(None, VOLUMES, &[], &volumes)?;
    println!("\nBuild cache usage: {}\n", human::total(usage.build_cache.total_size));
    list::print(None, BUILD_CACHE, &[], &build_cache)
}

/// `--format raw` of all that there is.
fn raw_of_all() -> String {
    let kinds = [
        ("Images", "Image", images::RAW_WITH_DIGEST),
        ("Containers", "Container", ps::RAW_WITH_SIZE),
        ("Volumes", "Volume", volumes::RAW),
        ("BuildCache", "Build Cache", RAW_BUILD_CACHE),
    ];
    let of = |(field, kind, raw): (&str, &str, &str)| {
        format!("{{{{range .{field}}}}}type: {kind}\n{raw}\n{{{{end -}}}}\n")
    };
    kinds.map(of).concat().trim_end().to_owned()
}

/// A record of the cache of builds.
fn cached(record: &BuildCache, whole: bool) -> Value {
    let ago = |time: &str| {
        Timestamp::parse(time).map_or_else(|_| String::new(), |at| human::ago(at.seconds))
    };
    let id = if whole { &record.id[..] } else { record.id.get(..ID_WIDTH).unwrap_or(&record.id) };
    let last_used = record.last_used_at.as_deref().unwrap_or_default();
    json!({
        "ID": id,
        "Parent": record.parents.join(","),
        "CacheType": record.kind,
        "Description": record.description,
        "InUse": record.in_use.to_string(),
        "Shared": record.shared.to_string(),
        "Size": human::size(record.size),
        "CreatedAt": human::go_time(&record.created_at),
        "CreatedSince": ago(&record.created_at),
        "LastUsedAt": human::go_time(last_used),
        "LastUsedSince": ago(last_used),
        "UsageCount": record.usage_count.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_have_four_digits_and_the_cache_of_builds_is_among_them() {
        let usage = Usage::<BuildCache> {
            active_count: 1,
            total_count: 2,
            reclaimable: 4096,
            total_size: 16_384,
            ..Usage::default()
        };
        assert_eq!(
            row("Build Cache", &usage),
            json!({"Type": "Build Cache", "TotalCount": "2", "Active": "1", "Size": "16.38kB",
                   "Reclaimable": "4.096kB (25%)"})
        );
    }

    #[test]
    fn all_that_there_is_one_below_the_other() {
        let all = json!({
            "Images": [], "Containers": [],
            "Volumes": [{"Name": "a", "Driver": "local"}, {"Name": "b", "Driver": "local"}],
            "BuildCache": [cached(&BuildCache { id: "x".into(), ..BuildCache::default() }, true)],
        });
        let text = Template::parse_row(&raw_of_all()).unwrap().render(&all).unwrap();
        let volumes =
            "type: Volume\nname: a\ndriver: local\n\ntype: Volume\nname: b\ndriver: local\n\n";
        assert!(text.starts_with(volumes), "{text}");
        assert!(text.contains("\n\ntype: Build Cache\nbuild_cache_id: x\nparent_id: \n"), "{text}");
        assert!(text.ends_with("in_use: false\nshared: false\n\n"), "{text}");
    }

    #[test]
    fn a_record_is_told_of() {
        let record = BuildCache {
            id: "0123456789abcdef".into(),
            kind: "regular".into(),
            size: 1_982_000,
            created_at: "2000-01-01T00:00:00Z".into(),
            usage_count: 3,
            ..BuildCache::default()
        };
        let (row, whole) = (cached(&record, false), cached(&record, true));
        assert_eq!(
            (&row["ID"], &whole["ID"]),
            (&json!("0123456789ab"), &json!("0123456789abcdef"))
        );
        assert_eq!((&row["Size"], &row["LastUsedSince"]), (&json!("1.98MB"), &json!("")));
        assert!(row["CreatedSince"].as_str().unwrap().ends_with(" years ago"));
    }
}
