//! `system df`.

use docker::image::Summary;
use docker::volume::Volume;
use docker::{ContainerSummary, List};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::DfArgs;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};
use crate::{images, ps};

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
    Column { field: "Written", header: "SIZE" },
    Column { field: "RunningFor", header: "CREATED" },
    Column { field: "Status", header: "STATUS" },
    Column { field: "Names", header: "NAMES" },
];
const VOLUMES: &[Column] = &[
    Column { field: "Name", header: "VOLUME NAME" },
    Column { field: "Links", header: "LINKS" },
    Column { field: "Size", header: "SIZE" },
];

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
}

/// `system df`.
pub(crate) async fn df(client: &Client, args: &DfArgs) -> Result<i32> {
    if client.api_version().split('.').nth(1).and_then(|minor| minor.parse().ok()) < Some(52) {
        let why = "system df of an engine whose API is older than 1.52";
        return Err(Error::Unsupported(why.into()));
    }
    let usage: DiskUsage = client.get(&format!("/system/df?verbose={}", args.verbose)).await?;
    if args.verbose {
        return verbose(&usage);
    }
    let rows = [
        row("Images", &usage.images),
        row("Containers", &usage.containers),
        row("Local Volumes", &usage.volumes),
    ];
    list::print(args.format.as_deref(), COLUMNS, &[], &rows)
}

fn row<T>(kind: &str, usage: &Usage<T>) -> Value {
    let mut reclaimable = human::size(usage.reclaimable);
    if usage.total_size > 0 {
        reclaimable.push_str(&format!(" ({}%)", usage.reclaimable * 100 / usage.total_size));
    }
    json!({
        "Type": kind,
        "TotalCount": usage.total_count.to_string(),
        "Active": usage.active_count.to_string(),
        "Size": human::size(usage.total_size),
        "Reclaimable": reclaimable,
    })
}

fn verbose(usage: &DiskUsage) -> Result<i32> {
    println!("Images space usage:\n");
    let rows: Vec<Value> =
        usage.images.items.iter().flat_map(|image| images::rows(image, false)).collect();
    list::print(None, IMAGES, &[], &rows)?;
    println!("\nContainers space usage:\n");
    let rows: Vec<Value> = usage
        .containers
        .items
        .iter()
        .map(|container| {
            let mut row = ps::row(container, false);
            row["Written"] = human::size(container.size_rw.unwrap_or(0)).into();
            row
        })
        .collect();
    list::print(None, CONTAINERS, &[], &rows)?;
    println!("\nLocal Volumes space usage:\n");
    let rows: Vec<Value> = usage
        .volumes
        .items
        .iter()
        .map(|volume| {
            let data = volume.usage_data.clone().unwrap_or_default();
            json!({
                "Name": volume.name,
                "Links": data.ref_count.to_string(),
                "Size": human::size(data.size),
            })
        })
        .collect();
    list::print(None, VOLUMES, &[], &rows)
}
