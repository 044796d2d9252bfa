//! Paths that are wanted, also where they lead through symbolic links.

use std::collections::{BTreeSet, HashSet};

use super::compile::Compiled;
use super::has_wildcards;
use crate::path;

/// A directory tree, as far as links go. Paths are relative to its root.
pub trait Links {
    /// Why something cannot be read.
    type Error;
    /// What a link says; `None` for what is no link, or is not there.
    fn target(&mut self, path: &str) -> Result<Option<String>, Self::Error>;
    /// The names in a directory; none of what is no directory, or is not there.
    fn names(&mut self, directory: &str) -> Result<Vec<String>, Self::Error>;
}

/// So many links on the way to one path, as the kernel has it (`path_resolution(7)`).
const MAX_HOPS: u32 = 40;
/// So many paths that links lead to, in all: patterns of links to directories of links multiply.
const MAX_PATHS: usize = 20_000;

/// The paths, and those that they lead to: as patterns of what is wanted. None: all is wanted, since
/// one of them is the root.
pub fn follow<L: Links>(tree: &mut L, paths: &[String]) -> Result<Vec<String>, L::Error> {
    let mut seen = HashSet::new();
    let mut found = BTreeSet::new();
    let mut open: Vec<(String, u32)> = paths.iter().rev().map(|path| (path.clone(), 0)).collect();
    while let Some((one, hops)) = open.pop() {
        // Links lead from the root, whatever they say: there is nothing above it.
        let one = path::join(&["/", &one]).trim_start_matches('/').to_owned();
        let targets = walk(tree, &one, &mut found)?;
        if hops < MAX_HOPS && seen.len() < MAX_PATHS {
            let new = targets.into_iter().filter(|target| seen.insert(target.clone()));
            open.extend(new.map(|target| (target, hops + 1)));
        }
    }
    Ok(outermost(found))
}

/// Goes down a path, as far as no link is in it. Where the first link leads.
fn walk<L: Links>(
    tree: &mut L,
    one: &str,
    found: &mut BTreeSet<String>,
) -> Result<Vec<String>, L::Error> {
    if one.is_empty() {
        found.insert(".".into());
        return Ok(Vec::new());
    }
    let mut here = String::new();
    let mut rest = Some(one);
    while let Some(text) = rest {
        let (part, after) = match text.split_once('/') {
            Some((part, after)) => (part, Some(after)),
            None => (text, None),
        };
        here = if here.is_empty() { part.into() } else { format!("{here}/{part}") };
        let targets = targets(tree, &here)?;
        if !targets.is_empty() {
            found.insert(here);
            return Ok(targets.iter().map(|target| join(target, after)).collect());
        }
        rest = after;
    }
    found.insert(here);
    Ok(Vec::new())
}

fn join(target: &str, rest: Option<&str>) -> String {
    path::join(&["/", target, rest.unwrap_or_default()])
}

/// Where the links lead that a path or a pattern names, from the root.
fn targets<L: Links>(tree: &mut L, one: &str) -> Result<Vec<String>, L::Error> {
    let (directory, name) = one.rsplit_once('/').unwrap_or(("", one));
    if !has_wildcards(name) {
        return Ok(tree.target(one)?.map(|link| from(directory, &link)).into_iter().collect());
    }
    let Ok(pattern) = Compiled::plain(name) else { return Ok(Vec::new()) };
    let mut targets = Vec::new();
    for name in tree.names(directory)? {
        let mut states = pattern.start();
        pattern.feed(&mut states, name.as_bytes());
        if pattern.is_match(&states) {
            let full = path::join(&[directory, &name]);
            targets.extend(tree.target(&full)?.map(|link| from(directory, &link)));
        }
    }
    Ok(targets)
}

fn from(directory: &str, link: &str) -> String {
    if link.starts_with('/') { path::clean(link) } else { path::join(&["/", directory, link]) }
}

/// Without those that are in others.
fn outermost(sorted: BTreeSet<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for one in sorted {
        if one == "." {
            return Vec::new();
        }
        let is_in = |outer: &String| {
            one.strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        if !out.iter().any(is_in) {
            out.push(one);
        }
    }
    out
}
