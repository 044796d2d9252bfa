//! A commit, and the tag that names it, as the objects that they are in their repository: for who wants to look at
//! them, and for their signatures.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fetch::{fetch, init};
use super::{Found, KIND, of_remote};
use crate::Error;
use crate::build::Shared;
use crate::error::At as _;
use crate::store::{Directory, Use};

/// The most bytes of objects that are kept.
const MAX_KEPT: usize = 256 << 10;

/// Objects, each with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Objects {
    pub(super) commit: (String, Vec<u8>),
    /// `None`: the commit was found by no tag that is an object.
    pub(super) tag: Option<(String, Vec<u8>)>,
}

impl Objects {
    fn len(&self) -> usize {
        self.commit.1.len() + self.tag.as_ref().map_or(0, |(_, tag)| tag.len())
    }
}

/// A directory with the commit in it, without a checkout, for as long as it is looked at.
pub(super) async fn passing(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    found: &Found<'_>,
) -> Result<Directory, Error> {
    let name = format!("look at {} {}", found.remote.url, found.tip.commit);
    let taken =
        build.blocking(move |build| build.builder.store.take(KIND, &name, &name, Use::Private));
    let mut directory = taken.await?.ok_or(Error::Lost("a directory of the builder"))?;
    directory.is_passing = true;
    directory.clear()?;
    init(found, &directory.path).await?;
    fetch(build, git, found, &directory.path).await?;
    Ok(directory)
}

/// Reads the objects in a repository that has the commit. Of a tag it is known then that it is of that commit, whatever
/// the server has said.
pub(super) async fn read(found: &Found<'_>, dir: &Path) -> Result<Objects, Error> {
    let Found { remote, tip, program, .. } = found;
    let object = async |kind: &str, name: &str| {
        let bytes = program.bytes(dir, &["cat-file", kind, name]).await?;
        Ok::<_, Error>((name.to_owned(), bytes))
    };
    // What was asked for by its number may be a tag.
    let kind = program.run(dir, &["cat-file", "-t", &tip.commit]).await?;
    let tag = if kind.trim() == "tag" { Some(&tip.commit) } else { tip.tag.as_ref() };
    let Some(tag) = tag else {
        return Ok(Objects { commit: object("commit", &tip.commit).await?, tag: None });
    };
    if *tag != tip.commit {
        // The commit is here: no more than the tag comes. By its name where the server gives none by number.
        let fetch = ["fetch", "--no-tags", "--", remote.url.as_str()];
        let (by_number, by_name) = (format!("+{tag}:{}", tip.name), format!("+{0}:{0}", tip.name));
        if program.run(dir, &[&fetch[..], &[by_number.as_str()]].concat()).await.is_err() {
            let fetched = program.run(dir, &[&fetch[..], &[by_name.as_str()]].concat()).await;
            fetched.map_err(|error| of_remote(&error, remote))?;
        }
    }
    let commit = format!("{tag}^{{commit}}");
    let commit = program.run(dir, &["rev-parse", "--verify", &commit]).await?;
    let commit = commit.trim();
    if *tag != tip.commit && commit != tip.commit {
        let why = format!("tag {tag} of {} is of commit {commit}, not {}", remote.url, tip.commit);
        return Err(Error::Invalid(why));
    }
    Ok(Objects { commit: object("commit", commit).await?, tag: Some(object("tag", tag).await?) })
}

/// Where the objects of a commit are kept.
fn place(build: &Shared, directory: &Directory, found: &Found<'_>) -> std::path::PathBuf {
    let name = found.tip.tag.as_ref().unwrap_or(&found.tip.commit);
    build.builder.store.beside(directory, &format!("objects-{name}"))
}

/// Keeps objects beside the checkout of their commit, so that nothing is fetched for their signatures again.
pub(super) fn keep(
    build: &Shared,
    directory: &Directory,
    found: &Found<'_>,
    objects: &Objects,
) -> Result<(), Error> {
    if objects.len() > MAX_KEPT {
        return Ok(());
    }
    let path = place(build, directory, found);
    let new = path.with_extension("new");
    let text = serde_json::to_vec(objects).unwrap_or_default();
    fs::write(&new, text).at("write", &new)?;
    fs::rename(&new, &path).at("rename", &path)
}

/// What is kept; `None`: nothing, or nothing whole.
pub(super) fn kept(build: &Shared, directory: &Directory, found: &Found<'_>) -> Option<Objects> {
    let text = fs::read(place(build, directory, found)).ok()?;
    serde_json::from_slice(&text).ok()
}
