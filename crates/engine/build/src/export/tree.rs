//! Results as files: the whole merged tree, in a directory of the client's (`local`) or as one archive
//! (`tar`). Of several platforms each has a directory of its own, as in BuildKit.

use std::collections::BTreeMap;
use std::sync::Arc;

use cp::{Pack, pack_trees};
use fsroot::Root;

use super::{Finished, Solved, image};
use crate::build::Shared;
use crate::request::Export;
use crate::{Error, view};

/// Has the client take the trees.
pub(super) async fn local(
    build: &Arc<Shared>,
    solved: &Solved,
    finished: &[Finished],
    export_idx: usize,
    export: &Export,
) -> Result<BTreeMap<String, String>, Error> {
    let first = solved.refs.first().and_then(|(_, reference)| reference.as_deref());
    let time = build.epoch(first)?;
    for (subdir, chain) in subdirs(finished, export)?.into_iter().zip(finished) {
        let chain = chain.chain.clone();
        let opened = build.blocking(move |build| {
            view::in_a_room(|| {
                view::of_layers(build.builder.images(), &chain, &build.builder.empty)
            })
        });
        // What is mounted stays as long as this is open, in whatever namespace.
        let root = opened.await?;
        let path = fsroot::fd_path(&root);
        build.client.send_tree(export_idx, &path, &subdir, time).await.map_err(Error::Client)?;
    }
    Ok(BTreeMap::new())
}

/// Sends the client an archive of the trees.
pub(super) async fn tar(
    build: &Arc<Shared>,
    solved: &Solved,
    finished: &[Finished],
    export_idx: usize,
    export: &Export,
) -> Result<BTreeMap<String, String>, Error> {
    let subdirs = subdirs(finished, export)?;
    let chains: Vec<_> = finished.iter().map(|one| one.chain.clone()).collect();
    let first = solved.refs.first().and_then(|(_, reference)| reference.as_deref());
    let how = Pack { attributes: true, time: build.epoch(first)?, ..Pack::default() };
    let output =
        build.client.send_file(export_idx, &BTreeMap::new()).await.map_err(Error::Client)?;
    image::send(build, output, move |build, out| {
        let roots = view::in_a_room(|| {
            let open = |chain: &Vec<_>| {
                view::of_layers(build.builder.images(), chain, &build.builder.empty)
            };
            chains.iter().map(open).collect::<Result<Vec<Root>, Error>>()
        })?;
        let named = subdirs.iter().map(String::as_str);
        let trees: Vec<(&Root, &str)> = roots.iter().zip(named).collect();
        Ok(pack_trees(&trees, &how, out)?)
    })
    .await?;
    Ok(BTreeMap::new())
}

/// The directory of each platform; empty: all goes to the top.
fn subdirs(finished: &[Finished], export: &Export) -> Result<Vec<String>, Error> {
    let split = match export.options.get("platform-split").map(String::as_str) {
        None => finished.len() > 1,
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") if finished.len() == 1 => false,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {
            return Err(Error::NotYet("platform-split=false for several platforms".into()));
        }
        Some(other) => {
            return Err(Error::Invalid(format!("non-bool value for platform-split: {other}")));
        }
    };
    let name = |one: &Finished| if split { one.platform.replace('/', "_") } else { String::new() };
    Ok(finished.iter().map(name).collect())
}
