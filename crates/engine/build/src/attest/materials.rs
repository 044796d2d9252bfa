//! What a result is made of: images, commits, files behind URLs, directories of the client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use buildgraph::{Exec, Graph, MountKind, Network, Op, Source, Vertex, VertexIdx};
use oci::Digest;
use serde_json::{Value, json};

use super::purl;
use crate::build::{Ref, Shared};
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
    /// There is more than what is here.
    pub(super) is_incomplete: bool,
}

impl Materials {
    /// All that a result needs.
    pub(super) fn of(build: &Shared, graph: &Arc<Graph>, top: VertexIdx) -> Self {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        let mut rest = vec![(Arc::clone(graph), top)];
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
                    Op::Source(source) => found.source(build, vertex, source),
                    Op::Exec(exec) => found.exec(exec),
                    Op::File(_) | Op::Merge | Op::Diff | Op::Part(_) | Op::Layers => {}
                }
            }
        }
        found
    }

    /// Each with its place and its digests: images, then commits, then files.
    pub(super) fn list(&self) -> Vec<Value> {
        let all = self.images.iter().chain(&self.git).chain(&self.http);
        all.map(|(uri, digest)| json!({ "uri": uri, "digest": digest })).collect()
    }

    /// The digests of a commit or a file that is among them.
    pub(super) fn find(&self, uri: &str) -> Option<&Value> {
        let remote = uri.split('#').next().unwrap_or(uri);
        self.git.get(remote).or_else(|| self.http.get(uri))
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
                let digest = image.digest.as_ref();
                let digest = digest.map_or(json!({}), digests);
                if let Ok(name) = image.reference.parse() {
                    let uri = purl::of_image("docker", &name, vertex.platform.as_ref());
                    // One that is here alone has no manifest that anybody else could ask for.
                    self.is_incomplete |= image.digest.is_none();
                    self.images.insert(uri, digest);
                } else {
                    self.is_incomplete = true;
                }
            }
            Source::Layout(layout) => {
                let uri = format!("pkg:oci/{}?digest={}", layout.store, layout.digest);
                self.images.insert(uri, digests(&layout.digest));
            }
            Source::Local(local) => _ = self.locals.insert(local.name.clone()),
            Source::Git(git) => match what {
                Some(commit) => {
                    let kind = if commit.len() == 64 { "sha256" } else { "sha1" };
                    self.git.insert(redacted(&git.remote), json!({ kind: commit }));
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

/// A URL without who asks.
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://xxxxx:xxxxx@{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_url_says_who_asks() {
        assert_eq!(redacted("https://u:p@x/a@b"), "https://xxxxx:xxxxx@x/a@b");
        assert_eq!(redacted("https://x/a@b"), "https://x/a@b");
        assert_eq!(redacted("git@x:a"), "git@x:a");
    }
}
