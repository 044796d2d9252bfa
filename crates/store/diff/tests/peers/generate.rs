//! Archives of a generator's own: the same for the same seed, byte by byte put together, so that each
//! way to say a thing is met: V7, ustar, GNU's headers and PAX's, and four kinds of sparse maps.

use std::collections::BTreeMap;

const BLOCK: usize = 512;

/// Numbers without a system: xorshift.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// In which way an archive is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Ustar,
    Gnu,
    Pax,
}

/// One entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) path: Vec<u8>,
    /// The type as tar has it.
    pub(crate) kind: u8,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: BTreeMap<&'static str, Vec<u8>>,
    /// Records as they are.
    pub(crate) records: Vec<(&'static str, &'static str)>,
    pub(crate) data: Vec<u8>,
    /// Where the data goes, and how long the whole is.
    pub(crate) sparse: Option<(Vec<(u64, u64)>, u64)>,
}

/// A capability as the kernel keeps it: version 2, `CAP_NET_RAW`.
pub(crate) const CAPABILITY: [u8; 20] =
    [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

struct Tree<'a> {
    dice: &'a mut Dice,
    format: Format,
    nodes: Vec<Node>,
    dirs: Vec<Vec<u8>>,
    files: Vec<Vec<u8>>,
    links: Vec<Vec<u8>>,
}

/// All entries of an archive that every extractor can unpack: nothing leads out, every link finds
/// what it links.
pub(crate) fn nodes(dice: &mut Dice, format: Format, count: usize) -> Vec<Node> {
    let mut tree = Tree {
        dice,
        format,
        nodes: Vec::new(),
        dirs: vec![Vec::new()],
        files: Vec::new(),
        links: Vec::new(),
    };
    let root = Node { kind: b'5', path: b"./".to_vec(), mode: 0o755, ..tree.node() };
    tree.nodes.push(root);
    while tree.nodes.len() < count {
        tree.grow();
    }
    // A directory that holds what was deleted and made again keeps the time that it was given.
    tree.nodes
}

impl Tree<'_> {
    fn node(&mut self) -> Node {
        let ids = [0, 1, 33, 1000, 65_534, 0o7_777_777, 2_097_152, 3_000_000_000];
        let n_ids = if self.format == Format::Ustar { 6 } else { ids.len() };
        let owner = (*self.dice.of(&ids[..n_ids]), *self.dice.of(&ids[..n_ids]));
        let seconds = match (self.format, self.dice.below(8)) {
            (_, 0) => 0,
            (Format::Gnu | Format::Pax, 1) => -12_345,
            (Format::Gnu | Format::Pax, 2) => 9_000_000_000,
            (_, n) => 1_000_000_000 + n as i64 * 77_777,
        };
        let is_fine = self.format == Format::Pax && self.dice.below(3) > 0;
        let nanos = if is_fine { self.dice.below(1_000_000_000) as u32 } else { 0 };
        Node {
            mode: *self.dice.of(&[0o644, 0o755, 0o600, 0, 0o4755, 0o2755, 0o6711, 0o1777, 0o7777]),
            owner,
            mtime: (seconds, nanos),
            ..Node::default()
        }
    }

    fn name(&mut self) -> Vec<u8> {
        let mut name = match self.dice.below(12) {
            0 => b"caf\xc3\xa9".to_vec(),
            1 => b"\xff\xfe odd".to_vec(),
            2 => b"new\nline".to_vec(),
            3 => b" space ".to_vec(),
            4 => b"-dash*?[x]".to_vec(),
            5 => b"back\\slash".to_vec(),
            6 => b"wh.not-a-whiteout".to_vec(),
            // Ustar splits a name at a slash, into 155 and 100 bytes.
            7 if self.format != Format::Ustar => vec![b'n'; 240],
            8 => vec![b'm'; 60],
            _ => b"plain".to_vec(),
        };
        name.extend(self.dice.below(1000).to_string().bytes());
        name
    }

    fn grow(&mut self) {
        let dir = self.dice.of(&self.dirs).clone();
        let mut path = [dir, self.name()].concat();
        let is_long = path.len() > 200;
        if is_long && (self.format == Format::Ustar || path.len() > 3000) {
            return;
        }
        if self.dice.one_in(6) && !self.nodes.is_empty() {
            self.again();
            return;
        }
        let used =
            |tree: &Self| tree.nodes.iter().any(|node| trimmed(&node.path) == trimmed(&path));
        if used(self) {
            return;
        }
        let mut node = self.node();
        let plain = path.clone();
        if self.dice.one_in(5) {
            path = [b"./", path.as_slice()].concat();
        }
        match self.dice.below(20) {
            0..=4 => {
                node.kind = b'5';
                self.dirs.push([plain.as_slice(), b"/"].concat());
                if !self.dice.one_in(4) {
                    path.push(b'/');
                }
                if self.format == Format::Pax && self.dice.one_in(4) {
                    node.records.push((
                        "SCHILY.acl.default",
                        "user::rwx,user:70000:r-x,group::r-x,mask::r-x,other::---",
                    ));
                }
            }
            5..=6 => {
                node.kind = b'2';
                node.link =
                    self.dice.of(&[&b"nowhere"[..], b"plain1", b"sub/dir", b"a\xffb"]).to_vec();
                if self.format != Format::Ustar && self.dice.one_in(3) {
                    node.link = vec![b't'; 300];
                }
                self.links.push(plain);
            }
            7 => node.kind = b'6',
            8 => {
                node.kind = *self.dice.of(b"34");
                node.device = *self.dice.of(&[(1, 3), (7, 200), (0, 9), (200, 70_000)]);
            }
            9..=11 if !self.files.is_empty() => {
                node.kind = b'1';
                node.link.clone_from(self.dice.of(&self.files));
                if self.dice.one_in(4) && !self.links.is_empty() {
                    node.link.clone_from(self.dice.of(&self.links));
                }
                if node.link.len() > 100 && self.format == Format::Ustar {
                    return;
                }
                self.nodes.push(Node { path, ..node });
                return;
            }
            12..=13 if self.format != Format::Ustar => {
                self.sparse(&mut node);
                self.files.push(plain);
            }
            _ => {
                node.kind = *self.dice.of(&[b'0', 0, b'7']);
                let len = *self.dice.of(&[0, 1, 511, 512, 513, 5000]);
                node.data = (0..len).map(|n| n as u8 ^ self.dice.0 as u8).collect();
                self.files.push(plain);
            }
        }
        self.attributes(&mut node);
        self.nodes.push(Node { path, ..node });
    }

    /// An entry of a name that was there: what it was is replaced, but for a directory by one.
    fn again(&mut self) {
        let old = self.dice.of(&self.nodes).clone();
        let path = trimmed(&old.path).to_vec();
        let latest = self.nodes.iter().rev().find(|node| trimmed(&node.path) == path);
        if latest.is_some_and(|latest| latest.kind != old.kind) {
            return;
        }
        if old.kind == b'5' {
            let node = Node { path: old.path, kind: b'5', ..self.node() };
            self.nodes.push(node);
            return;
        }
        // What is linked elsewhere stays so there.
        let link_to = |path: &[u8], node: &Node| node.kind == b'1' && node.link == path;
        if self.nodes.iter().any(|node| link_to(&path, node)) {
            return;
        }
        self.files.retain(|name| *name != path);
        self.links.retain(|name| *name != path);
        let mut node = Node { path: path.clone(), ..self.node() };
        match self.dice.below(3) {
            0 => {
                node.kind = b'5';
                self.dirs.push([path.as_slice(), b"/"].concat());
            }
            1 => {
                node.kind = b'2';
                node.link = b"replaced".to_vec();
            }
            _ => {
                node.kind = b'0';
                node.data = b"again".to_vec();
            }
        }
        self.nodes.push(node);
    }

    fn attributes(&mut self, node: &mut Node) {
        if self.format != Format::Pax || node.kind == b'2' {
            return;
        }
        if self.dice.one_in(3) {
            node.xattrs.insert("trusted.t", vec![0, 10, b'=', 255]);
        }
        let is_plain = matches!(node.kind, b'0' | b'5' | 0 | b'7');
        if is_plain && self.dice.one_in(3) {
            node.xattrs.insert("user.empty", Vec::new());
            node.xattrs.insert("user.long", vec![b'v'; 300]);
        }
        if is_plain && node.kind != b'5' && self.dice.one_in(4) {
            node.xattrs.insert("security.capability", CAPABILITY.to_vec());
        }
        if is_plain && self.dice.one_in(4) {
            // The mode says the same: the mask is the group's bits there.
            node.mode = node.mode & !0o777 | 0o650;
            node.records.push((
                "SCHILY.acl.access",
                "user::rw-,user:70000:r--,group::---,mask::r-x,other::---",
            ));
        }
        if self.dice.one_in(4) {
            node.records.push(("comment", "nothing\nto see"));
        }
    }

    fn sparse(&mut self, node: &mut Node) {
        node.kind = if self.format == Format::Gnu { b'S' } else { b'0' };
        let mut map = Vec::new();
        let mut at = 0;
        for _ in 0..*self.dice.of(&[0, 1, 3, 5, 26, 60]) {
            at += 4096 * self.dice.below(3);
            let len = *self.dice.of(&[4096, 8192]);
            map.push((at, len));
            at += len;
            node.data.extend((0..len).map(|n| (n % 251) as u8 + 1));
        }
        let size = at + *self.dice.of(&[0, 100_000, 1 << 34]);
        node.sparse = Some((map, size));
    }
}

/// A name without what says nothing.
fn trimmed(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path)
}

/// The archive.
pub(crate) fn archive(dice: &mut Dice, format: Format, nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::new();
    if format == Format::Pax {
        extended(&mut out, b'g', &[(b"comment".to_vec(), b"for all of them".to_vec())]);
    }
    for node in nodes {
        write(dice, &mut out, format, node);
    }
    out.extend_from_slice(&[0; 2 * BLOCK]);
    out.resize(out.len().next_multiple_of(10_240), 0);
    out
}

fn write(dice: &mut Dice, out: &mut Vec<u8>, format: Format, node: &Node) {
    let mut block = [0; BLOCK];
    let mut data = node.data.clone();
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut more = Vec::new();
    match format {
        Format::Ustar if node.path.len() > 100 => {
            let slash = (0..node.path.len())
                .find(|at| node.path[*at] == b'/' && node.path.len() - at - 1 <= 100)
                .expect("a name that can be split");
            put(&mut block[345..500], &node.path[..slash]);
            put(&mut block[0..100], &node.path[slash + 1..]);
        }
        Format::Gnu => {
            for (kind, text) in [(b'L', &node.path), (b'K', &node.link)] {
                if text.len() > 100 {
                    header(out, kind, b"././@LongLink", |block| {
                        octal(&mut block[124..136], text.len() as u64 + 1);
                        block[257..265].copy_from_slice(b"ustar  \0");
                    });
                    blocks(out, &[text.as_slice(), b"\0"].concat());
                }
            }
            put(&mut block[0..100], &node.path);
        }
        _ => put(&mut block[0..100], &node.path),
    }
    put(&mut block[157..257], &node.link);
    if format == Format::Pax {
        let odd = |text: &[u8]| text.len() > 100 || std::str::from_utf8(text).is_err();
        for (key, text) in [("path", &node.path), ("linkpath", &node.link)] {
            if odd(text) || !text.is_empty() && dice.one_in(4) {
                records.push((key.into(), text.clone()));
            }
        }
        let (seconds, nanos) = node.mtime;
        if nanos != 0 || seconds < 0 || seconds >> 33 != 0 || dice.one_in(4) {
            records.push(("mtime".into(), time(seconds, nanos).into_bytes()));
        }
        for (key, id) in [("uid", node.owner.0), ("gid", node.owner.1)] {
            if id >> 21 != 0 {
                records.push((key.into(), id.to_string().into_bytes()));
            }
        }
        for (name, value) in &node.xattrs {
            records.push((format!("SCHILY.xattr.{name}").into_bytes(), value.clone()));
        }
        for (key, value) in &node.records {
            records.push((key.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
    }
    if let Some((map, size)) = &node.sparse {
        if format == Format::Gnu {
            more = gnu_map(&mut block, map, *size);
        } else {
            data = sparse_records(dice, &mut records, node, map, *size);
        }
    }
    if !records.is_empty() {
        extended(out, b'x', &records);
    }
    octal(&mut block[100..108], u64::from(node.mode));
    let is_pax = format == Format::Pax;
    number(&mut block[108..116], i64::from(node.owner.0), is_pax);
    number(&mut block[116..124], i64::from(node.owner.1), is_pax);
    number(&mut block[124..136], data.len() as i64, is_pax);
    number(&mut block[136..148], node.mtime.0, is_pax);
    block[156] = node.kind;
    block[257..265].copy_from_slice(if format == Format::Gnu {
        b"ustar  \0"
    } else {
        b"ustar\x0000"
    });
    put(&mut block[265..296], b"nobody-knows");
    put(&mut block[297..328], b"nobody-knows");
    number(&mut block[329..337], i64::from(node.device.0), false);
    number(&mut block[337..345], i64::from(node.device.1), false);
    seal(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(&more);
    blocks(out, &data);
}

/// The old GNU map: four pieces in the header, and 21 in each block after it.
fn gnu_map(block: &mut [u8; BLOCK], map: &[(u64, u64)], size: u64) -> Vec<u8> {
    let mut pieces = map.to_vec();
    if pieces.last().is_none_or(|(at, len)| at + len < size) {
        pieces.push((size, 0));
    }
    let put = |field: &mut [u8], (at, len): (u64, u64)| {
        number(&mut field[..12], at as i64, false);
        number(&mut field[12..24], len as i64, false);
    };
    let first = pieces.len().min(4);
    for (nth, piece) in pieces[..first].iter().enumerate() {
        put(&mut block[386 + nth * 24..], *piece);
    }
    number(&mut block[483..495], size as i64, false);
    let mut more = Vec::new();
    let mut chunks = pieces[first..].chunks(21).peekable();
    block[482] = u8::from(chunks.peek().is_some());
    while let Some(chunk) = chunks.next() {
        let mut next = [0; BLOCK];
        for (nth, piece) in chunk.iter().enumerate() {
            put(&mut next[nth * 24..], *piece);
        }
        next[504] = u8::from(chunks.peek().is_some());
        more.extend_from_slice(&next);
    }
    more
}

/// The formats 0.0, 0.1 and 1.0, of which the last begins the data.
fn sparse_records(
    dice: &mut Dice,
    records: &mut Vec<(Vec<u8>, Vec<u8>)>,
    node: &Node,
    map: &[(u64, u64)],
    size: u64,
) -> Vec<u8> {
    let mut add = |key: &str, value: String| records.push((key.into(), value.into_bytes()));
    let mut pieces = map.to_vec();
    if pieces.last().is_none_or(|(at, len)| at + len < size) {
        pieces.push((size, 0));
    }
    match dice.below(3) {
        0 => {
            add("GNU.sparse.size", size.to_string());
            add("GNU.sparse.numblocks", pieces.len().to_string());
            for (at, len) in &pieces {
                add("GNU.sparse.offset", at.to_string());
                add("GNU.sparse.numbytes", len.to_string());
            }
        }
        1 => {
            add("GNU.sparse.size", size.to_string());
            add("GNU.sparse.numblocks", pieces.len().to_string());
            let numbers = pieces.iter().map(|(at, len)| format!("{at},{len}"));
            add("GNU.sparse.map", numbers.collect::<Vec<_>>().join(","));
        }
        _ => {
            add("GNU.sparse.major", "1".into());
            add("GNU.sparse.minor", "0".into());
            add("GNU.sparse.realsize", size.to_string());
            records.push((b"GNU.sparse.name".to_vec(), node.path.clone()));
            let mut data = format!("{}\n", pieces.len()).into_bytes();
            for (at, len) in &pieces {
                data.extend(format!("{at}\n{len}\n").bytes());
            }
            data.resize(data.len().next_multiple_of(BLOCK), 0);
            data.extend_from_slice(&node.data);
            return data;
        }
    }
    records.push((b"GNU.sparse.name".to_vec(), node.path.clone()));
    node.data.clone()
}

fn time(seconds: i64, nanos: u32) -> String {
    if seconds < 0 && nanos > 0 {
        return format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos);
    }
    format!("{seconds}.{nanos:09}")
}

fn extended(out: &mut Vec<u8>, kind: u8, records: &[(Vec<u8>, Vec<u8>)]) {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let len = (rest..rest + 20).find(|len| rest + len.to_string().len() == *len);
        data.extend(format!("{} ", len.expect("a length")).bytes());
        data.extend_from_slice(&[key.as_slice(), b"=", value, b"\n"].concat());
    }
    header(out, kind, b"PaxHeaders/x", |block| octal(&mut block[124..136], data.len() as u64));
    blocks(out, &data);
}

fn header(out: &mut Vec<u8>, kind: u8, name: &[u8], change: impl FnOnce(&mut [u8; BLOCK])) {
    let mut block = [0; BLOCK];
    put(&mut block[0..100], name);
    octal(&mut block[100..108], 0o644);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    seal(&mut block);
    out.extend_from_slice(&block);
}

fn blocks(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

fn put(field: &mut [u8], text: &[u8]) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
}

fn octal(field: &mut [u8], value: u64) {
    let text = format!("{value:0width$o}\0", width = field.len() - 1);
    field.copy_from_slice(&text.as_bytes()[..field.len()]);
}

/// Octal where it fits; else base 256, or nothing where a record says it.
fn number(field: &mut [u8], value: i64, is_elsewhere: bool) {
    let digits = field.len() - 1;
    if value >= 0 && (digits * 3 >= 63 || value >> (digits * 3) == 0) {
        octal(field, value as u64);
    } else if is_elsewhere {
        octal(field, 0);
    } else {
        let fill = if value < 0 { 0xff } else { 0 };
        field.fill(fill);
        let bytes = value.to_be_bytes();
        let len = bytes.len().min(field.len());
        let at = field.len() - len;
        field[at..].copy_from_slice(&bytes[bytes.len() - len..]);
        field[0] |= 0x80;
    }
}

pub(crate) fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
