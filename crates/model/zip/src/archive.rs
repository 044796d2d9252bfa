use std::collections::BTreeSet;
use std::io::{self, Read as _};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::MAGIC;

/// What an entry of the directory begins with.
const OF_DIRECTORY: &[u8] = b"PK\x01\x02";
/// What the end of the directory begins with.
const END: &[u8] = b"PK\x05\x06";
/// The size of what is before a file, without its name, in bytes.
const HEADER_BYTES: usize = 30;
/// The size of an entry of the directory, without what follows its numbers, in bytes.
const ENTRY_BYTES: usize = 46;
/// The size of the end of the directory, without a comment, in bytes.
const END_BYTES: usize = 22;

/// The bit of an entry's flags for a file that is encrypted.
const ENCRYPTED: u16 = 1;
/// The bit of the flags of a file whose checksum and sizes are said after it.
const FOLLOWED: u16 = 8;
/// The method of a file that is as it was.
const STORED: u16 = 0;
/// The method of a file that is deflated.
const DEFLATED: u16 = 8;

/// Why an archive, or a file in it, cannot be read. The first words are Go's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no archive that everybody reads in the same way.
    #[error("zip: not a valid zip file: {0}")]
    Format(&'static str),
    /// A file is packed in a way that is not read here.
    #[error("zip: unsupported compression algorithm {0}")]
    Method(u16),
    /// A file has a password.
    #[error("zip: encrypted")]
    Encrypted,
    /// A file is not what was packed.
    #[error("zip: checksum error")]
    Checksum,
    /// A file is damaged.
    #[error("zip: inflate")]
    Damaged(#[source] io::Error),
    /// A file is larger than it may be.
    #[error("zip: more than {most} bytes")]
    TooLarge {
        /// The bound.
        most: u64,
    },
}

/// An archive, of which the directory has been read.
#[derive(Clone, Debug)]
pub struct Archive<'a> {
    /// All that is before the directory.
    files: &'a [u8],
    entries: Vec<Entry>,
}

/// What the directory says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as it is there.
    pub path: Vec<u8>,
    /// Whether it is a regular file; otherwise it is a directory, a link, or something else.
    pub is_file: bool,
    flags: u16,
    method: u16,
    crc: u32,
    /// Bytes, as they are in the archive.
    n_packed: u32,
    /// Bytes.
    n_bytes: u32,
    /// Where what is before it begins.
    offset: u32,
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let at = find_end(bytes)?;
        let end = &bytes[at..];
        let (disk, its_disk) = (short(end, 4), short(end, 6));
        let (n_here, n_entries) = (short(end, 8), short(end, 10));
        let (n_bytes, offset) = (long(end, 12), long(end, 16));
        if n_entries == u16::MAX || n_bytes == u32::MAX || offset == u32::MAX {
            return Err(Error::Format("it is as large as zip64"));
        }
        if disk != 0 || its_disk != 0 || n_here != n_entries {
            return Err(Error::Format("it is one part of several"));
        }
        let start = offset as usize;
        if start.checked_add(n_bytes as usize) != Some(at) {
            return Err(Error::Format("its directory is not where its end says"));
        }
        let mut directory = &bytes[start..at];
        let mut entries = Vec::new();
        for _ in 0..n_entries {
            entries.push(Entry::take(&mut directory)?);
        }
        if !directory.is_empty() {
            return Err(Error::Format("its directory has more in it than its end says"));
        }
        if !entries.is_empty() && !bytes.starts_with(MAGIC) {
            return Err(Error::Format("something is before its first file"));
        }
        if !lie_apart(&entries) {
            return Err(Error::Format("two of its files overlap"));
        }
        if !are_called_apart(&entries) {
            return Err(Error::Format("two of its files have one name"));
        }
        Ok(Self { files: &bytes[..start], entries })
    }

    /// What the directory says of all files, in its order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A file's content, of at most `most` bytes.
    pub fn data(&self, entry: &Entry, most: u64) -> Result<Vec<u8>, Error> {
        if u64::from(entry.n_bytes) > most {
            return Err(Error::TooLarge { most });
        }
        if entry.flags & ENCRYPTED != 0 {
            return Err(Error::Encrypted);
        }
        let packed = self.packed(entry)?;
        let data = match entry.method {
            STORED => packed.to_vec(),
            DEFLATED => inflate(packed, entry.n_bytes).map_err(Error::Damaged)?,
            method => return Err(Error::Method(method)),
        };
        if data.len() as u64 != u64::from(entry.n_bytes) {
            return Err(Error::Format("a file is not as large as its directory says"));
        }
        let mut crc = Crc::new();
        crc.update(&data);
        if crc.sum() != entry.crc {
            return Err(Error::Checksum);
        }
        Ok(data)
    }

    /// A file as it is in the archive.
    fn packed(&self, entry: &Entry) -> Result<&'a [u8], Error> {
        let nothing = || Error::Format("a file is not where its directory says");
        let rest = self.files.get(entry.offset as usize..).ok_or_else(nothing)?;
        if rest.len() < HEADER_BYTES || !rest.starts_with(MAGIC) {
            return Err(nothing());
        }
        let (header, rest) = rest.split_at(HEADER_BYTES);
        let (n_name, n_extra) = (usize::from(short(header, 26)), usize::from(short(header, 28)));
        if rest.get(..n_name) != Some(&entry.path[..]) {
            return Err(Error::Format("a file has two names"));
        }
        let data = rest.get(n_name + n_extra..).ok_or_else(nothing)?;
        let data = data.get(..entry.n_packed as usize).ok_or_else(nothing)?;
        if !entry.is_described_by(header) {
            return Err(Error::Format("a file is described in two ways"));
        }
        Ok(data)
    }
}

impl Entry {
    /// Takes the first entry of a directory off it.
    fn take(directory: &mut &[u8]) -> Result<Self, Error> {
        let damaged = || Error::Format("its directory is damaged");
        let all = *directory;
        if all.len() < ENTRY_BYTES || !all.starts_with(OF_DIRECTORY) {
            return Err(damaged());
        }
        let n_name = usize::from(short(all, 28));
        let n_others = usize::from(short(all, 30)) + usize::from(short(all, 32));
        let rest = &all[ENTRY_BYTES..];
        let path = rest.get(..n_name).ok_or_else(damaged)?.to_vec();
        *directory = rest.get(n_name + n_others..).ok_or_else(damaged)?;
        Ok(Self {
            is_file: is_file(short(all, 4), long(all, 38), &path),
            path,
            flags: short(all, 8),
            method: short(all, 10),
            crc: long(all, 16),
            n_packed: long(all, 20),
            n_bytes: long(all, 24),
            offset: long(all, 42),
        })
    }

    /// Whether what is before the file says the same of it. It may leave open what is only said after it, and what is
    /// in a field of zip64's there.
    fn is_described_by(&self, header: &[u8]) -> bool {
        let is_left_open = short(header, 6) & FOLLOWED != 0;
        let is_same = |at: usize, is: u32| {
            let said = long(header, at);
            said == is || said == 0 && is_left_open
        };
        let is_size = |at: usize, is: u32| is_same(at, is) || long(header, at) == u32::MAX;
        let same_flags = (short(header, 6) ^ self.flags) & ENCRYPTED == 0;
        same_flags
            && short(header, 8) == self.method
            && is_same(14, self.crc)
            && is_size(18, self.n_packed)
            && is_size(22, self.n_bytes)
    }

    /// From where to where it is in the archive, at least.
    fn place(&self) -> (u64, u64) {
        let start = u64::from(self.offset);
        (start, start + (HEADER_BYTES + self.path.len()) as u64 + u64::from(self.n_packed))
    }
}

/// Whether no file is where another one is: then there is no more to inflate than the archive is long, however many
/// files it has.
fn lie_apart(entries: &[Entry]) -> bool {
    let mut places: Vec<(u64, u64)> = entries.iter().map(Entry::place).collect();
    places.sort_unstable();
    places.windows(2).all(|two| two[0].1 <= two[1].0)
}

/// Whether no two files have the same name: some readers would take the first one, others the last.
fn are_called_apart(entries: &[Entry]) -> bool {
    let mut names = BTreeSet::new();
    entries.iter().all(|entry| names.insert(&entry.path))
}

/// Whether an entry is of a regular file: by what made it, its attributes, and its name.
fn is_file(made_by: u16, attributes: u32, path: &[u8]) -> bool {
    /// What FAT calls a directory.
    const DIRECTORY: u32 = 0x10;
    /// `S_IFMT`.
    const KIND: u32 = 0xf000;
    /// `S_IFREG`.
    const REGULAR: u32 = 0x8000;
    if path.ends_with(b"/") {
        return false;
    }
    match made_by >> 8 {
        // Unix and macOS, whose mode is the upper half; some write no kind.
        3 | 19 => matches!((attributes >> 16) & KIND, 0 | REGULAR),
        // FAT, NTFS and VFAT.
        0 | 11 | 14 => attributes & DIRECTORY == 0,
        _ => true,
    }
}

/// Where the end of the directory begins: a comment, of at most 64 KiB, follows it up to the last byte.
fn find_end(bytes: &[u8]) -> Result<usize, Error> {
    let last = bytes.len().checked_sub(END_BYTES);
    let last = last.ok_or(Error::Format("it has no directory"))?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let is_end = |at: &usize| {
        let rest = &bytes[*at..];
        rest.starts_with(END) && rest.len() == END_BYTES + usize::from(short(rest, 20))
    };
    let mut found = (first..=last).filter(is_end);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (None, _) => Err(Error::Format("it has no directory")),
        (Some(_), Some(_)) => Err(Error::Format("it has two directories")),
    }
}

/// Inflates a file, and no more than a byte beyond what it is to be.
fn inflate(packed: &[u8], n_bytes: u32) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    DeflateDecoder::new(packed).take(u64::from(n_bytes) + 1).read_to_end(&mut data)?;
    Ok(data)
}

/// Two bytes of what is long enough.
fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Four bytes of what is long enough.
fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
