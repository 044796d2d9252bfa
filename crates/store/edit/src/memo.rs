//! What is known of files that were looked at before.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use oci::{Algorithm, Hasher};
use rustix::fs::Stat;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Numbers of files that are being written.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What a saved memo begins with.
const MAGIC: &[u8; 16] = b"dhow edit memo 1";
/// Bytes of an entry: number, size, two times, what was found, when it was asked for last.
const ENTRY: usize = 8 + 8 + 16 + 16 + 32 + 4;
/// Bytes of the digest at the end.
const SUM: usize = 32;
/// After so many times of saving without being asked for, an entry goes.
const KEPT: u32 = 16;
/// How coarse a file system's clock may be that counts nanoseconds, in nanoseconds: ticks of 100 Hz, twice.
const FINE: i128 = 20_000_000;
/// The same for one that seems to count seconds, or two.
const COARSE: i128 = 2_000_000_000;

/// What of a file says that it is the same as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    size: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    seen: Seen,
    body: [u8; SUM],
    asked: u32,
}

/// Digests of the files of one tree, on one file system: by a file's number, and good as long as its size and
/// the times of its last writing and of its last change are the same. Whoever changes a file's bytes, mode,
/// owner or attributes sets the last of these to the present, which nobody can set otherwise.
///
/// The clock of a file system ticks. A file that is changed after it was looked at, but within the same tick,
/// has the same times and other bytes. So a file whose change is not older than a few ticks is not
/// remembered: next time its bytes are read again. Likewise one that changes while it is read.
#[derive(Debug, Default)]
pub struct Memo {
    entries: HashMap<u64, Entry>,
    age: u32,
    is_changed: bool,
}

impl Memo {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was saved at `path`. What is not there, not whole, or of another version, is nothing.
    pub fn load(path: &Path) -> Self {
        fs::read(path).ok().and_then(|bytes| Self::parse(&bytes)).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
        if hash(bytes) != *sum {
            return None;
        }
        let rest = bytes.strip_prefix(MAGIC)?;
        let (age, rest) = rest.split_at_checked(4)?;
        let mut entries = HashMap::with_capacity(rest.len() / ENTRY);
        for entry in rest.chunks(ENTRY) {
            let mut fields = Fields(entry);
            let ino = fields.u64()?;
            let size = fields.u64()?;
            let modified = (fields.u64()? as i64, fields.u64()?);
            let changed = (fields.u64()? as i64, fields.u64()?);
            let body = fields.take::<SUM>()?;
            let asked = u32::from_le_bytes(fields.take()?);
            let seen = Seen { size, modified, changed };
            entries.insert(ino, Entry { seen, body, asked });
        }
        let age = u32::from_le_bytes(age.try_into().ok()?);
        Some(Self { entries, age: age.wrapping_add(1), is_changed: false })
    }

    /// Saves it at `path`, whole or not at all. What was not asked for for long is left out.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if !self.is_changed && path.exists() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(64 + self.entries.len() * ENTRY);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.age.to_le_bytes());
        for (ino, Entry { seen, body, asked }) in &self.entries {
            if self.age.wrapping_sub(*asked) > KEPT {
                continue;
            }
            let (modified, changed) = (seen.modified, seen.changed);
            let numbers =
                [*ino, seen.size, modified.0 as u64, modified.1, changed.0 as u64, changed.1];
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend_from_slice(body);
            bytes.extend_from_slice(&asked.to_le_bytes());
        }
        let sum = hash(&bytes);
        bytes.extend_from_slice(&sum);
        // Steps that run at once save what they know of the same directory.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut part = path.as_os_str().to_owned();
        part.push(format!(".{}-{number}.part", std::process::id()));
        let mut file = fs::File::create(&part)?;
        file.write_all(&bytes)?;
        fs::rename(&part, path)
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was found in a file the last time.
    pub(crate) fn get(&mut self, stat: &Stat) -> Option<[u8; SUM]> {
        let age = self.age;
        let entry = self.entries.get_mut(&stat.st_ino).filter(|entry| entry.seen == seen(stat))?;
        self.is_changed |= entry.asked != age;
        entry.asked = age;
        Some(entry.body)
    }

    /// Has it be wrong of all that it knows.
    #[cfg(test)]
    pub(crate) fn lie(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.body[0] ^= 1);
    }

    /// Remembers what was found in a file: looked at from the moment `start` on, when it was `before`, and
    /// `after` that.
    pub(crate) fn put(&mut self, start: Timespec, before: &Stat, after: &Stat, body: [u8; SUM]) {
        let seen = seen(after);
        if seen != self::seen(before) || before.st_ino != after.st_ino || !is_past(&seen, start) {
            return;
        }
        self.entries.insert(after.st_ino, Entry { seen, body, asked: self.age });
        self.is_changed = true;
    }
}

/// The clock by which file systems give times.
pub(crate) fn now() -> Timespec {
    clock_gettime(ClockId::RealtimeCoarse)
}

/// Whether a change after `start` would have given a file another time than it has.
fn is_past(seen: &Seen, start: Timespec) -> bool {
    let nanos =
        |(seconds, nanos): (i64, u64)| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let start = nanos((start.tv_sec, start.tv_nsec as u64));
    let tick = if seen.changed.1 == 0 { COARSE } else { FINE };
    nanos(seen.changed) + tick < start
}

fn seen(stat: &Stat) -> Seen {
    Seen {
        size: stat.st_size as u64,
        modified: (stat.st_mtime, stat.st_mtime_nsec),
        changed: (stat.st_ctime, stat.st_ctime_nsec),
    }
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; SUM] {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    raw(hasher)
}

/// The bytes of a digest.
pub(crate) fn raw(hasher: Hasher) -> [u8; SUM] {
    let digest = hasher.finish();
    let mut bytes = [0; SUM];
    for (byte, two) in bytes.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
        let digit = |hex: u8| (hex as char).to_digit(16).unwrap_or(0) as u8;
        *byte = digit(two[0]) << 4 | digit(two[1]);
    }
    bytes
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
