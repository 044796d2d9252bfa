//! Bundles of git, files with commits and what led to them: in the place of a server, and in that of a checkout.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use buildgraph::{Blob, Source};

use super::Found;
use super::remote::{Tip, is_commit};
use crate::Error;
use crate::build::Shared;
use crate::error::At as _;
use crate::output::Output;
use crate::source::blob;

/// What a bundle is called that is the result.
const FILE: &str = "bundle";
/// What its commit is called in it that has no name.
const NAMELESS: &str = "refs/heads/main";

/// The commit that is wanted of a bundle. Nobody can be asked what a name means, so the build says it.
pub(super) fn tip(git: &buildgraph::Git) -> Result<Tip, Error> {
    let wanted = git.checksum.as_ref().map_or("", |sum| sum.0.as_str());
    if !is_commit(wanted) {
        let why = "a git bundle needs the commit that is wanted of it, in full (git.checksum)";
        return Err(Error::Invalid(why.into()));
    }
    let (commit, reference) = (wanted.to_ascii_lowercase(), git.reference.as_str());
    let name = match reference {
        "" => String::new(),
        other if is_commit(other) && other.eq_ignore_ascii_case(&commit) => String::new(),
        other if is_commit(other) => {
            let why = format!("expected checksum to match {wanted}, got {other}");
            return Err(Error::Invalid(why));
        }
        name => full(name),
    };
    Ok(Tip { name, commit, tag: None })
}

/// What a commit is called in a bundle, by what it was asked for by: branches and tags, and nothing else, as in BuildKit.
fn full(name: &str) -> String {
    if matches!(name, "" | "HEAD") || is_commit(name) {
        return NAMELESS.into();
    }
    if name.starts_with("refs/tags/") {
        return name.into();
    }
    let name = name.strip_prefix("refs/").unwrap_or(name);
    format!("refs/heads/{}", name.strip_prefix("heads/").unwrap_or(name))
}

/// Gets a commit out of a bundle. Of what else is in it nothing counts, its names neither.
pub(super) async fn unpack(
    build: &Arc<Shared>,
    bundle: &Blob,
    found: &Found<'_>,
    dir: &Path,
) -> Result<(), Error> {
    let Found { tip, program, .. } = found;
    let called = format!("bundle {}@{}", bundle.repository, bundle.digest);
    let source = Source::Blob(bundle.clone());
    let Source::Blob(used) = allowed(build, &source).await? else {
        return Err(Error::NotYet(format!("what is no blob in the place of the {called}")));
    };
    let used = Blob { name: String::new(), mode: None, ..used };
    let (output, _) = blob::bring(build, &used).await?;
    let Output::Tree(tree) = &output else { return Err(Error::Lost("a bundle")) };
    let file = tree.directory.path.join(used.digest.hex()).display().to_string();
    program.run(dir, &["bundle", "unbundle", &file]).await?;
    let kind = program.run(dir, &["cat-file", "-t", &tip.commit]).await;
    if !kind.is_ok_and(|kind| kind.trim() == "commit") {
        return Err(Error::NotFound(format!("commit {} not found in {called}", tip.commit)));
    }
    if !tip.name.is_empty() {
        program.run(dir, &["update-ref", &tip.name, &tip.commit]).await?;
    }
    Ok(())
}

/// A source, or what is used in its place.
type Allowed<'a> = Pin<Box<dyn Future<Output = Result<Source, Error>> + Send + 'a>>;

/// Whether the build may use a bundle. In a box: whoever decides may want to know what a repository is.
fn allowed<'a>(build: &'a Arc<Shared>, source: &'a Source) -> Allowed<'a> {
    Box::pin(build.decided(source, None))
}

/// Writes a bundle of a commit that is in a repository.
pub(super) async fn pack(found: &Found<'_>, dir: &Path) -> Result<(), Error> {
    let Found { tip, program, .. } = found;
    let name = full(&tip.name);
    program.run(dir, &["update-ref", &name, &tip.commit]).await?;
    program.run(dir, &["bundle", "create", "--quiet", FILE, &name]).await?;
    let path = dir.join(FILE);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).at("chmod", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_bundles() {
        for (name, wanted) in [
            ("", NAMELESS),
            ("HEAD", NAMELESS),
            (&"a".repeat(40), NAMELESS),
            ("master", "refs/heads/master"),
            ("heads/master", "refs/heads/master"),
            ("refs/heads/a/b", "refs/heads/a/b"),
            ("refs/tags/v1", "refs/tags/v1"),
            ("refs/pull/7/head", "refs/heads/pull/7/head"),
        ] {
            assert_eq!(full(name), wanted, "{name}");
        }
    }
}
