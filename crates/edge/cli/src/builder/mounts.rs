//! Cache mounts (`builder cache-mount`).

use std::io::IsTerminal as _;
use std::path::Path;

use docker::dhow::CacheMount;
use docker::timestamp::Timestamp;
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::{Value, json};

use crate::args::{CacheMountCommand, CacheMountLook};
use crate::client::{Client, Pieces, encode};
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};
use crate::{archive, containers, cp, progress};

const COLUMNS: [Column; 5] = [
    Column { field: "ID", header: "ID" },
    Column { field: "Owner", header: "OWNER" },
    Column { field: "Mode", header: "MODE" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "LastUsed", header: "LAST USED" },
];
const MORE: [Column; 5] = [
    Column { field: "Record", header: "RECORD" },
    Column { field: "From", header: "FROM" },
    Column { field: "InUse", header: "IN USE" },
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "LastUsedAt", header: "LAST USED AT" },
];

/// `builder cache-mount ...`.
pub(super) async fn run(client: &Client, command: CacheMountCommand) -> Result<i32> {
    match command {
        CacheMountCommand::Ls { format, quiet } => ls(client, format.as_deref(), quiet).await,
        CacheMountCommand::Export { output, look, id } => {
            let file = output.as_deref().filter(|file| *file != Path::new("-"));
            archive::fetch(client, &path(&id, &look), file).await
        }
        CacheMountCommand::Import { input, look, id } => {
            import(client, input.as_deref().unwrap_or(Path::new("-")), &path(&id, &look)).await?;
            println!("{id}");
            Ok(0)
        }
        CacheMountCommand::Rm { ids } => {
            containers::each(&ids, async |id: &str| {
                client.delete(&format!("/dhow/cache-mounts?id={}", encode(id))).await.map(drop)
            })
            .await
        }
    }
}

/// Where the engine has a cache mount.
pub(crate) fn path(id: &str, look: &CacheMountLook) -> String {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let said = [("uid", number(look.uid)), ("gid", number(look.gid)), ("mode", look.mode.clone())];
    let said = said.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let more = said.map(|(key, value)| format!("&{key}={}", encode(&value)));
    format!("/dhow/cache-mounts/archive?id={}{}", encode(id), more.collect::<String>())
}

async fn ls(client: &Client, format: Option<&str>, quiet: bool) -> Result<i32> {
    let all: Vec<CacheMount> = client.get("/dhow/cache-mounts").await?;
    if quiet {
        for one in &all {
            println!("{}", human::printable(&one.id));
        }
        return Ok(0);
    }
    let rows: Vec<Value> = all.iter().map(row).collect();
    list::print(format, &COLUMNS, &MORE, &rows)
}

fn row(one: &CacheMount) -> Value {
    let used = Timestamp::parse(&one.last_used_at).map(|time| human::ago(time.seconds));
    json!({
        "ID": human::printable(&one.id),
        "Owner": format!("{}:{}", one.uid, one.gid),
        "Mode": one.mode,
        "Size": human::size(i64::try_from(one.size).unwrap_or(i64::MAX)),
        "LastUsed": used.unwrap_or_default(),
        "Record": one.record,
        "From": one.from,
        "InUse": one.in_use,
        "CreatedAt": one.created_at,
        "LastUsedAt": one.last_used_at,
    })
}

/// Gives a cache mount what is in a directory, or in an archive.
pub(crate) async fn import(client: &Client, input: &Path, path: &str) -> Result<()> {
    if input.is_dir() {
        let (pieces, packing) = cp::pack_directory(input);
        let answer = client.call(Method::POST, path, Pieces(pieces).boxed()).await;
        return match (answer, packing.await) {
            // Whoever refuses reads no further.
            (Err(err @ Error::Api { .. }), Err(Error::Usage(why)))
                if why.contains("broken pipe") =>
            {
                Err(err)
            }
            // What broke the archive is the better news.
            (_, Err(err)) | (Err(err), Ok(())) => Err(err),
            (Ok(_), Ok(())) => Ok(()),
        };
    }
    if input == Path::new("-") && std::io::stdin().is_terminal() {
        return Err(Error::Usage("requested import from stdin, but stdin is empty".to_owned()));
    }
    let (reader, total) = archive::open(input)?;
    let body = Pieces(archive::read_on_a_thread(reader, progress::Bytes::new("importing", total)));
    client.call(Method::POST, path, body.boxed()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_goes_into_the_path() {
        let look = CacheMountLook { uid: Some(7), gid: None, mode: Some("0700".into()) };
        let path = path("/root/.npm", &look);
        assert_eq!(path, "/dhow/cache-mounts/archive?id=%2Froot%2F.npm&uid=7&mode=0700");
    }

    #[test]
    fn a_row_is_for_people() {
        let one = CacheMount {
            id: "a\u{1b}b".into(),
            uid: 7,
            size: 1_500_000,
            mode: "0755".into(),
            ..CacheMount::default()
        };
        let row = row(&one);
        assert_eq!((row["Owner"].as_str(), row["Size"].as_str()), (Some("7:0"), Some("1.5MB")));
        assert!(!row["ID"].as_str().unwrap().contains('\u{1b}'));
    }
}
