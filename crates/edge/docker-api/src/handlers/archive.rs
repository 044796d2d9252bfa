//! Files of a container: what changed, all of them, some of them.

use crate::{
    call::{Call, Reply, ok},
    error::Error,
};

/// `GET /containers/ID/changes`
pub(crate) async fn changes(call: Call) -> Reply {
    let id = call.id.clone();
    let changes = call.engine(move |engine| engine.changes(&id)).await?;
    // As `dockerd`: no change is `null`.
    if changes.is_empty() { ok(&()) } else { ok(&changes) }
}

/// `GET /containers/ID/export`
pub(crate) async fn export(_call: Call) -> Reply {
    Err(Error::not_there_yet("exporting a container's files"))
}

/// `GET /containers/ID/archive`
pub(crate) async fn get(_call: Call) -> Reply {
    Err(Error::not_there_yet("copying files out of a container"))
}

/// `HEAD /containers/ID/archive`
pub(crate) async fn head(_call: Call) -> Reply {
    Err(Error::not_there_yet("looking at a container's file"))
}

/// `PUT /containers/ID/archive`
pub(crate) async fn put(_call: Call) -> Reply {
    Err(Error::not_there_yet("copying files into a container"))
}
