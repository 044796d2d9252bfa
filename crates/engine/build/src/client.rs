//! What a build asks of who asked for it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use buildgraph::Local;
use bytes::Bytes;
use registry::Credentials;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::event::Status;
use crate::export::Solved;
use crate::look::{Extras, SourceMeta};
use crate::request::Export;

/// An answer that takes time. Its error is a text for people, without a full stop.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// A source may not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// It, and why.
    pub why: String,
    /// What its client's policy wants to have told, each by itself.
    pub messages: Vec<String>,
}

impl From<String> for Denied {
    fn from(why: String) -> Self {
        Self { why, messages: Vec::new() }
    }
}

/// What takes the place of a source, or why it may not be used.
pub type Decided<'a> =
    Pin<Box<dyn Future<Output = Result<Option<buildgraph::Source>, Denied>> + Send + 'a>>;

/// A source of which somebody has to know what it is before it is decided on.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Which.
    pub source: buildgraph::Source,
    /// What people are shown meanwhile.
    pub shown: String,
    /// For which platform.
    pub platform: Option<oci::image::Platform>,
    /// What else of it has to be known.
    pub extras: Extras,
}

/// Says what a source is.
pub type Describe<'a> = dyn Fn(Described) -> Asked<'a, SourceMeta> + Send + Sync + 'a;

/// A connection in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How a directory came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Files that are there now.
    pub n_files: u64,
    /// Bytes of all of them.
    pub n_bytes: u64,
    /// Bytes of files that were sent: of those that had changed.
    pub n_bytes_sent: u64,
}

/// A tree that leaves the builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentTree {
    /// Where it is.
    pub root: PathBuf,
    /// Where it goes there; empty: to the top.
    pub subdir: String,
}

/// Where a result goes that leaves the builder as a file.
pub trait Output: Send {
    /// Takes the next bytes.
    fn write(&mut self, bytes: Bytes) -> Asked<'_, ()>;

    /// That was all.
    fn finish(self: Box<Self>) -> Asked<'static, ()>;
}

/// Who asked for a build. Several builds, and several steps of one, ask at once. A future that is
/// dropped is a question that nobody has any more.
pub trait Client: Send + Sync + fmt::Debug {
    /// Brings the directory `local` to the directory `into`, which may hold what came of it the last
    /// time: afterwards it holds what the patterns let through, and nothing else. Links are links.
    /// What is wrong with it is not believed: no path leads out of `into`.
    fn directory<'a>(
        &'a self,
        local: &'a Local,
        into: &'a Path,
        tell: &'a (dyn Fn(Status) + Send + Sync),
    ) -> Asked<'a, Fetched>;

    /// What makes its directories known again in another build: the same text means the same
    /// directories. Empty: nothing.
    fn shared_key(&self) -> String;

    /// A secret by its id; `None` where there is none.
    fn secret<'a>(&'a self, id: &'a str) -> Asked<'a, Option<Vec<u8>>>;

    /// Whether there is an agent of this id.
    fn has_agent<'a>(&'a self, id: &'a str) -> Asked<'a, bool>;

    /// A new connection to an agent (`ssh-agent`).
    fn agent<'a>(&'a self, id: &'a str) -> Asked<'a, Box<dyn Stream>>;

    /// Who it is to a registry, or another server.
    fn credentials<'a>(&'a self, host: &'a str) -> Asked<'a, Option<Credentials>>;

    /// Takes trees, as one, for the export of this number; `time`, seconds since 1970, is when everything was
    /// written last, whatever its files say.
    fn send_trees(&self, export: usize, trees: Vec<SentTree>, time: Option<i64>) -> Asked<'_, ()>;

    /// Takes a file, for the export of this number; `about` is what it is told of it.
    fn send_file<'a>(
        &'a self,
        export: usize,
        about: &'a BTreeMap<String, String>,
    ) -> Asked<'a, Box<dyn Output>>;

    /// A blob of a content store of the client's (`oci:NAME`, `local:DIRECTORY`), by its digest, at most
    /// `max` bytes.
    fn blob<'a>(
        &'a self,
        store: &'a str,
        digest: &'a oci::Digest,
        max: u64,
    ) -> Asked<'a, Box<dyn AsyncRead + Send + Unpin>>;

    /// Whether a content store of the client's has a blob.
    fn has_blob<'a>(&'a self, store: &'a str, digest: &'a oci::Digest) -> Asked<'a, bool>;

    /// Writes a blob to a content store of the client's. It is there when its end was said.
    fn put_blob<'a>(
        &'a self,
        store: &'a str,
        blob: &'a oci::image::Descriptor,
    ) -> Asked<'a, Box<dyn Output>>;

    /// What is used in the place of a source, as the client's policy says; `None`: that one. Its error says why
    /// it may not be used. A policy that goes by more than names can have it described.
    fn decide<'a>(
        &'a self,
        _source: &'a buildgraph::Source,
        _platform: Option<&'a oci::image::Platform>,
        _describe: &'a Describe<'a>,
    ) -> Decided<'a> {
        Box::pin(async { Ok(None) })
    }

    /// Whether it has a policy for sources. Then what a step was made of has to be known, for it to be judged.
    fn has_policy(&self) -> bool {
        false
    }

    /// Where else a result goes that has been made; asked where the build's request says so.
    fn exports<'a>(&'a self, _solved: &'a Solved) -> Asked<'a, Vec<Export>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Takes what came of all exports, by BuildKit's names, where it was asked for more of them. Its error is that of
    /// the build.
    fn exported<'a>(&'a self, _response: &'a BTreeMap<String, String>) -> Asked<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// A stream that the client has under this path: an archive that it was given on its standard input,
    /// and names as the context `http://buildkit-session/PATH`.
    fn upload<'a>(&'a self, path: &'a str) -> Asked<'a, Box<dyn AsyncRead + Send + Unpin>> {
        Box::pin(async move { Err(format!("the client has no stream {path}")) })
    }
}
