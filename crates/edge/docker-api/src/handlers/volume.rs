//! Volumes.

use std::collections::BTreeMap;

use containers::VolumeCopy;
use docker::{
    List,
    filters::Filters,
    volume::{CreateRequest, ListResponse, PruneResponse},
};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    call::{Call, Reply, created, done, ok, parse},
    error::Error,
    handlers::archive,
    swarm::NO_MANAGER,
    version::Version,
};

/// From here on `prune` spares volumes that have a name, and there are those of a swarm.
const PRUNES_ANONYMOUS: Version = Version(42);

/// `GET /volumes`
pub(crate) async fn list(call: Call) -> Reply {
    let filters = Filters::parse(call.query.text("filters"))
        .map_err(|err| Error::invalid(format!("error reading volume filters: {err}")))?;
    let volumes = call.engine(move |engine| engine.volumes(&filters)).await?;
    // As `dockerd`: sizes are only in `system df`.
    let volumes = volumes.into_iter().map(|mut volume| {
        volume.usage_data = None;
        volume
    });
    ok(&ListResponse { volumes: volumes.collect(), warnings: List::NIL })
}

/// `GET /volumes/NAME`
pub(crate) async fn inspect(call: Call) -> Reply {
    let name = call.id.clone();
    let mut volume = call.engine(move |engine| engine.volume_inspect(&name)).await?;
    volume.usage_data = None;
    ok(&volume)
}

/// What a volume of a swarm is to be.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OfSwarm {
    cluster_volume_spec: Option<IgnoredAny>,
}

impl docker::go::Request for OfSwarm {
    fn go() -> Option<&'static docker::go::Type> {
        CreateRequest::go()
    }
}

/// `POST /volumes/create`
pub(crate) async fn create(mut call: Call) -> Reply {
    let body = call.json_text().await?;
    let (CreateRequest { name, driver, driver_opts, labels }, OfSwarm { cluster_volume_spec }) =
        match &body {
            Some(body) => (parse(body)?, parse(body)?),
            None => Default::default(),
        };
    if cluster_volume_spec.is_some() && call.version >= PRUNES_ANONYMOUS {
        return Err(Error::unavailable(NO_MANAGER));
    }
    let volume = call
        .engine(move |engine| engine.volume_create(&name, &driver, &driver_opts, &labels))
        .await?;
    created(&volume)
}

/// `PUT /volumes/NAME`: of volumes of a swarm, which there is not.
pub(crate) async fn update(call: Call) -> Reply {
    drop(call);
    Err(Error::unavailable(
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ))
}

/// `POST /dhow/volumes/NAME/rename?name=NAME`
pub(crate) async fn rename(call: Call) -> Reply {
    let (name, to) = (call.id.clone(), call.query.text("name").to_owned());
    call.engine(move |engine| engine.volume_rename(&name, &to)).await?;
    done()
}

/// `POST /dhow/volumes/NAME/labels?labels=JSON&without=JSON`: gives it the labels of an object, once it has taken
/// away those of a list.
pub(crate) async fn label(call: Call) -> Reply {
    let (name, labels) = (call.id.clone(), map(&call, "labels")?);
    let without = match call.query.text("without") {
        "" => Vec::new(),
        text => serde_json::from_str(text).map_err(|err| Error::json(text.as_bytes(), &err))?,
    };
    ok(&call.engine(move |engine| engine.volume_label(&name, &labels, &without)).await?)
}

/// `POST /dhow/volumes/NAME/copy?name=NAME&snapshot=BOOL&pause=BOOL`, with labels as `labels`, JSON
pub(crate) async fn copy(call: Call) -> Reply {
    let name = call.id.clone();
    let copy = VolumeCopy {
        name: call.query.text("name").to_owned(),
        labels: map(&call, "labels")?,
        snapshot: call.query.bool("snapshot"),
        pause: call.query.bool("pause"),
    };
    created(&call.engine(move |engine| engine.volume_copy(&name, &copy)).await?)
}

/// `GET /dhow/volumes/NAME/archive`
pub(crate) async fn backup(call: Call) -> Reply {
    let name = call.id.clone();
    let archive = call.engine(move |engine| engine.volume_backup(&name)).await?;
    Ok(archive::stream(archive, "application/x-tar"))
}

/// `POST /dhow/volumes/NAME/archive`, with `labels` and `options`, JSON: makes the volume of the body, a
/// tar archive
pub(crate) async fn restore(mut call: Call) -> Reply {
    let name = call.id.clone();
    let (labels, options) = (map(&call, "labels")?, map(&call, "options")?);
    let mut archive = call.reader();
    let volume = call
        .engine(move |engine| engine.volume_restore(&name, &labels, &options, &mut archive))
        .await?;
    created(&volume)
}

/// A parameter that is an object of strings.
fn map(call: &Call, name: &str) -> Result<BTreeMap<String, String>, Error> {
    match call.query.text(name) {
        "" => Ok(BTreeMap::new()),
        text => serde_json::from_str(text).map_err(|err| Error::json(text.as_bytes(), &err)),
    }
}

/// `DELETE /volumes/NAME`
pub(crate) async fn remove(call: Call) -> Reply {
    let name = call.id.clone();
    let force = call.query.bool("force");
    call.engine(move |engine| engine.volume_remove(&name, force)).await?;
    done()
}

/// `POST /volumes/prune`
pub(crate) async fn prune(call: Call) -> Reply {
    let mut filters = call.query.filters(&["all", "label", "label!"])?;
    if call.version < PRUNES_ANONYMOUS {
        filters.replace("all", "true");
    }
    let (names, space_reclaimed) = call
        .engine(move |engine| {
            let pruned = engine.volumes_prune(&filters)?;
            engine.tell_of("volume", "prune", "", &[("reclaimed", &pruned.1.to_string())]);
            Ok::<_, Error>(pruned)
        })
        .await?;
    ok(&PruneResponse { volumes_deleted: names.into(), space_reclaimed })
}
