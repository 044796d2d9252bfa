//! Getting a commit into an empty repository.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use super::program::Program;
use super::{Found, bundle, of_remote};
use crate::Error;
use crate::build::Shared;

/// Runs git for one commit of each history; where that fails, for all of it: a web server that has no more than
/// files can give no part of one.
pub(super) async fn shallow(
    program: &Program<'_>,
    dir: &Path,
    verb: &[&str],
    what: &[&str],
) -> Result<(), Error> {
    let depth: &[&str] = &["--depth=1"];
    if program.run(dir, &[verb, depth, what].concat()).await.is_ok() {
        return Ok(());
    }
    program.run(dir, &[verb, what].concat()).await.map(drop)
}

/// An empty repository.
pub(super) async fn init(found: &Found<'_>, dir: &Path) -> Result<(), Error> {
    let Found { remote, tip, program, .. } = found;
    // What is fetched into it has to be named by the same kind of digest.
    let format = if tip.commit.len() == 64 { "sha256" } else { "sha1" };
    let format = format!("--object-format={format}");
    program.run(dir, &["init", "--quiet", "--template=", "--initial-branch=none", &format]).await?;
    // For submodules that are named from there.
    program.run(dir, &["remote", "add", "--", "origin", &remote.url]).await.map(drop)
}

/// Gets the commit that was found: from its server, or out of a bundle.
pub(super) async fn fetch(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    found: &Found<'_>,
    dir: &Path,
) -> Result<(), Error> {
    if let Some(bundle) = &git.bundle {
        // A bundle may itself be of any source: the compiler need not look that deep.
        let unpacked: Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> =
            Box::pin(bundle::unpack(build, bundle, found, dir));
        return unpacked.await;
    }
    let fetched = from_server(git, found, dir).await;
    fetched.map_err(|error| of_remote(&error, &found.remote))
}

/// The commit by its number; where the server gives none by number, the branch or tag, and where that is not it
/// any more, all of them.
async fn from_server(git: &buildgraph::Git, found: &Found<'_>, dir: &Path) -> Result<(), Error> {
    let Found { remote, tip, program, .. } = found;
    // A bundle has all that led to its commit, or else nobody could build on it.
    let depth: &[&str] = if git.as_bundle { &[] } else { &["--depth=1"] };
    let kept = match tip.name.strip_prefix("refs/heads/") {
        Some(branch) => format!("refs/remotes/origin/{branch}"),
        None if tip.name.starts_with("refs/tags/") => tip.name.clone(),
        None => "refs/dhow/wanted".into(),
    };
    let by_name = format!("+{}:{kept}", tip.name);
    let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
    let by_number = format!("+{}:{kept}", tip.commit);
    let mut ways: Vec<(&[&str], Vec<&str>)> = vec![(depth, vec![&tip.commit])];
    match (git.by_commit, tip.name.is_empty()) {
        // What the name means there now is of no interest.
        (true, true) => {}
        (true, false) => ways = vec![(depth, vec![&by_number])],
        (false, is_nameless) => {
            if !is_nameless {
                ways.push((depth, vec![&by_name]));
            }
            if !is_nameless && git.keep_git_dir {
                // With the name that it has, as people expect of it.
                ways.reverse();
            }
            ways.push((&[], all.to_vec()));
        }
    }
    let mut first_error = None;
    for (options, what) in ways {
        let mut arguments = vec!["fetch", "--no-tags", "--update-head-ok"];
        arguments.extend(options);
        arguments.extend(["--", remote.url.as_str()]);
        arguments.extend(what);
        if let Err(error) = program.run(dir, &arguments).await {
            first_error.get_or_insert(error);
            continue;
        }
        let commit = format!("{}^{{commit}}", tip.commit);
        if program.run(dir, &["cat-file", "-e", &commit]).await.is_ok() {
            return Ok(());
        }
    }
    let missing = || Error::NotFound(format!("no commit {}", tip.commit));
    Err(first_error.unwrap_or_else(missing))
}
