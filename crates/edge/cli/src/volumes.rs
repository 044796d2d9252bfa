//! Commands on volumes.

use docker::volume::{CreateRequest, ListResponse, Volume};
use serde_json::{Value, json};

use crate::args::ListArgs;
use crate::client::{Client, encode};
use crate::containers;
use crate::error::Result;
use crate::list::{self, Column};
use crate::request;

const COLUMNS: &[Column] = &[
    Column { field: "Driver", header: "DRIVER" },
    Column { field: "Name", header: "VOLUME NAME" },
];
const MORE: &[Column] = &[
    Column { field: "Scope", header: "SCOPE" },
    Column { field: "Mountpoint", header: "MOUNTPOINT" },
    Column { field: "Labels", header: "LABELS" },
];

/// `volume create`: prints the volume's name.
pub(crate) async fn create(
    client: &Client,
    name: Option<String>,
    driver: String,
    labels: &[String],
    options: &[String],
) -> Result<i32> {
    let request = CreateRequest {
        name: name.unwrap_or_default(),
        driver,
        driver_opts: request::key_values(options).into(),
        labels: request::key_values(labels).into(),
    };
    let volume: Volume = client.post("/volumes/create", &request).await?;
    println!("{}", volume.name);
    Ok(0)
}

/// `volume ls`.
pub(crate) async fn list(client: &Client, args: &ListArgs) -> Result<i32> {
    let filters = request::filters(&args.filter)?;
    let path = format!("/volumes?filters={}", encode(&filters.to_json()));
    let answer: ListResponse = client.get(&path).await?;
    for warning in &answer.warnings {
        eprintln!("WARNING: {warning}");
    }
    if args.quiet {
        for volume in &answer.volumes {
            println!("{}", volume.name);
        }
        return Ok(0);
    }
    let rows: Vec<Value> = answer
        .volumes
        .iter()
        .map(|volume| {
            json!({
                "Driver": volume.driver,
                "Name": volume.name,
                "Scope": volume.scope,
                "Mountpoint": volume.mountpoint,
                "Labels": volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
            })
        })
        .collect();
    list::print(args.format.as_deref(), COLUMNS, MORE, &rows)
}

/// `volume rm`.
pub(crate) async fn rm(client: &Client, volumes: &[String], force: bool) -> Result<i32> {
    containers::each(volumes, async |name: &str| {
        client
            .delete(&format!("/volumes/{}?force={}", encode(name), u8::from(force)))
            .await
            .map(drop)
    })
    .await
}
