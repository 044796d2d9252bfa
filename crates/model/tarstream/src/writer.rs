//! Writing.

use std::io::{self, Read, Write};

use crate::header::seal;
use crate::pax::{write_record, write_time};
use crate::{BLOCK, Entry, Kind, number};

/// Writes an archive: the same bytes for the same entries.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
}

impl<W: Write> Writer<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    /// Adds an entry and, if it is a file, `entry.size` bytes of data. `entry.sparse` is not looked
    /// at: holes are written as zeros. An error of kind `InvalidInput` where the entry cannot be
    /// said in tar, `UnexpectedEof` where the data is shorter than its size.
    pub fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> io::Result<()> {
        let records = records(entry)?;
        if !records.is_empty() {
            let mut name = b"PaxHeaders/".to_vec();
            name.extend(
                entry
                    .path
                    .rsplit(|byte| *byte == b'/')
                    .find(|part| !part.is_empty())
                    .unwrap_or(b"."),
            );
            name.truncate(100);
            let about = Entry { path: name, mode: 0o644, ..Entry::default() };
            self.header(&about, b'x', records.len() as u64)?;
            self.inner.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let (kind, size) = match entry.kind {
            Kind::File => (b'0', entry.size),
            Kind::HardLink => (b'1', 0),
            Kind::Symlink => (b'2', 0),
            Kind::CharDevice => (b'3', 0),
            Kind::BlockDevice => (b'4', 0),
            Kind::Directory => (b'5', 0),
            Kind::Fifo => (b'6', 0),
        };
        self.header(entry, kind, size)?;
        let n_copied = io::copy(&mut data.take(size), &mut self.inner)?;
        if n_copied < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pad(size)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn header(&mut self, entry: &Entry, kind: u8, size: u64) -> io::Result<()> {
        let mut block = [0; BLOCK];
        // What does not fit is in the records before it.
        put(&mut block[0..100], &entry.path);
        number::write_octal(&mut block[100..108], u64::from(entry.mode));
        for (range, value) in [
            (108..116, u64::from(entry.uid)),
            (116..124, u64::from(entry.gid)),
            (124..136, size),
            (136..148, u64::try_from(entry.mtime.seconds).unwrap_or(0)),
        ] {
            if !number::write_octal(&mut block[range.clone()], value) {
                number::write_octal(&mut block[range], 0);
            }
        }
        block[156] = kind;
        put(&mut block[157..257], &entry.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        put(&mut block[265..296], &entry.user);
        put(&mut block[297..328], &entry.group);
        for (range, value) in [(329..337, entry.device.0), (337..345, entry.device.1)] {
            if !number::write_octal(&mut block[range], u64::from(value)) {
                return Err(invalid("a device number that is too large"));
            }
        }
        seal(&mut block);
        self.inner.write_all(&block)
    }

    fn pad(&mut self, len: u64) -> io::Result<()> {
        let n_missing = (len.wrapping_neg() % BLOCK as u64) as usize;
        self.inner.write_all(&[0; BLOCK][..n_missing])
    }
}

fn put(field: &mut [u8], text: &[u8]) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
}

/// The extended header of an entry: all that ustar cannot say.
fn records(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    if entry.path.is_empty() || entry.path.contains(&0) || entry.link.contains(&0) {
        return Err(invalid("an empty name, or one with a NUL byte"));
    }
    if entry.path.len() > 100 {
        write_record(&mut data, b"path", &entry.path);
    }
    if entry.link.len() > 100 {
        write_record(&mut data, b"linkpath", &entry.link);
    }
    if entry.size >> 33 != 0 && entry.kind == Kind::File {
        write_record(&mut data, b"size", entry.size.to_string().as_bytes());
    }
    for (key, id) in [(b"uid", entry.uid), (b"gid", entry.gid)] {
        if id >> 21 != 0 {
            write_record(&mut data, key, id.to_string().as_bytes());
        }
    }
    for (key, name) in [(b"uname", &entry.user), (b"gname", &entry.group)] {
        if name.len() > 31 {
            write_record(&mut data, key, name);
        }
    }
    let seconds = entry.mtime.seconds;
    if entry.mtime.nanoseconds != 0 || !(0..1 << 33).contains(&seconds) {
        write_record(&mut data, b"mtime", write_time(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return Err(invalid("an extended attribute with an empty name, `=` or NUL"));
        }
        write_record(&mut data, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    Ok(data)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
