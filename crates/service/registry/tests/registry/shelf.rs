//! A registry that does as it should: what the scripted servers fall back to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use oci::Digest;
use oci::image::{Descriptor, Index, Manifest, Platform, media_type};

use crate::server::{Reply, Request, Server, error};

/// What a registry holds, for any repository.
#[derive(Default)]
pub(crate) struct Shelf {
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    manifests: Mutex<HashMap<String, (String, Vec<u8>)>>,
    uploads: Mutex<HashMap<String, Vec<u8>>>,
}

/// Bytes that gzip would not shrink, others for each `seed`.
pub(crate) fn noise(n: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..n).map(next).collect()
}

impl Shelf {
    /// A registry with what is on it, now and later.
    pub(crate) async fn serve(self: &Arc<Self>) -> Server {
        let shelf = Arc::clone(self);
        Server::start(move |request| shelf.answer(request)).await
    }

    pub(crate) fn blob(&self, kind: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(kind, bytes);
        self.blobs.lock().unwrap().insert(descriptor.digest.to_string(), bytes.to_vec());
        descriptor
    }

    pub(crate) fn manifest(&self, tag: &str, kind: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(kind, bytes);
        for name in [tag.to_owned(), descriptor.digest.to_string()] {
            self.manifests.lock().unwrap().insert(name, (kind.to_owned(), bytes.to_vec()));
        }
        descriptor
    }

    /// An image of these layers, with its platform in its configuration.
    pub(crate) fn image(&self, tag: &str, architecture: &str, layers: &[&[u8]]) -> Descriptor {
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let config = self.blob(media_type::CONFIG, config.as_bytes());
        let layers = layers.iter().map(|layer| self.blob(media_type::LAYER_GZIP, layer));
        let manifest = Manifest::new(config, layers.collect());
        self.manifest(tag, media_type::MANIFEST, &serde_json::to_vec(&manifest).unwrap())
    }

    pub(crate) fn index(&self, tag: &str, entries: &[(&str, &Descriptor)]) -> Descriptor {
        let entries = entries.iter().map(|(platform, entry)| {
            let mut parts = platform.split('/').map(str::to_owned);
            let mut entry = Descriptor::clone(entry);
            entry.platform = Some(Platform {
                os: parts.next().unwrap(),
                architecture: parts.next().unwrap_or_default(),
                variant: parts.next(),
                ..Platform::default()
            });
            entry
        });
        let index = Index::new(entries.collect());
        self.manifest(tag, media_type::INDEX, &serde_json::to_vec(&index).unwrap())
    }

    pub(crate) fn has_blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.blobs.lock().unwrap().get(&digest.to_string()).cloned()
    }

    pub(crate) fn has_manifest(&self, name: &str) -> Option<(String, Vec<u8>)> {
        self.manifests.lock().unwrap().get(name).cloned()
    }

    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let path = request.path().to_owned();
        if path == "/v2/" {
            return Reply::new(200, "{}");
        }
        if let Some((_, name)) = path.split_once("/manifests/") {
            return self.manifests(request, name);
        }
        if path.contains("/blobs/uploads/") {
            return self.upload(request);
        }
        match path.split_once("/blobs/") {
            Some((_, digest)) => self.blobs(request, digest),
            None => error(404, "NAME_UNKNOWN", "repository name not known to registry"),
        }
    }

    fn manifests(&self, request: &Request, name: &str) -> Reply {
        if request.method == "PUT" {
            let kind = request.header("content-type").unwrap();
            self.manifest(name, kind, &request.body);
            return Reply::new(201, "").with("Location", request.path());
        }
        match self.has_manifest(name) {
            Some((kind, bytes)) => Reply::new(200, bytes.clone())
                .with("Content-Type", kind)
                .with("Docker-Content-Digest", Digest::sha256(&bytes).to_string()),
            None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        }
    }

    fn blobs(&self, request: &Request, digest: &str) -> Reply {
        let Some(bytes) = self.has_blob(&digest.parse().unwrap()) else {
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        let from = request.header("range").map(|range| {
            let from = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
            from.parse::<usize>().unwrap()
        });
        match from {
            None => Reply::new(200, bytes),
            Some(from) => Reply::new(206, &bytes[from..])
                .with("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
        }
    }

    /// Uploads are named by how many there were before.
    fn upload(&self, request: &Request) -> Reply {
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let query: HashMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.into(), value.replace("%3A", ":").replace("%2F", "/")))
            .collect();
        let mut uploads = self.uploads.lock().unwrap();
        if request.method == "POST" {
            if query
                .get("mount")
                .is_some_and(|digest| self.blobs.lock().unwrap().contains_key(digest))
            {
                return Reply::new(201, "").with("Location", "/v2/x");
            }
            let place = format!("{}{}", request.path(), uploads.len());
            uploads.insert(place.clone(), Vec::new());
            return Reply::new(202, "").with("Location", format!("{place}?state=a%2Fb"));
        }
        let Some(upload) = uploads.get_mut(request.path()) else {
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        };
        assert_eq!(query.get("state").map(String::as_str), Some("a/b"));
        if request.method == "GET" {
            return Reply::new(204, "")
                .with("Location", &request.target)
                .with("Range", format!("0-{}", upload.len().saturating_sub(1)));
        }
        upload.extend_from_slice(&request.body);
        if request.method == "PATCH" {
            return Reply::new(202, "")
                .with("Location", &request.target)
                .with("Range", format!("0-{}", upload.len() - 1));
        }
        let bytes = std::mem::take(upload);
        let digest = Digest::sha256(&bytes).to_string();
        if query.get("digest") != Some(&digest) {
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        self.blobs.lock().unwrap().insert(digest, bytes);
        Reply::new(201, "").with("Location", "/v2/x")
    }
}
