//! Archives that a copy unpacks.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use bzip2::bufread::MultiBzDecoder;
use fsroot::Root;
use lzma_rust2::XzReader;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;
use crate::owner::open_file;

/// The most memory that an xz archive may want, in KiB: that of `xz -9` is 65 MiB.
const XZ_MEMORY: u32 = 160 << 10;
/// Below this many bytes no ratio is too high; beyond, this one is (as for layers).
const RATIO_FROM: u64 = 1 << 30;
const RATIO: u64 = 5_000;

/// The archive at `path`, opened: a regular file that is a tar archive, plain or compressed (gzip, bzip2, xz,
/// zstd), of one entry at least. `None`: it is no archive, or is not there. Where it `has_to_be` one, whether it
/// can be read is seen when it is unpacked.
pub(crate) fn archive(root: &Root, path: &Path, has_to_be: bool) -> Result<Option<File>, Error> {
    let node = match root.open_path(path) {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        node => node.at("open", path)?,
    };
    let stat = rustix::fs::fstat(&node).at("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let file = File::from(open_file(&node, OFlags::RDONLY, path)?);
    if has_to_be {
        return Ok(Some(file));
    }
    let is_archive = is_archive(&file).map_err(|error| errno(&error)).at("read", path)?;
    (&file).rewind().map_err(|error| errno(&error)).at("lseek", path)?;
    Ok(is_archive.then_some(file))
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn is_archive(file: &File) -> io::Result<bool> {
    let mut stream = Stream::new(file)?;
    // What is not readable in the way that it seems to be is a file like others.
    let Ok(decoder) = diff::decode(&mut stream) else { return Ok(false) };
    let mut reader = tarstream::Reader::new(BufReader::new(decoder));
    Ok(matches!(reader.next_entry(), Ok(Some(_))))
}

/// When the newest file in an archive was written, seconds since 1970; `None`: it is no archive, or none is in it.
pub fn newest(file: &File) -> Option<i64> {
    let mut stream = Stream::new(file).ok()?;
    let decoder = diff::decode(&mut stream).ok()?;
    let mut reader = tarstream::Reader::new(BufReader::new(decoder));
    let mut newest = None;
    while let Some(entry) = reader.next_entry().ok()? {
        if entry.kind == tarstream::Kind::File {
            newest = newest.max(Some(entry.mtime.seconds));
        }
    }
    newest
}

/// Unpacks an archive into `directory`, which is its root: nothing in it leads out, and links that are there
/// are taken as from that root. What the archive says of that root itself does not count.
pub(crate) fn unpack(
    archive: &File,
    directory: OwnedFd,
    owner: Option<(u32, u32)>,
    path: &Path,
) -> Result<(), Error> {
    let how = cp::Extract { owner, ..cp::Extract::default() };
    let mut stream = Stream::new(archive).map_err(|error| errno(&error)).at("read", path)?;
    cp::unpack(Root::from_fd(directory), Path::new("/"), how, &mut stream)
        .map_err(|source| Error::Unpack { path: path.into(), source })
}

/// The bytes of a file, without the compressions that no layer has.
struct Stream<'a> {
    decoder: Decoder<'a>,
    n_read: u64,
    /// More is a bomb.
    max: u64,
}

enum Decoder<'a> {
    /// Any other, or none.
    Plain(&'a File),
    Bzip2(MultiBzDecoder<BufReader<&'a File>>),
    Xz(Box<XzReader<BufReader<&'a File>>>),
}

impl<'a> Stream<'a> {
    fn new(mut file: &'a File) -> io::Result<Self> {
        let mut head = Vec::new();
        file.take(6).read_to_end(&mut head)?;
        file.rewind()?;
        let len = file.metadata()?.len();
        let decoder = if head.starts_with(b"BZh") {
            Decoder::Bzip2(MultiBzDecoder::new(BufReader::new(file)))
        } else if head == *b"\xfd7zXZ\0" {
            let reader = BufReader::new(file);
            Decoder::Xz(Box::new(XzReader::new_mem_limit(reader, true, XZ_MEMORY)))
        } else {
            Decoder::Plain(file)
        };
        Ok(Self { decoder, n_read: 0, max: len.saturating_mul(RATIO).max(RATIO_FROM) })
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = match &mut self.decoder {
            Decoder::Plain(file) => return file.read(buffer),
            Decoder::Bzip2(decoder) => decoder.read(buffer)?,
            Decoder::Xz(decoder) => decoder.read(buffer)?,
        };
        self.n_read += n_read as u64;
        if self.n_read > self.max {
            let why = format!("more than {RATIO} times larger than compressed");
            return Err(io::Error::other(why));
        }
        Ok(n_read)
    }
}
