//! From the bytes that were given to those of the archive: inflated, counted and hashed.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use oci::{Algorithm, DiffId, Hasher};

use crate::{Error, Limits};

/// What is read at once.
const BUFFER: usize = 256 << 10;
/// Below this many bytes no ratio is too high.
const RATIO_FROM: u64 = 1 << 30;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// Formats by their first bytes.
const MAGIC: [(&[u8], Result<Compression, &str>); 6] = [
    (&[0x1f, 0x8b], Ok(Compression::Gzip)),
    (&[0x28, 0xb5, 0x2f, 0xfd], Ok(Compression::Zstd)),
    (b"BZh", Err("bzip2")),
    (&[0xfd, b'7', b'z', b'X', b'Z'], Err("xz")),
    (&[0x5d, 0, 0], Err("lzma")),
    (&[0x04, 0x22, 0x4d, 0x18], Err("lz4")),
];
/// The longest of them.
const MAX_MAGIC: usize = 5;

/// Zstandard streams may start with frames to skip, which hold no data (zstd:chunked).
const ZSTD_SKIPPABLE: std::ops::RangeInclusive<u8> = 0x50..=0x5f;

/// Reads an archive, whatever its compression.
pub struct Decoder<'a> {
    stream: Stream<'a>,
    hasher: Option<Hasher>,
    n_decoded: u64,
    limits: Limits,
}

impl std::fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let compression = self.compression();
        f.debug_struct("Decoder").field("compression", &compression).finish_non_exhaustive()
    }
}

enum Stream<'a> {
    Plain(BufReader<Input<'a>>),
    Gzip(Box<MultiGzDecoder<BufReader<Input<'a>>>>),
    Zstd(zstd::Decoder<'static, BufReader<Input<'a>>>),
}

/// What was given, with the first bytes back in their place.
struct Input<'a> {
    head: io::Cursor<Vec<u8>>,
    rest: &'a mut dyn Read,
    n_read: u64,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = match self.head.read(buffer)? {
            0 => self.rest.read(buffer)?,
            n_read => n_read,
        };
        self.n_read += n_read as u64;
        Ok(n_read)
    }
}

impl<'a> Decoder<'a> {
    /// Begins, and looks at the first bytes.
    pub fn new(archive: &'a mut dyn Read, limits: Limits) -> Result<Self, Error> {
        let mut head = Vec::with_capacity(MAX_MAGIC);
        Read::take(&mut *archive, MAX_MAGIC as u64).read_to_end(&mut head).map_err(Error::Read)?;
        let compression = sniff(&head)?;
        let input = Input { head: io::Cursor::new(head), rest: archive, n_read: 0 };
        let input = BufReader::with_capacity(BUFFER, input);
        let stream = match compression {
            Compression::None => Stream::Plain(input),
            Compression::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => {
                Stream::Zstd(zstd::Decoder::with_buffer(input).map_err(Error::Read)?)
            }
        };
        let is_compressed = compression != Compression::None;
        let hasher = is_compressed.then(|| Hasher::new(Algorithm::Sha256));
        Ok(Self { stream, hasher, n_decoded: 0, limits })
    }

    /// How it is compressed.
    pub fn compression(&self) -> Compression {
        match self.stream {
            Stream::Plain(_) => Compression::None,
            Stream::Gzip(_) => Compression::Gzip,
            Stream::Zstd(_) => Compression::Zstd,
        }
    }

    /// Reads what follows the archive's end mark: it counts for the digests.
    pub fn drain(&mut self) -> Result<(), Error> {
        drain(self)
    }

    /// The digest of all that was read, if it was compressed.
    pub fn finish(self) -> Option<DiffId> {
        self.hasher.map(|hasher| DiffId(hasher.finish()))
    }

    fn check_limits(&self) -> Result<(), Error> {
        let n_read = match &self.stream {
            Stream::Plain(_) => self.n_decoded,
            Stream::Gzip(stream) => stream.get_ref().get_ref().n_read,
            Stream::Zstd(stream) => stream.get_ref().get_ref().n_read,
        };
        let Limits { stream, ratio, .. } = self.limits;
        if self.n_decoded > stream {
            return Err(Error::TooLarge { max: stream });
        }
        if self.n_decoded > RATIO_FROM && self.n_decoded / ratio > n_read {
            return Err(Error::Ratio { ratio });
        }
        Ok(())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(buffer)?,
            Stream::Gzip(stream) => stream.read(buffer)?,
            Stream::Zstd(stream) => stream.read(buffer)?,
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..n_read]);
        }
        self.n_decoded += n_read as u64;
        self.check_limits().map_err(io::Error::other)?;
        Ok(n_read)
    }
}

/// Reads to the end, what follows an archive's end mark.
pub(crate) fn drain(archive: &mut impl Read) -> Result<(), Error> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match archive.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let within = "after its last entry".into();
                return Err(tarstream::Error::Truncated { within }.into());
            }
            Err(error) => return Err(Error::Read(error)),
        }
    }
}

fn sniff(head: &[u8]) -> Result<Compression, Error> {
    if head.is_empty() {
        return Err(Error::Empty);
    }
    if matches!(head, [first, 0x2a, 0x4d, 0x18, ..] if ZSTD_SKIPPABLE.contains(first)) {
        return Ok(Compression::Zstd);
    }
    match MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, Ok(compression))) => Ok(*compression),
        Some((_, Err(format))) => Err(Error::Unsupported { format }),
        None => Ok(Compression::None),
    }
}
