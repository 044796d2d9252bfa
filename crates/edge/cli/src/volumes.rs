//! Commands on volumes.

use std::io::IsTerminal as _;
use std::path::Path;

use docker::volume::{CreateRequest, ListResponse, Volume};
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::{Value, json};

use crate::args::{ListArgs, VolumeCopyArgs};
use crate::client::{Client, Pieces, empty, encode};
use crate::config;
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};
use crate::{almost, archive, containers, progress, request};

const COLUMNS: &[Column] = &[
    Column { field: "Driver", header: "DRIVER" },
    Column { field: "Name", header: "VOLUME NAME" },
];
const MORE: &[Column] = &[
    Column { field: "Scope", header: "SCOPE" },
    Column { field: "Mountpoint", header: "MOUNTPOINT" },
    Column { field: "Labels", header: "LABELS" },
    Column { field: "Links", header: "LINKS" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Availability", header: "AVAILABILITY" },
    Column { field: "Group", header: "GROUP" },
    Column { field: "Status", header: "STATUS" },
];
/// `--format raw`.
pub(crate) const RAW: &str = "name: {{.Name}}\ndriver: {{.Driver}}\n";
/// What a volume of this machine has not (the last three are those of a cluster), or was not asked for.
const NONE: &str = "N/A";

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
    let format = config::format(args.format.as_deref(), &config::get().volumes_format);
    if args.quiet {
        let before = list::quiet(format, "name: ");
        for volume in &answer.volumes {
            println!("{before}{}", volume.name);
        }
        return Ok(0);
    }
    let rows: Vec<Value> = answer.volumes.iter().map(row).collect();
    list::print(list::or_raw(format, RAW), COLUMNS, MORE, &rows)
}

/// One volume's row.
pub(crate) fn row(volume: &Volume) -> Value {
    let usage = volume.usage_data.as_ref();
    let row = json!({
        "Driver": volume.driver,
        "Name": volume.name,
        "Scope": volume.scope,
        "Mountpoint": volume.mountpoint,
        "Links": usage.map_or(NONE.to_owned(), |usage| usage.ref_count.to_string()),
        "Size": usage.map_or(NONE.to_owned(), |usage| human::total(usage.size)),
        "Availability": NONE,
        "Group": NONE,
        "Status": NONE,
    });
    list::with_labels(row, volume.labels.iter())
}

/// `volume rm`.
pub(crate) async fn rm(client: &Client, volumes: &[String], force: bool) -> Result<i32> {
    containers::each(volumes, async |name: &str| {
        let path = format!("/volumes/{}?force={}", encode(name), u8::from(force));
        almost::told(client, client.delete(&path).await).await.map(drop)
    })
    .await
}

/// `volume update`. `of_cluster`: what only a volume of a cluster has is to change.
pub(crate) async fn update(
    client: &Client,
    volume: &str,
    labels: &[String],
    without: &[String],
    of_cluster: bool,
) -> Result<i32> {
    if of_cluster || (labels.is_empty() && without.is_empty()) {
        // Whether there is one at all is said first, as Docker's client does.
        client.get::<Volume>(&format!("/volumes/{}", encode(volume))).await?;
        let of_others = "only labels of other volumes can be changed, with --label and --label-rm";
        return Err(Error::Usage(format!("can only update cluster volumes: {of_others}")));
    }
    let path = format!(
        "/dhow/volumes/{}/labels?labels={}&without={}",
        encode(volume),
        encode(&json!(request::key_values(labels)).to_string()),
        encode(&json!(without).to_string()),
    );
    client.call(Method::POST, &path, empty()).await?;
    println!("{volume}");
    Ok(0)
}

/// `volume rename`.
pub(crate) async fn rename(client: &Client, volume: &str, to: &str) -> Result<i32> {
    let path = format!("/dhow/volumes/{}/rename?name={}", encode(volume), encode(to));
    client.call(Method::POST, &path, empty()).await?;
    Ok(0)
}

/// `volume clone` and `volume snapshot`: prints the copy's name.
pub(crate) async fn copy(client: &Client, args: VolumeCopyArgs, snapshot: bool) -> Result<i32> {
    let VolumeCopyArgs { label, no_pause, volume, name } = args;
    let name = name.unwrap_or_else(|| format!("{volume}-{}", stamp()));
    let path = format!(
        "/dhow/volumes/{}/copy?name={}&snapshot={}&pause={}&labels={}",
        encode(&volume),
        encode(&name),
        u8::from(snapshot),
        u8::from(!no_pause),
        encode(&json!(request::key_values(&label)).to_string()),
    );
    client.call(Method::POST, &path, empty()).await?;
    println!("{name}");
    Ok(0)
}

/// `volume restore`: prints the volume's name.
pub(crate) async fn restore(
    client: &Client,
    input: Option<&Path>,
    volume: &str,
    labels: &[String],
    options: &[String],
) -> Result<i32> {
    if input.is_none() && std::io::stdin().is_terminal() {
        return Err(Error::Usage("requested restore from stdin, but stdin is empty".to_owned()));
    }
    let path = format!(
        "/dhow/volumes/{}/archive?labels={}&options={}",
        encode(volume),
        encode(&json!(request::key_values(labels)).to_string()),
        encode(&json!(request::key_values(options)).to_string()),
    );
    let (reader, total) = archive::open(input.unwrap_or(Path::new("-")))?;
    let progress = progress::Bytes::new("restoring", total);
    let body = Pieces(archive::read_on_a_thread(reader, progress)).boxed();
    client.call(Method::POST, &path, body).await?;
    println!("{volume}");
    Ok(0)
}

/// The time as part of a name, UTC: `20260131-235959`.
fn stamp() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs()) as i64;
    let text = docker::timestamp::Timestamp { seconds, nanos: 0 }.to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    format!("{}-{}", &digits[..8], &digits[8..14])
}
