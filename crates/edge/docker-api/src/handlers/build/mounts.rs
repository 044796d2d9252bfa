//! Cache mounts (`RUN --mount=type=cache`): which there are, taking one elsewhere and bringing one here.

use std::io::{BufWriter, Write as _};
use std::sync::Arc;

use ::build::{Builder, CacheMount, CacheMountName};
use docker::dhow;
use docker::timestamp::Timestamp;
use hyper::StatusCode;

use crate::call::{Call, Reply, blocking, ok, reply};
use crate::error::{Error, chain};
use crate::http::body::{BodyWriter, pieces};

/// How much is collected before a piece of an archive is sent.
const PIECE_BYTES: usize = 64 << 10;

/// `GET /dhow/cache-mounts`
pub(crate) async fn list(call: Call) -> Reply {
    let all = with_builder(&call, Builder::cache_mounts).await?;
    ok(&all.into_iter().map(shown).collect::<Vec<_>>())
}

/// `GET /dhow/cache-mounts/archive?id=ID[&uid=N][&gid=N][&mode=OCTAL]`
pub(crate) async fn export(call: Call) -> Reply {
    let name = name(&call)?;
    let archive = with_builder(&call, move |builder| builder.export_cache_mount(&name)).await?;
    let (sender, body) = pieces();
    tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, BodyWriter::new(sender));
        if archive.write(&mut out).is_err() || out.flush().is_err() {
            out.into_parts().0.break_off();
        }
    });
    Ok(reply(StatusCode::OK, "application/x-tar", body))
}

/// `POST /dhow/cache-mounts/archive?id=ID[&uid=N][&gid=N][&mode=OCTAL]`: the body, a tar archive, takes the
/// place of what is in it. Answers with its name in the build cache.
pub(crate) async fn import(mut call: Call) -> Reply {
    let name = name(&call)?;
    let mut archive = call.reader();
    let import = move |builder: &Builder| builder.import_cache_mount(&name, &mut archive);
    let record = with_builder(&call, import).await?;
    ok(&docker::IdResponse { id: record })
}

/// `DELETE /dhow/cache-mounts?id=ID[&uid=N][&gid=N][&mode=OCTAL]`: all of that name.
pub(crate) async fn remove(call: Call) -> Reply {
    let name = name(&call)?;
    let gone = with_builder(&call, move |builder| builder.remove_cache_mounts(&name)).await?;
    ok(&gone.into_iter().map(shown).collect::<Vec<_>>())
}

async fn with_builder<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce(&Builder) -> Result<T, ::build::Error> + Send + 'static,
) -> Result<T, Error> {
    let Some(upgrades) = call.upgrades.clone() else {
        return Err(Error::not_there_yet("building images"));
    };
    blocking(move || {
        let builder: Arc<Builder> = upgrades.builder().map_err(Error::internal)?;
        work(&builder).map_err(refused)
    })
    .await
}

fn refused(error: ::build::Error) -> Error {
    use ::build::Error as Why;
    match error {
        Why::NotFound(text) => Error::not_found(text),
        Why::InUse(text) => containers::Error::Conflict(text).into(),
        Why::Invalid(text) => Error::invalid(text),
        Why::Archive(error) => containers::Error::from(error).into(),
        other => Error::internal(chain(&other)),
    }
}

fn name(call: &Call) -> Result<CacheMountName, Error> {
    let number = |key: &str, radix: u32| match call.query.text(key) {
        "" => Ok(None),
        text => u32::from_str_radix(text, radix)
            .map(Some)
            .map_err(|error| Error::invalid(format!("{key}: {text:?} is no number: {error}"))),
    };
    let id = call.query.text("id").to_owned();
    if id.is_empty() {
        return Err(Error::invalid("the id of a cache mount is missing"));
    }
    let mode = number("mode", 8)?;
    if mode.is_some_and(|mode| mode > 0o7777) {
        return Err(Error::invalid("mode: it has bits that no mode has"));
    }
    Ok(CacheMountName { id, uid: number("uid", 10)?, gid: number("gid", 10)?, mode })
}

fn shown(found: CacheMount) -> dhow::CacheMount {
    let time = |nanos: i64| Timestamp::from_nanos(nanos).to_string();
    dhow::CacheMount {
        id: found.id,
        record: found.record,
        from: found.from,
        uid: found.uid,
        gid: found.gid,
        mode: format!("{:04o}", found.mode),
        in_use: found.in_use,
        size: found.size,
        created_at: time(found.created),
        last_used_at: time(found.used),
    }
}
