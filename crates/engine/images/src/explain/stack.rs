//! The files of layers, one on top of the other.

use std::collections::BTreeMap;
use std::ops::Bound;

use oci::Digest;
use tarstream::{Entry, Kind};
use tree::{OPAQUE, WHITEOUT};

/// What a layer does to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From the root, without a slash in front.
    pub path: Vec<u8>,
    /// What is done.
    pub act: Act,
    /// Bytes of the file in this layer.
    pub size: u64,
    /// Bytes of what was there, which this hides.
    pub hidden: u64,
}

/// What is done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It was not there.
    Add,
    /// It has other content, or is another kind of file.
    Change,
    /// It has the same content; only its owner, mode, times or attributes were changed. It is stored
    /// a second time all the same.
    Touch,
    /// It is not there any more.
    Remove,
}

/// A path as the topmost layer that has it says.
#[derive(Clone, Debug)]
struct Node {
    layer: usize,
    kind: Kind,
    size: u64,
    /// Of the content of a file, of what a link leads to.
    content: Digest,
    mode: u32,
    owner: (u32, u32),
}

/// What is counted of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) size: u64,
    pub(super) wasted: u64,
}

/// The files of all layers so far, as a container would see them.
#[derive(Debug, Default)]
pub(super) struct Stack {
    nodes: BTreeMap<Vec<u8>, Node>,
    sums: Vec<Sums>,
    /// Of the layer that is being read.
    changes: BTreeMap<Vec<u8>, Change>,
    /// Bytes of memory that all of it takes, of former layers' changes too: about, and no less.
    held: usize,
}

/// So much is kept of an image's files: two million names or so.
const MOST_HELD: usize = if cfg!(test) { 1 << 20 } else { 512 << 20 };

impl Stack {
    /// Another layer begins.
    pub(super) fn begin(&mut self) {
        self.sums.push(Sums::default());
        self.changes.clear();
    }

    /// Whether there are more files than are kept in memory.
    pub(super) fn is_full(&self) -> bool {
        self.held > MOST_HELD
    }

    /// It is complete: what it did.
    pub(super) fn end(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes).into_values().collect()
    }

    /// What there is of each layer by now.
    pub(super) fn sums(self) -> Vec<Sums> {
        self.sums
    }

    /// An entry of this layer's archive; `content` is the digest of its data.
    pub(super) fn add(&mut self, entry: &Entry, content: &Digest) {
        let Some(path) = clean(&entry.path) else { return };
        self.held += 2 * path.len() + size_of::<Node>() + size_of::<Change>();
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = path.split_at(at);
        if name == OPAQUE {
            self.hide_below(parent.strip_suffix(b"/").unwrap_or(parent));
        } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
            self.remove(&[parent, gone].concat());
        } else {
            self.put(path, entry, content);
        }
    }

    fn put(&mut self, path: Vec<u8>, entry: &Entry, content: &Digest) {
        let layer = self.sums.len().saturating_sub(1);
        let content =
            if entry.link.is_empty() { content.clone() } else { Digest::sha256(&entry.link) };
        let node = Node {
            layer,
            kind: entry.kind,
            size: entry.size,
            content,
            mode: entry.mode,
            owner: (entry.uid, entry.gid),
        };
        self.sums[layer].size += node.size;
        if entry.kind != Kind::Directory {
            self.hide_below(&path);
        }
        let Some(old) = self.nodes.insert(path.clone(), node.clone()) else {
            // It may have been removed by this very layer: then it is another one.
            let hidden = self.changes.get(&path).map_or(0, |change| change.hidden);
            let act = if self.changes.contains_key(&path) { Act::Change } else { Act::Add };
            self.changes.insert(path.clone(), Change { path, act, size: node.size, hidden });
            return;
        };
        self.sums[old.layer].wasted += old.size;
        if old.layer == layer {
            // The archive has it twice: the later one counts.
            if let Some(change) = self.changes.get_mut(&path) {
                change.size = node.size;
            }
            return;
        }
        let same_kind = old.kind == node.kind;
        let act = match node.kind {
            // Archives repeat the directories that lead to a file.
            Kind::Directory if same_kind && (old.mode, old.owner) == (node.mode, node.owner) => {
                return;
            }
            _ if same_kind && old.content == node.content && old.size == node.size => Act::Touch,
            _ => Act::Change,
        };
        let change = Change { path: path.clone(), act, size: node.size, hidden: old.size };
        self.changes.insert(path, change);
    }

    /// A path of the layers below is not to be seen, nor what is in it.
    fn remove(&mut self, path: &[u8]) {
        self.hide_below(path);
        self.take(path);
    }

    /// Nothing of the layers below is to be seen in this directory; the empty path is the root.
    fn hide_below(&mut self, directory: &[u8]) {
        let mut first = directory.to_vec();
        if !first.is_empty() {
            first.push(b'/');
        }
        let layer = self.sums.len().saturating_sub(1);
        let below: Vec<Vec<u8>> = self
            .nodes
            .range((Bound::Included(first.clone()), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(&first))
            .filter(|(_, node)| node.layer < layer)
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            self.take(&path);
        }
    }

    fn take(&mut self, path: &[u8]) {
        let layer = self.sums.len().saturating_sub(1);
        // What this layer itself has is not meant.
        if self.nodes.get(path).is_none_or(|node| node.layer == layer) {
            return;
        }
        if let Some(old) = self.nodes.remove(path) {
            self.sums[old.layer].wasted += old.size;
            let change =
                Change { path: path.to_vec(), act: Act::Remove, size: 0, hidden: old.size };
            self.changes.insert(path.to_vec(), change);
        }
    }
}

/// A name without `.`, `..` and doubled slashes. `None` for the root itself.
fn clean(name: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = name
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b"." && *part != b"..")
        .collect();
    (!parts.is_empty()).then(|| parts.join(&b'/'))
}
