//! The files of an archive of images (`save`, `load`), which comes through a pipe and in any order:
//! small ones are kept in memory, large ones go to the content store's waiting room.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::{Component, Path, PathBuf};

use content::{Finished, Store};
use oci::Digest;
use oci::image::{Index, media_type};
use tarstream::{Kind, Reader};

use crate::Error;
use crate::install::LayerSource;

/// Files up to this size stay in memory...
const SMALL: u64 = 1 << 20;
/// ... as long as they are together no larger than this.
const ALL_SMALL: u64 = 64 << 20;
/// The documents at the top of an archive, and how large the largest may be: nobody needs to read on.
const DOCUMENTS: [&str; 4] = ["index.json", "manifest.json", "oci-layout", "repositories"];
const MAX_DOCUMENT: u64 = 64 << 20;
/// No archive of images has more files.
const MAX_FILES: usize = 100_000;
/// The largest blob that is taken.
const MAX_BLOB: u64 = 1 << 40;

/// The files of an archive, by name.
#[derive(Default)]
pub(crate) struct Pieces(BTreeMap<PathBuf, Piece>);

enum Piece {
    Small(Vec<u8>),
    Large(Finished),
    /// Older archives name a layer that comes twice by a link.
    Link(PathBuf),
}

impl Pieces {
    /// Reads an archive, plain or compressed, to its end.
    pub(crate) fn read(input: &mut dyn Read, content: &Store) -> Result<Self, Error> {
        let mut decoded = diff::decode(input)?;
        let mut reader = Reader::new(&mut decoded);
        let mut pieces = Self::default();
        let mut n_small = 0;
        while let Some(entry) = reader.next_entry()? {
            let Some(path) = inside(Path::new(""), &entry.path) else {
                let name = tarstream::Name::from(entry.path.as_slice());
                return Err(Error::Invalid(format!("entry {name} leads out of the archive")));
            };
            if entry.size > MAX_DOCUMENT && DOCUMENTS.iter().any(|name| path == Path::new(name)) {
                let path = path.display();
                return Err(Error::Invalid(format!(
                    "\"{path}\" has more than {MAX_DOCUMENT} bytes"
                )));
            }
            let piece = match entry.kind {
                Kind::File if entry.size <= SMALL && n_small + entry.size <= ALL_SMALL => {
                    n_small += entry.size;
                    let mut bytes = Vec::with_capacity(entry.size as usize);
                    Data(&mut reader).read_to_end(&mut bytes).map_err(diff::Error::Read)?;
                    Piece::Small(bytes)
                }
                Kind::File => Piece::Large(spool(&mut reader, content)?),
                Kind::Symlink => {
                    let from = path.parent().unwrap_or(Path::new(""));
                    let Some(target) = inside(from, &entry.link) else { continue };
                    Piece::Link(target)
                }
                Kind::HardLink => {
                    let Some(target) = inside(Path::new(""), &entry.link) else { continue };
                    Piece::Link(target)
                }
                _ => continue,
            };
            pieces.0.insert(path, piece);
            if pieces.0.len() > MAX_FILES {
                return Err(Error::Invalid(format!("the archive has more than {MAX_FILES} files")));
            }
        }
        decoded.drain()?;
        Ok(pieces)
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// A document of at most `max` bytes.
    pub(crate) fn document(&self, path: &str, max: usize) -> Result<Vec<u8>, Error> {
        let missing = || Error::Invalid(format!("the archive has no file \"{path}\""));
        match self.find(path).ok_or_else(missing)? {
            Piece::Small(bytes) if bytes.len() <= max => Ok(bytes.clone()),
            Piece::Large(blob) if blob.size() <= max as u64 => {
                let mut bytes = Vec::new();
                blob.open()?.read_to_end(&mut bytes).map_err(diff::Error::Read)?;
                Ok(bytes)
            }
            _ => Err(Error::Invalid(format!("\"{path}\" has more than {max} bytes"))),
        }
    }

    /// The blob `digest` of a layout, as a document, checked.
    pub(crate) fn blob_document(&self, digest: &Digest, max: usize) -> Result<Vec<u8>, Error> {
        let bytes = self.document(&blob_path(digest), max)?;
        let mut hasher = oci::Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            return Err(content::Error::WrongDigest { expected: digest.clone(), found }.into());
        }
        Ok(bytes)
    }

    /// The file `path` as a layer, of which the digest may be known.
    pub(crate) fn layer(
        &self,
        path: &str,
        expected: Option<(Digest, u64)>,
    ) -> Result<PieceLayer<'_>, Error> {
        let missing = || Error::Invalid(format!("the archive has no file \"{path}\""));
        let piece = self.find(path).ok_or_else(missing)?;
        let (digest, size) = match piece {
            Piece::Small(bytes) => (Digest::sha256(bytes), bytes.len() as u64),
            Piece::Large(blob) => (blob.digest().clone(), blob.size()),
            Piece::Link(_) => return Err(missing()),
        };
        match expected {
            Some((expected, _)) if expected != digest => {
                Err(content::Error::WrongDigest { expected, found: digest }.into())
            }
            Some((_, expected)) if expected != size => {
                Err(content::Error::WrongSize { digest, expected, found: size }.into())
            }
            _ => Ok(PieceLayer { piece, digest, size }),
        }
    }

    fn find(&self, path: &str) -> Option<&Piece> {
        let mut path = inside(Path::new(""), path.as_bytes())?;
        // A link to a link to a link: no archive needs more.
        for _ in 0..8 {
            match self.0.get(&path)? {
                Piece::Link(target) => path.clone_from(target),
                piece => return Some(piece),
            }
        }
        None
    }
}

/// Where a layout has a blob.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// `index.json` of a layout in memory, without reading on.
pub(crate) fn first_index(layout: &[u8]) -> Result<Index, Error> {
    let mut reader = Reader::new(layout);
    while let Some(entry) = reader.next_entry()? {
        if entry.path == b"index.json" {
            let mut bytes = Vec::new();
            Data(&mut reader).read_to_end(&mut bytes).map_err(diff::Error::Read)?;
            return Index::parse(&bytes)
                .map_err(|source| Error::Format { what: "not an image layout".into(), source });
        }
    }
    Err(Error::Invalid("the archive has no file \"index.json\"".into()))
}

/// A layer in an archive of images.
pub(crate) struct PieceLayer<'a> {
    piece: &'a Piece,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl LayerSource for PieceLayer<'_> {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, Error> {
        match self.piece {
            Piece::Large(blob) => Ok(Box::new(blob.open()?)),
            Piece::Small(bytes) => Ok(Box::new(bytes.as_slice())),
            Piece::Link(_) => Ok(Box::new(io::empty())),
        }
    }

    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn keep(&self, content: &Store) -> Result<(), Error> {
        let expected = Some((&self.digest, self.size));
        match self.piece {
            // Several images may have the layer: a link costs nothing, a move would lose it.
            Piece::Large(blob) => {
                blob.keep(expected)?;
            }
            Piece::Small(bytes) => {
                content.put(media_type::LAYER, bytes)?;
            }
            Piece::Link(_) => {}
        }
        Ok(())
    }
}

/// The data of the current entry.
struct Data<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_data(buffer).map_err(io::Error::other)
    }
}

fn spool<R: Read>(reader: &mut Reader<R>, content: &Store) -> Result<Finished, Error> {
    let mut writer = content.writer(MAX_BLOB)?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n_read = reader.read_data(&mut buffer)?;
        if n_read == 0 {
            return Ok(writer.finish()?);
        }
        let written = writer.write_all(&buffer[..n_read]);
        written.map_err(|source| Error::Io {
            call: "write",
            path: writer.path().into(),
            source,
        })?;
    }
}

/// `path` from the folder `from`, as long as it stays in the archive.
fn inside(from: &Path, path: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut whole = from.to_path_buf();
    for part in Path::new(std::ffi::OsStr::from_bytes(path)).components() {
        match part {
            Component::Normal(part) => whole.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                if !whole.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(whole)
}
