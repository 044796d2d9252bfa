//! Volumes.

use docker::{
    List,
    filters::Filters,
    volume::{CreateRequest, ListResponse, PruneResponse},
};

use crate::{
    call::{Call, Reply, created, done, ok},
    version::Version,
};

/// From here on `prune` spares volumes that have a name.
const PRUNES_ANONYMOUS: Version = Version(42);

/// `GET /volumes`
pub(crate) async fn list(call: Call) -> Reply {
    let filters = Filters::parse(call.query.text("filters"))?;
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

/// `POST /volumes/create`
pub(crate) async fn create(mut call: Call) -> Reply {
    let CreateRequest { name, driver, driver_opts, labels } = call.json().await?;
    let volume = call
        .engine(move |engine| engine.volume_create(&name, &driver, &driver_opts, &labels))
        .await?;
    created(&volume)
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
    let (names, space_reclaimed) =
        call.engine(move |engine| engine.volumes_prune(&filters)).await?;
    let volumes_deleted = if names.is_empty() { List::NIL } else { names.into() };
    ok(&PruneResponse { volumes_deleted, space_reclaimed })
}
