//! Files of a container: what changed, all of them, some of them.

use std::io::{BufWriter, Write};

use containers::Archive;
use docker::container::PathStat;
use hyper::StatusCode;

use crate::{
    call::{Call, Reply, empty, ok, reply, with_header},
    error::Error,
    http::{
        body::{BodyWriter, pieces},
        connection::Answer,
    },
};

/// Where clients find what is at the path, as JSON in base64.
const STAT_HEADER: &str = "X-Docker-Container-Path-Stat";
/// How much is collected before a piece of an archive is sent.
const PIECE_BYTES: usize = 64 << 10;

/// `GET /containers/ID/changes`
pub(crate) async fn changes(call: Call) -> Reply {
    let id = call.id.clone();
    let changes = call.engine(move |engine| engine.changes(&id)).await?;
    // As `dockerd`: no change is `null`.
    if changes.is_empty() { ok(&()) } else { ok(&changes) }
}

/// `GET /containers/ID/export`
pub(crate) async fn export(call: Call) -> Reply {
    let id = call.id.clone();
    let archive = call
        .engine(move |engine| {
            let archive = engine.export(&id)?;
            engine.tell_of_container(&id, "export");
            Ok::<_, Error>(archive)
        })
        .await?;
    Ok(stream(archive, "application/octet-stream"))
}

/// `GET /containers/ID/archive`
pub(crate) async fn get(call: Call) -> Reply {
    let (id, path) = place(&call)?;
    let archive = call
        .engine(move |engine| {
            let archive = engine.archive(&id, &path)?;
            engine.tell_of_container(&id, "archive-path");
            Ok::<_, Error>(archive)
        })
        .await?;
    let stat = stat_header(&archive.stat)?;
    Ok(with_header(stream(archive, "application/x-tar"), STAT_HEADER, &stat))
}

/// `HEAD /containers/ID/archive`
pub(crate) async fn head(call: Call) -> Reply {
    let (id, path) = place(&call)?;
    let stat = call.engine(move |engine| engine.path_stat(&id, &path)).await?;
    Ok(with_header(empty(StatusCode::OK)?, STAT_HEADER, &stat_header(&stat)?))
}

/// `PUT /containers/ID/archive`
pub(crate) async fn put(mut call: Call) -> Reply {
    let (id, path) = place(&call)?;
    let keep_kinds = call.query.bool("noOverwriteDirNonDir");
    let to_user = call.query.bool("copyUIDGID");
    let mut archive = call.reader();
    call.engine(move |engine| {
        engine.extract(&id, &path, keep_kinds, to_user, &mut archive)?;
        engine.tell_of_container(&id, "extract-to-dir");
        Ok::<_, Error>(())
    })
    .await?;
    empty(StatusCode::OK)
}

fn place(call: &Call) -> Result<(String, String), Error> {
    match call.query.text("path") {
        "" => Err(Error::invalid("bad parameter: path cannot be empty")),
        path => Ok((call.id.clone(), path.to_owned())),
    }
}

fn stat_header(stat: &PathStat) -> Result<String, Error> {
    let json = serde_json::to_vec(stat).map_err(|err| Error::internal(err.to_string()))?;
    Ok(data_encoding::BASE64.encode(&json))
}

pub(crate) fn stream(archive: Archive, content_type: &'static str) -> Answer {
    let (sender, body) = pieces();
    tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, BodyWriter::new(sender));
        if archive.write(&mut out).is_err() || out.flush().is_err() {
            out.into_parts().0.break_off();
        }
    });
    reply(StatusCode::OK, content_type, body)
}
