//! Who asked for a build, as the builder sees it: the body of the request, and a session where it has one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::build::{Asked, Client, Fetched, Output, SentTree, Status, Stream};
use ::registry::Credentials;
use tokio::io::AsyncRead;

use crate::call::Call;
use crate::http::body::BodyReader;

/// What the body of the request is called among the streams of its client.
pub(super) const BODY: &str = "body";

/// Who asked.
#[derive(Debug)]
pub(super) struct Uploader {
    body: Mutex<Option<BodyReader>>,
    /// Who it is to registries, by their domains.
    known: BTreeMap<String, Credentials>,
    session: Option<Arc<dyn Client>>,
}

impl Uploader {
    pub(super) fn new(call: &mut Call, session: Option<Arc<dyn Client>>) -> Self {
        let header = call.headers.get("X-Registry-Config");
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let known = Credentials::from_config_header(header);
        Self { body: Mutex::new(Some(call.reader())), known, session }
    }

    fn session(&self, what: &str) -> Result<&dyn Client, String> {
        let session = self.session.as_deref();
        session.ok_or_else(|| format!("{what}: the build has no session"))
    }
}

impl Client for Uploader {
    fn directory<'a>(
        &'a self,
        local: &'a buildgraph::Local,
        into: &'a Path,
        tell: &'a (dyn Fn(Status) + Send + Sync),
    ) -> Asked<'a, Fetched> {
        match self.session(&local.name) {
            Ok(session) => session.directory(local, into, tell),
            Err(why) => Box::pin(std::future::ready(Err(why))),
        }
    }

    fn shared_key(&self) -> String {
        self.session.as_ref().map(|session| session.shared_key()).unwrap_or_default()
    }

    fn secret<'a>(&'a self, id: &'a str) -> Asked<'a, Option<Vec<u8>>> {
        match &self.session {
            Some(session) => session.secret(id),
            None => Box::pin(std::future::ready(Ok(None))),
        }
    }

    fn has_agent<'a>(&'a self, id: &'a str) -> Asked<'a, bool> {
        match &self.session {
            Some(session) => session.has_agent(id),
            None => Box::pin(std::future::ready(Ok(false))),
        }
    }

    fn agent<'a>(&'a self, id: &'a str) -> Asked<'a, Box<dyn Stream>> {
        match self.session(id) {
            Ok(session) => session.agent(id),
            Err(why) => Box::pin(std::future::ready(Err(why))),
        }
    }

    fn credentials<'a>(&'a self, host: &'a str) -> Asked<'a, Option<Credentials>> {
        match (self.known.get(host), &self.session) {
            (None, Some(session)) => session.credentials(host),
            (known, _) => Box::pin(std::future::ready(Ok(known.cloned()))),
        }
    }

    fn send_trees(&self, export: usize, trees: Vec<SentTree>, time: Option<i64>) -> Asked<'_, ()> {
        match self.session("a result as files") {
            Ok(session) => session.send_trees(export, trees, time),
            Err(why) => Box::pin(std::future::ready(Err(why))),
        }
    }

    fn send_file<'a>(
        &'a self,
        export: usize,
        about: &'a BTreeMap<String, String>,
    ) -> Asked<'a, Box<dyn Output>> {
        match self.session("a result as a file") {
            Ok(session) => session.send_file(export, about),
            Err(why) => Box::pin(std::future::ready(Err(why))),
        }
    }

    fn blob<'a>(
        &'a self,
        store: &'a str,
        digest: &'a oci::Digest,
        max: u64,
    ) -> Asked<'a, Box<dyn AsyncRead + Send + Unpin>> {
        match self.session(store) {
            Ok(session) => session.blob(store, digest, max),
            Err(why) => Box::pin(std::future::ready(Err(why))),
        }
    }

    fn has_blob<'a>(&'a self, store: &'a str, digest: &'a oci::Digest) -> Asked<'a, bool> {
        match self.session(store) {
            Ok(session) => session.has_blob(store, digest),
            Err(why) => Box::pin(std::future::ready(Err(why))),
        }
    }

    fn put_blob<'a>(
        &'a self,
        store: &'a str,
        blob: &'a oci::image::Descriptor,
    ) -> Asked<'a, Box<dyn Output>> {
        match self.session(store) {
            Ok(session) => session.put_blob(store, blob),
            Err(why) => Box::pin(std::future::ready(Err(why))),
        }
    }

    fn upload<'a>(&'a self, path: &'a str) -> Asked<'a, Box<dyn AsyncRead + Send + Unpin>> {
        if path != BODY {
            return match self.session(path) {
                Ok(session) => session.upload(path),
                Err(why) => Box::pin(std::future::ready(Err(why))),
            };
        }
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        let body = body.map(|body| Box::new(body) as Box<dyn AsyncRead + Send + Unpin>);
        let taken = body.ok_or_else(|| "the body of the request was read already".to_owned());
        Box::pin(std::future::ready(taken))
    }
}
