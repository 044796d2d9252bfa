//! Results as files: the whole merged tree, in a directory of the client's (`local`) or as one archive
//! (`tar`). Of several platforms each has a directory of its own, or all have one, as in BuildKit.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use cp::{Pack, pack_trees};
use fsroot::Root;
use oci::ChainId;
use oci::image::Platform;

use super::{Finished, Solved, image};
use crate::attest::{self, Attested};
use crate::build::Shared;
use crate::client::SentTree;
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
    let time = build.epoch(first, export)?;
    let subdirs = subdirs(finished, export)?;
    let all = trees(finished, &subdirs, export)?;
    let opened = build.blocking(move |build| view::in_a_room(|| open(build, &all, &subdirs)));
    // What is mounted stays as long as this is open, in whatever namespace.
    let opened = opened.await?;
    if opened.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sent = opened
        .iter()
        .map(|(root, subdir)| SentTree { root: fsroot::fd_path(root), subdir: subdir.clone() })
        .collect();
    build.client.send_trees(export_idx, sent, time).await.map_err(Error::Client)?;
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
    let all = trees(finished, &subdirs, export)?;
    let first = solved.refs.first().and_then(|(_, reference)| reference.as_deref());
    let how = Pack { attributes: true, time: build.epoch(first, export)?, ..Pack::default() };
    let output =
        build.client.send_file(export_idx, &BTreeMap::new()).await.map_err(Error::Client)?;
    image::send(build, output, move |build, out| {
        let opened = view::in_a_room(|| open(build, &all, &subdirs))?;
        let trees: Vec<(&Root, &str)> =
            opened.iter().map(|(root, subdir)| (root, subdir.as_str())).collect();
        Ok(pack_trees(&trees, &how, out)?)
    })
    .await?;
    Ok(BTreeMap::new())
}

/// The files of one result, and what is said of them.
struct Tree {
    platform: String,
    chain: Vec<ChainId>,
    attested: Vec<Attested>,
    /// What the names of statements begin with.
    prefix: String,
    /// The platform, for their names, where those of several are in one directory; else empty.
    suffix: String,
}

impl Tree {
    fn of(one: &Finished, suffix: String, export: &Export) -> Result<Self, Error> {
        let prefix = export.options.get("attestation-prefix").cloned().unwrap_or_default();
        if prefix.contains(['/', '\0']) {
            return Err(Error::Invalid(format!(
                "attestation-prefix={prefix} is no part of a name"
            )));
        }
        let attested = one.attested(false).into_iter().cloned().collect();
        let (platform, chain) = (one.platform.clone(), one.chain.clone());
        Ok(Self { platform, chain, attested, prefix, suffix })
    }

    /// The files, and where something is said of them a directory of that. Only in a room.
    fn open(&self, build: &Shared) -> Result<Vec<Root>, Error> {
        let files = view::of_layers(build.builder.images(), &self.chain, &build.builder.empty)?;
        let beside = match &self.attested[..] {
            [] => None,
            all => Some(attest::beside(&files, all, &self.prefix, &self.suffix)?),
        };
        Ok([files].into_iter().chain(beside).collect())
    }
}

/// The tree of each result.
fn trees(finished: &[Finished], subdirs: &[String], export: &Export) -> Result<Vec<Tree>, Error> {
    let tree = |(one, subdir): (&Finished, &String)| {
        let is_alone = finished.len() == 1 || !subdir.is_empty();
        let suffix = if is_alone { String::new() } else { directory(&one.platform) };
        Tree::of(one, suffix, export)
    };
    finished.iter().zip(subdirs).map(tree).collect()
}

/// All trees, with the directory that each goes to. Only in a room.
fn open(build: &Shared, all: &[Tree], subdirs: &[String]) -> Result<Vec<(Root, String)>, Error> {
    let mut opened = Vec::new();
    let mut known = HashMap::new();
    // Of two that go to one directory, that directory is the top.
    let shares = all.len() > 1 && subdirs.iter().all(String::is_empty);
    for (tree, subdir) in all.iter().zip(subdirs) {
        let roots = tree.open(build)?;
        if shares {
            for root in &roots {
                check(root, &tree.platform, &mut known)?;
            }
        }
        opened.extend(roots.into_iter().map(|root| (root, subdir.clone())));
    }
    Ok(opened)
}

/// Where several platforms share a directory, no file of one may take the place of another's.
fn check(root: &Root, platform: &str, known: &mut HashMap<PathBuf, String>) -> Result<(), Error> {
    attest::each_name(root, &mut |path| match known.insert(path.to_owned(), platform.to_owned()) {
        Some(other) if other != platform => Err(Error::Invalid(format!(
            "cannot overwrite {} from {other} with {platform} when split option is disabled",
            path.display()
        ))),
        _ => Ok(()),
    })
}

/// The directory of each platform; empty: all goes to the top.
fn subdirs(finished: &[Finished], export: &Export) -> Result<Vec<String>, Error> {
    let split = match export.options.get("platform-split").map(String::as_str) {
        None => finished.len() > 1,
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => {
            return Err(Error::Invalid(format!("non-bool value for platform-split: {other}")));
        }
    };
    let name = |one: &Finished| if split { directory(&one.platform) } else { String::new() };
    Ok(finished.iter().map(name).collect())
}

/// A platform as a part of a path; none: this machine's.
fn directory(platform: &str) -> String {
    match platform {
        "" => Platform::native().normalized().to_string().replace('/', "_"),
        platform => platform.replace('/', "_"),
    }
}
