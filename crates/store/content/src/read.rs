//! Reading a blob: a changed byte is noticed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use oci::{Digest, Hasher};

use crate::error::At as _;
use crate::{Error, Store};

/// Reads a blob and hashes what it reads. The read that would report the end fails with
/// [`io::ErrorKind::InvalidData`] if the bytes were not those of the digest.
#[derive(Debug)]
pub struct Reader {
    file: File,
    size: u64,
    digest: Digest,
    hasher: Option<Hasher>,
}

/// The file of a blob, and its size.
fn open(store: &Store, digest: &Digest) -> Result<(File, u64), Error> {
    let path = store.blob_path(digest);
    // A layout that somebody else has prepared may have a link or a fifo here.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotFound { digest: digest.clone() });
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(Error::NotAFile { path });
        }
        Err(source) => return Err(Error::Io { call: "open", path, source }),
    };
    let found = file.metadata().at("stat", &path)?;
    if !found.is_file() {
        return Err(Error::NotAFile { path });
    }
    Ok((file, found.len()))
}

pub(crate) fn part(store: &Store, digest: &Digest, from: u64) -> Result<(File, u64), Error> {
    let (mut file, size) = open(store, digest)?;
    file.seek(SeekFrom::Start(from)).at("seek", &store.blob_path(digest))?;
    Ok((file, size))
}

impl Reader {
    pub(crate) fn open(store: &Store, digest: &Digest) -> Result<Self, Error> {
        let (file, size) = open(store, digest)?;
        let hasher = Some(Hasher::new(digest.algorithm()));
        Ok(Self { file, size, digest: digest.clone(), hasher })
    }

    /// The blob's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file, for who hashes it himself.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    pub(crate) fn read_all(mut self, max: u64) -> Result<Vec<u8>, Error> {
        if self.size > max {
            return Err(Error::TooLarge { digest: self.digest, size: self.size, max });
        }
        let mut bytes = Vec::with_capacity(self.size as usize);
        let read = (&mut self.file).take(max + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::Io {
            call: "read",
            path: self.digest.to_string().into(),
            source,
        })?;
        let mut hasher = Hasher::new(self.digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != self.digest {
            return Err(Error::WrongDigest { expected: self.digest, found });
        }
        Ok(bytes)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n_read = self.file.read(buffer)?;
        if n_read > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..n_read]);
            }
            return Ok(n_read);
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.digest => {
                let expected = self.digest.clone();
                let wrong = Error::WrongDigest { expected, found };
                Err(io::Error::new(io::ErrorKind::InvalidData, wrong))
            }
            _ => Ok(0),
        }
    }
}
