//! What a result is made of: images, commits, files behind URLs, directories of the client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use buildgraph::{Blob, Exec, Graph, MountKind, Network, Op, Shown, Source, Vertex};
use egress::{Captured, Incomplete, Material};
use oci::Digest;
use serde_json::{Value, json};

use super::purl;
use crate::Unrecorded;
use crate::build::{Asked, Ref, Shared};
use crate::output::Output;

/// What was found of it.
#[derive(Debug, Default)]
pub(super) struct Materials {
    /// Each a place with its digests, by the place.
    images: BTreeMap<String, Value>,
    git: BTreeMap<String, Value>,
    http: BTreeMap<String, Value>,
    /// Directories of the client, by their names: nobody can say where they come from.
    pub(super) locals: BTreeSet<String>,
    /// The names of secrets, and whether each may be missing.
    pub(super) secrets: BTreeMap<String, bool>,
    /// The same of agents.
    pub(super) agents: BTreeMap<String, bool>,
    /// A program had a network.
    pub(super) network: bool,
    /// One had a proxy in its place.
    pub(super) proxy: bool,
    /// What such programs have asked for, and is not known.
    pub(super) unrecorded: Vec<Unrecorded>,
    /// There is more than what is here.
    pub(super) is_incomplete: bool,
}

impl Materials {
    /// All that a result needs, and what the front end has looked at to make its graph: the one that is built in says so,
    /// of any other it is what it had made besides.
    pub(super) fn of(build: &Shared, result: &Ref, asked: Option<&Asked>) -> Self {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        let mut rest = vec![(Arc::clone(&result.graph), result.vertex)];
        if asked.is_none() {
            let others = build.looked_into().into_iter();
            rest.extend(others.map(|Ref { graph, vertex, .. }| (graph, vertex)));
        }
        for source in asked.iter().flat_map(|asked| &asked.sources) {
            let mut graph = Graph::default();
            let op = Op::Source(source.clone());
            // A source has no inputs that could be wrong.
            if let Ok(idx) = graph.add(op, vec![], None, false, Shown::default()) {
                rest.push((Arc::new(graph), idx));
            }
        }
        found.locals.extend(asked.iter().flat_map(|asked| &asked.locals).cloned());
        while let Some((graph, top)) = rest.pop() {
            for idx in graph.needed(&[top]) {
                let vertex = graph.get(idx);
                if !seen.insert(vertex.digest.clone()) {
                    continue;
                }
                match &vertex.op {
                    Op::Source(Source::Result(id)) => match build.reference(id) {
                        Ok(Ref { graph, vertex, .. }) => rest.push((graph, vertex)),
                        // Another build's: what that was made of is not known here.
                        Err(_) => found.is_incomplete = true,
                    },
                    Op::Source(source) => found.source(build, vertex, &build.used_for(source)),
                    Op::Exec(exec) => {
                        found.exec(exec);
                        if build.proxies(exec) {
                            found.proxied(vertex, exec, build.captured(vertex));
                        }
                    }
                    Op::File(_) | Op::Merge | Op::Diff | Op::Part(_) | Op::Layers | Op::After => {}
                }
            }
        }
        found.is_incomplete |= !found.locals.is_empty() || !found.unrecorded.is_empty();
        found
            .unrecorded
            .sort_by_cached_key(|one| (one.op.clone(), one.uri.clone(), one.method.clone()));
        found
    }

    /// Each with its place and its digests: images, then commits, then files.
    pub(super) fn list(&self) -> Vec<Value> {
        let all = self.images.iter().chain(&self.git).chain(&self.http);
        all.map(|(uri, digest)| json!({ "uri": uri, "digest": digest })).collect()
    }

    /// The digests of a commit or a file that is among them.
    pub(super) fn find(&self, uri: &str) -> Option<Value> {
        // `REMOTE#REFERENCE:DIRECTORY`, of which the directory is no part of what a commit is.
        let wanted = match uri.split_once('#') {
            None => bare(uri),
            Some((remote, part)) => match part.split(':').next().unwrap_or_default() {
                "" => bare(remote),
                reference => format!("{}#{reference}", bare(remote)),
            },
        };
        let of = |all: &BTreeMap<String, Value>, wanted: &str| {
            all.iter().find(|(uri, _)| bare(uri) == wanted).map(|(_, digest)| digest.clone())
        };
        of(&self.git, &wanted).or_else(|| of(&self.http, &bare(uri)))
    }

    fn source(&mut self, build: &Shared, vertex: &Vertex, source: &Source) {
        let identity = build.known(&vertex.digest).and_then(|output| match output {
            Output::Tree(tree) => tree.identity,
            Output::Layers(_) | Output::Parts(_) => None,
        });
        // `git COMMIT ...`, `http DIGEST ...`.
        let what = identity.as_deref().and_then(|text| text.split(' ').nth(1));
        match source {
            Source::Image(image) => {
                let digest = image.digest.as_ref().or(image.checksum.as_ref());
                let is_known = digest.is_some();
                let digest = digest.map_or(json!({}), digests);
                if let Ok(name) = named(build, &image.reference).parse() {
                    let uri = purl::of_image("docker", &name, vertex.platform.as_ref());
                    // One that is here alone has no manifest that anybody else could ask for.
                    self.is_incomplete |= !is_known;
                    self.images.insert(uri, digest);
                } else {
                    self.is_incomplete = true;
                }
            }
            Source::Layout(layout) => {
                // Whoever reads it knows the name in the build, not that of the client's store.
                let name = format!("{}@{}", layout.name, layout.digest);
                let uri = name.parse().map_or_else(
                    |_| format!("pkg:oci/{name}"),
                    |name| purl::of_image("oci", &name, vertex.platform.as_ref()),
                );
                self.images.insert(uri, digests(&layout.digest));
            }
            Source::Blob(blob) => self.blob(blob, "&ref_type=blob"),
            Source::Local(local) => _ = self.locals.insert(local.name.clone()),
            Source::Git(git) => match what {
                Some(commit) => {
                    let kind = if commit.len() == 64 { "sha256" } else { "sha1" };
                    let mut uri = redacted(&git.remote);
                    if !git.reference.is_empty() {
                        uri += &format!("#{}", git.reference);
                    }
                    if let Some(bundle) = &git.bundle {
                        let of = format!("&ref_type=bundle&vcs_url={}", bom::escaped(&uri));
                        let source = Source::Blob(Blob::clone(bundle));
                        if let Source::Blob(used) = build.used_for(&source) {
                            self.blob(&used, &of);
                        }
                    }
                    self.git.insert(uri, json!({ kind: commit }));
                }
                None => self.is_incomplete = true,
            },
            Source::Http(http) => match what.and_then(|text| text.parse::<Digest>().ok()) {
                Some(digest) => {
                    self.http.insert(redacted(&http.url), digests(&digest));
                }
                None => self.is_incomplete = true,
            },
            Source::Result(_) => {}
        }
    }

    /// A blob, and what else its URL says of it.
    fn blob(&mut self, blob: &Blob, about: &str) {
        let kind = if blob.store.is_empty() { "docker" } else { "oci" };
        let name = format!("{}@{}", blob.repository, blob.digest);
        let uri = name.parse().map_or_else(
            |_| format!("pkg:{kind}/{}?digest={}", blob.repository, blob.digest),
            |name| purl::of_image(kind, &name, None),
        );
        self.images.insert(format!("{uri}{about}"), digests(&blob.digest));
    }

    /// What a program has asked its proxy for.
    fn proxied(&mut self, vertex: &Vertex, exec: &Exec, captured: Option<Captured>) {
        self.proxy = true;
        let unrecorded = |one: Incomplete| Unrecorded {
            op: vertex.known_as().to_string(),
            name: exec.args.join(" "),
            method: one.method,
            uri: redacted(&one.url),
            reason: one.reason,
        };
        let Some(captured) = captured else {
            // It was found in a cache, and what it was made of is not kept for ever.
            let reason = "not_recorded".to_owned();
            self.unrecorded.push(unrecorded(Incomplete { reason, ..Incomplete::default() }));
            return;
        };
        for Material { url, digest } in captured.materials {
            self.http.entry(redacted(&url)).or_insert_with(|| digests(&digest));
        }
        self.unrecorded.extend(captured.incomplete.into_iter().map(unrecorded));
    }

    fn exec(&mut self, exec: &Exec) {
        self.network |= exec.network != Network::None;
        let mut note = |is_agent: bool, id: &str, optional: bool| {
            let noted = if is_agent { &mut self.agents } else { &mut self.secrets };
            let may_miss = noted.entry(id.to_owned()).or_insert(true);
            *may_miss &= optional;
        };
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Secret { id, optional, .. } => note(false, id, *optional),
                MountKind::Ssh { id, optional, .. } => note(true, id, *optional),
                MountKind::Bind { .. } | MountKind::Cache { .. } | MountKind::Tmpfs { .. } => {}
            }
        }
        for secret in &exec.secrets {
            note(false, &secret.id, secret.optional);
        }
    }
}

/// A digest, by how it was made.
fn digests(digest: &Digest) -> Value {
    let mut set = serde_json::Map::new();
    set.insert(digest.algorithm().name().to_owned(), digest.hex().into());
    set.into()
}

/// What stands for a name or a word.
const MASK: &str = "xxxxx";

/// A text without who asks, in all URLs that are in it.
pub(super) fn redacted(text: &str) -> String {
    let (mut told, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("://") {
        told += before;
        told += "://";
        let is_end = |c: char| matches!(c, '/' | '?' | '#') || c.is_whitespace();
        let end = after.find(is_end).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                told += &masked(&after[..at]);
                &after[at..]
            }
            None => after,
        };
    }
    told + rest
}

/// Who asks, as BuildKit tells it: that there is a name, and a word.
fn masked(who: &str) -> String {
    match who.split_once(':') {
        Some(("", _)) => format!(":{MASK}"),
        Some(_) => format!("{MASK}:{MASK}"),
        None if who.is_empty() => String::new(),
        None => MASK.to_owned(),
    }
}

/// A URL, without a word of who asks.
fn bare(url: &str) -> String {
    let url = redacted(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url };
    let who = [format!("{MASK}:{MASK}@"), format!("{MASK}@"), format!(":{MASK}@")];
    match who.iter().find_map(|who| rest.strip_prefix(who.as_str())) {
        Some(rest) => format!("{scheme}://{rest}"),
        None => url,
    }
}

/// An image as it was asked for: a front end that has asked what a tag means names it with the digest as well.
fn named<'r>(build: &Shared, reference: &'r str) -> &'r str {
    let Some((name, digest)) = reference.split_once('@') else { return reference };
    let resolved = build.resolved.lock().unwrap_or_else(PoisonError::into_inner);
    let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let is_asked =
        digest.parse().is_ok_and(|digest: Digest| resolved.contains(&(name.to_owned(), digest)));
    if has_tag && is_asked { name } else { reference }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_found_by_what_was_asked_for() {
        let mut found = Materials::default();
        found.git.insert("http://x/.git#v1".into(), json!({ "sha1": "abc" }));
        found.git.insert("http://x/other".into(), json!({ "sha1": "def" }));
        let digest = |uri: &str| found.find(uri).map(|digest| digest["sha1"].clone());
        for uri in ["http://x/.git#v1", "http://x/.git#v1:src", "http://me:word@x/.git#v1:src"] {
            assert_eq!(digest(uri), Some("abc".into()), "{uri}");
        }
        for uri in ["http://x/other", "http://x/other#:src", "http://me:word@x/other"] {
            assert_eq!(digest(uri), Some("def".into()), "{uri}");
        }
        assert_eq!(digest("http://x/.git"), None);
    }

    #[test]
    fn no_url_says_who_asks() {
        assert_eq!(redacted("https://u:p@x/a@b"), "https://xxxxx:xxxxx@x/a@b");
        assert_eq!(redacted("https://token@x/a"), "https://xxxxx@x/a");
        assert_eq!(redacted("https://:p@x/a"), "https://:xxxxx@x/a");
        assert_eq!(redacted("https://u:p@w@x"), "https://xxxxx:xxxxx@x");
        let several = "http://u:p@a,https://b https://c@d?e@f";
        assert_eq!(redacted(several), "http://xxxxx:xxxxx@a,https://b https://xxxxx@d?e@f");
        for url in ["https://u:p@x/a", "https://token@x/a", "https://:p@x/a", "https://x/a"] {
            assert_eq!(bare(url), "https://x/a", "{url}");
        }
        assert_eq!(redacted("https://x/a@b"), "https://x/a@b");
        assert_eq!(redacted("git@x:a"), "git@x:a");
    }
}
