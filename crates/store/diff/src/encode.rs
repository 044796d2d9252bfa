//! From the bytes of an archive to those that travel: the same for the same.

use std::io::{self, Write};

use flate2::GzBuilder;
use flate2::write::GzEncoder;

use crate::Compression;

/// Compresses what is written.
pub struct Encoder<W: Write>(Stream<W>);

enum Stream<W: Write> {
    Plain(W),
    Gzip(Box<GzEncoder<W>>),
    Zstd(Box<zstd::Encoder<'static, W>>),
}

impl<W: Write> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// How hard to try, where nobody says: what `gzip` and `zstd` do.
const GZIP: u32 = 6;
const ZSTD: i32 = 3;

impl<W: Write> Encoder<W> {
    /// Compresses to `out`, with a level of gzip (0 to 9) or of Zstandard (1 to 22; what is beyond is the
    /// nearest).
    pub fn new(out: W, how: Compression, level: Option<i32>) -> io::Result<Self> {
        Ok(Self(match how {
            Compression::None => Stream::Plain(out),
            Compression::Gzip => {
                let level = level.map_or(GZIP, |level| level.clamp(0, 9).unsigned_abs());
                // Neither a name nor a time is in its header.
                let encoder = GzBuilder::new().write(out, flate2::Compression::new(level));
                Stream::Gzip(Box::new(encoder))
            }
            Compression::Zstd => {
                let level = level.map_or(ZSTD, |level| level.clamp(1, 22));
                Stream::Zstd(Box::new(zstd::Encoder::new(out, level)?))
            }
        }))
    }

    /// Writes what is left, and gives back what it has written to.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Stream::Plain(out) => Ok(out),
            Stream::Gzip(encoder) => encoder.finish(),
            Stream::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Stream::Plain(out) => out.write(bytes),
            Stream::Gzip(encoder) => encoder.write(bytes),
            Stream::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Stream::Plain(out) => out.flush(),
            Stream::Gzip(encoder) => encoder.flush(),
            Stream::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::decode;

    #[test]
    fn what_is_compressed_comes_back_and_is_the_same_twice() {
        let text = "all work and no play ".repeat(1000);
        for how in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let encode = |level| {
                let mut encoder = Encoder::new(Vec::new(), how, level).unwrap();
                encoder.write_all(text.as_bytes()).unwrap();
                encoder.finish().unwrap()
            };
            let bytes = encode(None);
            assert_eq!(bytes, encode(None));
            assert!(encode(Some(99)).len() <= bytes.len());
            let mut back = String::new();
            let mut input = bytes.as_slice();
            let mut decoder = decode(&mut input).unwrap();
            assert_eq!(decoder.compression(), how);
            decoder.read_to_string(&mut back).unwrap();
            assert_eq!(back, text);
        }
    }
}
