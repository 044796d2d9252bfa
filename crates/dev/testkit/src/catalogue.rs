//! All that can be known of a tree, to hold two trees against each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The most bytes of a file that are read; of what is longer the data counts that lies between holes.
const MOST: u64 = 1 << 30;

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `f`, `d`, `l`, `c`, `b`, `p` or `s`, as find(1) has them.
    pub kind: char,
    /// Permissions, set-id and sticky bits; 0 of a symbolic link.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, i64),
    /// Of files: bytes.
    pub size: u64,
    /// Of devices: major and minor number.
    pub device: (u32, u32),
    /// Of symbolic links: where to. Of files: the digest of the content.
    pub content: String,
    /// Of files: where they have data, as ranges of bytes.
    pub data: Vec<(u64, u64)>,
    /// All extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first of all names in the tree that are this file, if it has several.
    pub linked: Option<PathBuf>,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, mode, owner: (uid, gid), mtime: (seconds, nanos), .. } = self;
        write!(f, "{kind} {mode:04o} {uid}:{gid} {} @{seconds}.{nanos:09}", self.size)?;
        write!(f, " {:?} {} data {:?}", self.device, self.content, self.data)?;
        for (name, value) in &self.xattrs {
            write!(f, " {name}={}", hex(value))?;
        }
        self.linked.as_ref().map_or(Ok(()), |name| write!(f, " = {}", name.display()))
    }
}

/// All names in a tree, the root as the empty one.
pub type Catalogue = BTreeMap<PathBuf, Item>;

/// Looks at a whole tree, which is on one file system and does not change meanwhile.
pub fn catalogue(root: &Path) -> Catalogue {
    let mut all = Catalogue::new();
    let mut names: HashMap<u64, PathBuf> = HashMap::new();
    let mut rest = vec![PathBuf::new()];
    // Every directory is entered by itself: a path may be too long to be said at once.
    while let Some(path) = rest.pop() {
        let place = if path.as_os_str().is_empty() { root.into() } else { root.join(&path) };
        let found = std::fs::symlink_metadata(&place).unwrap_or_else(|e| panic!("{place:?}: {e}"));
        let mut one = item(&place, &found);
        if !found.is_dir() && found.nlink() > 1 {
            names
                .entry(found.ino())
                .and_modify(|first| {
                    if path < *first {
                        first.clone_from(&path);
                    }
                })
                .or_insert_with(|| path.clone());
            one.linked = Some(PathBuf::from(found.ino().to_string()));
        }
        if found.is_dir() {
            let entries = std::fs::read_dir(&place).expect("read a directory");
            rest.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
        }
        all.insert(path, one);
    }
    // A file whose other names are elsewhere has one here.
    let mut counts: HashMap<PathBuf, usize> = HashMap::new();
    for number in all.values().filter_map(|one| one.linked.clone()) {
        *counts.entry(number).or_default() += 1;
    }
    for one in all.values_mut() {
        one.linked = one.linked.take().filter(|number| counts[number] > 1).map(|number| {
            let number = number.to_str().and_then(|text| text.parse().ok()).expect("a number");
            names[&number].clone()
        });
    }
    all
}

fn item(path: &Path, found: &std::fs::Metadata) -> Item {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = match found.file_type() {
        kind if kind.is_dir() => 'd',
        kind if kind.is_symlink() => 'l',
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        kind if kind.is_fifo() => 'p',
        kind if kind.is_socket() => 's',
        _ => 'f',
    };
    let is_device = matches!(kind, 'c' | 'b');
    let data = if kind == 'f' { ranges(path, found.len()) } else { Vec::new() };
    let content = match kind {
        'f' => digest(path, &data),
        'l' => format!("{:?}", std::fs::read_link(path).expect("read a link")),
        _ => String::new(),
    };
    Item {
        kind,
        mode: if kind == 'l' { 0 } else { found.mode() & 0o7777 },
        owner: (found.uid(), found.gid()),
        mtime: (found.mtime(), found.mtime_nsec()),
        size: if kind == 'f' { found.len() } else { 0 },
        device: if is_device {
            (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()))
        } else {
            (0, 0)
        },
        content,
        data,
        xattrs: xattrs(path),
        linked: None,
    }
}

/// Where a file has data, by what the file system says.
fn ranges(path: &Path, len: u64) -> Vec<(u64, u64)> {
    use rustix::fs::SeekFrom;
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let (mut all, mut at) = (Vec::new(), 0);
    while at < len {
        let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) else { break };
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start)).expect("SEEK_HOLE");
        all.push((start, end));
        at = end;
    }
    all
}

fn digest(path: &Path, data: &[(u64, u64)]) -> String {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::open(path).expect("open a file");
    let len = file.metadata().expect("stat a file").len();
    let whole = [(0, len)];
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for (start, end) in if len <= MOST { &whole[..] } else { data } {
        let mut at = *start;
        while at < *end {
            let wanted = usize::try_from(end - at).unwrap_or(buffer.len()).min(buffer.len());
            let n_read = file.read_at(&mut buffer[..wanted], at).expect("read a file");
            assert!(n_read > 0, "{path:?} ends early");
            hasher.update(&buffer[..n_read]);
            at += n_read as u64;
        }
    }
    hex(&hasher.finalize())[..16].to_owned()
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        len => len.expect("llistxattr"),
    };
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let name = OsStr::from_bytes(name);
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("lgetxattr");
            value.truncate(len);
            (name.to_string_lossy().into_owned(), value)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In which names two trees differ, and how: a line each, of what `wanted` has and of what `found`
/// has.
pub fn differences(wanted: &Catalogue, found: &Catalogue) -> Vec<String> {
    let names: BTreeSet<&PathBuf> = wanted.keys().chain(found.keys()).collect();
    let shown = |one: Option<&Item>| one.map_or("nothing".to_owned(), ToString::to_string);
    let differing = names.into_iter().filter(|name| wanted.get(*name) != found.get(*name));
    differing
        .map(|name| {
            let short: OsString =
                OsString::from_vec(name.as_os_str().as_bytes().iter().copied().take(120).collect());
            let (wanted, found) = (shown(wanted.get(name)), shown(found.get(name)));
            format!("{short:?}\n  wanted {wanted}\n  found  {found}")
        })
        .collect()
}
