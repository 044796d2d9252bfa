//! What steps were made of: kept beside the cache, and longer than what they made, so that a build can say why a
//! step was not found (`explain`).
//!
//! ```text
//! ROOT/build/made/log      one line a step that was carried out, JSON; the oldest go
//! ROOT/build/made/NAME     the files that a selection of an input came to (`edit::Listing`), or what a program has
//!                          asked its proxy for (`egress::Captured`)
//! ```
//!
//! Nothing is built from it. Where it cannot be read or written, less can be said, and no build fails.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use buildgraph::{Graph, Op, Source, Vertex};
use edit::Listing;
use egress::Captured;
use oci::Digest;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::{self, Taken};
use crate::output::Output;
use crate::store::short;

/// The log is cut to half of this, in bytes: some thousand steps.
const LOG: u64 = 4 << 20;
/// Of all listings, in bytes, and how many there may be: the oldest go.
const LISTINGS: u64 = 64 << 20;
const N_LISTINGS: usize = 4096;
/// What a step does is kept up to this length, in bytes; of more, its digest.
const OP: usize = 32 << 10;

/// What a step was made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Making {
    /// What it is found by.
    pub(crate) key: String,
    /// When: nanoseconds since 1970.
    pub(crate) time: i64,
    /// What was built: the client's name of the directory; empty where it has none.
    pub(crate) project: String,
    /// What people call it: `[build 2/5] RUN make`.
    pub(crate) name: String,
    /// As it is in the history of an image.
    pub(crate) created_by: String,
    /// On what it runs.
    pub(crate) platform: String,
    /// What it does: an [`Op`]. Of secrets it has only names.
    pub(crate) op: Value,
    /// What it works on.
    pub(crate) inputs: Vec<Input>,
    /// What it takes of that by content.
    pub(crate) files: Vec<Files>,
    /// Nanoseconds that it took.
    #[serde(default)]
    pub(crate) took: i64,
    /// Bytes that it made.
    #[serde(default)]
    pub(crate) size: u64,
}

/// Something that a step works on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// What people call it; an image by its name and digest.
    pub(crate) name: String,
    /// It is an image.
    pub(crate) is_image: bool,
    /// What it is; empty where that takes a look at its files.
    pub(crate) identity: String,
}

/// Files of an input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Files {
    /// Which.
    pub(crate) input: usize,
    /// How they are chosen: a digest.
    pub(crate) selection: String,
    /// What they come to.
    pub(crate) digest: String,
}

impl Making {
    /// Of a vertex of a graph, whose inputs have come to `outputs`, what it takes of them to `contents`.
    pub(crate) fn new(
        graph: &Graph,
        vertex: &Vertex,
        key: &Digest,
        outputs: &[Output],
        contents: &[Digest],
    ) -> Self {
        let input = |(idx, output): (&buildgraph::VertexIdx, &Output)| {
            let from = graph.get(*idx);
            let (name, is_image) = match &from.op {
                Op::Source(Source::Image(image)) => {
                    let digest = image.digest.as_ref().map(|digest| format!("@{digest}"));
                    (format!("{}{}", image.reference, digest.unwrap_or_default()), true)
                }
                _ => (from.shown.name.clone(), false),
            };
            Input { name, is_image, identity: output.identity().unwrap_or_default() }
        };
        let taken = keys::taken(&vertex.op);
        let files = taken.iter().zip(contents).map(|(taken, digest)| Files {
            input: taken.input,
            selection: taken.selection(),
            digest: digest.to_string(),
        });
        Self {
            key: key.to_string(),
            time: crate::cache::now(),
            project: String::new(),
            name: vertex.shown.name.clone(),
            created_by: vertex.shown.created_by.clone(),
            platform: vertex.platform.as_ref().map(ToString::to_string).unwrap_or_default(),
            op: kept(&vertex.op),
            inputs: vertex.inputs.iter().zip(outputs).map(input).collect(),
            files: files.collect(),
            took: 0,
            size: 0,
        }
    }
}

/// What is kept of what a step does: here-documents by their digests.
fn kept(op: &Op) -> Value {
    let mut value = serde_json::to_value(op).unwrap_or_default();
    if let Some(actions) = value.pointer_mut("/File/actions").and_then(Value::as_array_mut) {
        for data in actions.iter_mut().filter_map(|one| one.pointer_mut("/MakeFile/data")) {
            *data = Digest::sha256(data.to_string().as_bytes()).to_string().into();
        }
    }
    let text = value.to_string();
    if text.len() > OP { Digest::sha256(text.as_bytes()).to_string().into() } else { value }
}

/// What is kept of steps.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    root: PathBuf,
}

impl Made {
    /// In the builder's directory `root`.
    pub(crate) fn open(root: &Path) -> Self {
        Self { root: root.join("made") }
    }

    fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root)
    }

    fn place(&self, taken: &str, digest: &str) -> PathBuf {
        self.root.join(short(&Digest::sha256(format!("{taken} {digest}").as_bytes())))
    }

    /// Keeps the files that a selection came to, unless they are kept already.
    pub(crate) fn keep(&self, taken: &Taken, digest: &Digest, listing: &Listing) {
        let Some(text) = listing.text() else { return };
        let place = self.place(&taken.selection(), &digest.to_string());
        if place.exists() {
            return;
        }
        let part = place.with_extension(snapshot::unique_name());
        let write = || {
            self.make()?;
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&part)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&part, &place)?;
            self.sweep()
        };
        if write().is_err() {
            let _ = fs::remove_file(&part);
        }
    }

    /// The files that a selection came to, where that is known.
    pub(crate) fn files(&self, files: &Files) -> Option<String> {
        fs::read_to_string(self.place(&files.selection, &files.digest)).ok()
    }

    /// Keeps what a program with a proxy has asked for, whose result is found by `key`.
    pub(crate) fn keep_captured(&self, key: &Digest, captured: &Captured) {
        let place = self.place_of_captured(key);
        let part = place.with_extension(snapshot::unique_name());
        let write = || {
            self.make()?;
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&part)?;
            // What is noted is what it came to.
            let captured = Captured { requests: Vec::new(), ..captured.clone() };
            file.write_all(serde_json::to_string(&captured)?.as_bytes())?;
            fs::rename(&part, &place)?;
            self.sweep()
        };
        if write().is_err() {
            let _ = fs::remove_file(&part);
        }
    }

    /// What was kept by a key; `None`: it is not known any more.
    pub(crate) fn captured(&self, key: &Digest) -> Option<Captured> {
        serde_json::from_slice(&fs::read(self.place_of_captured(key)).ok()?).ok()
    }

    fn place_of_captured(&self, key: &Digest) -> PathBuf {
        self.place("captured", &key.to_string())
    }

    /// Removes the oldest listings where there are too many.
    fn sweep(&self) -> io::Result<()> {
        let mut all: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let found = entry.metadata()?;
            if entry.file_name() != "log" {
                all.push((found.modified()?, found.len(), entry.path()));
            }
        }
        let mut total: u64 = all.iter().map(|one| one.1).sum();
        if total <= LISTINGS && all.len() <= N_LISTINGS {
            return Ok(());
        }
        all.sort();
        let mut n = all.len();
        for (_, size, path) in all {
            if total <= LISTINGS / 2 && n <= N_LISTINGS / 2 {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(size);
            n -= 1;
        }
        Ok(())
    }

    /// Keeps what a step was made of.
    pub(crate) fn add(&self, making: &Making) {
        // Nothing is built from it: see above.
        let _ = self.try_add(making);
    }

    fn try_add(&self, making: &Making) -> io::Result<()> {
        self.make()?;
        let path = self.root.join("log");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(&path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        // A line that a dead process has left half written ends here.
        file.write_all(format!("\n{}\n", serde_json::to_string(making)?).as_bytes())?;
        if file.metadata()?.len() > LOG {
            shorten(&mut file, &path)?;
        }
        Ok(())
    }

    /// All that is known, the oldest first.
    pub(crate) fn all(&self) -> Vec<Making> {
        let text = fs::read_to_string(self.root.join("log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Leaves the younger half of the log. In place, since others wait for the lock of this file: who reads it
/// meanwhile may miss lines.
fn shorten(file: &mut File, path: &Path) -> io::Result<()> {
    let text = fs::read(path)?;
    let half = text.len() / 2;
    let start = text[half..].iter().position(|byte| *byte == b'\n').map_or(half, |at| half + at);
    file.set_len(0)?;
    file.write_all(&text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_read_as_it_was_written_and_does_not_grow_without_end() {
        let root = std::env::temp_dir().join(format!("dhow-made-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let made = Made::open(&root);
        assert_eq!(made.all(), []);
        let making = |n: usize| Making {
            key: format!("key {n}"),
            created_by: "x".repeat(10_000),
            op: Value::Null,
            ..Making::default()
        };
        made.add(&making(0));
        // A process died while it wrote.
        let mut log = OpenOptions::new().append(true).open(root.join("made/log")).unwrap();
        log.write_all(b"{\"key\":\"half").unwrap();
        made.add(&making(1));
        assert_eq!(made.all(), [making(0), making(1)]);
        for n in 2..600 {
            made.add(&making(n));
        }
        let all = made.all();
        assert_eq!(all.last(), Some(&making(599)));
        assert!(all.len() < 450, "{}", all.len());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn here_documents_are_kept_as_digests() {
        let file = buildgraph::MakeFile { data: b"text".to_vec(), ..Default::default() };
        let op = Op::File(buildgraph::File { actions: vec![buildgraph::Action::MakeFile(file)] });
        let text = kept(&op).to_string();
        assert!(text.contains("sha256:") && !text.contains("[116"), "{text}");
        let long = buildgraph::Exec { args: vec!["x".repeat(OP)], ..Default::default() };
        assert!(kept(&Op::Exec(long)).as_str().unwrap().starts_with("sha256:"));
    }
}
