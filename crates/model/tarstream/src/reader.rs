//! Reading.

use std::io::{self, Read};

use crate::header::Header;
use crate::pax::{self, Records};
use crate::{BLOCK, Entry, Error, Kind, Name, Time, acl, number, sparse};

mod map;

/// How much a reader takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a name or of what a link leads to.
    pub path: usize,
    /// Bytes of the extended headers of one entry, and of all global ones.
    pub pax: usize,
    /// Pieces of a sparse file.
    pub sparse: usize,
    /// Entries.
    pub entries: u64,
    /// Whether the archive must say that it is at its end.
    pub end_mark: EndMark,
}

/// Whether the two empty blocks at the end of an archive must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndMark {
    /// Without them the archive counts as truncated.
    Required,
    /// An archive may also end after any entry: some writers of image layers leave them out.
    Optional,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            path: 4096, // PATH_MAX
            pax: 1 << 20,
            sparse: 100_000,
            entries: 20_000_000,
            end_mark: EndMark::Optional,
        }
    }
}

/// Reads an archive, one entry after the other.
///
/// It reads small pieces: give it a buffered reader. After an error it must not be used again.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    limits: Limits,
    /// Bytes read so far.
    offset: u64,
    n_entries: u64,
    globals: Records,
    /// Of the entry that was returned last: its name, data still in the archive, and padding.
    current: Vec<u8>,
    remaining: u64,
    padding: u64,
}

/// What the headers before an entry say about it.
#[derive(Default)]
struct Before {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Option<Records>,
}

impl<R: Read> Reader<R> {
    /// A reader with the usual limits.
    pub fn new(inner: R) -> Self {
        Self::with_limits(inner, Limits::default())
    }

    /// A reader with these limits.
    pub fn with_limits(inner: R, limits: Limits) -> Self {
        Self {
            inner,
            limits,
            offset: 0,
            n_entries: 0,
            globals: Records::default(),
            current: Vec::new(),
            remaining: 0,
            padding: 0,
        }
    }

    /// What is below, which may hold more after the archive's end.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; `None` at the end. Data of the one before that was not read is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_data()?;
        let mut before = Before::default();
        loop {
            let start = self.offset;
            let Some(block) = self.header_block(&before)? else { return Ok(None) };
            let Some(header) = Header::new(&block) else {
                return Err(Error::NotAHeader { offset: start });
            };
            self.count(&header)?;
            let name = Name::from(header.path().as_slice());
            if header.is_ambiguous() {
                return Err(wrong(&name, "a header of no known format"));
            }
            match header.kind() {
                b'x' => {
                    let records = self.records(&header, &name)?;
                    // One reader takes the first, another the last, a third both.
                    if before.records.replace(records).is_some() {
                        return Err(wrong(&name, "two extended headers for one entry"));
                    }
                }
                b'g' => self.global(&header, &name)?,
                b'L' => before.long_path = Some(self.long_name(&header, &name)?),
                b'K' => before.long_link = Some(self.long_name(&header, &name)?),
                // A label of the tape.
                b'V' => {
                    let len = size(&header, &name)?;
                    self.skip(len, &name)?;
                }
                _ => return self.entry(&header, before).map(Some),
            }
        }
    }

    /// Reads data of the entry that was returned last; 0 at its end. Of a sparse file this is the
    /// data of its pieces, one after the other.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        loop {
            match self.inner.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(Error::Truncated { within: self.in_data() }),
                Ok(n_read) => {
                    self.offset += n_read as u64;
                    self.remaining -= n_read as u64;
                    return Ok(n_read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(read_error(self.in_data(), source)),
            }
        }
    }

    fn in_data(&self) -> String {
        format!("in the data of {}", Name::from(self.current.as_slice()))
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        let (data, padding) = (self.remaining, self.padding);
        self.remaining = 0;
        self.padding = 0;
        let name = Name::from(self.current.as_slice());
        self.skip_exactly(data, &name)?;
        let at = self.offset;
        match self.skip_exactly(padding, &name) {
            // Docker's client ends a context with the last byte of a file, and Go's reader takes that.
            Err(Error::Truncated { .. })
                if self.offset == at
                    && padding < BLOCK as u64
                    && self.limits.end_mark == EndMark::Optional =>
            {
                Ok(())
            }
            skipped => skipped,
        }
    }

    /// Skips `len` bytes and what fills their last block.
    fn skip(&mut self, len: u64, name: &Name) -> Result<(), Error> {
        self.skip_exactly(len + padding(len), name)
    }

    fn skip_exactly(&mut self, len: u64, name: &Name) -> Result<(), Error> {
        let within = || format!("in the data of {name}");
        let skipped = io::copy(&mut (&mut self.inner).take(len), &mut io::sink())
            .map_err(|source| read_error(within(), source))?;
        self.offset += skipped;
        if skipped < len { Err(Error::Truncated { within: within() }) } else { Ok(()) }
    }

    /// The next block, unless the archive ends there.
    fn header_block(&mut self, before: &Before) -> Result<Option<[u8; BLOCK]>, Error> {
        let within = || match self.current.as_slice() {
            [] => "before its first entry".into(),
            name => format!("after {}", Name::from(name)),
        };
        let mut block = [0; BLOCK];
        let n_read = fill(&mut self.inner, &mut block).map_err(|e| read_error(within(), e))?;
        self.offset += n_read as u64;
        let unfinished =
            before.records.is_some() || before.long_path.is_some() || before.long_link.is_some();
        match n_read {
            BLOCK if block != [0; BLOCK] => return Ok(Some(block)),
            BLOCK => {}
            0 if !unfinished && self.limits.end_mark == EndMark::Optional => return Ok(None),
            // Too short for one header: a text, or nothing much of an archive.
            1.. if self.offset == n_read as u64 => return Err(Error::NotAHeader { offset: 0 }),
            _ => return Err(Error::Truncated { within: within() }),
        }
        let n_read = fill(&mut self.inner, &mut block).map_err(|e| read_error(within(), e))?;
        self.offset += n_read as u64;
        match n_read {
            // Some writers end with one block only.
            0 | BLOCK if unfinished => Err(Error::Truncated { within: within() }),
            0 => Ok(None),
            BLOCK if block == [0; BLOCK] => Ok(None),
            BLOCK => Err(Error::NotAHeader { offset: self.offset - 2 * BLOCK as u64 }),
            _ => Err(Error::Truncated { within: within() }),
        }
    }

    fn count(&mut self, header: &Header<'_>) -> Result<(), Error> {
        self.n_entries += 1;
        if self.n_entries > self.limits.entries {
            let entry = Name::from(header.path().as_slice());
            return Err(Error::Limit { entry, what: "the archive", max: self.limits.entries });
        }
        Ok(())
    }

    /// The data of a header that is about another one, without what fills its last block.
    fn special(
        &mut self,
        header: &Header<'_>,
        name: &Name,
        what: &'static str,
        max: usize,
    ) -> Result<Vec<u8>, Error> {
        let len = size(header, name)?;
        if len > max as u64 {
            return Err(Error::Limit { entry: name.clone(), what, max: max as u64 });
        }
        let mut data = vec![0; len as usize];
        let within = || format!("in the header of {name}");
        let n_read = fill(&mut self.inner, &mut data).map_err(|e| read_error(within(), e))?;
        self.offset += n_read as u64;
        if n_read < data.len() {
            return Err(Error::Truncated { within: within() });
        }
        Ok(data)
    }

    fn records(&mut self, header: &Header<'_>, name: &Name) -> Result<Records, Error> {
        let data = self.special(header, name, "its extended header", self.limits.pax)?;
        self.skip_exactly(padding(data.len() as u64), name)?;
        Records::parse(&data).map_err(|why| wrong(name, why))
    }

    fn global(&mut self, header: &Header<'_>, name: &Name) -> Result<(), Error> {
        let records = self.records(header, name)?;
        // These say something about one entry; for all to come they can only mislead.
        let is_single =
            |key: &[u8]| matches!(key, b"size" | b"path" | b"linkpath") || is_sparse_key(key);
        if let Some((key, _)) = records.iter().find(|(key, _)| is_single(key)) {
            let key = String::from_utf8_lossy(key);
            return Err(wrong(name, format!("a global header sets `{key}`")));
        }
        self.globals.extend(&records);
        if self.globals.size() > self.limits.pax {
            let max = self.limits.pax as u64;
            return Err(Error::Limit { entry: name.clone(), what: "the global header", max });
        }
        Ok(())
    }

    fn long_name(&mut self, header: &Header<'_>, name: &Name) -> Result<Vec<u8>, Error> {
        // The NUL at the end is counted.
        let mut text = self.special(header, name, "its name", self.limits.path + 1)?;
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..padding(text.len() as u64) as usize];
        let within = || format!("in the header of {name}");
        let n_read = fill(&mut self.inner, rest).map_err(|e| read_error(within(), e))?;
        self.offset += n_read as u64;
        if n_read < rest.len() {
            return Err(Error::Truncated { within: within() });
        }
        let end = text.iter().position(|byte| *byte == 0);
        // Some readers go by the size, others on to the NUL.
        if end.is_none() && rest.first().is_some_and(|byte| *byte != 0) {
            return Err(wrong(name, "a name that is longer than its size"));
        }
        let end = end.unwrap_or(text.len());
        text.truncate(end);
        Ok(text)
    }

    /// The entry itself, after all headers about it.
    fn entry(&mut self, header: &Header<'_>, before: Before) -> Result<Entry, Error> {
        let records = before.records.unwrap_or_default();
        let path = named(header.path(), before.long_path, records.get(b"path"), "name")?;
        // Format 1.0 and 0.1 keep the true name here, and put a made-up one in `path`.
        let path = records.get(b"GNU.sparse.name").map_or(path, <[u8]>::to_vec);
        let name = Name::from(path.as_slice());
        let link = named(header.link(), before.long_link, records.get(b"linkpath"), "link")?;
        for text in [&path, &link] {
            if text.len() > self.limits.path {
                let max = self.limits.path as u64;
                return Err(Error::Limit { entry: name, what: "its name", max });
            }
        }
        let (kind, has_data) = kind(header, &path).ok_or_else(|| {
            let shown = char::from(header.kind()).escape_default();
            wrong(&name, format!("unknown type `{shown}`"))
        })?;
        let mut merged = self.globals.clone();
        if !records.is_empty() {
            merged.extend(&records);
        }
        let mut entry = Entry { path, kind, link, ..attributes(header, &merged, &name)? };

        // The size of the data is the one thing that readers must agree on: where they do not, one
        // sees entries that the other takes for a file's content.
        let mut stored = 0;
        if has_data {
            stored = match records.get(b"size") {
                None => size(header, &name)?,
                Some(text) => number::parse_decimal(text)
                    .filter(|size| i64::try_from(*size).is_ok())
                    .ok_or_else(|| wrong(&name, "a malformed size"))?,
            };
        }
        self.padding = padding(stored);
        self.remaining = stored;
        self.current.clone_from(&entry.path);
        if kind == Kind::File {
            entry.size = stored;
            if let Some((map, real)) = self.sparse_map(header, &records, &name)? {
                let map = sparse::check(map, real, self.remaining);
                entry.sparse = Some(map.map_err(|why| wrong(&name, why))?);
                entry.size = real;
            }
        } else {
            // What follows a directory is nobody's.
            self.padding += stored;
            self.remaining = 0;
        }
        Ok(entry)
    }
}

/// What a header's type means here, and whether data follows it.
fn kind(header: &Header<'_>, path: &[u8]) -> Option<(Kind, bool)> {
    Some(match header.kind() {
        // V7 had no type for directories.
        0 if path.ends_with(b"/") => (Kind::Directory, true),
        0 | b'0' | b'7' | b'S' => (Kind::File, true),
        b'1' => (Kind::HardLink, false),
        b'2' => (Kind::Symlink, false),
        b'3' => (Kind::CharDevice, false),
        b'4' => (Kind::BlockDevice, false),
        b'5' => (Kind::Directory, false),
        b'6' => (Kind::Fifo, false),
        // GNU's incremental backup: the names in it follow.
        b'D' => (Kind::Directory, true),
        _ => return None,
    })
}

/// A name that may stand in three places. Where two long ones differ, readers would not agree.
fn named(
    short: Vec<u8>,
    long: Option<Vec<u8>>,
    record: Option<&[u8]>,
    what: &str,
) -> Result<Vec<u8>, Error> {
    match (long, record) {
        (None, None) => Ok(short),
        (Some(long), None) => Ok(long),
        (None, Some(record)) => Ok(record.to_vec()),
        (Some(long), Some(record)) if long == record => Ok(long),
        (Some(long), Some(_)) => {
            Err(wrong(&Name::from(long.as_slice()), format!("a second {what} that differs")))
        }
    }
}

/// Owner, mode, time, device and attributes.
fn attributes(header: &Header<'_>, records: &Records, name: &Name) -> Result<Entry, Error> {
    let malformed = |what: &str| wrong(name, format!("a malformed {what}"));
    let id = |key: &[u8], field: Option<i64>, what| {
        match records.get(key) {
            Some(text) => number::parse_decimal(text).and_then(|id| u32::try_from(id).ok()),
            None => field.and_then(|id| u32::try_from(id).ok()),
        }
        .ok_or_else(|| malformed(what))
    };
    let mtime = match records.get(b"mtime") {
        Some(text) => pax::parse_time(text),
        None => header.mtime().map(|seconds| Time { seconds, nanoseconds: 0 }),
    };
    let device = header
        .device()
        .and_then(|(major, minor)| Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?)));
    let text = |key: &[u8], field: Vec<u8>| records.get(key).map_or(field, <[u8]>::to_vec);
    let mut entry = Entry {
        // Writers also put the type's bits here.
        mode: (header.mode().ok_or_else(|| malformed("mode"))? & 0o7777) as u32,
        uid: id(b"uid", header.uid(), "owner")?,
        gid: id(b"gid", header.gid(), "group")?,
        user: text(b"uname", header.user()),
        group: text(b"gname", header.group()),
        mtime: mtime.ok_or_else(|| malformed("time"))?,
        ..Entry::default()
    };
    if matches!(header.kind(), b'3' | b'4') {
        entry.device = device.ok_or_else(|| malformed("device number"))?;
    }
    for (key, value) in records.iter() {
        if let Some(attribute) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let attribute = pax::percent_decode(attribute);
            let value = pax::base64_decode(value);
            let (Some(attribute), Some(value)) = (attribute, value) else {
                return Err(malformed("extended attribute"));
            };
            entry.xattrs.entry(attribute).or_insert(value);
        }
    }
    for (key, attribute) in acl::KEYS {
        // Links have none.
        if let Some(text) = records.get(key).filter(|_| !matches!(header.kind(), b'1' | b'2')) {
            let value = acl::parse(text).map_err(|why| wrong(name, why))?;
            entry.xattrs.insert(attribute.to_vec(), value);
        }
    }
    // The same as written by most, so it wins.
    for (key, value) in records.iter() {
        if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
            entry.xattrs.insert(attribute.to_vec(), value.to_vec());
        }
    }
    if entry.xattrs.keys().any(|key| key.is_empty() || key.contains(&0)) {
        return Err(malformed("extended attribute"));
    }
    Ok(entry)
}

fn is_sparse_key(key: &[u8]) -> bool {
    key.starts_with(b"GNU.sparse.")
}

/// The size that a header states.
fn size(header: &Header<'_>, name: &Name) -> Result<u64, Error> {
    let size = header.size().and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| wrong(name, "a malformed size"))
}

/// What fills the last block of so many bytes.
fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK as u64
}

fn wrong(entry: &Name, why: impl Into<String>) -> Error {
    Error::Entry { entry: entry.clone(), why: why.into() }
}

/// Compressed streams that end too early say so in their own way.
fn read_error(within: String, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated { within },
        _ => Error::Read { within, source },
    }
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n_filled = 0;
    while n_filled < buffer.len() {
        match input.read(&mut buffer[n_filled..]) {
            Ok(0) => break,
            Ok(n_read) => n_filled += n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n_filled)
}
