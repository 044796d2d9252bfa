//! What Docker's API has no words for.

use std::path::PathBuf;

use docker::IdResponse;

use crate::{
    call::{Call, Reply, ok},
    error::Error,
};

/// `POST /dhow/rootfs?path=FILE`: the image made of a root file system archive on the engine's
/// machine; made once, as long as the file does not change.
pub(crate) async fn rootfs(call: Call) -> Reply {
    let path = PathBuf::from(call.query.text("path"));
    if !path.is_absolute() {
        return Err(Error::invalid("`path` must be an absolute path of an archive"));
    }
    let image = call.engine(move |engine| engine.images().rootfs_archive(&path)).await?;
    ok(&IdResponse { id: image.id.to_string() })
}
