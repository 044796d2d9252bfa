//! Builds without programs: what is copied, found again, pruned. (Programs need a supervisor: e2e.)

mod cache;
mod explain;
mod graph;
mod llb;
mod remote;
mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use buildgraph::{Action, Copy, File, Graph, Image, Local, Op, Resolve, Shown, Source, VertexIdx};
use containers::{Engine, EngineConfig, Settings};
use images::Import;
use registry::Credentials;
use tarstream::{Entry, Writer};
use tokio::io::AsyncRead;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::client::Output as FileOutput;
use crate::*;

/// An engine of a test's own, with a builder, and what the client has.
pub(crate) struct Home {
    path: PathBuf,
    pub(crate) builder: Arc<Builder>,
    pub(crate) client: Arc<Here>,
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Home {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-build-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("context")).unwrap();
        let builder = open(&path);
        let (n_asked, secrets) = (Mutex::default(), Mutex::default());
        let (sent, more, told) = (Arc::default(), Mutex::default(), Mutex::default());
        let client = Arc::new(Here { root: path.clone(), n_asked, secrets, sent, more, told });
        let home = Self { path, builder, client };
        let mut archive = Writer::new(Vec::new());
        for (name, data) in [("etc/passwd", "root:x:0:0::/:\nme:x:7:8::/:\n"), ("a", "base")] {
            let size = data.len() as u64;
            let entry = Entry { path: name.into(), size, mode: 0o644, ..Entry::default() };
            archive.append(&entry, &mut data.as_bytes()).unwrap();
        }
        let archive = archive.finish().unwrap();
        let import = Import { reference: "base".parse().ok(), ..Import::default() };
        home.builder.images().import(&mut archive.as_slice(), &import, &mut |_| ()).unwrap();
        home
    }

    /// A directory of this test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Another process of the same engine, as it were.
    pub(super) fn reopen(&self) -> Arc<Builder> {
        open(&self.path)
    }

    /// Writes a file of the client's context.
    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path.join("context").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn begin(&self) -> (Build, UnboundedReceiver<Event>) {
        self.begin_on(&self.builder, vec![])
    }

    pub(super) fn begin_on(
        &self,
        builder: &Arc<Builder>,
        exports: Vec<Export>,
    ) -> (Build, UnboundedReceiver<Event>) {
        self.begin_with(builder, Request { exports, ..Request::default() })
    }

    pub(super) fn begin_with(
        &self,
        builder: &Arc<Builder>,
        request: Request,
    ) -> (Build, UnboundedReceiver<Event>) {
        let (sender, events) = unbounded_channel();
        let request = Request { id: "test".into(), ..request };
        let client: Arc<dyn Client> = self.client.clone();
        (builder.begin(request, client, Progress::new(sender)), events)
    }
}

fn open(path: &Path) -> Arc<Builder> {
    let config = EngineConfig {
        root: path.join("root"),
        state: path.join("state"),
        exe: "/nonexistent".into(),
        embedded: &[],
        driver: None,
        settings: Settings::default(),
        starts: false,
    };
    let settings = registry::Settings::of_this_machine(&|_| None).unwrap();
    Builder::new(Arc::new(Engine::open(config).unwrap()), settings).unwrap()
}

/// Names and bytes that came.
type Arrived = Vec<(String, Vec<u8>)>;

/// A client whose directories are here.
#[derive(Debug)]
pub(crate) struct Here {
    root: PathBuf,
    /// How often a directory was asked for.
    pub(super) n_asked: Mutex<usize>,
    pub(crate) secrets: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What was sent: the directory of a tree and the names in it; the bytes of a file.
    sent: Arc<Mutex<Arrived>>,
    /// Where else its results go, and what it is told of all of them.
    more: Mutex<Vec<Export>>,
    told: Mutex<Option<BTreeMap<String, String>>>,
}

impl Client for Here {
    fn directory<'a>(
        &'a self,
        local: &'a Local,
        into: &'a Path,
        _: &'a (dyn Fn(Status) + Send + Sync),
    ) -> Asked<'a, Fetched> {
        Box::pin(async move {
            *self.n_asked.lock().unwrap() += 1;
            let from = self.root.join(&local.name);
            // Files that are the same stay, as with the real one.
            let line = ["-a", "--delete", &format!("{}/", from.display())].map(str::to_owned);
            let copied = std::process::Command::new("rsync").args(line).arg(into).status();
            match copied {
                Ok(status) if status.success() => Ok(Fetched::default()),
                _ => {
                    let _ = fs::remove_dir_all(into);
                    let _ = fs::create_dir_all(into);
                    tree::copy(&from, into, tree::Files::Copy).map_err(|e| e.to_string())?;
                    Ok(Fetched::default())
                }
            }
        })
    }

    fn shared_key(&self) -> String {
        "here".into()
    }

    fn secret<'a>(&'a self, id: &'a str) -> Asked<'a, Option<Vec<u8>>> {
        Box::pin(async { Ok(self.secrets.lock().unwrap().get(id).cloned()) })
    }

    fn has_agent<'a>(&'a self, _: &'a str) -> Asked<'a, bool> {
        Box::pin(async { Ok(false) })
    }

    fn agent<'a>(&'a self, _: &'a str) -> Asked<'a, Box<dyn Stream>> {
        Box::pin(async { Err("no agent".into()) })
    }

    fn credentials<'a>(&'a self, _: &'a str) -> Asked<'a, Option<Credentials>> {
        Box::pin(async { Ok(None) })
    }

    fn send_trees(&self, _: usize, trees: Vec<SentTree>, _: Option<i64>) -> Asked<'_, ()> {
        Box::pin(async move {
            for SentTree { root, subdir } in trees {
                let mut names: Vec<String> = fs::read_dir(root)
                    .map_err(|error| error.to_string())?
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.sort();
                self.sent.lock().unwrap().push((subdir, names.join(" ").into()));
            }
            Ok(())
        })
    }

    fn send_file<'a>(
        &'a self,
        _: usize,
        _: &'a BTreeMap<String, String>,
    ) -> Asked<'a, Box<dyn FileOutput>> {
        let sent = Arc::clone(&self.sent);
        Box::pin(async move { Ok(Box::new(Sent(sent, Vec::new())) as Box<dyn FileOutput>) })
    }

    fn blob<'a>(
        &'a self,
        store: &'a str,
        digest: &'a oci::Digest,
        _: u64,
    ) -> Asked<'a, Box<dyn AsyncRead + Send + Unpin>> {
        let path = Self::blob_path(store, digest);
        Box::pin(async move {
            let bytes = fs::read(path).map_err(|error| error.to_string())?;
            Ok(Box::new(std::io::Cursor::new(bytes)) as Box<dyn AsyncRead + Send + Unpin>)
        })
    }

    fn has_blob<'a>(&'a self, store: &'a str, digest: &'a oci::Digest) -> Asked<'a, bool> {
        let path = Self::blob_path(store, digest);
        Box::pin(async move { Ok(path.exists()) })
    }

    fn put_blob<'a>(
        &'a self,
        store: &'a str,
        blob: &'a oci::image::Descriptor,
    ) -> Asked<'a, Box<dyn FileOutput>> {
        let path = Self::blob_path(store, &blob.digest);
        Box::pin(async move { Ok(Box::new(Blob(path, Vec::new())) as Box<dyn FileOutput>) })
    }

    fn exports<'a>(&'a self, solved: &'a Solved) -> Asked<'a, Vec<Export>> {
        assert!(solved.refs[0].1.is_some());
        Box::pin(async { Ok(self.more.lock().unwrap().clone()) })
    }

    fn exported<'a>(&'a self, response: &'a BTreeMap<String, String>) -> Asked<'a, ()> {
        let refused = response.contains_key("frontend.refuse");
        *self.told.lock().unwrap() = Some(response.clone());
        Box::pin(async move { if refused { Err("not so".into()) } else { Ok(()) } })
    }
}

impl Here {
    /// Where a blob of a content store is.
    pub(super) fn blob_path(store: &str, digest: &oci::Digest) -> PathBuf {
        let name = store.strip_prefix("local:").or(store.strip_prefix("oci:")).unwrap();
        Path::new(name).join(digest.hex())
    }
}

/// A blob that is on its way to a content store.
struct Blob(PathBuf, Vec<u8>);

impl FileOutput for Blob {
    fn write(&mut self, bytes: bytes::Bytes) -> Asked<'_, ()> {
        self.1.extend_from_slice(&bytes);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> Asked<'static, ()> {
        Box::pin(async move {
            fs::create_dir_all(self.0.parent().unwrap()).unwrap();
            fs::write(&self.0, self.1).map_err(|error| error.to_string())
        })
    }
}

/// A file that is on its way to the client.
struct Sent(Arc<Mutex<Arrived>>, Vec<u8>);

impl FileOutput for Sent {
    fn write(&mut self, bytes: bytes::Bytes) -> Asked<'_, ()> {
        self.1.extend_from_slice(&bytes);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> Asked<'static, ()> {
        Box::pin(async move {
            self.0.lock().unwrap().push(("file".into(), self.1));
            Ok(())
        })
    }
}

/// A graph that grows by steps with names.
#[derive(Default)]
pub(super) struct Steps(pub(super) Graph);

impl Steps {
    pub(super) fn image(&mut self, reference: &str) -> VertexIdx {
        let image = Image::named(reference.to_owned(), Resolve::Default);
        self.add(Op::Source(Source::Image(image)), vec![], "FROM")
    }

    pub(super) fn context(&mut self) -> VertexIdx {
        let local = Local { name: "context".into(), ..Local::default() };
        self.add(Op::Source(Source::Local(local)), vec![], "load build context")
    }

    /// Copies a path of `from` onto `base`; `None`: onto nothing.
    pub(super) fn copy(
        &mut self,
        base: Option<VertexIdx>,
        from: VertexIdx,
        source: &str,
        destination: &str,
    ) -> VertexIdx {
        let copy = Copy {
            input: 1,
            source: source.into(),
            destination: destination.into(),
            follow_links: true,
            contents_only: true,
            create_destination: true,
            ..Copy::default()
        };
        let base = base.unwrap_or_else(|| self.add(Op::File(File::default()), vec![], "scratch"));
        let op = Op::File(File { actions: vec![Action::Copy(copy)] });
        self.add(op, vec![base, from], &format!("COPY {source} {destination}"))
    }

    pub(super) fn add(&mut self, op: Op, inputs: Vec<VertexIdx>, name: &str) -> VertexIdx {
        let shown = Shown { name: name.into(), created_by: name.into(), ..Shown::default() };
        self.0.add(op, inputs, None, false, shown).unwrap()
    }
}

/// The names of those that were carried out, and of those that were found, in the order of their ends.
pub(super) fn ended(events: &mut UnboundedReceiver<Event>) -> (Vec<String>, Vec<String>) {
    let (mut done, mut cached) = (Vec::new(), Vec::new());
    while let Ok(event) = events.try_recv() {
        if let Event::Vertex(vertex) = event
            && vertex.completed.is_some()
        {
            if vertex.cached { cached.push(vertex.name) } else { done.push(vertex.name) }
        }
    }
    (done, cached)
}
