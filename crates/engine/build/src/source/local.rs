//! Directories of who asked for the build: a copy is kept, and brought up to date.

use std::path::PathBuf;
use std::sync::Arc;

use buildgraph::Local;

use crate::Error;
use crate::build::Shared;
use crate::output::{Output, Tree};
use crate::store::Use;
use crate::tell::Listeners;

/// The kind of such a copy in the build cache, as BuildKit calls it.
const KIND: &str = "source.local";

/// Brings the copy of a directory up to date. Nobody else has that copy until the build ends.
pub(crate) async fn bring(
    build: &Arc<Shared>,
    local: &Local,
    listeners: &Listeners,
) -> Result<(Output, bool), Error> {
    // A few files of it are kept beside all of it: neither undoes what was fetched of the other.
    let mut some = local.include.join("\0");
    if let Some(files) = &local.told_only {
        some += &format!("\0told of, and {}", files.join("\0"));
    }
    let name =
        [build.client.shared_key(), local.shared_key.clone(), local.name.clone(), some].join("\0");
    let description = format!("local source for {}", local.name);
    let taken = build
        .blocking(move |build| build.builder.store.take(KIND, &name, &description, Use::Private));
    let directory = taken.await?.ok_or(Error::Lost("a directory of the builder"))?;
    if local.all_anew {
        directory.clear()?;
    }
    let tell = |status| listeners.status(status);
    let fetched = build.client.directory(local, &directory.path, &tell).await;
    let fetched = fetched.map_err(Error::Client)?;
    let directory = Arc::new(directory);
    let id = directory.id.clone();
    build.blocking(move |build| build.builder.store.measured(&id, fetched.n_bytes)).await?;
    let tree = Tree { directory, part: PathBuf::new(), identity: None, time: None };
    Ok((Output::Tree(tree), false))
}
